"""Dark knowledge: how a teacher shares among the wrong classes what it does not give to the right one.

"An image of a BMW may only have a very small chance of being mistaken for a garbage truck, but that mistake is still
many times more probable than mistaking it for a carrot": soft targets carry such ratios, hard labels do not.
Reference: Hinton, Vinyals & Dean, "Distilling the knowledge in a neural network", arXiv:1503.02531, 2015, section 1.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from kdlab.outputs import FloatArray, IntArray, Predictions
from kdlab.tempering import Logits, log_softmax

MOST_CLASSES = 20
"""With more of them a matrix is a tenth of a megabyte in every record, and no figure that can be read."""
FEWEST_CLASSES = 3
SETS = ("test", "validation")
"""Where it is measured: on the first of these that was evaluated. It describes a teacher, nothing is chosen by it."""


def dark_knowledge(logits: Logits, labels: IntArray, *, temperature: float) -> FloatArray:
    """Mean tempered probabilities of the other classes, for each true class, as shares of what is not the true one's.

    ``q_ij = mean over n with y_n = i of p_nj / (1 - p_ni)`` for ``j != i``, with ``p_n = softmax(z_n / T)``. As
    ``1 - p_i`` is the sum of the others, the ratio is the softmax of the other classes alone: nothing is divided by the
    little that a confident teacher leaves.

    Args:
        logits: ``[N, C]``, finite.
        labels: ``[N]``, the true classes.
        temperature: T > 0.

    Returns:
        ``[C, C]``, true class by other class; rows sum to 1. The diagonal, and the row of a class without examples, is
        undefined (NaN).

    >>> dark_knowledge(np.log([[0.98, 0.015, 0.005]]), np.array([0]), temperature=1.0)[0].round(6).tolist()
    [nan, 0.75, 0.25]
    """
    num_classes = np.shape(logits)[-1]
    others = np.asarray(logits, np.float64) / temperature
    others[np.arange(len(labels)), labels] = -np.inf
    shares = np.exp(log_softmax(others))
    mean = np.full((num_classes, num_classes), np.nan)
    for label in np.unique(labels):
        mean[label] = shares[labels == label].mean(axis=0)
    np.fill_diagonal(mean, np.nan)
    return mean


def describe_dark_knowledge(
    predictions: Mapping[str, Predictions], *, temperature: float, class_names: Sequence[str] = ()
) -> dict[str, Any]:
    """What the record of a teacher says of its dark knowledge.

    Args:
        predictions: set -> predictions of the teacher; the first of ``SETS`` is read.
        temperature: T.
        class_names: what people call the classes; empty for their numbers.

    Returns:
        ``{"set", "temperature", "class_names", "probabilities"}``, the matrix as rows with None where it is undefined;
        or ``{"probabilities": None, "reason"}``.
    """
    measured = next((name for name in SETS if name in predictions), None)
    if measured is None:
        return undefined_dark_knowledge("neither the test set nor the validation set was evaluated")
    logits, labels, _ = predictions[measured]
    num_classes = logits.shape[-1]
    if num_classes > MOST_CLASSES:
        return undefined_dark_knowledge(f"{num_classes} classes: a matrix of at most {MOST_CLASSES} is kept")
    if num_classes < FEWEST_CLASSES:
        return undefined_dark_knowledge(f"{num_classes} classes: there is nothing to share out among the wrong ones")
    matrix = dark_knowledge(logits, labels, temperature=temperature)
    return {
        "set": measured,
        "temperature": temperature,
        "class_names": list(class_names) or [str(label) for label in range(num_classes)],
        "probabilities": [[None if math.isnan(share) else share for share in row] for row in matrix.tolist()],
    }


def undefined_dark_knowledge(reason: str) -> dict[str, Any]:
    """What a record says where there is none.

    >>> undefined_dark_knowledge("this control has no network")
    {'probabilities': None, 'reason': 'this control has no network'}
    """
    return {"probabilities": None, "reason": reason}
