"""Temperatures and entropies of targets: what evaluation measures with and teachers are made with, in float64.

All are one-dimensional problems with one crossing, found by Brent's method: the derivative of the NLL in the inverse
temperature, the mean entropy in a factor on the logits, the entropy of a smoothed label in its smoothing.
"""

import math
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from kdlab.errors import UserError
from kdlab.outputs import FloatArray, IntArray

Logits = npt.NDArray[np.floating]

# Logits scaled a hundredfold are still inside; what reaches a bound has no finite optimum.
TEMPERATURE_BOUNDS = (1e-3, 1e3)
_FACTOR_BOUNDS = (1e-9, 1e9)
_SMALLEST_SMOOTHING = 1e-12  # its logit is finite; the entropy there is 4e-11 nats of ten classes


class TemperatureFit(NamedTuple):
    """A fitted temperature, or None and the reason why the likelihood has no optimum."""

    temperature: float | None
    reason: str | None


def log_softmax(logits: Logits) -> FloatArray:
    """``log p_k = z_k - max z - log sum_j exp(z_j - max z)`` in float64.

    Args:
        logits: ``[N, C]``, finite.
    """
    shifted = np.asarray(logits, dtype=np.float64)
    shifted = shifted - shifted.max(axis=-1, keepdims=True)
    return np.asarray(shifted - np.log(np.exp(shifted).sum(axis=-1, keepdims=True)))


def mean_entropy(logits: Logits, *, temperature: float = 1.0) -> float:
    """Mean entropy of ``softmax(z / T)`` over examples ``[N, C]``, in nats.

    >>> bool(np.isclose(mean_entropy(np.zeros((3, 10))), np.log(10)))
    True
    """
    log_probs = log_softmax(np.asarray(logits, np.float64) / temperature)
    return float(-(np.exp(log_probs) * log_probs).sum()) / len(log_probs)


def fit_temperature(logits: Logits, labels: IntArray) -> TemperatureFit:
    """The temperature with the smallest NLL: ``argmin_t mean(-log softmax(z / t)_y)`` (Guo et al. 2017).

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


def factor_of_entropy(logits: Logits, *, entropy: float, temperature: float) -> float:
    """The one factor ``f`` for which ``mean_entropy(f z, temperature=T) = entropy``.

    The entropy of each example falls with f (its derivative is ``-f Var_p(z) / T^2``), from ``ln C`` at 0 to the log of
    the number of classes that share the highest logit.

    Args:
        logits: ``[N, C]`` on the transfer set.
        entropy: nats, in ``(0, ln C)``.
        temperature: T, at which the targets are shown.

    Raises:
        UserError: no factor gives this entropy: it lies outside (0, ln C), or the logits are tied.
    """
    from scipy.optimize import brentq

    def excess(log_factor: float) -> float:
        return mean_entropy(np.asarray(logits, np.float64) * math.exp(log_factor), temperature=temperature) - entropy

    flat, sharp = (math.log(bound * temperature) for bound in _FACTOR_BOUNDS)
    inside = 0.0 < entropy < math.log(np.shape(logits)[-1])
    if not (inside and excess(sharp) < 0.0 < excess(flat)):
        reached = (excess(sharp) + entropy, excess(flat) + entropy)
        raise UserError(
            f"no factor on the logits gives them a mean entropy of {entropy:g} nats at temperature {temperature:g}: "
            f"{reached[0]:.4g} to {reached[1]:.4g} can be reached"
        )
    return math.exp(brentq(excess, flat, sharp, xtol=1e-12))


def smoothed_entropy(smoothing: float, *, num_classes: int) -> float:
    """Entropy of a label smoothed by e: class y has ``1 - e + e / C``, every other ``e / C``; nats.

    >>> smoothed_entropy(1.0, num_classes=8) == math.log(8)
    True
    """
    other = smoothing / num_classes
    label = 1.0 - smoothing * (num_classes - 1) / num_classes
    return -label * math.log(label) - (num_classes - 1) * other * math.log(other)


def smoothing_of_entropy(entropy: float, *, num_classes: int) -> float:
    """The smoothing whose targets have this entropy; the entropy rises with it from 0 (e = 0) to ``ln C`` (e = 1).

    Smoothing stays above 1e-12, so that the targets have finite logits.
    """
    from scipy.optimize import brentq

    def excess(log_smoothing: float) -> float:
        return smoothed_entropy(math.exp(log_smoothing), num_classes=num_classes) - entropy

    lowest = math.log(_SMALLEST_SMOOTHING)
    if excess(lowest) >= 0.0:
        return _SMALLEST_SMOOTHING
    return 1.0 if excess(0.0) <= 0.0 else math.exp(brentq(excess, lowest, 0.0, xtol=1e-14))
