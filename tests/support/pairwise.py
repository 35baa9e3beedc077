"""All pairs: a short list of rows in which every two values of two factors meet, and the full product beside it."""

import itertools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

Row = dict[str, Any]


def pairs_of(row: Row) -> set[tuple[tuple[str, Any], tuple[str, Any]]]:
    """Every two (factor, value) of a row, factors in the order of the row."""
    return set(itertools.combinations(row.items(), 2))


def full_product(factors: Mapping[str, Sequence[Any]], allowed: Callable[[Row], bool]) -> list[Row]:
    """Every allowed combination."""
    rows = (dict(zip(factors, values, strict=True)) for values in itertools.product(*factors.values()))
    return [row for row in rows if allowed(row)]


def all_pairs(factors: Mapping[str, Sequence[Any]], allowed: Callable[[Row], bool]) -> list[Row]:
    """Allowed rows that cover every pair which any allowed row has; greedy, the same list every time."""
    rows = full_product(factors, allowed)
    bits: dict[Any, int] = {}  # one for each pair: sets of pairs are numbers, a hundred times as fast to compare
    held = [sum(bits.setdefault(pair, 1 << len(bits)) for pair in pairs_of(row)) for row in rows]
    missing, chosen = (1 << len(bits)) - 1, []
    while missing:
        best = max(range(len(rows)), key=lambda place: (held[place] & missing).bit_count())
        chosen.append(rows[best])
        missing &= ~held[best]
    return chosen
