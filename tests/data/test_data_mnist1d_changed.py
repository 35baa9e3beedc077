import numpy as np
import pytest
import torch

from kdlab.data.mnist1d import mnist1d
from kdlab.data.mnist1d_changed import mnist1d_changed
from kdlab.errors import UserError

SIZES = {"train": 500, "validation": 20, "test": 40, "pool": 30}
SPLITS = ("train", "validation", "test", "pool")


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="module")
def plain(cache):
    return mnist1d(cache_dir=cache, **SIZES)


def made(cache, **knobs):
    return mnist1d_changed(cache_dir=cache, **SIZES, **knobs)


def same(one, other):
    return all(torch.equal(getattr(one, part), getattr(other, part)) for part in ("inputs", "labels", "index"))


@pytest.mark.parametrize("knobs", [{}, {"imbalance": 10}, {"label_noise": 0.3}])
def test_what_is_not_changed_is_the_plain_set_bit_for_bit(cache, plain, knobs):
    changed = made(cache, **knobs)
    for split in SPLITS[bool(knobs) :]:
        assert same(getattr(changed, split), getattr(plain, split))
    assert changed.facts == plain.facts


def test_a_long_tail_falls_geometrically_from_all_of_the_first_class(cache, plain):
    train = made(cache, imbalance=10).train
    counts = np.bincount(train.labels.numpy(), minlength=10)
    assert counts[0] == 50
    assert np.abs(counts - [50 * 10 ** (-label / 9) for label in range(10)]).max() <= 1
    known = {int(index): row for row, index in enumerate(plain.train.index)}
    rows = torch.tensor([known[int(index)] for index in train.index])
    assert len(set(rows.tolist())) == len(rows)
    assert same(train, plain.train.select(rows))


def test_a_heavier_tail_is_a_part_of_a_lighter_one(cache):
    light, heavy = (set(made(cache, imbalance=ratio).train.index.tolist()) for ratio in (5, 25))
    assert heavy < light


def test_the_share_of_wrong_labels_is_exact_nested_and_that_of_the_data_seed(cache, plain):
    low, high = (made(cache, label_noise=share).train.labels for share in (0.2, 0.4))
    wrong = low != plain.train.labels
    assert int(wrong.sum()) == 100
    assert torch.equal(low[wrong], high[wrong])
    assert int((high != plain.train.labels).sum()) == 200


def test_both_changes_hold_together(cache):
    tailed, both = (made(cache, imbalance=10, label_noise=share).train for share in (0.0, 0.5))
    assert torch.equal(both.index, tailed.index)
    assert int((both.labels != tailed.labels).sum()) == round(0.5 * len(both))


def test_shuffled_signals_have_their_positions_in_one_order(cache, plain):
    changed = made(cache, shuffled=True)
    first = plain.train.inputs[0, 0].tolist()
    order = [first.index(value) for value in changed.train.inputs[0, 0].tolist()]
    assert sorted(order) == list(range(40))
    assert order != list(range(40))
    for split in SPLITS:
        assert torch.equal(getattr(changed, split).inputs, getattr(plain, split).inputs[:, :, order])
        assert torch.equal(getattr(changed, split).labels, getattr(plain, split).labels)
    assert "mnist1d" not in changed.facts


@pytest.mark.parametrize(
    ("knobs", "told"),
    [
        ({"label_noise": 1.5}, r"data\.label_noise = 1\.5: a share from 0 to 1"),
        ({"imbalance": 0.5}, r"data\.imbalance = 0\.5: a finite number >= 1"),
        ({"imbalance": 1e6}, r"data\.imbalance = 1000000\.0: class 9 would have no training example"),
    ],
)
def test_wrong_knobs_are_told(cache, knobs, told):
    with pytest.raises(UserError, match=told):
        made(cache, **knobs)
