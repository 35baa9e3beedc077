"""What the page of a study knows: its header, the meaning of its keys, its configurations and its runs.

Every mean, interval and verdict is made here, by the functions that make the tables; the page only shows. A study of
more values than a page may hold loses its details first, and the page names what it lost.
"""

from collections import Counter
from collections.abc import Iterator
from typing import Any, NamedTuple

from kdlab.keys import key_of
from kdlab.reporting.aggregate import Summary
from kdlab.reporting.groups import short_names, varied_knobs
from kdlab.reporting.keys import LABELS
from kdlab.reporting.page.configurations import configurations, rows_of
from kdlab.reporting.page.runs import runs_by_columns
from kdlab.reporting.tables import slice_names

MOST_VALUES = 900_000  # numbers of runs: about 2 MB of page
BANDS = ("validation/accuracy", "train/loss", "validation/nll")  # the curves whose means over seeds are drawn
HEADER = ("name", "question", "hypothesis", "says", "cost", "command", "arms", "compare", "sesoi", "grid")

ALWAYS_LEFT_OUT = (
    "predictions, weights, logs, and curves finer than 40 points",
    "digits of a single run's numbers behind the fourth",
)


class Detail(NamedTuple):
    """How much of every run a page holds.

    Args:
        metrics: the keys of the metrics.
        curves: the keys of the curves.
        whole: with the config that trains the network, and the bins of the reliability diagram.
    """

    metrics: list[str]
    curves: list[str]
    whole: bool


NUM_BINS = 15
FEW_CURVES = ("validation/accuracy", "train/loss")
FEW_SLICE_METRICS = ("accuracy", "gap")


def payload(summary: Summary) -> dict[str, Any]:
    """The data of the page; nothing in them depends on time, machine or user."""
    rows, slices = rows_of(summary), slices_of(summary)
    groups = [row.group for row in rows]
    detail, left_out = _detail(summary, set(slices))
    metrics, curves = detail.metrics, detail.curves
    varied = varied_knobs((group for group in groups if group.role != "teacher"), header=summary.header)
    names = short_names(varied)
    return {
        "study": {name: summary.header.get(name) for name in HEADER} | {"level": summary.level},
        "left_out": [*ALWAYS_LEFT_OUT, *left_out],
        "datasets": summary.datasets,
        "failed": summary.failed,
        "knobs": [{"key": key, "name": names[key]} for key in varied],
        "keys": _catalogue(sorted({*metrics, *(key for row in rows for key in row.metrics)})),
        "slices": slices,
        "num_runs": len(summary.by_id),
        "configurations": configurations(
            summary, rows, curves=[key for key in BANDS if key in curves], metrics=metrics
        ),
        "runs": runs_by_columns(summary, groups, curves=curves, metrics=metrics, whole=detail.whole),
    }


def slices_of(summary: Summary) -> dict[str, dict[str, Any]]:
    """Slice -> its facts (ood, reference, size), those that count as OOD first, of all data sets."""
    facts: dict[str, dict[str, Any]] = {}
    for run in summary.by_id.values():
        for name in run["slices"].keys() - facts.keys():
            facts[name] = run["slices"][name]
    names = [name for data in summary.datasets for name in slice_names(summary, data)]
    return {name: facts[name] for name in dict.fromkeys([*names, *sorted(facts)])}


def _detail(summary: Summary, slices: set[str]) -> tuple[Detail, list[str]]:
    """The most detail that fits, and what is left out for it."""
    metrics, points = _keys(summary, "metrics"), _keys(summary, "curves")
    left_out: list[str] = []
    for detail, loses in _details(sorted(metrics), sorted(points), slices):
        left_out += [loses] if loses else []
        a_run = len(detail.metrics) + NUM_BINS * 3 * detail.whole
        if a_run * len(summary.by_id) + sum(points[key] for key in detail.curves) <= MOST_VALUES:
            break
    return detail, left_out


def _keys(summary: Summary, part: str) -> Counter[str]:
    """Key -> how many values all runs have of it (points, for a curve)."""
    found: Counter[str] = Counter()
    for run in summary.by_id.values():
        found.update({key: len(one) for key, one in run[part].items()} if part == "curves" else run[part].keys())
    return found


def _details(metrics: list[str], curves: list[str], slices: set[str]) -> Iterator[tuple[Detail, str | None]]:
    """Less and less detail, each time with the words for what it loses."""
    yield Detail(metrics, curves, True), None
    few_curves = [key for key in curves if key in FEW_CURVES]
    yield Detail(metrics, few_curves, True), "curves other than validation accuracy and train loss"
    parts = [(key, *key.rsplit("/", 1)) for key in metrics]
    few = [key for key, place, *quantity in parts if place not in slices or quantity[0] in FEW_SLICE_METRICS]
    yield Detail(few, few_curves, True), "metrics of slices other than accuracy and gap"
    yield Detail(few, few_curves, False), "configs and reliability bins of single runs"
    yield Detail(few, [], False), "curves of single runs"


def _catalogue(keys: list[str]) -> dict[str, dict[str, Any]]:
    """Key -> what it is called in tables, its unit, what better is, its equation and its meaning."""
    found = {}
    for name in keys:
        key = key_of(name)
        facts = (
            {} if key is None else {part: getattr(key, part) for part in ("unit", "direction", "equation", "meaning")}
        )
        found[name] = {"label": LABELS.get(name, name), **facts}
    return found
