"""What a view shows: one study, or all runs of a project; its axes and slices, and what is said about it."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

#: What every view has axes for: T, alpha, size of the student, quality of the teacher.
KNOBS = ("objective.temperature", "objective.alpha", "student.width", "teacher.quality.name")
ARM = "study.arm"
#: Groups whose choice stands in the config as one value; the choices of others are many values.
_NAMED = {"data": "data.name", "teacher/quality": "teacher.quality.name"}
_GAP = "/gap"


@dataclass(frozen=True)
class Subject:
    """What a view shows.

    Args:
        name: of the study; None for all runs of a project.
        axes: keys of the config that its runs differ in, those of its grid first.
        arms: names of its arms.
        measured: names of what was measured in its runs; None where that is not known, or may be anything.
        header: the line that the study opens with (question, hypothesis, says, command, ...).
        results: its short table of results in Markdown, with verdicts; empty where there are none.
    """

    name: str | None
    axes: tuple[str, ...] = KNOBS
    arms: tuple[str, ...] = ()
    measured: frozenset[str] | None = None
    header: Mapping[str, Any] | None = None
    results: str = ""

    @property
    def title(self) -> str:
        """What its views are called; W&B takes no ``+`` in the name of a workspace."""
        return "kdlab: " + ("all studies" if self.name is None else self.name.replace("+", "-"))

    def has(self, metric: str) -> bool:
        """Whether runs have this number."""
        return self.measured is None or metric in self.measured

    @property
    def place(self) -> str:
        """The set that runs are compared on: test, or validation where a choice is made on that alone."""
        return "test" if self.has("test/accuracy") else "validation"

    @property
    def gaps(self) -> tuple[str, ...]:
        """Names of the gaps of all test sets under shift that were measured."""
        return tuple(sorted(metric for metric in self.measured or () if metric.endswith(_GAP)))

    @property
    def grouped_by(self) -> str:
        """The key of the config whose values are compared as bars."""
        return KNOBS[-1] if self.name is None else self.axes[0]


def study_subject(header: Mapping[str, Any], runs: Iterable[Mapping[str, Any]], *, results: str = "") -> Subject:
    """What the views of a study show.

    Args:
        header: the line that the study opens with.
        runs: the compact records of its runs, as they stand behind that line.
        results: its short table of results in Markdown.
    """
    shown = [run for run in runs if run["role"] != "teacher"]
    measured = {metric for run in shown for metric, value in run["metrics"].items() if value is not None}
    arms = tuple(header.get("arms") or {})
    varied = [_NAMED.get(key, key) for key in header.get("grid") or {}]
    keys = [key for key in varied if "." in key and not key.endswith("seed") and not set("/@+~") & set(key)]
    sized = not shown or any("width" in run["identity"]["model"] for run in shown)  # a line with a gap is not drawn
    knobs = [knob for knob in KNOBS if knob != "student.width" or sized]
    axes = dict.fromkeys([*([ARM] if len(arms) > 1 else []), *keys, *knobs])
    return Subject(str(header["name"]), tuple(axes), arms, frozenset(measured) or None, header, results)
