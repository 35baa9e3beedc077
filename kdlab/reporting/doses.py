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
    """The metrics that the study shows by dose."""
    return list(summary.header.get("responses") or []) if summary.header.get("doses") else []


def responses_of(summary: Summary, data: str, metric: str) -> list[Response]:
    """A metric at every dose whose arm has measured it, by dose."""
    found = []
    values = (summary.header.get("doses") or {}).get("values") or {}
    for arm, dose in sorted(values.items(), key=lambda item: float(item[1])):
        try:
            group = group_of(summary, data, arm)
        except UnresolvedError:
            continue
        value = summary.interval_of(group, metric)
        if value is not None:
            found.append(_response(summary, float(dose), group, metric, value))
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
    metrics = asked_responses(summary)
    found = [(metric, one) for metric in metrics for one in responses_of(summary, data, metric)]
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


def better(metric: str) -> str:
    """``higher is better``; empty for a metric that is not compared."""
    word = direction(metric)
    return f"{word} is better" if word != "none" else ""
