"""Splits by index: which examples are for learning, for choosing and for reporting."""

from collections.abc import Sequence

import numpy as np

from kdlab.outputs import IntArray


def stratified_split(
    labels: IntArray, *, fractions: Sequence[float], generator: np.random.Generator
) -> tuple[IntArray, ...]:
    """Rows of each part of a stratified random split: every class is shuffled and cut at the same fractions.

    A cut falls at ``round(cumulative fraction * rows of the class)``, so each part holds each class to within one row
    of its share. The last part is whatever the fractions leave.

    Args:
        labels: ``[N]`` int64.
        fractions: shares of all parts but the last, each in (0, 1), summing below 1.
        generator: where the shuffles come from.

    Returns:
        One ascending array of rows per part, ``len(fractions) + 1`` of them, disjoint, together all of ``range(N)``.
    """
    if not all(0 < fraction < 1 for fraction in fractions) or sum(fractions) >= 1:
        raise ValueError(f"fractions = {list(fractions)}: each must lie in (0, 1) and together below 1")
    shares = np.cumsum(fractions)
    parts: list[list[IntArray]] = [[] for _ in range(len(fractions) + 1)]
    for label in np.unique(labels):
        rows = generator.permutation(np.flatnonzero(labels == label))
        cuts = np.rint(shares * len(rows)).astype(np.int64)
        for part, piece in zip(parts, np.split(rows, cuts), strict=True):
            part.append(piece)
    return tuple(np.sort(np.concatenate(part)) for part in parts)
