"""Results so far: the report's own tables over the runs that are there, made in memory when somebody asks."""

import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from kdlab.collector import collector_off
from kdlab.reporting.aggregate import Summary, summarize
from kdlab.reporting.sources import study_lines
from kdlab.reporting.tables import results_table, tuning_table

MOST_ROWS = 200
_ONE_AT_A_TIME = threading.Lock()


def results(store_root: Path, report_root: Path, name: str) -> dict[str, Any]:
    """The tables of a study as it stands: per data set the settings with n, accuracy, gains and verdicts.

    A study of ten thousand runs takes seconds: one at a time, so that several browsers do not take the machine from
    the sweep they watch.

    Raises:
        UserError: nobody knows the study, or a record or report of it cannot be read.
    """
    with _ONE_AT_A_TIME, collector_off():
        summary = summarize(study_lines(store_root, report_root, name))
        tables = [_table(summary, data) for data in summary.datasets]
    return {"level": summary.level, "failed": summary.failed, "tables": [table for table in tables if table["rows"]]}


def _table(summary: Summary, data: str) -> Mapping[str, Any]:
    table = results_table(summary, data)
    if not table.rows:  # a tuning phase looks at validation alone
        table = tuning_table(summary, data)
    order = _gains_first(table.columns)
    rows = [[row[at] for at in order] for row in table.rows[:MOST_ROWS]]
    columns = [table.columns[at] for at in order]
    return {"data": data, "title": table.title, "columns": columns, "rows": rows, "all": len(table.rows)}


def _gains_first(columns: Sequence[str]) -> list[int]:
    """The places of columns with gains and verdicts behind the accuracy: a screen is narrower than the table.

    >>> _gains_first(["Setting", "n", "Accuracy", "ECE", "Δ accuracy to scratch", "Verdict"])
    [0, 1, 2, 4, 5, 3]
    """
    gains = next((at for at, name in enumerate(columns) if name.startswith("Δ")), len(columns))
    accuracy = columns.index("Accuracy") + 1 if "Accuracy" in columns else gains
    return [*range(accuracy), *range(gains, len(columns)), *range(accuracy, gains)]
