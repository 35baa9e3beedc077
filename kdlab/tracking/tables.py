"""The tables a run shows beside its curves: the reliability diagram of the test set and the slices."""

from kdlab.records.record import RunRecord
from kdlab.tracking.base import Table

Row = list[float | str | None]


def run_tables(record: RunRecord) -> dict[str, Table]:
    """``reliability`` (the bins of the test set, else of validation) and ``slices`` (accuracy, gap, reference)."""
    tables: dict[str, Table] = {}
    measured = next((name for name in ("test", "validation") if name in record.bins), None)
    if measured is not None:
        tables["reliability"] = _reliability(record, measured)
    if record.slices:
        tables["slices"] = _slices(record)
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
