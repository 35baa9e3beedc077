"""The tables of a report: results, tuning, comparisons, slices, teachers; each row with the command behind it."""

import math
import re
from collections import Counter
from collections.abc import Sequence

from kdlab.reporting.aggregate import Comparison, ResultRow, Summary
from kdlab.reporting.chosen import chosen_marks
from kdlab.reporting.groups import Group, rerun_command
from kdlab.reporting.intervals import Interval
from kdlab.reporting.keys import LABELS
from kdlab.reporting.lineage import has_several_teachers
from kdlab.reporting.table import NOTHING, Table, csv_text, parts, show, show_difference, table_name

MOST_SLICE_COLUMNS = 4
TEACHER_COST = "cost/teacher_train_seconds"


def show_latency(summary: Summary, row: ResultRow, metric: str) -> str:
    """``0.0372 [0.0341, 0.0405]``: three significant digits, with the interval over the blocks of the measurement.

    One measurement serves every seed of an architecture, so an interval over seeds would say nothing.
    """
    found = row.metrics.get(metric)
    if found is None:
        return NOTHING
    digits = max(0, 2 - math.floor(math.log10(found.estimate))) if found.estimate > 0 else 3
    ends = [summary.interval_of(row.group, f"{metric}_{end}") for end in ("low", "high")]
    texts = [f"{end.estimate:.{digits}f}" for end in ends if end is not None]
    return f"{found.estimate:.{digits}f}" + (f" [{', '.join(texts)}]" if len(texts) == 2 else "")


def num_units(row: ResultRow) -> int:
    """The units behind a row's accuracy."""
    found = row.metrics.get("test/accuracy") or next(iter(row.metrics.values()), None)
    return found.n if found else 0


def results_table(summary: Summary, data: str, *, rows: Sequence[ResultRow] | None = None) -> Table:
    """The main table of a data set: every group, its numbers, and what it gains over the references of the study."""
    chosen = summary.rows_of(data) if rows is None else rows
    used = [metric for metric in LABELS if any(metric in row.metrics for row in chosen)]
    references = _references(chosen)
    retained = any(row.retained for row in chosen)
    failed = any(row.group.failed for row in chosen)
    several = any(has_several_teachers(row.group.identity) for row in chosen)  # then what they cost tells arms apart
    columns = ["Setting", "n", *([] if not failed else ["Failed"])]
    for metric in used:
        columns.append(LABELS[metric])
        columns += ["Retained"] if metric == "test/accuracy" and retained else []
    for name in references:
        columns += [f"Δ accuracy to {name}", "Verdict"]
    columns += ["Teacher training (s)"] if several else []
    best = summary.best(data)
    cells, records = [], []
    for row in chosen:
        label = f"**{row.group.label}** (best on validation)" if row is best else row.group.label
        line = [label, str(num_units(row)), *([] if not failed else [str(row.group.failed)])]
        record: dict[str, object] = _identification(row.group)
        record |= {"n": num_units(row), "failed": row.group.failed, "best_on_validation": int(row is best)}
        for metric in used:
            line.append(show_metric(summary, row, metric))
            line += [show(row.retained)] if metric == "test/accuracy" and retained else []
        for metric in (*used, "validation/accuracy"):
            record |= parts(metric, row.metrics.get(metric))
        record |= parts("test/retained", row.retained)
        for name, place in references.items():
            against = row.against(*place)
            line += [show_difference(_difference(against, "test/accuracy")), _verdict(against, "test/accuracy")]
            record |= _compared(name, against)
        if several:
            cost = summary.interval_of(row.group, TEACHER_COST)
            line.append(NOTHING if cost is None else f"{cost.estimate:.1f}")
            record |= parts(TEACHER_COST, cost)
        cells.append(line)
        records.append(record)
    commands = [rerun_command(row.group, header=summary.header) for row in chosen]
    name = table_name("results", summary.datasets, data)
    return Table(name, f"Results on {data}", columns, cells, commands, records)


def _references(rows: Sequence[ResultRow]) -> dict[str, tuple[str, str | None]]:
    """What differences are shown to: the scratch twin, the uniform control, and arms that most rows are compared with.

    Returns:
        Name -> (kind, label of the reference) as ``ResultRow.against`` takes them.
    """
    found: dict[str, tuple[str, str | None]] = {}
    for kind in ("scratch", "uniform"):
        if any(row.against(kind) for row in rows):
            found[kind] = (kind, None)
    counts = Counter(one.reference for row in rows for one in row.comparisons if one.kind == "arm")
    most = [name for name, count in counts.items() if 2 * count > len(rows) and name not in found]
    return found | {name: ("arm", name) for name in most}


