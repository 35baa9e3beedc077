"""What a data set is to the rest of kdlab: examples with a stable index, four splits, and named slices."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import torch
from torch import Tensor

Reference = Literal["twins", "test"]


@dataclass(frozen=True)
class Examples:
    """A set of examples held in memory.

    Args:
        inputs: ``[N, *shape]`` float32, standardised.
        labels: ``[N]`` int64.
        index: ``[N]`` int64. A value names one example of the data set for ever: a transformed copy of a test example
            keeps its index (that is how twins are joined), another example never reuses it.
    """

    inputs: Tensor
    labels: Tensor
    index: Tensor

    def __len__(self) -> int:
        return int(self.labels.shape[0])

    def __post_init__(self) -> None:
        sizes = {self.inputs.shape[0], self.labels.shape[0], self.index.shape[0]}
        if len(sizes) != 1:
            raise ValueError(f"inputs, labels and index of a set must have one length, got {sorted(sizes)}")
        if self.labels.dtype != torch.int64 or self.index.dtype != torch.int64:
            raise ValueError("labels and index must be int64")

    def select(self, rows: Tensor) -> "Examples":
        """The examples at ``rows`` (int64 positions or a bool mask)."""
        return Examples(self.inputs[rows], self.labels[rows], self.index[rows])


@dataclass(frozen=True)
class Slice:
    """A named test set and the reference its gap is measured against.

    Args:
        examples: the examples of the slice.
        reference: ``twins`` (the same examples unshifted, joined by index) or ``test`` (the whole test set).
        ood: whether the slice counts in ``ood/mean_gap`` and ``ood/worst_gap``.
    """

    examples: Examples
    reference: Reference
    ood: bool


@dataclass(frozen=True)
class Dataset:
    """Train / validation / test, an optional unlabelled pool, and the slices.

    Args:
        name: the name of the data set in records and reports.
        num_classes: C.
        train: what the student and the teacher learn from.
        validation: what every choice is made on.
        test: what is reported; nothing is ever chosen on it.
        pool: unlabelled examples for transfer sets (labels kept for oracles only), or None.
        slices: name -> Slice.
        facts: what slice functions need to know to make their examples (generator knobs, data seed, statistics).
        class_names: what people call the classes, in their order; empty where they have numbers alone.
    """

    name: str
    num_classes: int
    train: Examples
    validation: Examples
    test: Examples
    pool: Examples | None = None
    slices: Mapping[str, Slice] = field(default_factory=dict)
    facts: Mapping[str, Any] = field(default_factory=dict)
    class_names: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.class_names and len(self.class_names) != self.num_classes:
            raise ValueError(f"{self.name} has {self.num_classes} classes and {len(self.class_names)} class_names")

    @property
    def input_shape(self) -> tuple[int, ...]:
        """The shape of one example, without the batch axis: ``(L,)``, ``(channels, L)`` or ``(channels, H, W)``."""
        return tuple(self.train.inputs.shape[1:])

    def sets(self) -> dict[str, Examples]:
        """Every measured set by name: train, validation, test, then the slices."""
        named = {"train": self.train, "validation": self.validation, "test": self.test}
        return named | {name: piece.examples for name, piece in self.slices.items()}
