"""What a view shows: one study, or all runs of a project; its axes and slices, and what is said about it."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

#: What every view has axes for: T, alpha, size of the student, quality of the teacher.
KNOBS = ("objective.temperature", "objective.alpha", "student.width", "teacher.quality.name")
ARM = "study.arm"
#: Groups whose choice stands in the config as one value; the choices of others are many values.
_NAMED = {"data": "data.name", "teacher/quality": "teacher.quality.name"}
_OOD = "ood/"


@dataclass(frozen=True)
class Subject:
    """What a view shows.

    Args:
        name: of the study; None for all runs of a project.
        axes: keys of the config that its runs differ in, those of its grid first.
        arms: names of its arms.
        slices: names of the test sets under shift that were measured.
        header: the line that the study opens with (question, hypothesis, says, command, ...).
        results: its short table of results in Markdown, with verdicts; empty where there are none.
    """

    name: str | None
    axes: tuple[str, ...] = KNOBS
    arms: tuple[str, ...] = ()
    slices: tuple[str, ...] = ()
    header: Mapping[str, Any] | None = None
    results: str = ""

    @property
    def title(self) -> str:
        """What its views are called; W&B takes no ``+`` in the name of a workspace."""
        return "kdlab: " + ("all studies" if self.name is None else self.name.replace("+", "-"))

    @property
    def grouped_by(self) -> str:
        """The key of the config whose values are compared as bars."""
        return KNOBS[-1] if self.name is None else self.axes[0]


def study_subject(header: Mapping[str, Any], *, metrics: Iterable[str], results: str = "") -> Subject:
    """What the views of a study show.

    Args:
        header: the line that the study opens with.
        metrics: names of what was measured in its runs.
        results: its short table of results in Markdown.
    """
    arms = tuple(header.get("arms") or {})
    varied = [_NAMED.get(key, key) for key in header.get("grid") or {}]
    keys = [key for key in varied if "." in key and not key.endswith("seed") and not set("/@+~") & set(key)]
    axes = dict.fromkeys([*([ARM] if len(arms) > 1 else []), *keys, *KNOBS])
    gaps = {name.removesuffix("/gap") for name in metrics if name.endswith("/gap") and not name.startswith(_OOD)}
    return Subject(str(header["name"]), tuple(axes), arms, tuple(sorted(gaps)), header, results)
