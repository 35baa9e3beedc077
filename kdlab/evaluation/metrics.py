"""Accuracy and proper scores: pure float64 functions of logits, log-probabilities and labels.

Each is a sum over examples divided once. Log-probabilities come from logits in log space, so a probability that
underflows still has a finite logarithm.
"""

import numpy as np
import numpy.typing as npt

from kdlab.outputs import FloatArray, IntArray
from kdlab.tempering import Logits, log_softmax

__all__ = ["Logits", "accuracy", "brier", "correct", "log_softmax", "nll", "worst_class_accuracy"]


def correct(logits: Logits, labels: IntArray) -> npt.NDArray[np.bool_]:
    """``[N]``, whether the top class is the label. Of equal logits the first class is the top one."""
    return np.asarray(logits.argmax(axis=-1) == labels)


def accuracy(logits: Logits, labels: IntArray) -> float:
    """Share of examples whose top class is the label.

    >>> accuracy(np.array([[2.0, 1.0], [2.0, 1.0]]), np.array([0, 1]))
    0.5
    """
    return int(correct(logits, labels).sum()) / len(labels)


def nll(log_probs: FloatArray, labels: IntArray) -> float:
    """Mean of ``-log p_y`` in nats."""
    return float(-log_probs[np.arange(len(labels)), labels].sum()) / len(labels)


def brier(probs: FloatArray, labels: IntArray) -> float:
    """Mean of ``sum_k (p_k - [y = k])^2``, between 0 and 2 (Brier, 1950: summed over classes, not averaged)."""
    error = probs.copy()
    error[np.arange(len(labels)), labels] -= 1.0
    return float(np.square(error).sum()) / len(labels)


def worst_class_accuracy(logits: Logits, labels: IntArray, *, num_classes: int) -> float:
    """The lowest accuracy of a class; classes without examples are left out."""
    examples = np.bincount(labels, minlength=num_classes)
    hits = np.bincount(labels[correct(logits, labels)], minlength=num_classes)
    present = examples > 0
    return float((hits[present] / examples[present]).min())
