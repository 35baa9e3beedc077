"""A data set of the user's own in one ``.npz`` file: ``kdlab run data=arrays data.path=FILE.npz``.

What the file holds (``numpy.savez``; nothing in it is ever unpickled):

======================  ==================================================================================
``inputs``              ``[N, L]``, ``[N, H, W]`` or ``[N, channels, H, W]``, any real type; see ``layout``
``labels``              ``[N]`` whole numbers, the classes 0 ... C - 1
``split``               optional, ``[N]``: 0, 1, 2 or ``train``, ``validation``, ``test``
``slices/NAME/inputs``  optional, a named test set: examples of the same shape
``slices/NAME/labels``  their labels
``slices/NAME/rows``    optional: which rows of ``inputs`` (test ones) they are changed copies of; then ``labels``
                        may be left out, and the slice is measured against these twins instead of the test set
``slices/NAME/ood``     optional, true or false: whether it counts in ``ood/mean_gap`` (true)
======================  ==================================================================================

An example's index is its row in ``inputs``; examples of slices without ``rows`` are counted on from there.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from kdlab.data.content import content_hash
from kdlab.data.dataset import Dataset, Examples, Slice
from kdlab.data.npz import Array, Layout, arranged, class_labels, needed, read_npz, slice_names, slices_in
from kdlab.data.splits import stratified_split
from kdlab.errors import UserError
from kdlab.outputs import IntArray
from kdlab.streams import numpy_generator

SPLIT_NAMES = ("train", "validation", "test")
TRAIN_SHARE, VALIDATION_SHARE = 0.6, 0.2
Standardise = Literal["channel", "feature", "none"]


def arrays(
    *,
    path: str,
    seed: int = 0,
    train: float | None = None,
    validation: float | None = None,
    layout: Layout = "channels_first",
    standardise: Standardise = "channel",
    value_range: Sequence[float] | None = None,
) -> Dataset:
    """The data set of a file, its own slices included. What the file holds is told at the top of this module.

    Args:
        path: the ``.npz`` file.
        seed: the data seed; a file without ``split`` is split by the stream (data, split, seed), stratified.
        train: share of the training set where the file has no ``split``; None is 0.6.
        validation: share of the validation set likewise; None is 0.2. The test set is the rest.
        layout: of inputs with more than two axes. ``channels_first``: grey images ``[N, H, W]`` become
            ``[N, 1, H, W]``, ``[N, channels, H, W]`` stays. ``channels_last``: ``[N, H, W, channels]`` is turned.
            ``signals``: ``[N, channels, L]`` stays.
        standardise: by mean and standard deviation of the training set, over each ``channel``, over each ``feature``
            (every position of an example: tables), or ``none``.
        value_range: the darkest and the brightest value a pixel can have, for image corruptions; None is [0, 255] for
            uint8 images, else what the training set spans.

    Raises:
        UserError: naming what is wrong in the file and where.
    """
    content = read_npz(Path(path))
    inputs = arranged(needed(content, "inputs", path), layout=layout, name="inputs")
    labels = class_labels(needed(content, "labels", path), count=len(inputs), name="labels")
    rows = _rows(content.get("split"), labels, seed=seed, shares=(train, validation))
    num_classes = _num_classes(labels, rows[0])
    statistics = _Statistics.of(inputs[rows[0]], standardise)
    train_set, validation_set, test_set = (
        Examples(statistics.apply(inputs[part]), _tensor(labels[part]), _tensor(part)) for part in rows
    )
    facts: dict[str, Any] = {"seed": seed, "mean": statistics.fact("mean"), "std": statistics.fact("std")}
    if inputs.ndim == 4:
        grey = content["inputs"].dtype == np.uint8
        facts["value_range"] = _value_range(value_range, inputs[rows[0]], grey=grey)
    dataset = Dataset("arrays", num_classes, train_set, validation_set, test_set, facts=facts)
    found = _slices(content, inputs, labels, dataset, statistics=statistics, layout=layout)
    return dataclasses.replace(dataset, slices=found)


def _identity(*, path: str, **knobs: Any) -> dict[str, Any]:
    """The content of the file in the place of its path, and what is done to it before training."""
    told = {"train": None, "validation": None, "layout": "channels_first", "standardise": "channel", **knobs}
    if told.get("value_range") is None:  # augmentation reads it too; where it is not told it follows from the file
        told.pop("value_range", None)
    return {**told, "content": content_hash(Path(path).expanduser(), key="data.path")}


def _slice_names(*, path: str, **_: Any) -> tuple[str, ...]:
    """The names of the slices in the file, read from its directory alone."""
    return slices_in(Path(path), key="data.path")


arrays.identity = _identity  # type: ignore[attr-defined]
arrays.slice_names = _slice_names  # type: ignore[attr-defined]


def _rows(
    split: Array | None, labels: IntArray, *, seed: int, shares: tuple[float | None, float | None]
) -> tuple[IntArray, ...]:
    """The rows of train, validation and test."""
    if split is None:
        train, validation = (
            default if share is None else share
            for share, default in zip(shares, (TRAIN_SHARE, VALIDATION_SHARE), strict=True)
        )
        if not (train > 0 and validation > 0 and train + validation < 1):
            raise UserError(f"train, validation = {train}, {validation}: shares > 0 that sum below 1 are needed")
        parts = stratified_split(
            labels, fractions=(train, validation), generator=numpy_generator("data", "split", seed)
        )
    else:
        given = [f"{name} = {share}" for name, share in zip(SPLIT_NAMES[:2], shares, strict=True) if share is not None]
        if given:
            raise UserError(f"{', '.join(given)}: the file has a split of its own")
        parts = _told_rows(split, count=len(labels))
    for name, part in zip(SPLIT_NAMES, parts, strict=True):
        if len(part) == 0:
            raise UserError(f"split: no example belongs to {name}")
    return parts


def _told_rows(split: Array, *, count: int) -> tuple[IntArray, ...]:
    if split.shape != (count,):
        raise UserError(f"split: shape {list(split.shape)} for {count} inputs")
    if split.dtype.kind == "S":
        split = np.char.decode(split)
    if split.dtype.kind not in "Uui":
        raise UserError(f"split: {split.dtype}: 0, 1, 2 or {', '.join(SPLIT_NAMES)} are needed")
    allowed = SPLIT_NAMES if split.dtype.kind == "U" else (0, 1, 2)
    known = np.isin(split, allowed)
    if not known.all():
        at = int(np.argmin(known))
        raise UserError(f"split: row {at} has {split[at].item()!r}; 0, 1, 2 or {', '.join(SPLIT_NAMES)} are needed")
    return tuple(np.flatnonzero(split == value) for value in allowed)


def _num_classes(labels: IntArray, train: IntArray) -> int:
    """C, with every class in the training set."""
    num_classes = int(labels.max()) + 1
    if num_classes < 2:
        raise UserError("labels: all are 0; at least two classes are needed")
    present = np.unique(labels[train])
    if len(present) < num_classes:  # a label may be huge: nothing here is as large as their count
        first = int(np.argmax(np.append(present, -1) != np.arange(len(present) + 1)))
        absent = num_classes - len(present)
        more = f" and {absent - 1} more" if absent > 1 else ""
        raise UserError(
            f"labels: class {first}{more} of 0 ... {num_classes - 1} has no training example: nothing could learn it"
        )
    return num_classes


@dataclass(frozen=True)
class _Statistics:
    """Mean and standard deviation of the training set, in the shape that is subtracted from an example."""

    mean: npt.NDArray[np.float32]
    std: npt.NDArray[np.float32]

    @classmethod
    def of(cls, train: npt.NDArray[np.float32], standardise: Standardise) -> "_Statistics":
        if standardise == "none":
            return cls(np.zeros((), np.float32), np.ones((), np.float32))
        axes: tuple[int, ...] = (0,)
        if standardise == "channel":
            axes = tuple(axis for axis in range(train.ndim) if axis != 1 or train.ndim == 2)
        mean = train.mean(axis=axes, dtype=np.float64, keepdims=True)[0]
        std = train.std(axis=axes, dtype=np.float64, keepdims=True)[0]
        std[std < np.finfo(np.float32).tiny] = 1.0  # what never changes in training is centred alone
        return cls(mean.astype(np.float32), std.astype(np.float32))

    def apply(self, inputs: npt.NDArray[np.float32]) -> Tensor:
        return torch.from_numpy(np.ascontiguousarray((inputs - self.mean) / self.std))

    def fact(self, name: str) -> float | npt.NDArray[np.float32]:
        """One number where there is one, as other data sets have it."""
        value: npt.NDArray[np.float32] = getattr(self, name)
        return float(value.reshape(-1)[0]) if value.size == 1 else value


def _value_range(told: Sequence[float] | None, train: npt.NDArray[np.float32], *, grey: bool) -> tuple[float, float]:
    if told is not None:
        if len(told) != 2 or not told[0] < told[1]:
            raise UserError(f"value_range = {list(told)}: [darkest, brightest] is needed")
        return (float(told[0]), float(told[1]))
    return (0.0, 255.0) if grey else (float(train.min()), float(train.max()))


def _slices(
    content: Mapping[str, Array],
    inputs: npt.NDArray[np.float32],
    labels: IntArray,
    dataset: Dataset,
    *,
    statistics: _Statistics,
    layout: Layout,
) -> dict[str, Slice]:
    """The named test sets of the file."""
    names = slice_names(content)
    slices, fresh = {}, len(inputs)
    for name in names:
        key = f"slices/{name}"
        rows = content.get(f"{key}/rows")
        if f"{key}/inputs" not in content:
            raise UserError(f"{key}: the file has no array '{key}/inputs'")
        made = arranged(content[f"{key}/inputs"], layout=layout, name=f"{key}/inputs")
        if made.shape[1:] != inputs.shape[1:]:
            raise UserError(
                f"{key}/inputs: examples of shape {list(made.shape[1:])}, inputs has {list(inputs.shape[1:])}"
            )
        told = content.get(f"{key}/labels")
        if told is None and rows is None:
            raise UserError(f"{key}: 'labels' is needed, or 'rows' of the examples that these are copies of")
        index = np.arange(fresh, fresh + len(made)) if rows is None else _twins(rows, dataset, len(made), name=key)
        own = labels[index] if told is None else class_labels(told, count=len(made), name=f"{key}/labels")
        if rows is not None and (own != labels[index]).any():
            at = int(np.argmax(own != labels[index]))
            raise UserError(f"{key}/labels: {own[at]} at {at}, but row {index[at]} of labels has {labels[index[at]]}")
        if own.max() >= dataset.num_classes:
            raise UserError(f"{key}/labels: {own.max()} is none of the {dataset.num_classes} classes")
        fresh += 0 if rows is not None else len(made)
        examples = Examples(statistics.apply(made), _tensor(own), _tensor(index))
        slices[name] = Slice(examples, "test" if rows is None else "twins", _ood(content.get(f"{key}/ood"), name=key))
    return slices


def _twins(rows: Array, dataset: Dataset, count: int, *, name: str) -> IntArray:
    if rows.dtype.kind not in "ui" or rows.shape != (count,):
        raise UserError(f"{name}/rows: {rows.dtype} of shape {list(rows.shape)}: {count} whole numbers are needed")
    found = rows.astype(np.int64)
    known = np.isin(found, dataset.test.index.numpy())
    if not known.all():
        raise UserError(f"{name}/rows: {found[np.argmin(known)]} is no row of the test set")
    values, counts = np.unique(found, return_counts=True)
    if (counts > 1).any():
        raise UserError(f"{name}/rows: {values[np.argmax(counts > 1)]} stands there twice")
    return found


def _ood(told: Array | None, *, name: str) -> bool:
    if told is None:
        return True
    if told.shape != () or told.dtype.kind != "b":
        raise UserError(f"{name}/ood: one true or false is needed")
    return bool(told)


def _tensor(values: IntArray) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(values, dtype=np.int64))
