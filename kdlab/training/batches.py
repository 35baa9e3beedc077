"""Batches by slicing: a set that lives in memory is permuted once an epoch and cut, never collated row by row.

``as_batch`` takes what the loaders of others give.
"""

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import torch
from torch import Tensor

from kdlab.data.dataset import Examples
from kdlab.errors import UserError
from kdlab.outputs import Batch
from kdlab.streams import Role, drawing_from, generator


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
        augment: random changes of every batch, drawn from the stream (role, augment, seed, epoch); None for none.
    """

    def __init__(
        self,
        examples: Examples,
        *,
        batch_size: int,
        role: Role,
        seed: int,
        device: torch.device,
        augment: Callable[[Batch], Batch] | None = None,
    ) -> None:
        self.batch_size = min(batch_size, len(examples))
        self.role: Role = role
        self.seed = seed
        self.epoch = 0
        self.augment = augment
        self._data = _resident(examples, device)

    def __len__(self) -> int:
        return int(self._data.labels.shape[0]) // self.batch_size

    def order(self, epoch: int) -> Tensor:
        """The permutation of epoch ``epoch``: ``[N]`` int64."""
        stream = generator(self.role, "order", self.seed, epoch=epoch)
        return torch.randperm(int(self._data.labels.shape[0]), generator=stream)

    def __iter__(self) -> Iterator[Batch]:
        order = self.order(self.epoch).to(self._data.labels.device)
        draws = generator(self.role, "augment", self.seed, epoch=self.epoch)
        for start in range(0, len(self) * self.batch_size, self.batch_size):
            batch = _rows(self._data, order[start : start + self.batch_size])
            if self.augment is not None:
                with drawing_from(draws):
                    batch = self.augment(batch)
            yield batch


class EvaluationBatches:
    """A set in its own order, the short last batch included."""

    def __init__(self, examples: Examples, *, batch_size: int, device: torch.device) -> None:
        self.batch_size = batch_size
        self._data = _resident(examples, device)

    def __len__(self) -> int:
        return -(-int(self._data.labels.shape[0]) // self.batch_size)

    def __iter__(self) -> Iterator[Batch]:
        for start in range(0, int(self._data.labels.shape[0]), self.batch_size):
            yield _rows(self._data, slice(start, start + self.batch_size))


def _rows(whole: Batch, rows: Tensor | slice) -> Batch:
    return Batch(whole.inputs[rows], whole.labels[rows], whole.index[rows], whole.labelled[rows])


def _resident(examples: Examples, device: torch.device) -> Batch:
    """The whole set as one batch on the device."""
    labelled = torch.ones_like(examples.labels, dtype=torch.bool)
    parts = (examples.inputs, examples.labels, examples.index, labelled)
    return Batch(*(part.to(device) for part in parts))


def as_batch(batch: Any, *, needs_index: bool = False) -> Batch:
    """A ``Batch``, from one of ours or from what a plain loader gives.

    That is ``(inputs, labels)``, ``(inputs, labels, index)``, or a mapping with these names. A row with a label below 0
    is unlabelled; without an index every row has -1.

    Args:
        batch: what the loader gave.
        needs_index: whether the index must be there.

    Raises:
        UserError: it is none of these.
    """
    if isinstance(batch, Batch):
        return batch
    parts = _parts(batch)
    if not 2 <= len(parts) <= 3 or not all(isinstance(part, Tensor) for part in parts):
        raise UserError(f"a batch of {_described(batch)}: (inputs, labels) or (inputs, labels, index) is needed")
    inputs, labels, *rest = parts
    if labels.ndim != 1 or labels.is_floating_point() or len(labels) != len(inputs):
        raise UserError(
            f"labels {labels.dtype} {tuple(labels.shape)} beside inputs {tuple(inputs.shape)}: one class number for "
            "each row is needed"
        )
    if needs_index and not rest:
        raise UserError("the teacher answers by example index: batches must be (inputs, labels, index)")
    labels = labels.long()
    index = rest[0].long() if rest else torch.full_like(labels, -1)
    return Batch(inputs, labels, index, labels >= 0)


def _parts(batch: Any) -> list[Any]:
    if isinstance(batch, Mapping):
        unknown = set(batch) - {"inputs", "labels", "index"}
        return [] if unknown else [batch[name] for name in ("inputs", "labels", "index") if name in batch]
    return list(batch) if isinstance(batch, list | tuple) else []


def _described(batch: Any) -> str:
    if isinstance(batch, Mapping):
        return f"a mapping with {', '.join(map(str, batch))}"
    if isinstance(batch, list | tuple):
        return f"({', '.join(type(part).__name__ for part in batch)})"
    return type(batch).__name__
