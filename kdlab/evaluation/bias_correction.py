"""The bias of classes that a student never saw: by how much it is to be raised for the best accuracy.

A student that learns of a class from soft targets alone knows it better than its answers tell: most of its errors are
one output bias that is too low. Raising it, by what is best on examples of all classes, brings the class back.
Reference: Hinton, Vinyals & Dean, "Distilling the knowledge in a neural network", arXiv:1503.02531, section 3.
"""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from kdlab.evaluation.metrics import accuracy
from kdlab.outputs import IntArray
from kdlab.tempering import Logits


class BiasFit(NamedTuple):
    """What is added to the logits of some classes, and the accuracy with and without it."""

    bias: float
    accuracy: float
    accuracy_before: float


def best_bias(logits: Logits, labels: IntArray, *, raised: npt.NDArray[np.bool_]) -> BiasFit:
    """``argmax_b accuracy(z + b [k in raised])``, exactly; of equally good ones the smallest in size.

    An example changes its answer once, where b passes the distance between its best logit of the other classes and its
    best of the raised ones. So accuracy is constant between neighbours of these N distances, and 0 and one b inside
    each interval are all there is to try.

    Args:
        logits: ``[N, C]``, of examples of all classes.
        labels: ``[N]``.
        raised: ``[C]`` bool, some of the classes and not all.

    >>> best_bias(np.array([[2.0, 0.0], [3.0, 0.0]]), np.array([1, 0]), raised=np.array([False, True]))
    BiasFit(bias=2.5, accuracy=1.0, accuracy_before=0.5)
    """
    wide = np.asarray(logits, np.float64)
    below, above = np.where(raised, -np.inf, wide), np.where(raised, wide, -np.inf)
    distance = below.max(axis=-1) - above.max(axis=-1)
    gain = (above.argmax(axis=-1) == labels).astype(int) - (below.argmax(axis=-1) == labels)
    order = np.argsort(distance)
    hits = np.concatenate([[0], np.cumsum(gain[order])]) + int((below.argmax(axis=-1) == labels).sum())
    ends = distance[order]
    padded = np.concatenate([[ends[0] - 2.0], ends, [ends[-1] + 2.0]])
    inside = padded[1:] > padded[:-1]  # between equal distances there is nothing
    biases, found = (padded[1:] + padded[:-1])[inside] / 2, hits[inside] / len(labels)
    before = accuracy(wide, labels)
    best = float(found.max())
    if best <= before:
        return BiasFit(0.0, before, before)
    good = biases[found == best]
    return BiasFit(float(good[np.abs(good).argmin()]), best, before)
