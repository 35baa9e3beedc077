"""The runs that a config asks for, before anything is done about them."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from kdlab.records.identity import run_id
from kdlab.schema.config import RunConfig


@dataclass(frozen=True)
class PlannedRun:
    """A run that a config asks for, before anything is done about it.

    Args:
        role: student, scratch or teacher.
        config: its config.
        identity_config: what trains it.
        identity: the hash of that.
        parent: the trained teacher that a transformed one comes from.
        overrides: of what the user asked for, what concerns this run.
        members: the teachers that an ensemble is made of.
        taught_by: the teacher of a teacher that was taught itself.
    """

    role: Literal["student", "scratch", "teacher"]
    config: RunConfig
    identity_config: Mapping[str, Any]
    identity: str
    parent: "PlannedRun | None" = None
    overrides: tuple[str, ...] = ()
    members: "tuple[PlannedRun, ...]" = ()
    taught_by: "PlannedRun | None" = None

    @property
    def sources(self) -> "tuple[PlannedRun, ...]":
        """The teachers that must be there before this one can be made."""
        return (*filter(None, (self.parent, self.taught_by)), *self.members)

    def lineage(self) -> "list[PlannedRun]":
        """Everything that must be there before it, in that order, and itself; each once."""
        runs = [run for source in self.sources for run in source.lineage()]
        return list({run.run_id: run for run in [*runs, self]}.values())

    @property
    def depth(self) -> int:
        """How many must be made one after the other before it."""
        return 1 + max((source.depth for source in self.sources), default=-1)

    @property
    def run_id(self) -> str:
        """The name of its folder."""
        return run_id(self.identity)

    @property
    def seeds(self) -> dict[str, int | None]:
        """The seeds of the unit this run belongs to."""
        return {"student": None, "teacher": None, "data": self.config.data.seed} | _role_seeds(self)


@dataclass(frozen=True)
class Plan:
    """A point of a sweep: the run, and what it needs.

    Args:
        run: the run itself.
        twin: its scratch twin; the run itself where that learns from labels alone.
        teacher: the teacher that one of its terms learns from, or None.
        timed_beside: model spec of the teacher that student and twin are timed beside, whether or not it teaches, so
            that a twin's latency is its student's; or None.
    """

    run: PlannedRun
    twin: PlannedRun
    teacher: PlannedRun | None
    timed_beside: Mapping[str, Any] | None = None

    def runs(self) -> list[PlannedRun]:
        """Everything to be found or trained, in the order it is needed (a teacher behind those it comes from)."""
        teachers = [] if self.teacher is None else self.teacher.lineage()
        ordered = [*teachers, self.twin, self.run]
        return list({planned.run_id: planned for planned in ordered}.values())


def _role_seeds(planned: PlannedRun) -> dict[str, int | None]:
    described = planned.identity_config
    taught_by = described if planned.role == "teacher" else described.get("teacher") or {}
    known = {**taught_by.get("parent", {}).get("seeds", {}), **taught_by.get("seeds", {})}
    teacher_seed = known.get("teacher")
    return {"teacher": teacher_seed, "student": None if planned.role == "teacher" else planned.config.seed}
