"""Batches of labelled rows and a transfer set: how many of each, in which order, for ever."""

import pytest
import torch

from kdlab.data.transfer_order import Mixture, endless


def rounds(size, *, seed=0):
    return lambda number: torch.randperm(size, generator=torch.Generator().manual_seed(1000 * seed + number))


def slow(mixture, epochs, labelled, transfer):
    """Every batch of some epochs: two hands of cards that are dealt from, shuffled anew whenever they are empty."""
    decks, numbers = {"labelled": [], "transfer": []}, {"labelled": 0, "transfer": 0}
    dealers = {"labelled": labelled, "transfer": transfer}
    found = []
    for _ in range(epochs * mixture.steps):
        batch = []
        for name, count, first in (
            ("labelled", mixture.labelled_rows, 0), ("transfer", mixture.transfer_rows, mixture.num_labelled),
        ):  # fmt: skip
            for _ in range(count):
                if not decks[name]:
                    decks[name] = dealers[name](numbers[name]).tolist()
                    numbers[name] += 1
                batch.append(first + decks[name].pop(0))
        found.append(batch)
    return found


@pytest.mark.parametrize(
    ("labelled", "transfer", "batch_size", "fraction"),
    [(20, 50, 10, 0.5), (23, 7, 10, 0.3), (3, 50, 10, 0.5), (20, 3, 8, 0.25), (20, 5, 10, 1.0), (5, 5, 1, 0.5)],
)
def test_epoch_after_epoch_is_the_endless_deal_whichever_is_asked_first(labelled, transfer, batch_size, fraction):
    mixture = Mixture.of(labelled, transfer, batch_size=batch_size, labelled_fraction=fraction)
    own, added = rounds(labelled, seed=1), rounds(transfer, seed=2)
    expected = slow(mixture, 6, own, added)
    for epoch in (5, 0, 3, 1, 2, 4):
        found = mixture.order(epoch, labelled=own, transfer=added).view(-1, mixture.batch_size).tolist()
        assert found == expected[epoch * mixture.steps :][: mixture.steps]


@pytest.mark.parametrize(
    ("batch_size", "fraction", "expected"),
    [(100, 0.5, (50, 50)), (100, 0.001, (1, 99)), (100, 0.999, (99, 1)), (100, 1, (100, 0)), (10, 0.26, (3, 7)),
     (1, 0.5, (1, 0))],
)  # fmt: skip
def test_the_fraction_counts_rows_of_the_whole_batch_and_leaves_none_without_a_row(batch_size, fraction, expected):
    mixture = Mixture.of(400, 400, batch_size=batch_size, labelled_fraction=fraction)
    assert (mixture.labelled_rows, mixture.transfer_rows) == expected
    assert mixture.batch_size == batch_size


def test_an_epoch_goes_once_through_the_labelled_rows():
    mixture = Mixture.of(400, 4000, batch_size=100, labelled_fraction=0.25)
    assert mixture.steps == 16
    order = mixture.order(2, labelled=rounds(400), transfer=rounds(4000))
    assert sorted(row for row in order.tolist() if row < 400) == list(range(400))
    assert len({row for row in order.tolist() if row >= 400}) == 16 * 75, "the transfer set goes on, none twice"
    assert Mixture.of(3, 10, batch_size=10, labelled_fraction=0.5).steps == 1


def test_a_sequence_without_an_end_begins_anywhere():
    whole = endless(7, rounds(7), start=0, count=50)
    for start, count in ((0, 0), (0, 7), (5, 4), (6, 1), (7, 14), (13, 30)):
        assert torch.equal(endless(7, rounds(7), start=start, count=count), whole[start : start + count])
    assert sorted(whole[14:21].tolist()) == list(range(7))
