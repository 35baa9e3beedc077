"""Changes of a finished signal: pure functions of one signal ``[channels, L]``, for ``kdlab.data.slices.transformed``.

Lengths are shares of the signal's length, amplitudes are in the units of the data. Draws do not depend on the strength,
so a stronger change of a signal is the same change turned up.
"""

import numpy as np

from kdlab.errors import UserError
from kdlab.outputs import FloatArray


def with_noise(signal: FloatArray, generator: np.random.Generator, *, std: float) -> FloatArray:
    """``signal + std * N(0, 1)``."""
    _within("std", std, 0, np.inf)
    return signal + std * generator.standard_normal(signal.shape)


def rolled(signal: FloatArray, generator: np.random.Generator, *, furthest: float) -> FloatArray:
    """Shifted in a circle by a uniform draw from +- ``furthest`` (a share of the length), in whole samples."""
    _within("furthest", furthest, 0, 1)
    return np.roll(signal, round(furthest * signal.shape[-1] * generator.uniform(-1, 1)), axis=-1)


def scaled(signal: FloatArray, generator: np.random.Generator, *, coeff: float) -> FloatArray:
    """Amplitude times a uniform draw from ``1 +- coeff``."""
    _within("coeff", coeff, 0, np.inf)
    return signal * (1.0 + coeff * generator.uniform(-1, 1))


def sheared(signal: FloatArray, generator: np.random.Generator, *, slope: float) -> FloatArray:
    """A line through the middle is added, from ``-s`` to ``s`` over the signal, ``s`` uniform in +- ``slope``."""
    _within("slope", slope, 0, np.inf)
    return signal + slope * generator.uniform(-1, 1) * np.linspace(-1, 1, signal.shape[-1])


def smoothed(signal: FloatArray, _: np.random.Generator, *, sigma: float) -> FloatArray:
    """Under a Gaussian kernel, ``sigma`` a share of the length; the ends are repeated."""
    from scipy.ndimage import gaussian_filter1d

    _within("sigma", sigma, 0, 1)
    if sigma == 0:
        return signal
    smooth = gaussian_filter1d(signal, sigma * signal.shape[-1], axis=-1, mode="nearest")
    return np.asarray(smooth, dtype=np.float64)


def dropped(signal: FloatArray, generator: np.random.Generator, *, share: float, fill: float = 0.0) -> FloatArray:
    """One segment, ``share`` of the length, becomes ``fill`` in all channels; its place is uniform."""
    _within("share", share, 0, 1)
    length = signal.shape[-1]
    width = round(share * length)
    start = int(generator.random() * (length - width + 1))
    changed = signal.copy()
    changed[..., start : start + width] = fill
    return changed


def stretched(signal: FloatArray, generator: np.random.Generator, *, by: float) -> FloatArray:
    """Stretched about the middle by a factor ``(1 + by)^u``, u uniform in [-1, 1]; the ends are repeated."""
    _within("by", by, 0, np.inf)
    length = signal.shape[-1]
    place = np.arange(length)
    middle = (length - 1) / 2
    read = middle + (place - middle) / (1.0 + by) ** generator.uniform(-1, 1)
    rows = [np.interp(read, place, row) for row in signal.reshape(-1, length)]
    return np.stack(rows).reshape(signal.shape)


def _within(name: str, value: float, low: float, high: float) -> None:
    if not (np.isfinite(value) and low <= value <= high):
        bound = f"<= {high:g}" if np.isfinite(high) else "finite"
        raise UserError(f"{name} = {value}: a number >= {low:g} and {bound} is needed")
