"""Batches by slicing: a set that lives in memory is permuted once an epoch and cut, never collated row by row."""

from collections.abc import Iterator

import torch
from torch import Tensor

from kdlab.data.dataset import Examples
from kdlab.outputs import Batch
from kdlab.streams import Role, generator


class TrainingBatches:
    """Full batches of a set, in an order that is a function of (role, seed, epoch) alone.

    So a scratch twin sees the batches of its student, and epoch e of a resumed run the batches it would have seen. The
    rows left over at the end of an epoch are dropped: every step averages over equally many examples.

    Whoever trains sets ``epoch``. Lightning's own way (a sampler's ``set_epoch``) counts one too many after a
    resumption: 2.6 passes the epochs processed, and processes the epoch it was saved in a second time.

    Args:
        examples: the training set.
        batch_size: B; a set smaller than B makes one batch of all its rows.
        role: whose stream orders the examples.
        seed: the seed of that stream.
        device: where the set is kept; batches are cut there.
    """

    def __init__(self, examples: Examples, *, batch_size: int, role: Role, seed: int, device: torch.device) -> None:
        self.batch_size = min(batch_size, len(examples))
        self.role: Role = role
        self.seed = seed
        self.epoch = 0
        self._data = _resident(examples, device)

    def __len__(self) -> int:
        return int(self._data.labels.shape[0]) // self.batch_size

    def order(self, epoch: int) -> Tensor:
        """The permutation of epoch ``epoch``: ``[N]`` int64."""
        stream = generator(self.role, "order", self.seed, epoch=epoch)
        return torch.randperm(int(self._data.labels.shape[0]), generator=stream)

    def __iter__(self) -> Iterator[Batch]:
        order = self.order(self.epoch).to(self._data.labels.device)
        for start in range(0, len(self) * self.batch_size, self.batch_size):
            rows = order[start : start + self.batch_size]
            yield Batch(*(part[rows] for part in self._data))


class EvaluationBatches:
    """A set in its own order, the short last batch included."""

    def __init__(self, examples: Examples, *, batch_size: int, device: torch.device) -> None:
        self.batch_size = batch_size
        self._data = _resident(examples, device)

    def __len__(self) -> int:
        return -(-int(self._data.labels.shape[0]) // self.batch_size)

    def __iter__(self) -> Iterator[Batch]:
        for start in range(0, int(self._data.labels.shape[0]), self.batch_size):
            yield Batch(*(part[start : start + self.batch_size] for part in self._data))


def _resident(examples: Examples, device: torch.device) -> Batch:
    """The whole set as one batch on the device."""
    labelled = torch.ones_like(examples.labels, dtype=torch.bool)
    parts = (examples.inputs, examples.labels, examples.index, labelled)
    return Batch(*(part.to(device) for part in parts))
