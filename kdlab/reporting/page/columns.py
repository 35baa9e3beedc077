"""Columns of a payload: few bytes for many rows that are much alike.

A column is ``{"all": value}`` where every row has it, ``{"of": values, "at": places}`` where few values recur, else the
plain list of values. Numbers keep four significant digits.
"""

import json
import math
from collections.abc import Iterable, Sequence
from typing import Any

DIGITS = 4

Column = dict[str, Any] | list[Any]


def short(value: Any, *, digits: int = DIGITS) -> Any:
    """A value of a record with its numbers at so many significant digits; whole numbers without a point.

    >>> short({"a": [0.123456, 4.0, None]})
    {'a': [0.1235, 4, None]}
    """
    if isinstance(value, float):
        if not math.isfinite(value):
            return None
        rounded = float(f"{value:.{digits}g}")
        return int(rounded) if rounded.is_integer() and abs(rounded) < 2**53 else rounded
    if isinstance(value, dict):
        return {key: short(item, digits=digits) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [short(item, digits=digits) for item in value]
    return value


def column(values: Iterable[Any]) -> Column:
    """A column of any values.

    >>> column(["a", "b", "a", "a"])
    {'of': ['a', 'b'], 'at': [0, 1, 0, 0]}
    >>> column([1, 1])
    {'all': 1}
    """
    values = list(values)
    places: dict[str, int] = {}
    distinct: list[Any] = []
    at = []
    for value in values:
        text = json.dumps(value, sort_keys=True)
        if text not in places:
            places[text] = len(distinct)
            distinct.append(value)
        at.append(places[text])
    if len(distinct) == 1:
        return {"all": distinct[0]}
    return {"of": distinct, "at": at} if len(distinct) <= len(values) / 2 else values


def numbers(values: Sequence[float | None]) -> Column:
    """A column of numbers, null where there is none."""
    found = [short(value) for value in values]
    return {"all": found[0]} if found and all(value == found[0] for value in found) else found
