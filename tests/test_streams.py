import hashlib
import itertools
import random

import numpy as np
import pytest
import torch

from kdlab.streams import generator, global_stream, numpy_generator, stream_seed


def test_the_seed_is_the_hash_of_the_name():
    text = b"student/order/3/5/0"
    assert stream_seed("student", "order", 3, epoch=5) == int(hashlib.sha256(text).hexdigest()[:16], 16) // 2


def test_every_part_of_the_name_makes_another_stream():
    names = itertools.product(
        ("teacher", "student", "data"), ("init", "order", "dropout"), (0, 1, 10), (None, 0, 1), (0, 1)
    )
    seeds = [stream_seed(r, p, s, epoch=e, generation=g) for r, p, s, e, g in names]
    assert len(set(seeds)) == len(seeds)
    assert all(0 <= seed < 2**63 for seed in seeds)


def test_a_stream_begins_anew_each_time_and_knows_nothing_of_the_others():
    first = torch.rand(4, generator=generator("student", "order", 0, epoch=1))
    torch.rand(100, generator=generator("student", "init", 0))
    assert torch.equal(first, torch.rand(4, generator=generator("student", "order", 0, epoch=1)))
    assert np.array_equal(numpy_generator("data", "split", 2).random(3), numpy_generator("data", "split", 2).random(3))


def legacy_state():
    return np.random.get_state()[1].copy()  # noqa: NPY002 - the state that must not move


@pytest.mark.parametrize("fails", [False, True])
def test_global_stream_seeds_torch_and_gives_its_state_back(fails):
    torch.manual_seed(123)
    before, numpy_before, python_before = torch.get_rng_state(), legacy_state(), random.getstate()
    drawn = []
    for _ in range(2):
        try:
            with global_stream(5):
                drawn.append(torch.rand(3))
                if fails:
                    raise RuntimeError
        except RuntimeError:
            pass
    assert torch.equal(*drawn)
    assert torch.equal(torch.get_rng_state(), before)
    assert np.array_equal(legacy_state(), numpy_before)
    assert random.getstate() == python_before
