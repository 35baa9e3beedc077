"""Calibration: reliability bins, expected calibration error (ECE), its floor at this sample size.
The fit of temperature scaling is ``kdlab.tempering``'s.

Bins are netcal's: 15 of equal width, closed on the left, and a confidence of exactly 1 belongs to the last one
(torchmetrics puts it in a bin of its own, issue 3510: ``[0.95, 1.0]`` gives 0.525 there, 0.475 by definition).

References: Naeini et al. 2015 (ECE); Guo et al. 2017 (temperature scaling); Nixon et al. 2019 and Kull et al. 2019
(class-wise ECE).
"""

import functools
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from kdlab.outputs import FloatArray, IntArray
from kdlab.tempering import TEMPERATURE_BOUNDS, TemperatureFit, fit_temperature

__all__ = [
    "NUM_BINS",
    "TEMPERATURE_BOUNDS",
    "ReliabilityBins",
    "TemperatureFit",
    "bin_of",
    "bins",
    "ece",
    "ece_binned",
    "ece_classwise",
    "ece_floor",
    "ece_of_bins",
    "fit_temperature",
]

NUM_BINS = 15
_EDGES = np.linspace(0.0, 1.0, NUM_BINS + 1)
_EPSILON = float(np.finfo(np.float64).eps)

# The mean over 200 draws has a standard error of about 2 % of the floor (an ECE under calibration has an SD of about a
# quarter of its mean); the seed is fixed, so a floor repeats.
FLOOR_DRAWS = 200
_FLOOR_SEED = 15
_KEPT_DRAWS = 4_000_000  # numbers: 16 MB, a test set of 20,000 examples


@dataclass(frozen=True)
class ReliabilityBins:
    """What the reliability diagram shows, ``[15]`` each: an empty bin has count, confidence and accuracy 0."""

    count: FloatArray
    confidence: FloatArray
    accuracy: FloatArray


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
    """``sum_b n_b / n |accuracy_b - confidence_b|`` by netcal, from bins already made.

    netcal's own binning costs ten times as much and finds the same bins: the value is that of ``ece`` to the last bit
    (a test holds it), unless a confidence is exactly 1.
    """
    unused = np.zeros(NUM_BINS)  # variances
    value, *_ = _netcal().process("ece", table.accuracy, table.confidence, unused, table.count)
    return float(value)


def ece_binned(confidence: FloatArray, is_correct: npt.NDArray[np.bool_]) -> float:
    """``ece`` to the last bit, by our bins: like netcal's they take a confidence of 1 for ``1 - 2^-52``."""
    return ece_of_bins(bins(np.clip(confidence, _EPSILON, 1.0 - _EPSILON), is_correct))


def ece(confidence: FloatArray, is_correct: npt.NDArray[np.bool_]) -> float:
    """Expected calibration error of the top class by netcal, 15 equal-width bins: the definition.

    netcal gets (confidence, correct) and not the probability matrix: of a matrix it guesses from the labels whether the
    problem is binary, and a set in which only one or two classes occur would be refused or measured on class 1.
    """
    return float(_netcal().measure(np.asarray(confidence, np.float64), np.asarray(is_correct, np.int64)))


@functools.cache
def _netcal() -> Any:
    from netcal.metrics import ECE  # 1.2 to 2.7 s: only where it is used

    return ECE(NUM_BINS)


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
    expected = np.bincount(where, weights=confidence, minlength=NUM_BINS)[occupied]
    threshold = confidence[order].astype(np.float32)
    total = 0.0
    for uniform in _floor_draws(num_draws, len(order)):
        hits = np.add.reduceat((uniform < threshold).view(np.int8), start, dtype=np.int32)
        total += float(np.abs(hits - expected).sum())
    return total / (num_draws * len(order))


def _floor_draws(num_draws: int, size: int) -> Iterable[npt.NDArray[np.float32]]:
    """``num_draws`` rows of ``size`` uniform numbers: the same for every network, so they are kept where they fit."""
    if num_draws * size <= _KEPT_DRAWS:
        return _kept_draws(num_draws, size)
    random = np.random.default_rng(_FLOOR_SEED)  # a row at a time: no array of draws x N
    return (random.random(size, dtype=np.float32) for _ in range(num_draws))


@functools.lru_cache(maxsize=1)
def _kept_draws(num_draws: int, size: int) -> npt.NDArray[np.float32]:
    draws = np.random.default_rng(_FLOOR_SEED).random((num_draws, size), dtype=np.float32)
    draws.setflags(write=False)
    return draws
