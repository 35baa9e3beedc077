"""A table as Markdown, CSV and LaTeX, from one description of its rows, and how numbers are written in it.

Markdown and LaTeX carry the numbers as they are read (estimate +- half width), CSV carries every part of every
interval. Each row carries the command that makes it again.
"""

import csv
import io
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from kdlab.reporting.intervals import Interval

NOTHING = "–"
TEXT_COLUMNS = {
    *("Setting", "Reference", "Against", "Metric", "Verdict", "Slice", "OOD", "Teacher", "Command"),
    *("Prediction", "Claim", "Predicted", "Effect", "Finding", "After Holm"),
    *("Planted", "Severity", "Recipe", "What fired"),
}


@dataclass(frozen=True)
class Table:
    """A table.

    Args:
        name: its file name without suffix.
        title: what it shows.
        columns: headings of the readable forms; the first column is text.
        rows: cells of the readable forms.
        commands: for every row the command that makes it again ("" where it has none of its own).
        records: the same rows for CSV, full precision (6 significant digits), one value a column.
    """

    name: str
    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]
    commands: Sequence[str]
    records: Sequence[Mapping[str, object]] = field(default_factory=list)


def table_name(name: str, datasets: Sequence[str], data: str) -> str:
    """The name of a table of a data set: with the data set in it where a study has several."""
    return name if len(datasets) < 2 else f"{name}_{re.sub(r'[^A-Za-z0-9_.-]', '_', data)}"


def markdown(table: Table, *, commands: bool = False) -> str:
    """A pipe table; text left, numbers right; with ``commands`` a last column says how to make the row again."""
    columns = [*table.columns, *(["Command"] if commands else [])]
    rows = [
        [*row, *([f"`{command}`"] if commands else [])] for row, command in zip(table.rows, table.commands, strict=True)
    ]
    rule = [":--" if column in TEXT_COLUMNS else "--:" for column in columns]
    lines = [columns, rule, *rows]
    return "".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |\n" for line in lines)


def csv_text(table: Table) -> str:
    """CSV with one column for every part of every number and the command last."""
    names = list(dict.fromkeys(name for record in table.records for name in record))
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow([*names, "command"])
    for record, command in zip(table.records, table.commands, strict=True):
        writer.writerow([*(_csv_cell(record.get(name)) for name in names), command])
    return out.getvalue()


def latex(table: Table) -> str:
    """A ``booktabs`` tabular; the command of a row stands behind it as a comment."""
    lines = [
        f"% {table.title}",
        "% needs \\usepackage{booktabs}",
        f"\\begin{{tabular}}{{l{'r' * (len(table.columns) - 1)}}}",
        "\\toprule",
        " & ".join(_tex(column) for column in table.columns) + " \\\\",
        "\\midrule",
    ]
    for row, command in zip(table.rows, table.commands, strict=True):
        lines.append(" & ".join(_tex(cell) for cell in row) + " \\\\" + (f" % {command}" if command else ""))
    return "\n".join([*lines, "\\bottomrule", "\\end{tabular}"]) + "\n"


_TEX = {
    "\\": r"\textbackslash{}",
    "±": r"$\pm$",
    "−": "$-$",
    "–": "--",
    "Δ": r"$\Delta$",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": "$<$",
    ">": "$>$",
    "#": r"\#",
} | {c: f"\\{c}" for c in "&%$_{}"}


def _tex(text: str) -> str:
    return "".join(_TEX.get(character, character) for character in text.replace("**", ""))


def _csv_cell(value: object) -> object:
    return "" if value is None else f"{value:.6g}" if isinstance(value, float) else value


def show(found: Interval | None, *, digits: int = 4) -> str:
    """``0.6312 ± 0.0053``; the estimate alone where there is no interval.

    >>> show(None)
    '–'
    """
    if found is None:
        return NOTHING
    half = found.half_width
    text = f"{found.estimate:.{digits}f}" + ("" if half is None else f" ± {half:.{digits}f}")
    return text.replace("-", "−")


def show_difference(found: Interval | None, *, digits: int = 4) -> str:
    """``+0.0123 [+0.0040, +0.0206]``, with a true minus sign."""
    if found is None:
        return NOTHING
    text = f"{found.estimate:+.{digits}f}"
    if found.low is not None and found.high is not None:
        text += f" [{found.low:+.{digits}f}, {found.high:+.{digits}f}]"
    return text.replace("-", "−")


def parts(name: str, found: Interval | None) -> dict[str, object]:
    """The CSV columns of an interval."""
    if found is None:
        return {f"{name}": None, f"{name} low": None, f"{name} high": None}
    return {
        f"{name}": found.estimate,
        f"{name} low": found.low,
        f"{name} high": found.high,
        f"{name} n": found.n,
        f"{name} sd": found.sd,
        f"{name} df": found.df,
        f"{name} case": found.case,
    }
