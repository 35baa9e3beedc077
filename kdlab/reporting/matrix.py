"""The failure x fix matrix: which share of the harm of each failure each fix repairs.

``harm = accuracy(scratch twin) - accuracy(failing student)``, ``repaired = (fixed - failing) / harm``, both in the same
pair. The share is Fieller's ratio of means over pairs, and is told only where the harm is shown (its interval lies
above the smallest effect of interest). It may exceed 1: the fixed student is then better than one without a teacher.
Verdicts are those of ``fixed - failing``, after Holm over all cells; a fix repairs only where there is harm.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

from kdlab.keys import sesoi_of
from kdlab.references import cell_of
from kdlab.reporting.aggregate import Summary
from kdlab.reporting.families import adjusted_in, is_lost
from kdlab.reporting.groups import Group
from kdlab.reporting.intervals import Interval, interval, ratio_interval
from kdlab.reporting.resolving import UnresolvedError, columns_by_pair, group_of, rows_by_pair
from kdlab.reporting.statistics import Column
from kdlab.reporting.verdicts import verdict

Word = Literal["repairs", "harms more", "better", "worse", "no effect", "inconclusive"]
PLAIN: Mapping[str, Word] = {
    "better": "better",
    "worse": "worse",
    "no difference": "no effect",
    "inconclusive": "inconclusive",
}
OF_HARM: Mapping[str, Word] = {**PLAIN, "better": "repairs", "worse": "harms more"}
"""What the verdict on a gain is called where the failure is shown to harm."""


@dataclass(frozen=True)
class Cell:
    """A failure with a fix.

    Args:
        failure: the arm of the failure.
        fix: the name of the fix.
        gain: fixed minus failing; None where nothing ran.
        repaired: the share of the harm; None where no harm is shown.
        p_value: two-sided, of "gain = 0".
        adjusted: the same after Holm over all cells.
        word: the verdict on the gain, after Holm; None without an interval.
        units: the number of pairs that would decide an inconclusive one (before Holm), None above 1,000.
        group: its runs.
    """

    failure: str
    fix: str
    gain: Interval | None = None
    repaired: Interval | None = None
    p_value: float | None = None
    adjusted: float | None = None
    word: Word | None = None
    units: int | None = None
    group: Group | None = None


@dataclass(frozen=True)
class FailureRow:
    """A failure: its harm, whether that is shown, and its cells in the order of the fixes."""

    failure: str
    label: str
    metric: str
    harm: Interval | None
    is_shown: bool
    cells: tuple[Cell, ...]


@dataclass(frozen=True)
class Matrix:
    """All of it, on one data set."""

    data: str
    fixes: Mapping[str, str]
    control: str | None
    lines: tuple[FailureRow, ...]


def matrix_of(summary: Summary, data: str) -> Matrix | None:
    """The matrix of a study on a data set; None where the study has none, or nothing of it ran there."""
    said = summary.header.get("matrix")
    if not said:
        return None
    lines = [_line(summary, data, name, told, list(said["fixes"])) for name, told in said["failures"].items()]
    if all(line.harm is None for line in lines):
        return None
    cells = [cell for line in lines for cell in line.cells]
    adjusted = iter(adjusted_in([cell.p_value for cell in cells]))
    after = [replace(line, cells=tuple(_after_holm(cell, next(adjusted)) for cell in line.cells)) for line in lines]
    return Matrix(data, said["fixes"], said.get("control"), tuple(after))


def _line(summary: Summary, data: str, name: str, told: Mapping[str, Any], fixes: list[str]) -> FailureRow:
    metric, sesoi = told["metric"], sesoi_of(told["metric"], summary.header.get("sesoi") or {})
    try:
        seeds, values = columns_by_pair(summary, data, [Column((f"scratch({name})",), metric), Column((name,), metric)])
    except UnresolvedError:
        return FailureRow(name, told["label"], metric, None, False, tuple(Cell(name, fix) for fix in fixes))
    harm = interval(rows_by_pair(seeds, values[0] - values[1]), level=summary.level, test_ratio=summary.ratios[data])
    is_shown = harm.low is not None and sesoi is not None and harm.low > sesoi
    cells = [_cell(summary, data, name, fix, metric, sesoi=sesoi, is_shown=is_shown) for fix in fixes]
    return FailureRow(name, told["label"], metric, harm, is_shown, tuple(cells))


def _cell(
    summary: Summary, data: str, failure: str, fix: str, metric: str, *, sesoi: float | None, is_shown: bool
) -> Cell:
    arm = cell_of(failure, fix)
    columns = [Column((name,), metric) for name in (arm, failure, f"scratch({failure})")]
    try:
        seeds, (fixed, failing, scratch) = columns_by_pair(summary, data, columns)
        group = group_of(summary, data, arm)
    except UnresolvedError:
        return Cell(failure, fix)
    rows = rows_by_pair(seeds, fixed - failing)
    ratio = summary.ratios[data]
    gain = interval(rows, level=summary.level, test_ratio=ratio)
    harm = [float(value) for value in scratch - failing]
    repaired = ratio_interval(rows, harm, level=summary.level, test_ratio=ratio) if is_shown else None
    found = verdict(gain, sesoi=sesoi, higher_is_better=True)
    word = None if found is None else (OF_HARM if is_shown else PLAIN)[found.word]
    units = None if found is None else found.units
    return Cell(failure, fix, gain, repaired, gain.p_value, None, word, units, group)


def _after_holm(cell: Cell, adjusted: float | None) -> Cell:
    """A cell whose difference does not stand after Holm is inconclusive; a shown "no effect" is not adjusted."""
    lost = cell.word not in (None, "no effect", "inconclusive") and is_lost(adjusted)
    return replace(cell, adjusted=adjusted, word="inconclusive" if lost else cell.word)
