"""Verdicts against a smallest effect of interest (SESOI) that was fixed before the runs.

The order matters: an interval inside +-SESOI reads "no difference" even where it excludes 0, and "inconclusive" is
never "no difference": it comes with the number of units that would decide.
"""

import functools
import math
from dataclasses import dataclass
from typing import Literal

import numpy as np

from kdlab.arrays import FloatArray
from kdlab.reporting.intervals import Interval

Word = Literal["no difference", "better", "worse", "inconclusive"]

MOST_UNITS = 1000


@dataclass(frozen=True)
class Verdict:
    """A verdict; ``units`` is the number that would decide an inconclusive one, None above 1,000 or when decided."""

    word: Word
    units: int | None = None

    def __str__(self) -> str:
        if self.word != "inconclusive":
            return self.word
        return f"inconclusive (decides at n = {self.units})" if self.units else "inconclusive (decides at n > 1,000)"


def verdict(interval: Interval, *, sesoi: float | None, higher_is_better: bool) -> Verdict | None:
    """The verdict on a paired difference.

    1. interval inside +-SESOI: no difference (even where it excludes 0);
    2. interval excludes 0 and abs(estimate) >= SESOI: better or worse;
    3. else inconclusive, with the smallest n at which 1 or 2 holds at the observed estimate and SD.

    Returns:
        None without an interval or without a SESOI: then nothing may be said.
    """
    if sesoi is None or interval.low is None or interval.high is None:
        return None
    if interval.low >= -sesoi and interval.high <= sesoi:
        return Verdict("no difference")
    if (interval.low > 0 or interval.high < 0) and abs(interval.estimate) >= sesoi:
        return Verdict("better" if (interval.estimate > 0) == higher_is_better else "worse")
    return Verdict("inconclusive", units_to_decide(interval, sesoi=sesoi))


@functools.lru_cache(maxsize=8)
def _quantiles(level: float) -> FloatArray:
    from scipy.special import stdtrit

    return np.asarray(stdtrit(np.arange(1.0, MOST_UNITS), 0.5 + level / 2), dtype=np.float64)


def units_to_decide(interval: Interval, *, sesoi: float) -> int | None:
    """The smallest n <= 1,000, above the present one, that decides at the observed estimate and SD; else None."""
    if interval.sd is None:
        return None
    n = np.arange(2, MOST_UNITS + 1)
    half = _quantiles(interval.level) * interval.sd * np.sqrt(1 / n + interval.resplit)
    size = abs(interval.estimate)
    decides = (size + half <= sesoi) | ((half < size) & (size >= sesoi))
    enough = n[decides & (n > interval.n)]
    return int(enough[0]) if enough.size else None


def detectable_effect(*, sd: float, n: int, level: float = 0.95, power: float = 0.8, resplit: float = 0.0) -> float:
    """The true difference that n units find with the given power: noncentral t at the observed SD.

    ``P(abs(t') > t_quantile) = power`` with noncentrality ``effect / (sd sqrt(1 / n + resplit))``.

    Args:
        sd: standard deviation of a unit's difference.
        n: units, at least 2.
        level: nominal coverage of the interval the verdict reads.
        power: the chance of an interval that excludes 0.
        resplit: n_test / n_train where the data are split again for every unit.

    >>> round(detectable_effect(sd=1.0, n=16), 2)
    0.75
    """
    return float(sd * (1 / n + resplit) ** 0.5 * _noncentrality(n - 1, level, power))


@functools.lru_cache(maxsize=1024)
def _noncentrality(df: int, level: float, power: float) -> float:
    """The noncentrality at which a two-sided t test has this power."""
    from scipy.optimize import brentq

    high = 1.0
    while _power(df, high, level) < power:
        high *= 2
    return float(brentq(lambda noncentrality: _power(df, noncentrality, level) - power, 0.0, high, xtol=1e-9))


def _power(df: int, noncentrality: float, level: float) -> float:
    """``P(abs(t') > critical)`` of a noncentral t: a normal tail averaged over the chi of the estimated SD.

    Written out because the noncentral t of scipy.special is NaN in the far tail at one degree of freedom.
    """
    from scipy.integrate import quad
    from scipy.special import gammaln, ndtr, stdtrit

    critical = float(stdtrit(df, 0.5 + level / 2))

    def integrand(s: float) -> float:  # s^2 = estimated over true variance
        log_density = (
            math.log(2) + df / 2 * math.log(df / 2) - gammaln(df / 2) + (df - 1) * math.log(s) - df * s * s / 2
        )
        found = ndtr(noncentrality - critical * s) + ndtr(-noncentrality - critical * s)
        return float(math.exp(log_density) * found)

    width = 8 / math.sqrt(2 * df)
    step = min(max(noncentrality / critical, 1e-3), 1 + width)  # where the normal tail falls
    value, _ = quad(integrand, 0.0, 1 + width, points=[step], limit=200)
    return float(value)
