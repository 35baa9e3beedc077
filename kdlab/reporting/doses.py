"""Arms as a dose-response: what the student measures at every dose, beside its scratch twin and the uniform control."""

from collections.abc import Sequence
from dataclasses import dataclass

from kdlab.keys import direction
from kdlab.reporting.aggregate import Summary, twin_rows
from kdlab.reporting.groups import Group, rerun_command
from kdlab.reporting.intervals import Interval, Row, interval
from kdlab.reporting.resolving import UnresolvedError, group_of
from kdlab.reporting.table import Table, parts, show, show_difference, table_name


@dataclass(frozen=True)
class Response:
    """A metric at a dose.

    Args:
        dose: how much.
        group: the students.
        value: their mean.
        scratch: the mean of their scratch twins.
        uniform: the mean of the uniform control with the same settings.
        to_scratch: the paired difference to the twins.
        to_uniform: the paired difference to the control.
    """

    dose: float
    group: Group
    value: Interval
    scratch: Interval | None
    uniform: Interval | None
    to_scratch: Interval | None
    to_uniform: Interval | None


def asked_responses(summary: Summary) -> list[str]:
    """What the study shows by dose: metrics, or quantities of the slices that are its doses."""
    return list(summary.header.get("responses") or []) if summary.header.get("doses") else []


def series_of(summary: Summary, data: str, response: str) -> dict[str, list[Response]]:
    """A response at every dose that has been measured, by dose: of the students, or of each arm where slices are doses.

    Returns:
        The name of a line of the figure -> its points.
    """
    doses = summary.header["doses"]
    if doses.get("slices"):
        places = {f"{name}/{response}": float(dose) for name, dose in doses["slices"].items()}
        lines = {arm: [(arm, metric, dose) for metric, dose in places.items()] for arm in summary.header["arms"]}
    else:
        lines = {"student": [(arm, response, float(dose)) for arm, dose in doses["values"].items()]}
    found = {name: _measured(summary, data, asked) for name, asked in lines.items()}
    return {name: points for name, points in found.items() if points}


def _measured(summary: Summary, data: str, asked: Sequence[tuple[str, str, float]]) -> list[Response]:
    """(arm, metric, dose) -> its response, those that have one, by dose."""
    found = []
    for arm, metric, dose in sorted(asked, key=lambda one: one[2]):
        try:
            group = group_of(summary, data, arm)
        except UnresolvedError:
            continue
        value = summary.interval_of(group, metric)
        if value is not None:
            found.append(_response(summary, dose, group, metric, value))
    return found


def _response(summary: Summary, dose: float, group: Group, metric: str, value: Interval) -> Response:
    control = _control(summary, group)
    return Response(
        dose,
        group,
        value,
        _over(summary, group, _twins(summary, group, metric)),
        summary.interval_of(control, metric) if control else None,
        _over(summary, group, twin_rows(group, summary.by_id, metric)),
        summary.paired(group, control, metric) if control else None,
    )


def _over(summary: Summary, group: Group, rows: Sequence[Row]) -> Interval | None:
    return interval(rows, level=summary.level, test_ratio=summary.ratios[group.data]) if rows else None


def _twins(summary: Summary, group: Group, metric: str) -> list[Row]:
    """What the scratch twins of a group measured, each counted once."""
    twins = {run["twin"]: summary.by_id.get(run["twin"]) for run in group.runs if run.get("twin")}
    rows = []
    for twin in twins.values():
        value = twin["metrics"].get(metric) if twin is not None and twin["status"] == "finished" else None
        if twin is not None and value is not None:
            rows.append(Row(twin["seeds"].get("data"), None, twin["seeds"].get("student"), value))
    return rows


def _control(summary: Summary, group: Group) -> Group | None:
    """The uniform control that a group is compared with."""
    rows = summary.rows_of(group.data)
    against = next((row.against("uniform") for row in rows if row.group is group), None)
    controls = [row.group for row in rows if row.group.quality == "uniform"]
    return next((other for other in controls if against and other.label == against.reference), None)


def doses_table(summary: Summary, data: str) -> Table:
    """A row for each response and dose, with what it differs from scratch and from the uniform control."""
    found = [
        (response, one)
        for response in asked_responses(summary)
        for points in series_of(summary, data, response).values()
        for one in points
    ]
    label = str((summary.header.get("doses") or {}).get("label", "dose"))
    differences = {
        "scratch": any(one.to_scratch for _, one in found),
        "uniform": any(one.to_uniform for _, one in found),
    }
    shown = [name for name, is_there in differences.items() if is_there]
    cells, records = [], []
    for metric, one in found:
        to = {"scratch": one.to_scratch, "uniform": one.to_uniform}
        line = [metric, f"{one.dose:g}", one.group.label, str(one.value.n), show(one.value)]
        cells.append([*line, *(show_difference(to[name]) for name in shown)])
        record: dict[str, object] = {"data": data, "metric": metric, "dose": one.dose, "setting": one.group.label}
        record |= {**parts("value", one.value), **parts("scratch", one.scratch), **parts("uniform", one.uniform)}
        records.append({**record, **parts("to scratch", one.to_scratch), **parts("to uniform", one.to_uniform)})
    columns = ["Metric", label, "Setting", "n", "Mean", *(f"Δ to {name}" for name in shown)]
    commands = [rerun_command(one.group, header=summary.header) for _, one in found]
    name = table_name("doses", summary.datasets, data)
    return Table(name, f"Responses to {label}, on {data}", columns, cells, commands, records)


def better(response: str) -> str:
    """``higher is better``; empty for what is not compared."""
    word = direction(response if "/" in response else f"slice/{response}")
    return f"{word} is better" if word != "none" else ""
