"""The cached teacher: what a teacher said of every training example, answered by example index from files.

A step of a student whose teacher is cached costs little more than a step on labels alone. The answers belong to the
inputs as they were when they were stored, so no random augmentation may stand beside it, unless the student is shown
the very inputs that were answered (stored views), or the answers are meant to stay fixed (``fixed_targets``).
"""

import hashlib
import weakref
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from kdlab.data.dataset import Examples
from kdlab.data.stored import Array, ArraySpec, stored_arrays
from kdlab.errors import UserError
from kdlab.outputs import TeacherOutput
from kdlab.teachers.providers import Teacher, tap_teacher

StoredDtype = Literal["float32", "float16"]
IN_MEMORY_BYTES = 64_000_000
"""Outputs up to this size are tensors in memory, larger ones stay memory-mapped."""
CHECKED_ENTRIES = 16
TOLERANCE: Mapping[str, float] = {"float32": 1e-4, "float16": 2e-3}
"""How far a stored value may be from the live one, of the largest value that was looked at: batches of another size
change last bits, a float16 has 11 of them."""
FORMAT_VERSION = 1
_TABLE_SPAN = 4  # an index range up to this many times the number of rows is looked up in a table


class CachedTeacher:
    """Answers by example index.

    Args:
        logits: ``[N, C]``.
        index: ``[N]`` int64, the index of each row.
        features: name -> ``[N, *shape]``.
        fixed_targets: whether an example keeps its answers however its inputs are augmented.
        in_memory_bytes: an output up to this size is held as a tensor on the device.

    Raises:
        UserError: an index occurs twice, or outputs and index differ in length.
    """

    by_index = True

    def __init__(
        self,
        logits: Array | Tensor,
        index: Tensor,
        *,
        features: Mapping[str, Array | Tensor] | None = None,
        fixed_targets: bool = False,
        in_memory_bytes: int = IN_MEMORY_BYTES,
    ) -> None:
        stored = {"logits": logits, **{f"features.{name}": values for name, values in (features or {}).items()}}
        self._stored = {name: torch.as_tensor(values) for name, values in stored.items()}
        for name, values in self._stored.items():
            if len(values) != len(index):
                raise UserError(f"a cached teacher has {len(index)} index values and {len(values)} rows of {name}")
        self.num_classes = int(self._stored["logits"].shape[-1])
        self.provides = frozenset(self._stored)
        self.fixed_targets = fixed_targets
        self.facts: dict[str, float] = {}
        self._in_memory_bytes = in_memory_bytes
        self._rows = _Rows(index.cpu())
        self._device, self._dtype = torch.device("cpu"), torch.float32
        self._values = {name: self._placed(values) for name, values in self._stored.items()}

    def __call__(self, inputs: Tensor, index: Tensor) -> TeacherOutput:
        """What was stored for ``index`` ``[..., B]``: logits ``[..., B, C]``; the inputs are not looked at.

        Raises:
            UserError: an index has no entry. On an accelerator, where asking would mean waiting for it in every step,
                the answer is NaN, which stops the run at that step.
        """
        rows = self._rows(index if index.ndim == 1 else index.reshape(-1))
        try:
            found = {name: self._select(values, rows, index.shape) for name, values in self._values.items()}
        except (IndexError, RuntimeError) as error:
            raise UserError(self._missing(index, rows)) from error
        logits = found.pop("logits")
        return TeacherOutput(logits, {name.removeprefix("features."): values for name, values in found.items()})

    def to(self, device: torch.device | str, dtype: torch.dtype | None = None) -> "CachedTeacher":
        """Answer on this device, in this dtype (float32 until told otherwise)."""
        place = (torch.device(device), dtype or self._dtype)
        if place == (self._device, self._dtype):
            return self
        self._device, self._dtype = place
        self._rows.to(self._device)
        self._values = {name: self._placed(values) for name, values in self._stored.items()}
        return self

    def _placed(self, values: Tensor) -> Tensor:
        if values.nbytes > self._in_memory_bytes:
            return values
        placed = values.to(self._device, self._dtype, copy=True)  # not the file's own pages
        if self._device.type == "cpu":
            return placed
        return torch.cat([placed, placed.new_full((1, *placed.shape[1:]), torch.nan)])  # what a missing index gets

    def _select(self, values: Tensor, rows: Tensor, shape: torch.Size) -> Tensor:
        if values.device != rows.device:  # memory-mapped beside an accelerator
            rows = rows.cpu()
        found = values.index_select(0, rows)
        if found.dtype != self._dtype or found.device != self._device:
            found = found.to(self._device, self._dtype)
        return found if len(shape) == 1 else found.reshape(*shape, *values.shape[1:])

    def _missing(self, index: Tensor, rows: Tensor) -> str:
        lost = index.reshape(-1)[rows == len(self._rows.index)]
        return (
            f"the cached teacher has no answer for example index {int(lost[0]) if len(lost) else '?'} (one of "
            f"{len(lost)} in this batch): its {len(self._rows.index)} entries are of another set; "
            "teacher.cache.mode=never asks the teacher itself"
        )


