"""Batches by slicing: a set that lives in memory is permuted once an epoch and cut, never collated row by row.

``as_batch`` takes what the loaders of others give.
"""

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import torch
from torch import Tensor

from kdlab.data.dataset import Examples
from kdlab.data.transfer_order import Mixture
from kdlab.errors import UserError
from kdlab.outputs import Batch
from kdlab.streams import Role, drawing_from, generator

#: Steps in a chunk: enough that what a Trainer costs for each is spread, few enough that it hears of things soon.
CHUNK = 50


class Source:
    """The batches of one learner: a training set, the order of its rows in every epoch, and its random changes.

    The order is a function of (role, seed, epoch) alone. So a scratch twin sees the batches of its student, and epoch e
    of a resumed run the batches it would have seen.

    Args:
        examples: the training set.
        role: whose stream orders the examples.
        seed: the seed of that stream.
        augment: random changes of every batch, drawn from the stream (role, augment, seed, epoch); None for none.
        views: V, where ``examples`` are V stored views of N examples, row ``v * N + n`` showing example n: an epoch
            shows each example as one of them, drawn from the stream (role, augment, seed, epoch). 0 for none.
        mixture: where ``examples`` are labelled rows and a transfer set behind them: how batches are mixed of both.
    """

    def __init__(
        self,
        examples: Examples,
        *,
        role: Role,
        seed: int,
        augment: Callable[[Batch], Batch] | None = None,
        views: int = 0,
        mixture: Mixture | None = None,
    ) -> None:
        self.examples, self.seed, self.augment, self.views = examples, seed, augment, views
        self.role: Role = role
        self.mixture = mixture

    def __len__(self) -> int:
        """N, the examples that an epoch shows."""
        if self.mixture is not None:
            return self.mixture.steps * self.mixture.batch_size
        return len(self.examples) // max(self.views, 1)

    def order(self, epoch: int) -> Tensor:
        """The rows of epoch ``epoch`` in their order: ``[N]`` int64."""
        if self.mixture is not None:
            return self._mixed(self.mixture, epoch)
        order = torch.randperm(len(self), generator=generator(self.role, "order", self.seed, epoch=epoch))
        if not self.views:
            return order
        view = torch.randint(self.views, (len(self),), generator=self.draws(epoch))
        return view[order] * len(self) + order

    def _mixed(self, mixture: Mixture, epoch: int) -> Tensor:
        """Labelled rows in rounds of the stream (role, order, seed), the transfer set in those of its own."""

        def labelled(number: int) -> Tensor:
            stream = generator(self.role, "order", self.seed, epoch=number)
            return torch.randperm(mixture.num_labelled, generator=stream)

        def transfer(number: int) -> Tensor:
            stream = generator(self.role, "transfer", self.seed, epoch=number)
            return torch.randperm(mixture.num_transfer, generator=stream)

        return mixture.order(epoch, labelled=labelled, transfer=transfer)

    def draws(self, epoch: int) -> torch.Generator:
        """The stream of an epoch's random changes."""
        return generator(self.role, "augment", self.seed, epoch=epoch)


