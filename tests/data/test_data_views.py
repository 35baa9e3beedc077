"""Stored views: drawn once from the data's own stream, one row each, an index of their own."""

import pytest
import torch

from kdlab.data import Examples
from kdlab.data.augmentation import Augmentation
from kdlab.data.views import ROWS_AT_ONCE, stored_views, view_index
from kdlab.errors import UserError
from kdlab.outputs import Batch
from kdlab.streams import drawing_from, generator

JITTER = {"noise": {"_target_": "kornia.augmentation.RandomGaussianNoise", "std": 0.1, "p": 1.0}}
MIXUP = {"mix": {"_target_": "kornia.augmentation.RandomMixUpV2", "p": 1.0}}


def examples(rows=7):
    draws = torch.Generator().manual_seed(1)
    index = torch.randperm(50 + rows, generator=draws)[:rows] + 3
    return Examples(torch.randn(rows, 1, 8, generator=draws), torch.arange(rows) % 3, index)


def augmentation(steps=JITTER):
    return Augmentation(steps, input_shape=(1, 8), facts={})


def views(folder, asked, *, count=3, seed=0, steps=JITTER):
    return stored_views(
        asked, augmentation(steps), count=count, seed=seed, folder=folder, described={"data": "d"}, say=lambda _: None
    )


def test_every_view_is_drawn_from_its_own_stream(tmp_path):
    asked = examples(ROWS_AT_ONCE + 5)  # two batches, the last one short
    found = views(tmp_path, asked, seed=4)
    rows = len(asked)
    for view in range(3):
        stream, parts = generator("data", "augment", 4, generation=view), []
        for start in (0, ROWS_AT_ONCE):
            one = asked.select(torch.arange(start, min(start + ROWS_AT_ONCE, rows)))
            with drawing_from(stream):
                batch = Batch(one.inputs, one.labels, one.index, torch.ones(len(one), dtype=torch.bool))
                parts.append(augmentation()(batch).inputs)
        assert torch.equal(found.examples.inputs[view * rows : (view + 1) * rows], torch.cat(parts))
    assert torch.equal(found.examples.labels.view(3, rows), asked.labels.expand(3, rows))
    assert torch.equal(found.original.view(3, rows), asked.index.expand(3, rows))
    assert len(found.examples.index.unique()) == 3 * rows
    assert torch.equal(found.examples.index[:rows], asked.index)


def test_they_are_drawn_once_and_differ(tmp_path):
    asked = examples()
    state = torch.get_rng_state()
    first = views(tmp_path, asked)
    assert torch.equal(torch.get_rng_state(), state)
    files = {path: path.stat().st_mtime_ns for path in tmp_path.glob("*/*")}
    again = views(tmp_path, asked)
    assert {path: path.stat().st_mtime_ns for path in tmp_path.glob("*/*")} == files
    assert torch.equal(first.examples.inputs, again.examples.inputs)
    one, two, three = first.examples.inputs.view(3, len(asked), -1)
    assert not torch.equal(one, two)
    assert not torch.equal(two, three)
    assert not torch.equal(views(tmp_path, asked, seed=1).examples.inputs, first.examples.inputs)
    fewer = views(tmp_path, asked, count=2)  # another number of views begins with the same ones
    assert torch.equal(fewer.examples.inputs, first.examples.inputs[: 2 * len(asked)])


def test_the_index_of_a_view_is_no_other_ones():
    index = torch.tensor([10, -3, 4])
    found = view_index(index, count=4)
    assert len(found.unique()) == 12
    assert found[:3].tolist() == [10, -3, 4]
    assert view_index(torch.tensor([5]), count=3).tolist() == [5, 6, 7]


def test_mixed_examples_are_refused(tmp_path):
    with pytest.raises(UserError, match=r"teacher\.cache\.views: training\.augmentation\.mix mixes examples"):
        views(tmp_path, examples(), steps=MIXUP)
    with pytest.raises(UserError, match=r"teacher\.cache\.views = 0"):
        views(tmp_path, examples(), count=0)