class _Rows:
    """From an index to its row; to N, a row that is not there, where it has none.

    A compact range of index values is looked up in a table (``table[0]`` and ``table[-1]`` stand for all below and
    above), another by bisection.
    """

    def __init__(self, index: Tensor) -> None:
        self.index = index
        ordered, self.order = index.sort()
        if len(index) == 0 or bool((ordered[1:] == ordered[:-1]).any()):
            raise UserError("a cached teacher needs index values that are all different, one or more")
        low, high = int(ordered[0]), int(ordered[-1])
        self.before, self.last = low - 1, high - low + 2
        self.table: Tensor | None = None
        self.ordered = ordered
        if self.last <= _TABLE_SPAN * len(index) + 1024:
            self.table = torch.full((self.last + 1,), len(index))
            self.table[index - self.before] = torch.arange(len(index))

    def to(self, device: torch.device) -> None:
        self.ordered, self.order = self.ordered.to(device), self.order.to(device)
        self.table = None if self.table is None else self.table.to(device)

    def __call__(self, index: Tensor) -> Tensor:
        if self.table is not None:
            return self.table.index_select(0, (index - self.before).clamp_(0, self.last))
        at = torch.searchsorted(self.ordered, index).clamp_(max=len(self.order) - 1)
        return torch.where(self.ordered[at] == index, self.order[at], len(self.order))


def cached(
    teacher: Teacher,
    examples: Examples,
    *,
    folder: Path,
    described: Mapping[str, Any],
    features: Iterable[str] = (),
    dtype: StoredDtype = "float32",
    batch_size: int = 1000,
    device: torch.device | str = "cpu",
    asked: Tensor | None = None,
    fixed_targets: bool = False,
    say: Callable[[str], object] = print,
) -> CachedTeacher:
    """The cache of a teacher over a set: opened, or written now.

    What is opened is held against the live teacher at 16 entries spread over the set, and written anew where they do
    not agree.

    Args:
        teacher: the live teacher.
        examples: the set, with an index of its own for every row.
        folder: where caches lie; each has a folder named by the hash of ``described``, of the content of ``examples``,
            of the dtype and of the outputs.
        described: what the teacher and the set are, plain JSON values.
        features: names of the features that are stored beside the logits.
        dtype: how values are stored.
        batch_size: examples per forward pass.
        device: where the teacher runs.
        asked: ``[N]``, the index by which the teacher is asked where it is not that of ``examples`` (views).
        fixed_targets: handed to ``CachedTeacher``.
        say: gets the lines there are to say.

    Raises:
        UserError: no room on the disk, an answer that is not finite or does not fit the dtype.
    """
    features = sorted(features)
    specs = output_specs(teacher, examples, features=features, dtype=dtype, device=device)
    indices = examples.index if asked is None else asked
    whole = {
        "format": FORMAT_VERSION,
        **described,
        "content": content_of(examples),
        "dtype": dtype,
        "outputs": sorted(specs),
    }

    def ask(rows: Tensor | slice) -> dict[str, Tensor]:
        return _answers(teacher, examples.inputs[rows], indices[rows], names=specs, device=device)

    def fill(arrays: Mapping[str, Array]) -> None:
        for start in range(0, len(examples), batch_size):
            rows = slice(start, start + batch_size)
            for name, values in ask(rows).items():
                arrays[name][rows] = _as_stored(values, dtype=dtype, name=name, index=indices[rows])

    what = f"outputs of the teacher {described.get('teacher', '')}".rstrip()
    check = _Check(ask, num_rows=len(examples), tolerance=TOLERANCE[dtype])
    arrays = stored_arrays(folder, whole, specs, fill, what=what, check=check, say=say)
    found = {name.removeprefix("features."): values for name, values in arrays.items() if name != "logits"}
    return CachedTeacher(arrays["logits"], examples.index, features=found, fixed_targets=fixed_targets)


