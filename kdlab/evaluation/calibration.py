"""Calibration: reliability bins, expected calibration error (ECE), its floor at this sample size, temperature scaling.

Bins are netcal's: 15 of equal width, closed on the left, and a confidence of exactly 1 belongs to the last one
(torchmetrics puts it in a bin of its own, issue 3510: ``[0.95, 1.0]`` gives 0.525 there, 0.475 by definition).

References: Naeini et al. 2015 (ECE); Guo et al. 2017 (temperature scaling); Nixon et al. 2019 and Kull et al. 2019
(class-wise ECE).
"""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from kdlab.evaluation.metrics import Logits
from kdlab.outputs import FloatArray, IntArray

NUM_BINS = 15
_EDGES = np.linspace(0.0, 1.0, NUM_BINS + 1)

# The mean over 200 draws has a standard error of about 2 % of the floor (an ECE under calibration has an SD of about a
# quarter of its mean); the seed is fixed, so a floor repeats.
FLOOR_DRAWS = 200
_FLOOR_SEED = 15

# Logits scaled a hundredfold are still inside; what reaches a bound has no finite optimum.
TEMPERATURE_BOUNDS = (1e-3, 1e3)


@dataclass(frozen=True)
class ReliabilityBins:
    """What the reliability diagram shows, ``[15]`` each: an empty bin has count, confidence and accuracy 0."""

    count: FloatArray
    confidence: FloatArray
    accuracy: FloatArray


class TemperatureFit(NamedTuple):
    """A fitted temperature, or None and the reason why the likelihood has no optimum."""

    temperature: float | None
    reason: str | None


def bin_of(confidence: FloatArray) -> IntArray:
    """The bin (0 to 14) of each confidence: ``b`` where ``edge_b <= confidence < edge_{b+1}``, 1.0 in the last one."""
    found = np.searchsorted(_EDGES, confidence, side="right") - 1
    return np.clip(found, 0, NUM_BINS - 1).astype(np.int64)


def bins(confidence: FloatArray, is_correct: npt.NDArray[np.bool_]) -> ReliabilityBins:
    """Count, mean confidence and accuracy of every bin.

    Args:
        confidence: ``[N]``, probability of the top class.
        is_correct: ``[N]``, whether the top class is the label.
    """
    where = bin_of(confidence)
    count = np.bincount(where, minlength=NUM_BINS).astype(np.float64)
    divisor = np.maximum(count, 1.0)
    return ReliabilityBins(
        count,
        np.bincount(where, weights=confidence, minlength=NUM_BINS) / divisor,
        np.bincount(where, weights=is_correct, minlength=NUM_BINS) / divisor,
    )


def ece_of_bins(table: ReliabilityBins) -> float:
    """``sum_b n_b / n |accuracy_b - confidence_b|``: what netcal computes, from bins already made."""
    return float((table.count * np.abs(table.accuracy - table.confidence)).sum() / table.count.sum())


def ece(confidence: FloatArray, is_correct: npt.NDArray[np.bool_]) -> float:
    """Expected calibration error of the top class by netcal, 15 equal-width bins.

    netcal gets (confidence, correct) and not the probability matrix: of a matrix it guesses from the labels whether the
    problem is binary, and a set in which only one or two classes occur would be refused or measured on class 1.
    """
    from netcal.metrics import ECE  # 1.2 to 2.7 s: only where it is used

    return float(ECE(NUM_BINS).measure(np.asarray(confidence, np.float64), np.asarray(is_correct, np.int64)))


def ece_classwise(probs: FloatArray, labels: IntArray) -> float:
    """``mean_k sum_b n_kb / n |share of label k - mean p_k|``: the ECE of each class against the rest.

    Args:
        probs: ``[N, C]``.
        labels: ``[N]``.
    """
    num_examples, num_classes = probs.shape
    cell = bin_of(probs.ravel()) + NUM_BINS * np.tile(np.arange(num_classes), num_examples)
    hit = np.arange(num_examples) * num_classes + labels
    size = NUM_BINS * num_classes
    expected = np.bincount(cell, weights=probs.ravel(), minlength=size)
    observed = np.bincount(cell[hit], minlength=size)
    return float(np.abs(observed - expected).sum() / (num_examples * num_classes))


def ece_floor(confidence: FloatArray, *, num_draws: int = FLOOR_DRAWS) -> float:
    """``E[ECE]`` when example i is correct with probability ``confidence_i``: the ECE of perfect calibration at this n.

    Args:
        confidence: ``[N]``, probability of the top class.
        num_draws: simulated test sets.
    """
    where = bin_of(confidence)
    order = np.argsort(where, kind="stable")
    occupied, start = np.unique(where[order], return_index=True)
    ordered = confidence[order]
    expected = np.bincount(where, weights=confidence, minlength=NUM_BINS)[occupied]
    random = np.random.default_rng(_FLOOR_SEED)
    threshold = ordered.astype(np.float32)
    total = 0.0
    for _ in range(num_draws):  # a row at a time: no array of draws x N
        hits = np.add.reduceat(random.random(len(ordered), dtype=np.float32) < threshold, start, dtype=np.int64)
        total += float(np.abs(hits - expected).sum())
    return total / (num_draws * len(ordered))


def fit_temperature(logits: Logits, labels: IntArray) -> TemperatureFit:
    """The temperature with the smallest NLL: ``argmin_t mean(-log softmax(z / t)_y)``.

    The NLL is convex in ``1 / t``, so its derivative ``mean(E_p[z] - z_y)`` crosses 0 once; the crossing is found by
    Brent's method on ``log t``. Without a crossing there is no optimum: a network that is right on every example gets
    better for ever as t falls, one that is no better than guessing as t grows.

    Args:
        logits: ``[N, C]`` of the validation set.
        labels: ``[N]``.
    """
    from scipy.optimize import brentq

    centred = np.asarray(logits, np.float64)
    centred = centred - centred.max(axis=-1, keepdims=True)
    label_logits = centred[np.arange(len(labels)), labels]

    def slope(log_temperature: float) -> float:
        weight = np.exp(centred * np.exp(-log_temperature))
        expected = (weight * centred).sum(axis=-1) / weight.sum(axis=-1)
        return float((expected - label_logits).sum())

    cold, hot = (float(np.log(bound)) for bound in TEMPERATURE_BOUNDS)
    if not label_logits.any():
        every = "constant" if not centred.any() else "highest at the label"
        return TemperatureFit(None, f"the validation logits are {every} for every example: no temperature is optimal")
    if slope(cold) <= 0.0:
        return TemperatureFit(None, f"the optimal temperature lies below {TEMPERATURE_BOUNDS[0]:g}")
    if slope(hot) >= 0.0:
        return TemperatureFit(None, f"the optimal temperature lies above {TEMPERATURE_BOUNDS[1]:g}")
    return TemperatureFit(float(np.exp(brentq(slope, cold, hot, xtol=1e-10))), None)