def show_metric(summary: Summary, row: ResultRow, metric: str) -> str:
    """A mean of a row; a price and a latency have one measurement for all seeds."""
    found = row.metrics.get(metric)
    if metric == "cost/step_ms_ratio" and found is not None:
        return f"{found.estimate:.2f}"
    return show_latency(summary, row, metric) if metric.endswith("_ms") else show(found)


def tuning_table(summary: Summary, data: str) -> Table:
    """What a tuning phase saw on validation, best first: the only table that reads its records."""
    columns = ["Setting", "n", "Validation accuracy", "Validation ECE"]
    cells, records, commands = [], [], []
    marks = chosen_marks(summary.tuning_of(data), summary.header)
    for row in summary.tuning_of(data):
        accuracy, ece = row.metrics["validation/accuracy"], row.metrics.get("validation/ece")
        label = f"**{row.group.label}** ({marks[row]})" if row in marks else row.group.label
        cells.append([label, str(accuracy.n), show(accuracy), show(ece)])
        measured = {"chosen": int(row in marks), **parts("validation/accuracy", accuracy)}
        measured |= parts("validation/ece", ece)
        records.append({**_identification(row.group), "n": accuracy.n, **measured})
        commands.append(rerun_command(row.group, header=summary.header))
    return Table(table_name("tuning", summary.datasets, data), f"Tuning on {data}", columns, cells, commands, records)


def comparisons_table(summary: Summary, data: str) -> Table:
    """Every paired difference with its interval, verdict and the effect that could have been detected."""
    columns = ["Setting", "Reference", "Metric", "n", "Difference", "Verdict", "Detectable"]
    cells, records, commands = [], [], []
    for row in summary.rows_of(data):
        for against in row.comparisons:
            for metric, difference in against.differences.items():
                found = against.detectable[metric]
                cells.append(
                    [
                        row.group.label,
                        against.reference,
                        metric,
                        str(difference.n),
                        show_difference(difference),
                        _verdict(against, metric),
                        NOTHING if found is None else f"{found:.4f}",
                    ]
                )
                records.append(
                    {
                        **_identification(row.group),
                        "kind": against.kind,
                        "reference": against.reference,
                        "metric": metric,
                        **parts("difference", difference),
                        "p": difference.p_value,
                        "reason": difference.reason,
                        "verdict": _verdict(against, metric),
                        "detectable": found,
                    }
                )
                commands.append(rerun_command(row.group, header=summary.header))
    title = f"Paired differences on {data}"
    return Table(table_name("differences", summary.datasets, data), title, columns, cells, commands, records)


def slice_names(summary: Summary, data: str) -> list[str]:
    """The slices of a data set, those that count as OOD first."""
    found: dict[str, bool] = {}
    for row in summary.rows_of(data):
        for run in row.group.runs[:1]:
            found |= {name: bool(facts.get("ood")) for name, facts in run["slices"].items()}
    return sorted(found, key=lambda name: (not found[name], _natural_parts(name)))


def _natural_parts(name: str) -> list[tuple[int, float, str]]:
    """``noise_10`` behind ``noise_2``."""
    return [
        (1, float(part), "") if re.fullmatch(r"\d+(\.\d+)?", part) else (0, 0.0, part)
        for part in re.split(r"(\d+(?:\.\d+)?)", name)
        if part
    ]


def slice_columns(summary: Summary, data: str) -> list[ResultRow]:
    """Whom the slices compare: all taught groups while they are few, else the best on validation; scratch; teacher."""
    best = summary.best(data)
    taught = [row for row in summary.rows_of(data) if row.group.has_teacher]
    if best is None:
        return [row for row in summary.rows_of(data) if row.group.role == "scratch"][:MOST_SLICE_COLUMNS]
    others = [summary.teacher_of(best), summary.scratch_of(best)]
    return [*filter(None, others), *(taught if len(taught) <= MOST_SLICE_COLUMNS else [best])]