def output_specs(
    teacher: Teacher, examples: Examples, *, features: Iterable[str], dtype: StoredDtype, device: torch.device | str
) -> dict[str, ArraySpec]:
    """Shape and dtype of every output that would be stored, from what the teacher says of one example.

    Raises:
        UserError: the teacher has no such feature.
    """
    tap_teacher(teacher, features)
    names = ["logits", *(f"features.{name}" for name in features)]
    one = _answers(teacher.to(device), examples.inputs[:1], examples.index[:1], names=names, device=device)
    return {name: ArraySpec((len(examples), *values.shape[1:]), dtype) for name, values in one.items()}


def _answers(
    teacher: Teacher, inputs: Tensor, index: Tensor, *, names: Iterable[str], device: torch.device | str
) -> dict[str, Tensor]:
    with torch.no_grad():
        said = teacher(inputs.to(device), index.to(device))
    given = {"logits": said.logits, **{f"features.{name}": values for name, values in said.features.items()}}
    missing = sorted(set(names) - set(given))
    if missing:
        raise UserError(f"the teacher cannot be cached: it does not give {', '.join(missing)}")
    return {name: given[name].float().cpu() for name in names}


def _as_stored(values: Tensor, *, dtype: StoredDtype, name: str, index: Tensor) -> Array:
    live = values.numpy()
    with np.errstate(over="ignore"):  # told below, with the value
        array: Array = live.astype(dtype)
    if (lost := np.isfinite(live) & ~np.isfinite(array)).any():
        largest = float(np.abs(live[lost]).max())
        raise UserError(f"teacher.cache.dtype = '{dtype}': {name} go up to {largest:.3g}; float32 holds them")
    if (bad := np.isnan(live)).any():  # -inf is the logit of a class that is masked out
        at = int(np.argwhere(bad)[0, 0])
        raise UserError(f"the teacher's {name} for example index {int(index[at])} are not a number")
    return array


class _Check:
    """What is wrong with stored outputs: some entries, spread over the set, held against the live teacher."""

    def __init__(self, ask: Callable[[Tensor], Mapping[str, Tensor]], *, num_rows: int, tolerance: float) -> None:
        rows = torch.linspace(0, num_rows - 1, min(CHECKED_ENTRIES, num_rows), dtype=torch.float64)
        self.rows, self.ask, self.tolerance = rows.round().long(), ask, tolerance

    def __call__(self, arrays: Mapping[str, Array]) -> str | None:
        for name, live in self.ask(self.rows).items():
            stored = torch.as_tensor(arrays[name][self.rows.numpy()]).float()
            allowed = self.tolerance * float(torch.where(live.isfinite(), live, 0).abs().max())
            apart = float(torch.where(stored == live, 0, stored - live).abs().max())
            if not apart <= allowed:
                return f"{name} differ from the live teacher's by {apart:.3g}, {allowed:.3g} are allowed"
        return None


_DIGESTS: dict[int, tuple["weakref.ref[Tensor]", bytes]] = {}


def content_of(examples: Examples) -> str:
    """sha256 of inputs and index; that of the inputs is computed once for a tensor that lives on."""
    known = _DIGESTS.get(id(examples.inputs))
    if known is None or known[0]() is not examples.inputs:
        for dead in [key for key, (alive, _) in _DIGESTS.items() if alive() is None]:
            del _DIGESTS[dead]
        known = _DIGESTS[id(examples.inputs)] = (weakref.ref(examples.inputs), _digest(examples.inputs))
    return hashlib.sha256(known[1] + _digest(examples.index)).hexdigest()


def _digest(tensor: Tensor) -> bytes:
    array = np.ascontiguousarray(tensor.numpy())
    digest = hashlib.sha256(f"{array.dtype}{array.shape}".encode())
    digest.update(array.data)
    return digest.digest()
