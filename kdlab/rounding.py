"""Arithmetic of configs, free of what floating point adds; a config is read without torch."""

from collections.abc import Mapping
from typing import Any, overload

REMAINDER = "kdlab.objectives.schedules.remainder"


@overload
def one_minus(value: float) -> float: ...
@overload
def one_minus(value: Mapping[str, Any]) -> dict[str, Any]: ...
def one_minus(value: float | Mapping[str, Any]) -> float | dict[str, Any]:
    """``1 - value`` rounded at 12 digits: 1 - 0.9 is 0.1, not 0.09999999999999998; of a schedule the schedule of it.

    >>> one_minus(0.9)
    0.1
    """
    return {"_target_": REMAINDER, "of": dict(value)} if isinstance(value, Mapping) else round(1 - value, 12)


def share(part: float, rest: float) -> float:
    """``part / (part + rest)`` rounded at 12 digits; of nothing 0.

    >>> share(0.9, 0.1)
    0.9
    """
    total = part + rest
    return round(part / total, 12) if total else 0.0


def above_zero(value: float) -> bool:
    """Whether a number is above 0."""
    return value > 0


def half(value: int) -> int:
    """Half of a whole number, rounded down; at least 1.

    >>> half(25), half(1)
    (12, 1)
    """
    return max(1, value // 2)
