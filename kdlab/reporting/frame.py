"""A study as a pandas DataFrame: one row per run."""

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from kdlab.reporting.compact import Line, split_lines
from kdlab.reporting.groups import is_seed, number, parse_overrides, quality_of

if TYPE_CHECKING:
    import pandas as pd

FIRST = (
    "run_id",
    "role",
    "status",
    "data",
    "arm",
    "phase",
    "student_seed",
    "teacher_seed",
    "data_seed",
    "teacher_id",
    "teacher_quality",
    "twin",
    "parent",
)


def frame(lines: Iterable[Line]) -> "pd.DataFrame":
    """One row per run: who it is, its seeds, the knobs it was asked for with, and every metric as a column.

    Args:
        lines: the lines of ``records.jsonl``.

    Returns:
        A frame whose first columns are run id, role, status, data, arm, phase, seeds and teacher; then the override
        keys that are the same in all points of a run (numbers as numbers); then the metrics (missing where undefined).
    """
    import pandas as pd

    _, runs = split_lines(lines)
    rows = [_row(run) for run in sorted(runs, key=lambda run: str(run["run_id"]))]
    knobs = sorted({key for _, knobs, _ in rows for key in knobs})
    metrics = sorted({key for _, _, metrics in rows for key in metrics})
    table = pd.DataFrame([first | knob | metric for first, knob, metric in rows], columns=[*FIRST, *knobs, *metrics])
    for seed in ("student_seed", "teacher_seed", "data_seed"):
        table[seed] = table[seed].astype("Int64")
    for metric in metrics:
        table[metric] = table[metric].astype("float64")
    return table


def _row(run: Line) -> tuple[dict[str, Any], dict[str, Any], dict[str, Any]]:
    seeds, teacher, members = run["seeds"], run.get("teacher") or {}, run["members"]
    first = {
        "run_id": run["run_id"],
        "role": run["role"],
        "status": run["status"],
        "data": run["data"],
        "arm": ", ".join(sorted({member["arm"] for member in members if member.get("arm")})) or None,
        "phase": ", ".join(sorted({member["phase"] for member in members if member.get("phase")})) or None,
        "student_seed": seeds.get("student"),
        "teacher_seed": seeds.get("teacher"),
        "data_seed": seeds.get("data"),
        "teacher_id": teacher.get("id"),
        "teacher_quality": quality_of(run),
        "twin": run.get("twin"),
        "parent": run.get("parent"),
    }
    points = [parse_overrides(member["overrides"]) for member in members]
    common = set.intersection(*(set(point.items()) for point in points)) if points else set()
    knobs = {key: _typed(value) for key, value in common if not is_seed(key) and key not in FIRST}
    return first, knobs, dict(run["metrics"])


def _typed(text: str) -> float | int | str:
    value = number(text)
    if value is None:
        return text
    return int(value) if value.is_integer() and "." not in text and "e" not in text.lower() else value
