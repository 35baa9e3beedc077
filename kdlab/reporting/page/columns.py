"""Columns of a payload: few bytes for many rows that are much alike.

A column is ``{"all": value}`` where every row has it, ``{"of": values, "at": places}`` where few values recur, else the
plain list of values. Numbers keep four significant digits.
"""

import marshal
import math
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

DIGITS = 4

Column = dict[str, Any] | list[Any]


def short(value: Any, *, digits: int = DIGITS) -> Any:
    """A value of a record with its numbers at so many significant digits; whole numbers without a point.

    >>> short({"a": [0.123456, 4.0, None]})
    {'a': [0.1235, 4, None]}
    """
    if isinstance(value, float):
        return _rounded(value, digits)
    if isinstance(value, dict):
        return {key: short(item, digits=digits) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [short(item, digits=digits) for item in value]
    return value


def _rounded(value: float, digits: int) -> float | None:
    if not math.isfinite(value):
        return None
    rounded = float(f"{value:.{digits}g}")
    return int(rounded) if rounded.is_integer() and abs(rounded) < 2**53 else rounded


def column(values: Iterable[Any]) -> Column:
    """A column of any values.

    >>> column(["a", "b", "a", "a"])
    {'of': ['a', 'b'], 'at': [0, 1, 0, 0]}
    >>> column([1, 1])
    {'all': 1}
    """
    values = list(values)
    places: dict[bytes, int] = {}
    distinct: list[Any] = []
    at = []
    for value in values:
        name = marshal.dumps(value, 2)  # the quickest that tells True from 1; version 2 knows no references
        place = places.setdefault(name, len(distinct))
        if place == len(distinct):
            distinct.append(value)
        at.append(place)
    if len(distinct) == 1:
        return {"all": distinct[0]}
    return {"of": distinct, "at": at} if len(distinct) <= len(values) / 2 else values


def numbers(values: Sequence[float | None]) -> Column:
    """A column of numbers, null where there is none; all at once, for there are a million of them in a large study."""
    array = np.array(values, dtype=np.float64)  # None becomes NaN
    finite = np.isfinite(array)
    size = np.abs(array, where=finite & (array != 0), out=np.ones_like(array))
    decimals = DIGITS - 1 - np.floor(np.log10(size))
    scale = 10.0 ** np.abs(decimals)  # a power of ten divides without an error of its own, a fraction does not
    rounded = np.where(decimals >= 0, np.rint(array * scale) / scale, np.rint(array / scale) * scale)
    found = (
        rounded.tolist()
        if finite.all()
        else [one if ok else None for one, ok in zip(rounded.tolist(), finite, strict=True)]
    )
    return {"all": found[0]} if found and all(value == found[0] for value in found) else found
