"""Which trial of a tuning phase each arm was confirmed with, and whether it lies at the edge of what was tried."""

from collections.abc import Mapping, Sequence
from typing import Any

from kdlab.reporting.aggregate import ResultRow
from kdlab.reporting.groups import number, parse_overrides, short_names

FEWEST_VALUES = 3
"""Of fewer values every one is an edge."""


def chosen_marks(rows: Sequence[ResultRow], header: Mapping[str, Any]) -> dict[ResultRow, str]:
    """``chosen`` for the row of each arm that the study confirmed; says which of its values are at the edge.

    Args:
        rows: of a tuning phase.
        header: of the study; a tuned one has the chosen values among its arms.
    """
    marks = {}
    for arm, keys in (header.get("tune") or {}).items():
        taken = parse_overrides((header.get("arms") or {}).get(arm) or [])
        if not keys or not all(key in taken for key in keys):
            continue
        mine, names = [row for row in rows if arm in row.group.arms], short_names(keys)
        for row in mine:
            if all(row.group.knobs.get(key) == taken[key] for key in keys):
                edges = [names[key] for key in keys if _at_edge(key, taken[key], mine)]
                marks[row] = f"chosen, {', '.join(edges)} at the edge" if edges else "chosen"
    return marks


def _at_edge(key: str, value: str, rows: Sequence[ResultRow]) -> bool:
    tried = {number(row.group.knobs.get(key, "")) for row in rows}
    numbers = sorted(one for one in tried if one is not None)
    return len(numbers) >= FEWEST_VALUES and number(value) in (numbers[0], numbers[-1])
