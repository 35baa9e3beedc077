"""The tables a run shows beside its curves: the reliability diagram, the slices, the dark knowledge of a teacher."""

from kdlab.records.record import RunRecord
from kdlab.tracking.base import Table

Row = list[float | str | None]


def run_tables(record: RunRecord) -> dict[str, Table]:
    """``reliability`` (the bins of the test set, else of validation), ``slices`` (accuracy, gap, reference) and, of a
    teacher that is a network, ``dark_knowledge`` (true class, other class, share), which is drawn as a heat map.
    """
    tables: dict[str, Table] = {}
    measured = next((name for name in ("test", "validation") if name in record.bins), None)
    if measured is not None:
        tables["reliability"] = _reliability(record, measured)
    if record.slices:
        tables["slices"] = _slices(record)
    if record.dark_knowledge.get("probabilities"):
        tables["dark_knowledge"] = _dark_knowledge(record)
    return tables


def _reliability(record: RunRecord, name: str) -> Table:
    bins = record.bins[name]
    rows: list[Row] = [
        [f"{at / len(bins['count']):.3f}", count, confidence, accuracy, confidence - accuracy]
        for at, (count, confidence, accuracy) in enumerate(
            zip(bins["count"], bins["confidence"], bins["accuracy"], strict=True)
        )
        if count
    ]
    return Table(("bin_from", "count", "confidence", "accuracy", "overconfidence"), rows)


def _slices(record: RunRecord) -> Table:
    rows: list[Row] = [
        [
            name,
            facts["reference"],
            str(facts["ood"]),
            facts["size"],
            *(record.metrics.get(f"{name}/{key}") for key in ("accuracy", "gap", "ece")),
        ]
        for name, facts in sorted(record.slices.items())
    ]
    return Table(("slice", "reference", "ood", "size", "accuracy", "gap", "ece"), rows)


def _dark_knowledge(record: RunRecord) -> Table:
    """A row for every cell that is defined; classes carry their number, so that names do not change their order."""
    told = record.dark_knowledge
    names = [name if name == str(at) else f"{at} {name}" for at, name in enumerate(told["class_names"])]
    rows: list[Row] = [
        [true, other, share]
        for true, shares in zip(names, told["probabilities"], strict=True)
        for other, share in zip(names, shares, strict=True)
        if share is not None
    ]
    title = f"Shares among the wrong classes ({told['set']} set, T = {told['temperature']:g})"
    return Table(("true class", "other class", "share"), rows, heat_map=title)
