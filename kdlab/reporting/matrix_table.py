"""The failure x fix matrix as a table: a row for each cell, as CSV whole, as text what a reader looks for."""

from kdlab.reporting.aggregate import Summary
from kdlab.reporting.groups import rerun_command
from kdlab.reporting.intervals import Interval
from kdlab.reporting.matrix import Cell, FailureRow, Matrix, matrix_of
from kdlab.reporting.table import NOTHING, Table, parts, show_difference, table_name

COLUMNS = ("Setting", "Fix", "Harm (points)", "Fixed − failing (points)", "Share repaired", "n", "Verdict")


def matrix_table(summary: Summary, data: str) -> Table:
    """A row for each failure with each fix: the harm, the gain, the share of the harm that it repairs, the verdict."""
    name, title = table_name("matrix", summary.datasets, data), f"What each fix repairs of each failure, {data}"
    found = matrix_of(summary, data)
    if found is None:
        return Table(name, title, COLUMNS, [], [])
    pairs = [(line, cell) for line in found.lines for cell in line.cells if cell.group is not None]
    return Table(
        name,
        title,
        COLUMNS,
        [_cells(found, line, cell) for line, cell in pairs],
        [rerun_command(cell.group, header=summary.header) for _, cell in pairs if cell.group is not None],
        [_record(found, line, cell) for line, cell in pairs],
    )


def points(found: Interval | None) -> str:
    """``+1.5 [+0.2, +2.9]``: a difference of fractions in points."""
    return NOTHING if found is None else show_difference(found.scaled(100), digits=1)


def percent(found: Interval | None) -> str:
    """``85 % [60, 110]``."""
    if found is None:
        return NOTHING
    text = f"{100 * found.estimate:.0f} %"
    if found.low is not None and found.high is not None:
        text += f" [{100 * found.low:.0f}, {100 * found.high:.0f}]"
    return text.replace("-", "−")


def verdict_words(cell: Cell) -> str:
    """The verdict on a cell; an inconclusive one with the number of pairs that would decide."""
    if cell.word is None:
        return NOTHING
    if cell.word == "inconclusive" and cell.units:
        return f"inconclusive (decides at n = {cell.units})"
    return cell.word


def _cells(matrix: Matrix, line: FailureRow, cell: Cell) -> list[str]:
    return [
        line.label,
        matrix.fixes[cell.fix] + (" (control)" if cell.fix == matrix.control else ""),
        points(line.harm) + ("" if line.is_shown else ", not shown"),
        points(cell.gain),
        percent(cell.repaired),
        NOTHING if cell.gain is None else str(cell.gain.n),
        verdict_words(cell),
    ]


def _record(matrix: Matrix, line: FailureRow, cell: Cell) -> dict[str, object]:
    repaired = cell.repaired
    return {
        "data": matrix.data,
        "failure": line.failure,
        "fix": cell.fix,
        "label": matrix.fixes[cell.fix],
        "repaired": None if repaired is None else repaired.estimate,
        "low": None if repaired is None else repaired.low,
        "high": None if repaired is None else repaired.high,
        "verdict": cell.word,
        "failure label": line.label,
        "control": int(cell.fix == matrix.control),
        "metric": line.metric,
        **parts("harm", line.harm),
        "harm shown": int(line.is_shown),
        **parts("gain", cell.gain),
        "p": cell.p_value,
        "p after Holm": cell.adjusted,
        "units to decide": cell.units,
    }
