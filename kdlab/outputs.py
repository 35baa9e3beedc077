"""The values that travel between the rooms: what a network gives, what a teacher gives, what is kept of a forward pass.

Shape legend, used everywhere: ``B`` examples of a batch, ``N`` examples of a set, ``C`` classes, ``K`` students of a
stack. Terms and models work on the last axes, so leading axes (a stack) broadcast.
"""

from collections.abc import Callable, Mapping
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from kdlab.arrays import FloatArray as FloatArray
from kdlab.arrays import IntArray as IntArray

NO_LABEL = -100
"""The label of a row that has none: torch's cross-entropy ignores it, every other reader of it fails."""


class Batch(NamedTuple):
    """What a training step sees of the data.

    Args:
        inputs: ``[..., B, *shape]`` float.
        labels: ``[..., B]`` int64; the value of an unlabelled row is not read (``NO_LABEL`` in our own batches).
        index: ``[..., B]`` int64, the stable example index of the data set.
        labelled: ``[..., B]`` bool, False for rows of a transfer set without labels.
        other_labels: ``[..., B]`` int64, of the examples that were mixed in (mixup, CutMix); None without.
        mixing: ``[..., B]`` float in [0, 1], the share of ``labels``; the rest is ``other_labels``.
        all_labelled: whether every row is known to be labelled, so that nobody has to look.
    """

    inputs: Tensor
    labels: Tensor
    index: Tensor  # type: ignore[assignment]  # the field's name in the field; tuple.index is not used
    labelled: Tensor
    other_labels: Tensor | None = None
    mixing: Tensor | None = None
    all_labelled: bool = False

    def mapped(self, change: Callable[[Tensor], Tensor]) -> "Batch":
        """The batch with every tensor changed in the same way."""
        others = None if self.other_labels is None else change(self.other_labels)
        mixing = None if self.mixing is None else change(self.mixing)
        inputs, labels, index, labelled = (change(part) for part in self[:4])
        return Batch(inputs, labels, index, labelled, others, mixing, self.all_labelled)

    @property
    def main_labels(self) -> Tensor:
        """``[..., B]``: the label with the larger share in each row."""
        if self.other_labels is None or self.mixing is None:
            return self.labels
        return torch.where(self.mixing >= 0.5, self.labels, self.other_labels)


class ModelOutput(NamedTuple):
    """What a student returns: ``logits`` ``[..., B, C]`` and its named features (``[..., B, *]`` each)."""

    logits: Tensor
    features: Mapping[str, Tensor]


class TeacherOutput(NamedTuple):
    """What a teacher returns: the same two, without gradient."""

    logits: Tensor
    features: Mapping[str, Tensor]


class Predictions(NamedTuple):
    """One forward pass over a set, the only input of every metric.

    Args:
        logits: ``[N, C]`` float32.
        labels: ``[N]`` int64.
        index: ``[N]`` int64, by which sets are joined.
    """

    logits: npt.NDArray[np.float32]
    labels: IntArray
    index: IntArray  # type: ignore[assignment]