def slices_table(summary: Summary, data: str) -> Table:
    """Gap of every slice: teacher, scratch and students side by side, and the best student's paired difference."""
    shown, best = slice_columns(summary, data), summary.best(data)
    scratch = summary.scratch_of(best) if best else None
    facts = {name: found for row in shown for run in row.group.runs[:1] for name, found in run["slices"].items()}
    columns = ["Slice", "OOD", "Reference", *(row.group.label for row in shown)]
    columns += ["Δ gap, best to scratch"] if best and scratch else []
    cells, records = [], []
    for name in slice_names(summary, data):
        metric = f"{name}/gap"
        line = (
            [name, "yes" if facts[name].get("ood") else "no", str(facts[name].get("reference"))]
            if name in facts
            else [name, NOTHING, NOTHING]
        )
        line += [show(summary.interval_of(row.group, metric)) for row in shown]
        if best and scratch:
            line.append(show_difference(summary.paired(best.group, scratch.group, metric)))
        cells.append(line)
        records += [
            {"slice": name, **_identification(row.group), **parts("gap", summary.interval_of(row.group, metric))}
            for row in (*summary.teachers, *summary.rows_of(data))
            if row.group.data == data
        ]
    name = table_name("slices", summary.datasets, data)
    return Table(name, f"Slices of {data}", columns, cells, [""] * len(cells), records)


def slices_csv(summary: Summary, data: str, table: Table) -> str:
    """The long form of the slices table: one line per slice and group."""
    groups = [row.group for row in (*summary.teachers, *summary.rows_of(data)) if row.group.data == data]
    commands = [rerun_command(group, header=summary.header) for group in groups] * len(slice_names(summary, data))
    return csv_text(Table(table.name, table.title, (), [()] * len(table.records), commands, table.records))


def teachers_table(summary: Summary, data: str) -> Table:
    """What the teachers measured."""
    metrics = (
        "test/accuracy",
        "test/nll",
        "test/ece",
        "test/log_fitted_temperature",
        "transfer/target_entropy",
        "ood/mean_gap",
        "latency/p99_ms",
    )
    heads = ("Accuracy", "NLL (nats)", "ECE", "log fitted T", "Target entropy (nats)", "Mean OOD gap", "p99 (ms)")
    teachers = [row for row in summary.teachers if row.group.data == data]
    found = [{metric: summary.interval_of(row.group, metric) for metric in metrics} for row in teachers]
    cells = [
        [
            row.group.label,
            str(len(row.group.runs)),
            *(show_latency(summary, row, m) if m.endswith("_ms") else show(values[m]) for m in metrics),
        ]
        for row, values in zip(teachers, found, strict=True)
    ]
    records = []
    for row, values in zip(teachers, found, strict=True):
        record = {**_identification(row.group), "n": len(row.group.runs)}
        for metric, value in values.items():
            record |= parts(metric, value)
        records.append(record)
    commands = [rerun_command(row.group, header=summary.header) for row in teachers]
    name = table_name("teachers", summary.datasets, data)
    return Table(name, f"Teachers on {data}", ["Teacher", "n", *heads], cells, commands, records)


def headline_rows(summary: Summary, data: str, *, most: int = 8) -> list[ResultRow]:
    """The rows of a first screen: all while they are few; else best by validation, its scratch twins, its uniform."""
    rows = summary.rows_of(data)
    best = summary.best(data)
    if len(rows) <= most or best is None:
        return rows
    against = best.against("uniform")
    uniform = [row for row in rows if against is not None and row.group.label == against.reference]
    return [*filter(None, [summary.scratch_of(best)]), *uniform, best]


def _identification(group: Group) -> dict[str, object]:
    return {
        "data": group.data,
        "setting": group.label,
        "role": group.role,
        "arm": " ".join(group.arms),
        "teacher_quality": group.quality,
    }


def _difference(against: Comparison | None, metric: str) -> Interval | None:
    return against.differences.get(metric) if against else None


def _verdict(against: Comparison | None, metric: str) -> str:
    found = against.verdicts.get(metric) if against else None
    return NOTHING if found is None else str(found)


def _compared(kind: str, against: Comparison | None) -> dict[str, object]:
    record: dict[str, object] = {f"{kind} reference": against.reference if against else None}
    for metric in against.differences if against else ():
        name = f"{metric} minus {kind}"
        record |= parts(name, _difference(against, metric))
        record |= {f"{name} verdict": _verdict(against, metric)}
        record |= {f"{name} detectable": against.detectable.get(metric) if against else None}
    return record