class TrainingBatches:
    """Full batches of the sources of a stack, ``[S, B, ...]``; of one source alone ``[B, ...]``.

    The rows left over at the end of an epoch are dropped: every step averages over equally many examples. Batches come
    in chunks, iterated lazily, so that a Trainer is entered once for many steps.

    Whoever trains sets ``epoch``. Lightning's own way (a sampler's ``set_epoch``) counts one too many after a
    resumption: 2.6 passes the epochs processed, and processes the epoch it was saved in a second time.

    Args:
        sources: of training sets of one size.
        batch_size: B; a set smaller than B makes one batch of all its rows.
        device: where batches are wanted.
        dtype: of the inputs; None leaves them as they are.
        resident: whether the sets are kept on the device and cut there; else a worker cuts them on the host, ahead of
            the training, into pinned memory. None asks whether they fit.
    """

    def __init__(
        self,
        sources: Sequence[Source],
        *,
        batch_size: int,
        device: torch.device,
        dtype: torch.dtype | None = None,
        resident: bool | None = None,
    ) -> None:
        self.sources, self.device = sources, device
        self.num_examples = len(sources[0])
        self.batch_size = min(batch_size, self.num_examples)
        self.epoch = 0
        sets = {id(source.examples): source for source in sources}
        examples = [source.examples for source in sets.values()]
        self.resident = fits(examples, device=device) if resident is None else resident
        place = device if self.resident else torch.device("cpu")
        self._sets = {
            name: _resident(source.examples, place, dtype, mixture=source.mixture) for name, source in sets.items()
        }
        self._members = {
            name: [at for at, source in enumerate(sources) if id(source.examples) == name] for name in sets
        }

    @property
    def steps(self) -> int:
        """Steps of an epoch."""
        return self.num_examples // self.batch_size

    def __len__(self) -> int:
        return -(-self.steps // CHUNK)

    def __iter__(self) -> Iterator["Chunk"]:
        orders = torch.stack([source.order(self.epoch) for source in self.sources])
        orders = orders.to(self.device) if self.resident else orders
        draws = [source.draws(self.epoch) for source in self.sources]
        for start in range(0, self.steps, CHUNK):
            yield Chunk(self, orders, draws, range(start, min(start + CHUNK, self.steps)))

    def cut(self, orders: Tensor, step: int) -> Batch:
        """The rows of a step of an epoch that is ordered by ``orders`` ``[S, N]``, unchanged."""
        where = slice(step * self.batch_size, (step + 1) * self.batch_size)
        if len(self.sources) == 1:
            return _rows(next(iter(self._sets.values())), orders[0, where])
        if len(self._sets) == 1:
            return _rows(next(iter(self._sets.values())), orders[:, where])
        parts = [_rows(self._sets[name], orders[members, where]) for name, members in self._members.items()]
        return self._reordered(parts)

    def pinned(self, orders: Tensor, step: int) -> Batch:
        """The same in memory from which a copy to a GPU need not be waited for."""
        batch = self.cut(orders, step)
        if self.device.type != "cuda":
            return batch
        return batch.mapped(lambda part: part.pin_memory())

    def changed(self, batch: Batch, draws: Sequence[torch.Generator]) -> Batch:
        """A batch on the device, with the random changes of every source."""
        if not self.resident:
            batch = batch.mapped(lambda part: part.to(self.device, non_blocking=True))
        if len(self.sources) == 1:
            return self._changed(batch, 0, draws)
        if self.sources[0].augment is None:
            return batch
        return stacked([self._changed(_one(batch, at), at, draws) for at in range(len(self.sources))])

    def _reordered(self, parts: Sequence[Batch]) -> Batch:
        """Parts of several sets as one, in the order of the sources."""
        place = torch.tensor([at for members in self._members.values() for at in members]).argsort()
        inputs, labels, index, labelled = (torch.cat([_field(part, at) for part in parts]) for at in range(4))
        whole = Batch(inputs, labels, index, labelled, all_labelled=all(part.all_labelled for part in parts))
        return whole.mapped(lambda field: field[place.to(field.device)])

    def _changed(self, batch: Batch, at: int, draws: Sequence[torch.Generator]) -> Batch:
        augment = self.sources[at].augment
        if augment is None:
            return batch
        with drawing_from(draws[at]):
            return augment(batch)


class Chunk:
    """Some steps of an epoch: iterating cuts their batches one by one.

    No dataclass: Lightning would look into it for tensors to convert.
    """

    def __init__(
        self, batches: TrainingBatches, orders: Tensor, draws: Sequence[torch.Generator], steps: range
    ) -> None:
        self.batches, self.orders, self.draws, self.steps = batches, orders, draws, steps

    def __iter__(self) -> Iterator[Batch]:
        cut = self.batches.cut if self.batches.resident else self.batches.pinned
        batches = (cut(self.orders, step) for step in self.steps)
        # the worker only cuts: random changes draw from torch's global generator, as dropout does
        for batch in batches if self.batches.resident else ahead(batches):
            yield self.batches.changed(batch, self.draws)


def fits(sets: Iterable[Examples], *, device: torch.device) -> bool:
    """Whether sets may be kept on a device: in half of the memory that is free there. The host has them already."""
    if device.type != "cuda":
        return True
    needed = sum(one.inputs.numel() * one.inputs.element_size() for one in sets)
    return needed <= torch.cuda.mem_get_info(device)[0] / 2


def ahead(items: Iterable[Batch], *, depth: int = 2) -> Iterator[Batch]:
    """The same items, made by a worker thread up to ``depth`` ahead; what it raises is raised here."""
    with ThreadPoolExecutor(max_workers=1, thread_name_prefix="kdlab-batches") as worker:
        source, waiting = iter(items), deque[Future[Batch | None]]()
        for _ in range(depth):
            waiting.append(worker.submit(next, source, None))
        while (item := waiting.popleft().result()) is not None:
            waiting.append(worker.submit(next, source, None))
            yield item


def _field(batch: Batch, at: int) -> Tensor:
    """One of the fields that every batch has."""
    found = batch[at]
    assert isinstance(found, Tensor)
    return found


def _one(batch: Batch, at: int) -> Batch:
    return batch.mapped(lambda part: part[at])


def stacked(batches: Sequence[Batch]) -> Batch:
    """Batches of several sources as one; where only some are mixed, the others are mixed with nothing."""
    inputs, labels, index, labelled = (torch.stack([_field(batch, at) for batch in batches]) for at in range(4))
    known = all(batch.all_labelled for batch in batches)
    if all(batch.mixing is None for batch in batches):
        return Batch(inputs, labels, index, labelled, all_labelled=known)
    others = [batch.labels if batch.other_labels is None else batch.other_labels for batch in batches]
    shares = [torch.ones(batch.labels.shape) if batch.mixing is None else batch.mixing for batch in batches]
    like = next(batch.mixing for batch in batches if batch.mixing is not None)
    mixing = torch.stack([share.to(like).expand_as(like) for share in shares])
    return Batch(inputs, labels, index, labelled, torch.stack(others), mixing, all_labelled=known)


class EvaluationBatches:
    """A set in its own order, the short last batch included."""

    def __init__(
        self, examples: Examples, *, batch_size: int, device: torch.device, dtype: torch.dtype | None = None
    ) -> None:
        self.batch_size = batch_size
        self._data = _resident(examples, device, dtype)

    def __len__(self) -> int:
        return -(-int(self._data.labels.shape[0]) // self.batch_size)

    def __iter__(self) -> Iterator[Batch]:
        for start in range(0, int(self._data.labels.shape[0]), self.batch_size):
            yield _rows(self._data, slice(start, start + self.batch_size))


def _rows(whole: Batch, rows: Tensor | slice) -> Batch:
    """Some rows of a set; where all of its rows are labelled, that mask is cut and not gathered."""
    if isinstance(rows, Tensor):  # in half the time of an index in brackets
        flat = rows.flatten()
        inputs, labels, index = (
            part.index_select(0, flat).view(*rows.shape, *part.shape[1:])
            for part in (whole.inputs, whole.labels, whole.index)
        )
    else:
        inputs, labels, index = whole.inputs[rows], whole.labels[rows], whole.index[rows]
    labelled = whole.labelled[: index.shape[-1]] if whole.all_labelled else whole.labelled[rows]
    return Batch(inputs, labels, index, labelled.expand(index.shape), all_labelled=whole.all_labelled)


def _resident(
    examples: Examples, device: torch.device, dtype: torch.dtype | None, *, mixture: Mixture | None = None
) -> Batch:
    """The whole set as one batch on the device."""
    labelled = torch.ones_like(examples.labels, dtype=torch.bool) if mixture is None else mixture.labelled()
    inputs = examples.inputs.to(device, dtype if examples.inputs.is_floating_point() else None)
    labels, index = examples.labels.to(device), examples.index.to(device)
    return Batch(inputs, labels, index, labelled.to(device), all_labelled=mixture is None)


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
