"""The lines of the speed table: what each must reach, what was measured, and how both are written.

``met`` is computed here from the value and the bar, in one place, and written nowhere else.
"""

import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from watch import Spread, Watch


@dataclass(frozen=True)
class Bar:
    """A line of the table.

    Args:
        figure: its name in ``bench.json``.
        title: what is measured.
        unit: ``x`` for a ratio, ``x faster`` for a speed-up.
        must: the bar; None for a line that is only told.
        aim: what is hoped for.
        better: whether a low or a high value is good.
    """

    figure: str
    title: str
    unit: str
    must: float | None = None
    aim: float | None = None
    better: Literal["low", "high"] = "low"

    def reaches(self, value: float | None, bar: float | None) -> bool | None:
        """Whether a value is on the good side of a bar; None where one of them is missing."""
        if value is None or bar is None:
            return None
        return value <= bar if self.better == "low" else value >= bar


def _bar(figure: str, title: str, unit: str, *bars: Any) -> Bar:
    return Bar(figure, title, unit, *bars)


_FASTER = ("x faster", None, None, "high")
BARS: dict[str, Bar] = {
    bar.figure: bar
    for bar in (
        _bar("single_run", "Single run with logging and validation over the bare cached fused loop", "x", 1.6, 1.1),
        _bar("cached_step", "Step with cached teacher over plain cross-entropy step", "x", 1.25, 1.18),
        _bar("training", "Training of a 25-point T x alpha sweep against plain Lightning", "x faster", 9, 14, "high"),
        _bar("sweep", "The same sweep, whole wall time: against torchdistill", "x faster", 4, 6, "high"),
        _bar("marginal", "One more student at K = 100 over the bare cached fused step, one thread", "x", 0.50, 0.38),
        _bar("marginal_all", "One more student at K = 100 over the bare cached fused step, all cores", "x", 0.28, 0.18),
        _bar("gemm", "Share of the 1024^3 GEMM peak at K = 100, one thread", "share", 0.30, 0.40, "high"),
        _bar("cnn1d", "cnn1d width 8, K = 25, against 25 bare runs in sequence", "x faster", 3.6, 5.8, "high"),
        _bar("start", "Process start to first training step", "s", 5, 3),
        _bar("composing", "Composing and validating one point of a 300-point sweep", "ms", 25, 9),
        _bar("per_student", "Evaluation, record and tracking per student of a sweep", "s", 0.3, 0.15),
        _bar("report", "Report over 10,000 records", "s", 10, 3),
        _bar("memory", "Memory of a 100-student stack over one student's process", "x", 2, 1.3),
        _bar("bare_plain", "Bare loop, plain cross-entropy, fused AdamW", "ms a step"),
        _bar("bare_cached", "Bare loop, cached logits, fused AdamW (the bare cached step)", "ms a step"),
        _bar("bare_online", "Bare loop, teacher online, fused AdamW", "ms a step"),
        _bar("lightning", "Plain Lightning, teacher online", "ms a step"),
        _bar("torchdistill", "torchdistill, its training loop, teacher online", "ms a step"),
        _bar("sweep_seconds", "The 25-point sweep with kdlab, whole wall time", "s"),
        _bar("cnn1d_all", "cnn1d width 8, K = 25, all cores, against 25 bare runs in sequence", *_FASTER),
        _bar("help", "kdlab sweep --help", "s"),
        _bar("average", "Cost of a student-step at K = 100 over the bare cached fused step, one thread", "x"),
        _bar("average_all", "Cost of a student-step at K = 100 over the bare cached fused step, all cores", "x"),
        _bar("fashion_mnist", "Fashion-MNIST, 75 points: stacked against one by one", *_FASTER),
        _bar("fashion_mnist_equal", "Fashion-MNIST: mean absolute difference of a run's test accuracy", "points"),
    )
}  # fmt: skip


class NotMeasured(Exception):
    """A line that cannot be measured here, and why; everything else that goes wrong is a failure."""


@dataclass(frozen=True)
class Line:
    """What was measured of a figure.

    Args:
        figure: which.
        value: the number; None where it could not be measured.
        how: what the numbers behind it are.
        low: the least of the repeats, ``high`` the largest.
        repeats: how many.
        threads: of the process that is measured.
        loaded: others were at work and it was kept all the same.
        load: cores that others kept busy at most.
        discarded: measurements taken again because of others.
    """

    figure: str
    value: float | None
    how: str
    low: float | None = None
    high: float | None = None
    repeats: int = 1
    threads: str = "1"
    loaded: bool = False
    load: float | None = None
    discarded: int = 0
    where: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        numbers = [one for one in (self.value, self.low, self.high) if one is not None]
        if self.figure not in BARS or not all(math.isfinite(one) and one >= 0 for one in numbers):
            raise ValueError(f"no line: {self.figure} = {self.value} ({self.low} to {self.high})")

    def plain(self) -> dict[str, Any]:
        """As it stands in ``bench.json``."""
        bar = BARS[self.figure]
        return {
            "figure": self.figure,
            "title": bar.title,
            "value": self.value,
            "unit": bar.unit,
            "must": bar.must,
            "aim": bar.aim,
            "met": bar.reaches(self.value, bar.must),
            "aim_met": bar.reaches(self.value, bar.aim),
            "low": self.low,
            "high": self.high,
            "repeats": self.repeats,
            "threads": self.threads,
            "how": self.how,
            "load": self.load,
            "loaded": self.loaded,
            "discarded": self.discarded,
            **self.where,
        }


def line(figure: str, found: Spread, watch: Watch, how: str, *, threads: str = "1") -> Line:
    """A line from the spread of its repeats."""
    return Line(figure, found.median, how, found.low, found.high, found.repeats, threads, watch.loaded,
                watch.load, watch.discarded)  # fmt: skip


def not_measured(figure: str, why: str) -> Line:
    """A line without a number."""
    return Line(figure, None, f"not measured: {why}", repeats=0)


def merged(before: Iterable[Mapping[str, Any]], now: Iterable[Line], *, failed: Iterable[str]) -> list[dict[str, Any]]:
    """All lines in the order of the table: those of now, those of before that were not measured now and did not fail.

    The bars of earlier lines are those of today, and so is what they meet.
    """
    lines = {entry["figure"]: dict(entry) for entry in before if entry["figure"] in BARS}
    for entry in lines.values():
        bar = BARS[entry["figure"]]
        entry |= {"title": bar.title, "unit": bar.unit, "must": bar.must, "aim": bar.aim,
                  "met": bar.reaches(entry["value"], bar.must),
                  "aim_met": bar.reaches(entry["value"], bar.aim)}  # fmt: skip
    lines |= {one.figure: one.plain() for one in now}
    return [lines[figure] for figure in BARS if figure in lines and figure not in set(failed)]


def read(path: Path) -> list[dict[str, Any]]:
    """The lines of a ``bench.json``; none where there is none."""
    return list(json.loads(path.read_text(encoding="utf-8"))) if path.exists() else []


def dump(value: Any) -> str:
    """JSON as it is committed; a number that is no number is refused."""
    return json.dumps(value, indent=1, allow_nan=False, ensure_ascii=False) + "\n"
