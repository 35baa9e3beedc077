"""Gaps: what a shift costs a network, against the reference of the slice.

``twins`` compares the slice with the very same examples unshifted, joined by index: at 2,000 examples its standard
error is .0036 where two independent sets have .0119. ``test`` compares with the whole test set, for label-shifted
slices and slices of other examples.
"""

from collections.abc import Mapping
from typing import Literal, NamedTuple

import numpy as np

from kdlab.evaluation.scored import Scored
from kdlab.outputs import IntArray, Predictions


class SliceFacts(NamedTuple):
    """What a gap needs to know of a slice: its ``reference`` and whether it counts as out of distribution (``ood``)."""

    reference: Literal["twins", "test"]
    ood: bool


class Twins:
    """The test set by example index, sorted once for all slices.

    Args:
        test_index: ``[N]``.
    """

    def __init__(self, test_index: IntArray) -> None:
        self._order = np.argsort(test_index, kind="stable")
        self._ordered = test_index[self._order]
        self._has_doubles = bool((self._ordered[1:] == self._ordered[:-1]).any())

    def rows(self, index: IntArray) -> IntArray:
        """The row of the test set with the same index, for each row of a slice.

        Raises:
            ValueError: the test set has an index twice, or lacks one of the slice.
        """
        if self._has_doubles:
            raise ValueError("the test set holds an example index twice: twins cannot be joined by index")
        found = np.minimum(np.searchsorted(self._ordered, index), len(self._ordered) - 1)
        missing = self._ordered[found] != index
        if missing.any():
            raise ValueError(f"{int(missing.sum())} of {len(index)} examples have no twin in the test set (by index)")
        return np.asarray(self._order[found], dtype=np.int64)


def gap(piece: Predictions, test: Predictions, *, reference: str) -> float:
    """``accuracy(reference) - accuracy(slice)`` of one network.

    Args:
        piece: predictions on the slice.
        test: predictions of the same network on the test set.
        reference: ``twins`` or ``test``.

    Raises:
        ValueError: an unknown reference, or twins that are not the same examples.
    """
    return gap_of(Scored("slice", piece), Scored("test", test), twins=Twins(test.index), reference=reference)


def gap_of(piece: Scored, test: Scored, *, twins: Twins, reference: str) -> float:
    """The same for sets that were looked at already; ``twins`` is of ``test``."""
    if reference == "test":
        return test.accuracy - piece.accuracy
    if reference != "twins":
        raise ValueError(f"reference = '{reference}': allowed are twins, test")
    rows = twins.rows(piece.predictions.index)
    if (test.predictions.labels[rows] != piece.predictions.labels).any():
        raise ValueError("an example and its twin in the test set have different labels: they are not the same example")
    return int(test.correct[rows].sum() - piece.correct.sum()) / len(piece.correct)


def ood_gaps(gaps: Mapping[str, float], slices: Mapping[str, SliceFacts]) -> tuple[float, float] | None:
    """Unweighted mean and maximum of the gaps of slices marked ``ood``; None where there is none."""
    shifted = [value for name, value in gaps.items() if slices[name].ood]
    return (sum(shifted) / len(shifted), max(shifted)) if shifted else None
