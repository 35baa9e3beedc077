"""The report of a study: a folder in which every file is generated from ``records.jsonl`` alone.

Nothing in it depends on the time, the machine or the user, so writing it again gives the same bytes. Words about a
result come from the sweep file (``study.says``); no file here is edited by hand.
"""

from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from kdlab.collector import collector_off
from kdlab.records.atomic import write_text
from kdlab.reporting.aggregate import Summary, summarize
from kdlab.reporting.compact import Line, as_read, dump_lines, read_lines
from kdlab.reporting.diagnosis.pages import diagnosis_pages
from kdlab.reporting.doses import doses_table
from kdlab.reporting.matrix_table import matrix_table
from kdlab.reporting.page.page import page_text
from kdlab.reporting.prediction_tables import predictions_table
from kdlab.reporting.readme import readme_text
from kdlab.reporting.table import Table, csv_text, latex, markdown, show, show_difference
from kdlab.reporting.tables import (
    comparisons_table,
    num_units,
    results_table,
    slices_csv,
    slices_table,
    teachers_table,
    tuning_table,
)

RECORDS = "records.jsonl"
PAGE = "index.html"
MOST_TERMINAL_ROWS = 12
BUILDERS = (
    *(predictions_table, matrix_table, doses_table, results_table, tuning_table),
    *(comparisons_table, slices_table, teachers_table),
)
"""Of the tables of a data set, in the order of the report."""


class ReportResult(NamedTuple):
    """What was written, and a short plain-text table for the terminal."""

    files: list[Path]
    summary_text: str


@collector_off()  # it would walk the millions of values of a large study, for nothing
def write_report(folder: Path, *, lines: Iterable[Line], figures: bool = True) -> ReportResult:
    """Write ``records.jsonl``, ``README.md``, ``tables/``, ``figures/`` and the page ``index.html`` of a study.

    Args:
        folder: the report folder, made if needed; tables and figures of an earlier report that are no longer made go.
        lines: the lines of ``records.jsonl``, header first.
        figures: False leaves the figures out (they take seconds).
    """
    lines = [as_read(line) for line in lines]  # as a clone will read them
    text, summary = dump_lines(lines), summarize(lines)
    folder.mkdir(parents=True, exist_ok=True)
    write_text(folder / RECORDS, text)
    tables = _tables(summary)
    files = [folder / RECORDS, *_write_tables(summary, tables, folder / "tables")]
    drawn: list[tuple[str, str]] = []
    if figures:
        from kdlab.reporting.figures import draw_figures

        for figure in draw_figures(summary, folder / "figures"):
            files += figure.files
            drawn.append((f"figures/{figure.files[0].name}", figure.caption))
    diagnosis = diagnosis_pages(folder, figures=figures)
    files += diagnosis.files
    write_text(folder / "README.md", readme_text(summary, tables, drawn, more=diagnosis.text))
    write_text(folder / PAGE, page_text(summary))
    files += [folder / "README.md", folder / PAGE]
    _remove_stale(folder, set(files))
    return ReportResult(sorted(files), summary_text(summary))


def rebuild(folder: Path, *, figures: bool = True) -> ReportResult:
    """Write a report again from its own ``records.jsonl``."""
    return write_report(folder, lines=read_lines(folder / RECORDS), figures=figures)


def find_reports(root: Path) -> list[str]:
    """The names of all studies with a ``records.jsonl`` under a report root, nested ones too, sorted."""
    return sorted(path.parent.relative_to(root).as_posix() for path in root.rglob(RECORDS) if path.parent != root)


def _tables(summary: Summary) -> dict[str, list[Table]]:
    """Data set -> its tables that have rows."""
    made = {}
    for data in summary.datasets:
        every = [build(summary, data) for build in BUILDERS]
        made[data] = [table for table in every if table.rows]
    return made


def _write_tables(summary: Summary, tables: dict[str, list[Table]], folder: Path) -> list[Path]:
    folder.mkdir(parents=True, exist_ok=True)
    files = []
    for data, made in tables.items():
        for table in made:
            slices = table.name.startswith("slices")
            forms = {
                "md": f"# {table.title}\n\n{markdown(table, commands=any(table.commands))}",
                "csv": slices_csv(summary, data, table) if slices else csv_text(table),
                "tex": latex(table),
            }
            for suffix, text in forms.items():
                path = folder / f"{table.name}.{suffix}"
                write_text(path, text)
                files.append(path)
    return files


def _remove_stale(folder: Path, written: set[Path]) -> None:
    for part in ("tables", "figures"):
        for path in sorted((folder / part).glob("*")):
            if path.is_file() and path not in written:
                path.unlink()


def summary_text(summary: Summary, *, most: int = MOST_TERMINAL_ROWS) -> str:
    """A short plain-text table: accuracy, the paired difference to scratch, the verdict; best first where long."""
    blocks = []
    for data in summary.datasets:
        rows = summary.rows_of(data)
        if len(rows) > most:
            keep = [row for row in rows if row.group.role == "scratch" or row.group.quality == "uniform"][: most // 2]
            taught = [row for row in rows if row.group.has_teacher and "validation/accuracy" in row.metrics]
            taught.sort(key=lambda row: -row.metrics["validation/accuracy"].estimate)
            rows_shown = [*keep, *taught[: most - len(keep)]]
        else:
            rows_shown = rows
        cells = [["setting", "n", "test accuracy", "to scratch", "verdict"]]
        for row in rows_shown:
            against = row.against("scratch")
            word = against.verdicts.get("test/accuracy") if against else None
            gain = show_difference(against.differences.get("test/accuracy")) if against else "–"
            mark = " *" if row is summary.best(data) else ""
            failed = f" ({row.group.failed} failed)" if row.group.failed else ""
            cells.append(
                [
                    row.group.label + mark,
                    f"{num_units(row)}{failed}",
                    show(row.metrics.get("test/accuracy")),
                    gain,
                    str(word) if word else "–",
                ]
            )
        widths = [max(len(line[column]) for line in cells) for column in range(len(cells[0]))]
        table = [
            "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in cells
        ]
        rest = len(rows) - len(rows_shown)
        notes = ["* best on validation accuracy"] if summary.best(data) in rows_shown else []
        notes += [f"{rest} more rows in the report"] if rest > 0 else []
        if rows:
            blocks.append("\n".join([data, *table, *notes]))
        if tuned := summary.tuning_of(data)[:most]:
            best = [f"  {row.group.label}: {show(row.metrics['validation/accuracy'])}" for row in tuned]
            blocks.append("\n".join([f"{data}, validation accuracy of a tuning phase, best first", *best]))
    if summary.failed:
        blocks.append(f"{summary.failed} failed")
    return "\n\n".join(blocks)
