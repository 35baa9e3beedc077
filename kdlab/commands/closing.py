"""What a sweep has shown, in a few rows at its end: means, paired differences to scratch, verdicts.

Aggregated from the records of the store as the report does it; the report has every row, figure and command.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from kdlab.commands.table import Column, show
from kdlab.commands.wording import first_line
from kdlab.saying import say

if TYPE_CHECKING:
    from kdlab.reporting.aggregate import ResultRow, Summary
    from kdlab.reporting.intervals import Interval

MOST_ROWS = 15


def close(name: str, *, store_root: Path) -> None:
    """Print the summary of a study; what goes wrong here is told and does not fail the sweep."""
    try:
        _close(name, store_root)
    except Exception as error:  # the runs are finished and recorded, whatever is wrong with their summary
        say(f"note: the summary of study {name} could not be made ({first_line(error)}); its runs are not affected")


def _close(name: str, store_root: Path) -> None:
    from kdlab.reporting.aggregate import summarize
    from kdlab.reporting.sources import study_lines

    lines = study_lines(store_root, store_root / "no reports", name)  # from the store alone
    summary = summarize(lines)
    for data in summary.datasets:
        rows, tuned = summary.rows_of(data), summary.tuning_of(data)
        if rows:
            _say_results(data, rows, summary)
        if tuned:
            _say_tuning(data, tuned)
        if not rows and not tuned:
            _say_teachers(data, [row for row in summary.teachers if row.group.data == data])


def _say_results(data: str, rows: Sequence["ResultRow"], summary: "Summary") -> None:
    from kdlab.reporting.tables import num_units

    best, shown = summary.best(data), telling(rows, summary.best(data))
    cells = []
    for row in shown:
        against = row.against("scratch")
        difference = against.differences.get("test/accuracy") if against else None
        word = against.verdicts.get("test/accuracy") if against else None
        failed = f" ({row.group.failed} failed)" if row.group.failed else ""
        cells.append(
            [
                row.group.label + (" *" if row is best else ""),
                f"{num_units(row)}{failed}",
                _mean(row.metrics.get("test/accuracy")),
                _mean(difference, sign="+"),
                "" if word is None else str(word),
                _mean(row.metrics.get("test/ece"), alone=True),
                _mean(row.metrics.get("ood/mean_gap"), alone=True),
            ]
        )
    titles = ("n", "test accuracy", "to scratch")
    columns = [Column("setting", yields=True), *(Column(title, "right") for title in titles), Column("verdict")]
    columns += [Column("ECE", "right"), Column("OOD gap", "right")]
    say(f"\n{data}:")
    show(columns, cells)
    notes = ["* best on validation"] if best is not None and best in shown else []
    notes += [f"{100 * summary.level:g} % intervals; differences are paired with the scratch twins"]
    if rest := len(rows) - len(shown):
        notes.append(f"{rest} more rows: kdlab report {summary.header.get('name')}")
    say("; ".join(notes))
    if not any(_has_interval(row.metrics.get("test/accuracy")) for row in rows):
        say(f"no interval and no verdict: {_why_none(rows)}")


def telling(rows: Sequence["ResultRow"], best: "ResultRow | None", *, most: int = MOST_ROWS) -> list["ResultRow"]:
    """The most telling rows, in the order of the report where all fit.

    Else scratch, the best on validation, its controls, and then the highest validation accuracies: nothing is chosen on
    the test set.
    """
    if len(rows) <= most:
        return list(rows)

    def rank(row: "ResultRow") -> tuple[int, float]:
        accuracy = row.metrics.get("validation/accuracy")
        value = -accuracy.estimate if accuracy is not None else 0.0
        turn = 0 if row.group.role == "scratch" else 1 if row is best else 2
        return turn, value

    taught = [row for row in rows if row.group.has_teacher or row.group.role == "scratch"]
    controls = [row for row in rows if row not in taught]
    kept = [*sorted(controls, key=rank)[: most // 5], *sorted(taught, key=rank)]
    return sorted(kept[:most], key=lambda row: rank(row) if row in taught else (1, 1.0))


def _say_tuning(data: str, rows: Sequence["ResultRow"]) -> None:
    shown = rows[:MOST_ROWS]
    say(f"\n{data}, validation alone, best first:")
    cells = []
    for row in shown:
        accuracy = row.metrics.get("validation/accuracy")
        n = 0 if accuracy is None else accuracy.n
        cells.append([row.group.label, str(n), _mean(accuracy), _mean(row.metrics.get("validation/ece"), alone=True)])
    columns = [
        Column("setting", yields=True),
        Column("n", "right"),
        Column("accuracy", "right"),
        Column("ECE", "right"),
    ]
    show(columns, cells)
    if len(rows) > len(shown):
        say(f"{len(rows) - len(shown)} more rows in the report")


def _say_teachers(data: str, rows: Sequence["ResultRow"]) -> None:
    if not rows:
        return
    say(f"\n{data}:")
    keys = ("test/accuracy", "test/ece", "ood/mean_gap")
    cells = [
        [
            row.group.label,
            str(len(row.group.runs)),
            *(_mean(row.metrics.get(key), alone=key != keys[0]) for key in keys),
        ]
        for row in rows[:MOST_ROWS]
    ]
    titles = ("n", "test accuracy", "ECE", "OOD gap")
    show([Column("teacher", yields=True), *(Column(title, "right") for title in titles)], cells)


def _mean(found: "Interval | None", *, sign: str = "", alone: bool = False) -> str:
    """``0.6312 ± 0.0053``; the estimate alone where there is no interval, or where that is enough."""
    if found is None:
        return ""
    half = found.half_width
    return f"{found.estimate:{sign}.4f}" + ("" if half is None or alone else f" ± {half:.4f}")


def _has_interval(found: "Interval | None") -> bool:
    return found is not None and found.half_width is not None


def _why_none(rows: Sequence["ResultRow"]) -> str:
    found = [row.metrics["test/accuracy"] for row in rows if "test/accuracy" in row.metrics]
    if all(one.n < 2 for one in found):
        return "intervals need two units, seed=0,1 or more"
    return next((one.reason for one in found if one.reason), "see the report")
