import pytest
import torch

from kdlab.training.layout import Places

PARTS = torch.arange(12.0).view(3, 2, 2)


@pytest.mark.parametrize("of", [[0, 1, 2], [2, 2, 0, 1], [1], [0, 1], [2, 1, 0]])
def test_every_learner_gets_its_part(of):
    found = Places(of, device=torch.device("cpu")).spread(PARTS)
    assert torch.equal(found, torch.stack([PARTS[at] for at in of]))


def test_nothing_is_copied_where_all_get_the_same_or_each_its_own():
    cpu = torch.device("cpu")
    same = Places([0] * 5, device=cpu).spread(PARTS[:1])
    assert same.shape == (5, 2, 2)
    own = Places([0, 1, 2], device=cpu).spread(PARTS)
    assert {found.untyped_storage().data_ptr() for found in (same, own)} == {PARTS.untyped_storage().data_ptr()}
