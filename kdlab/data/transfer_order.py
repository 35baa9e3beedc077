"""How batches are mixed of labelled rows and a transfer set, in an order that is a function of (streams, epoch) alone.

Each of both goes round by itself: all of its rows in one random order, then all of them in another, without an end. An
epoch is as many steps as full batches' worth of labelled rows fit into the labelled set, at least one; the transfer set
goes on where the last epoch left it.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

Permutation = Callable[[int], Tensor]
"""The order of all rows of a set in round 0, 1, ...: int64."""


@dataclass(frozen=True)
class Mixture:
    """Which rows of a set are labelled, and how many of each kind a batch has.

    Args:
        num_labelled: rows of the labelled set, which come first.
        num_transfer: rows of the transfer set behind them.
        labelled_rows: of a batch.
        transfer_rows: of a batch.
        all_labelled: whether the transfer set has its true labels (the oracle).
    """

    num_labelled: int
    num_transfer: int
    labelled_rows: int
    transfer_rows: int
    all_labelled: bool = False

    @classmethod
    def of(
        cls,
        num_labelled: int,
        num_transfer: int,
        *,
        batch_size: int,
        labelled_fraction: float,
        all_labelled: bool = False,
    ) -> "Mixture":
        """Batches of ``batch_size`` rows, of which this fraction is labelled: at least one, and not all below 1.

        >>> Mixture.of(400, 4000, batch_size=100, labelled_fraction=0.25).transfer_rows
        75
        """
        most = batch_size if labelled_fraction == 1 else max(batch_size - 1, 1)
        labelled_rows = min(max(round(labelled_fraction * batch_size), 1), most)
        return cls(num_labelled, num_transfer, labelled_rows, batch_size - labelled_rows, all_labelled)

    @property
    def batch_size(self) -> int:
        """B, all rows of a batch."""
        return self.labelled_rows + self.transfer_rows

    @property
    def steps(self) -> int:
        """Steps of an epoch."""
        return max(self.num_labelled // self.labelled_rows, 1)

    def labelled(self) -> Tensor:
        """``[N]`` bool: which rows of the set have a label."""
        rows = torch.arange(self.num_labelled + self.num_transfer)
        return (rows < self.num_labelled) | self.all_labelled

    def order(self, epoch: int, *, labelled: Permutation, transfer: Permutation) -> Tensor:
        """The rows of an epoch, batch by batch, in each the labelled ones first: ``[steps * B]`` int64.

        Args:
            epoch: its number.
            labelled: the rounds of the labelled set.
            transfer: the rounds of the transfer set.
        """

        def share(rows: int, size: int, rounds: Permutation) -> Tensor:
            count = self.steps * rows
            return endless(size, rounds, start=epoch * count, count=count).view(self.steps, rows)

        own = share(self.labelled_rows, self.num_labelled, labelled)
        added = share(self.transfer_rows, self.num_transfer, transfer) + self.num_labelled
        return torch.cat([own, added], dim=1).flatten()


def endless(size: int, rounds: Permutation, *, start: int, count: int) -> Tensor:
    """``count`` rows from place ``start`` on of a sequence that shows all ``size`` rows round after round.

    >>> endless(3, lambda number: torch.arange(3), start=2, count=5).tolist()
    [2, 0, 1, 2, 0]
    """
    first, behind = start // size, -(-(start + count) // size)
    rows = torch.cat([torch.empty(0, dtype=torch.int64), *(rounds(number) for number in range(first, behind))])
    return rows[start - first * size :][:count]
