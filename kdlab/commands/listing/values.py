"""The values of runs: compared as numbers where they are, written as they stand in a config."""

import json
from typing import Any

ABSENT = object()  # what a run has at a key that it has not


def sort_key(value: Any) -> tuple[int, float, str]:
    """Numbers by size, then words, then what is not there."""
    number = number_of(value)
    if value is ABSENT or value is None:
        return 2, 0.0, ""
    return (0, number, "") if number is not None else (1, 0.0, text_of(value))


def number_of(value: Any) -> float | None:
    """The number that a value or word is, None for any other; a switch is none."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    try:
        return float(value)
    except ValueError:
        return None


def is_same(value: Any, word: str) -> bool:
    """Whether a value is what was written."""
    number, other = number_of(value), number_of(word)
    return number == other if number is not None and other is not None else text_of(value) == word.strip()


def text_of(value: Any) -> str:
    """A value as it is written in a config."""
    if value is ABSENT:
        return ""
    if isinstance(value, tuple):
        return ",".join(value)
    if isinstance(value, bool) or value is None:
        return json.dumps(value)
    if isinstance(value, float) and value.is_integer() and abs(value) < 1e15:
        return str(int(value))
    return json.dumps(value, separators=(",", ":")) if isinstance(value, list | dict) else str(value)
