"""The tables of a study of planted failures."""

from collections.abc import Mapping, Sequence

from kdlab.reporting.diagnosis.planted import NONE
from kdlab.reporting.diagnosis.rows import Case
from kdlab.reporting.diagnosis.scores import CLASSES, Detection, Share, confusion, f1_scores
from kdlab.reporting.table import NOTHING, Table


def words(name: str) -> str:
    """A failure as people say it."""
    return name.replace("_", " ")


def percent(found: Share) -> str:
    """``4 of 5 (28 to 99 %)``."""
    return f"{found.hits} of {found.total} ({100 * found.low:.0f} to {100 * found.high:.0f} %)"


def confusion_table(cases: Sequence[Case]) -> Table:
    """What was planted by what was named, with the F1 of each class."""
    counts = confusion(cases)
    scores = f1_scores(counts)
    planted = [name for name in CLASSES if name in scores]
    rows = [
        [words(name), *(str(counts[name, said] or NOTHING) for said in CLASSES), f"{scores[name]:.2f}"]
        for name in planted
    ]
    records: list[Mapping[str, object]] = [
        {"planted": name, **{said: counts[name, said] for said in CLASSES}, "f1": float(f"{scores[name]:.6g}")}
        for name in planted
    ]
    columns = ["Planted", *(words(name) for name in CLASSES), "F1"]
    return Table("diagnosis_confusion", "Planted and named", columns, rows, [""] * len(rows), records)


def detection_table(found: Sequence[Detection]) -> Table:
    """Every planted arm: its effect, and how often it was seen and named first."""
    rows = [
        [
            " + ".join(words(name) for name in one.failures),
            one.severity,
            _points(one.effect),
            _points(one.harm),
            percent(one.fired),
            percent(one.first),
        ]
        for one in found
    ]
    records: list[Mapping[str, object]] = [
        {
            "arm": one.arm,
            "effect": _six(one.effect),
            "to_scratch": _six(one.harm),
            "fired": one.fired.hits,
            "named_first": one.first.hits,
            "count": one.fired.total,
        }
        for one in found
    ]
    columns = ["Planted", "Severity", "Effect", "To scratch", "All seen", "Named first"]
    return Table("diagnosis_detection", "Detection by severity", columns, rows, [""] * len(rows), records)


def healthy_table(arms: Mapping[str, Sequence[Case]]) -> Table:
    """Every healthy arm, and what fired there."""
    rows, records = [], list[Mapping[str, object]]()
    for arm, cases in arms.items():
        if cases[0].planted.names:
            continue
        fired = [name for case in cases for name in case.fired]
        said = ", ".join(f"{words(name)} {fired.count(name)}" for name in dict.fromkeys(fired)) or words(NONE)
        alarms = sum(bool(case.fired) for case in cases)
        rows.append([cases[0].planted.recipe, str(len(cases)), str(alarms), said])
        records.append({"arm": arm, "count": len(cases), "alarms": alarms, "fired": said})
    return Table(
        "diagnosis_healthy",
        "Healthy recipes",
        ["Recipe", "Runs", "Alarms", "What fired"],
        rows,
        [""] * len(rows),
        records,
    )


def _points(value: float | None) -> str:
    return NOTHING if value is None else f"{100 * value:+.1f}".replace("-", "−")


def _six(value: float | None) -> float | None:
    return None if value is None else float(f"{value:.6g}")
