"""Stored views in training: every epoch shows each example once, as one of its views, to student and twin alike."""

import torch

from kdlab.data import Examples
from kdlab.data.views import view_index
from kdlab.streams import generator
from kdlab.training.batches import Source, TrainingBatches

ROWS, VIEWS = 23, 4


def examples():
    index = torch.arange(ROWS) + 100
    rows = torch.arange(ROWS * VIEWS, dtype=torch.float32)
    return Examples(rows[:, None, None].expand(-1, 1, 5), (index % 3).repeat(VIEWS), view_index(index, count=VIEWS))


def shown(*, role="student", seed=0, epoch=0, batch_size=5, views=VIEWS):
    source = Source(examples(), role=role, seed=seed, views=views)
    batches = TrainingBatches([source], batch_size=batch_size, device=torch.device("cpu"))
    batches.epoch = epoch
    return batches, [batch for chunk in batches for batch in chunk]


def test_every_example_once_an_epoch_as_the_view_that_was_drawn():
    batches, found = shown(batch_size=1, epoch=2)
    assert batches.steps == ROWS
    rows = torch.cat([batch.inputs[:, 0, 0] for batch in found]).long()
    order = torch.randperm(ROWS, generator=generator("student", "order", 0, epoch=2))
    views = torch.randint(VIEWS, (ROWS,), generator=generator("student", "augment", 0, epoch=2))
    assert rows.tolist() == [int(views[row]) * ROWS + int(row) for row in order], "row v * N + n shows example n"
    assert sorted((rows % ROWS).tolist()) == list(range(ROWS))
    index = torch.cat([batch.index for batch in found])
    assert torch.equal(index, examples().index[rows]), "by which the teacher's answer to this very view is found"


def test_epochs_are_as_long_as_without_views_and_shown_in_the_same_order():
    batches, found = shown()
    assert (batches.steps, len(found)) == (4, 4)
    plain = Source(examples().select(torch.arange(ROWS)), role="student", seed=0)
    assert torch.equal(batches.sources[0].order(3) % ROWS, plain.order(3))


def test_another_epoch_or_seed_shows_other_views_and_a_twin_the_same():
    first, twin = shown(), shown()
    assert all(torch.equal(one.index, other.index) for one, other in zip(first[1], twin[1], strict=True))
    assert len({tuple(_views(seed=seed, epoch=epoch)) for seed, epoch in ((0, 0), (0, 1), (1, 0))}) == 3
    drawn = torch.tensor([view for epoch in range(40) for view in _views(seed=0, epoch=epoch)])
    shares = torch.bincount(drawn, minlength=VIEWS) / len(drawn)
    assert shares.sub(1 / VIEWS).abs().max() < 0.06  # 920 draws: a standard deviation is 0.014


def _views(*, seed, epoch):
    """The view of each example, by example."""
    order = Source(examples(), role="student", seed=seed, views=VIEWS).order(epoch)
    return (order[(order % ROWS).argsort()] // ROWS).tolist()
