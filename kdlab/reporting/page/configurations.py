"""The configurations of a study: means, intervals, paired differences and verdicts, as the tables have them."""

import math
from collections.abc import Iterable, Sequence
from typing import Any

from kdlab.reporting.aggregate import Comparison, ResultRow, Summary, twin_rows
from kdlab.reporting.dark_knowledge import panels
from kdlab.reporting.figures import pooled_bins
from kdlab.reporting.groups import rerun_command, seeds_of
from kdlab.reporting.intervals import Interval, Row, interval
from kdlab.reporting.page.columns import short
from kdlab.reporting.table import show, show_difference
from kdlab.reporting.tables import num_units, show_metric, slice_names

#: A configuration's own numbers are few: they keep the digits of the record.
EXACT_DIGITS = 6


def rows_of(summary: Summary) -> list[ResultRow]:
    """Every configuration: those measured on the test set, those of a tuning phase, the teachers."""
    return [*summary.rows, *summary.tuning, *summary.teachers]


def configurations(
    summary: Summary, rows: Sequence[ResultRow], *, curves: Iterable[str], metrics: Sequence[str]
) -> list[dict[str, Any]]:
    """All that the page says of every configuration."""
    place = {id(row): number for number, row in enumerate(rows)}
    best = {id(_best(summary, data)) for data in summary.datasets}
    curves, known = list(curves), _dark_knowledge(summary)
    made = []
    for row in rows:
        group = row.group
        relatives = {"scratch": _scratch(row, rows), "teacher": summary.teacher_of(row)}
        found = {key: one for key in metrics if (one := row.metrics.get(key) or summary.interval_of(group, key))}
        made.append(
            {
                "label": group.label,
                "data": group.data,
                "role": group.role,
                "quality": group.quality,
                "arms": list(group.arms),
                "phase": group.phase,
                "knobs": dict(group.knobs),
                "n": num_units(row),
                "failed": group.failed,
                "best": id(row) in best,
                "command": rerun_command(group, header=summary.header),
                **{name: place[id(other)] if other else None for name, other in relatives.items()},
                "metrics": {key: _numbers(one) for key, one in found.items()},
                "reasons": {key: one.reason for key, one in found.items() if one.reason},
                "shown": _shown(summary, row, found),
                "retained": {"text": show(row.retained), "numbers": _numbers(row.retained)} if row.retained else None,
                "comparisons": [_comparison(against) for against in row.comparisons],
                "gaps_to_scratch": _gaps(summary, row),
                "bins": _bins(row),
                "dark_knowledge": known.get(id(row)),
                "curves": {key: band for key in curves if (band := _band(row, key, summary.level)) is not None},
            }
        )
    return made


def _best(summary: Summary, data: str) -> ResultRow | None:
    """The best on validation; of a study that only tuned, the best of its tuning phase."""
    return summary.best(data) or next(iter(summary.tuning_of(data)), None)


def _scratch(row: ResultRow, rows: Iterable[ResultRow]) -> ResultRow | None:
    """The scratch twins of a configuration; those of a tuning phase are a row of it too."""
    twins = {run["twin"] for run in row.group.runs if run.get("twin")}
    scratch = (found for found in rows if found.group.role == "scratch")
    return next((found for found in scratch if any(run["run_id"] in twins for run in found.group.runs)), None)


def _numbers(found: Interval | None) -> list[float | None] | None:
    """``[estimate, low, high, n]``."""
    if found is None:
        return None
    return [*short([found.estimate, found.low, found.high], digits=EXACT_DIGITS), found.n]


def _shown(summary: Summary, row: ResultRow, found: dict[str, Interval]) -> dict[str, str]:
    """The numbers of the tables, written as they write them."""
    return {key: show_metric(summary, row, key) for key in found if key in row.metrics}


def _comparison(against: Comparison) -> dict[str, Any]:
    """The paired differences to a reference: numbers, text, verdict, and the effect that could have been detected."""
    metrics = {
        metric: {
            "numbers": _numbers(found),
            "text": show_difference(found),
            "verdict": None if (word := against.verdicts[metric]) is None else str(word),
            "detectable": short(against.detectable[metric]),
            "reason": found.reason,
        }
        for metric, found in against.differences.items()
    }
    return {"kind": against.kind, "reference": against.reference, "metrics": metrics}


def _gaps(summary: Summary, row: ResultRow) -> dict[str, Any]:
    """Slice -> the paired difference of its gap to the scratch twins'."""
    group, ratio = row.group, summary.ratios[row.group.data]
    if group.role != "student":
        return {}
    names = slice_names(summary, group.data)
    found = {name: rows for name in names if (rows := twin_rows(group, summary.by_id, f"{name}/gap"))}
    return {name: _numbers(interval(rows, level=summary.level, test_ratio=ratio)) for name, rows in found.items()}


def _bins(row: ResultRow) -> dict[str, list[float | None]] | None:
    """Bins of the reliability diagram, pooled over the runs; null where a bin is empty."""
    found = pooled_bins(row)
    if found is None:
        return None
    parts = zip(("count", "confidence", "accuracy"), found, strict=True)
    return {name: [short(float(v)) for v in values] for name, values in parts}


def _dark_knowledge(summary: Summary) -> dict[int, dict[str, Any]]:
    """What the teachers say of the wrong classes, by the id of their row; null where it is undefined."""
    found = (told for data in summary.datasets if (told := panels(summary, data)) is not None)
    return {
        id(panel.row): {
            "set": measure.set_name,
            "temperature": measure.temperature,
            "class_names": list(measure.class_names),
            "n": panel.num_teachers,
            "shares": short(panel.shares.tolist()),
        }
        for measure, every in found
        for panel in every
    }


def _band(row: ResultRow, key: str, level: float) -> list[list[float | None]] | None:
    """``[steps, means, lows, highs]`` of a curve, at the steps that all runs of a configuration share."""
    runs = [run for run in row.group.runs if run["curves"].get(key)]
    points = [dict(map(tuple, run["curves"][key])) for run in runs]
    steps = sorted(set.intersection(*map(set, points))) if points else []
    if len(steps) < 2:
        return None
    seeds = [seeds_of(run) for run in runs]
    seeds = [(data, teacher if row.group.has_teacher else None, student) for data, teacher, student in seeds]
    bands = []
    for step in steps:
        values = [(unit, one[step]) for unit, one in zip(seeds, points, strict=True)]
        if any(value is None or not math.isfinite(value) for _, value in values):
            return None
        bands.append(interval([Row(*unit, value) for unit, value in values], level=level))
    ends = [[short(getattr(band, end)) for band in bands] for end in ("estimate", "low", "high")]
    return [short(steps, digits=EXACT_DIGITS), *ends]
