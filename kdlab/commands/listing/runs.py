"""The runs that are listed: those that left a record, and those that were planned, are going on or were killed."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from filelock import FileLock, Timeout

from kdlab.commands.listing.values import ABSENT
from kdlab.records import studies
from kdlab.records.record import RunRecord
from kdlab.records.store import Store

NAMES = ("run", "role", "status", "data", "arm", "quality", "seed", "study", "phase", "error")
#: Sections of its config that say nothing of a teacher: they are those of the student it was first made for.
_NOT_OF_TEACHERS = ("student", "objective", "training", "optimized_metric")


@dataclass(frozen=True)
class Listed:
    """One run as it is listed.

    Args:
        run_id: which.
        status: of its record, else ``running``, ``killed`` (begun, and nobody holds it) or ``missing`` (not begun).
        role: student, scratch or teacher; empty where nothing says.
        record: its record, None without one.
        overrides: what it was asked for with, key -> value.
        arms: the arms it belongs to.
        studies: the studies it belongs to.
        phases: the phases of those.
    """

    run_id: str
    status: str
    role: str
    record: RunRecord | None
    overrides: Mapping[str, str]
    arms: tuple[str, ...] = ()
    studies: tuple[str, ...] = ()
    phases: tuple[str, ...] = ()

    def value(self, key: str) -> Any:
        """What this run has at a key: a plain value, a tuple of several, or ``ABSENT``."""
        if key in NAMES:
            return self._named(key)
        if self.record is not None:
            if key in self.record.metrics:
                return self.record.metrics[key]
            if (found := self._told(key)) is not ABSENT:
                return found
        return self.overrides.get(key, ABSENT)

    def _named(self, key: str) -> Any:
        record = self.record
        several = {"arm": self.arms, "study": self.studies, "phase": self.phases}
        if key in several:
            return several[key] or ABSENT
        if key in ("run", "role", "status"):
            return {"run": self.run_id, "role": self.role, "status": self.status}[key]
        if record is None:
            return self.overrides.get("teacher/quality" if key == "quality" else key, ABSENT)
        if key == "data":
            return record.data
        if key == "error":
            return ABSENT if record.error is None else record.error.get("message", "")
        if key == "seed":
            return record.seeds.get("teacher" if record.role == "teacher" else "student")
        if record.role == "teacher":
            return ((record.config.get("teacher") or {}).get("quality") or {}).get("name", ABSENT)
        return ABSENT if record.teacher is None else record.teacher.get("quality", ABSENT)

    def _told(self, key: str) -> Any:
        """A dotted key of its config, or of what else its record tells (``provenance.seconds``)."""
        assert self.record is not None
        parts = key.split(".")
        of_student = self.role == "teacher" and parts[0] in _NOT_OF_TEACHERS
        found = ABSENT if of_student else _at(self.record.config, parts)
        if found is ABSENT and len(parts) > 1 and parts[0] in ("provenance", "seeds", "latency", "weights"):
            found = _at(getattr(self.record, parts[0]), parts[1:])
        return ABSENT if isinstance(found, Mapping) else found

    def keys(self) -> Iterator[str]:
        """Every key that it may be filtered by."""
        yield from self.overrides
        if self.record is not None:
            yield from self.record.metrics
            yield from (
                key
                for key in _leaves(self.record.config)
                if self.role != "teacher" or key.split(".")[0] not in _NOT_OF_TEACHERS
            )


def of_study(name: str, found: Mapping[str, studies.Study], store: Store) -> list[Listed]:
    """The runs of a study, those that are missing among them."""
    return _listed({member.run_id for member in found[name].members}, {name: found[name]}, store)


def of_store(found: Mapping[str, studies.Study], store: Store) -> list[Listed]:
    """The runs of a store that were at least begun."""
    return _listed({path.parent.name for path in store.root.glob("*/config.yaml")} | set(store.ids()), found, store)


def _listed(run_ids: set[str], found: Mapping[str, studies.Study], store: Store) -> list[Listed]:
    members: dict[str, list[tuple[str, studies.Member]]] = {}
    for name, study in found.items():
        for member in study.members:
            members.setdefault(member.run_id, []).append((name, member))
    listed = []
    for run_id in sorted(run_ids):
        record, mine = store.find(run_id), members.get(run_id, [])
        first = mine[0][1] if mine else None
        asked = list(first.overrides) if first else (record.overrides if record else [])
        listed.append(
            Listed(
                run_id,
                record.status if record else _status_of(run_id, store),
                first.role if first else (record.role if record else ""),
                record,
                dict(_split(line) for line in asked),
                tuple(sorted({member.arm for _, member in mine if member.arm})),
                tuple(sorted({name for name, _ in mine})),
                tuple(sorted({member.phase for _, member in mine if member.phase})),
            )
        )
    return listed


def _split(line: str) -> tuple[str, str]:
    key, _, value = line.lstrip("+~").partition("=")
    return key, value


def _status_of(run_id: str, store: Store) -> str:
    """Of a run without a record: nobody began it, somebody holds it, or whoever held it is gone."""
    if not store.folder(run_id).is_dir():
        return "missing"
    path = store.root / "locks" / f"{run_id}.lock"
    if not path.exists():
        return "killed"
    try:
        with FileLock(path, timeout=0):
            return "killed"
    except Timeout:
        return "running"


def _at(node: Any, parts: Sequence[str]) -> Any:
    for part in parts:
        if not isinstance(node, Mapping) or part not in node:
            return ABSENT
        node = node[part]
    return node


def _leaves(node: Mapping[str, Any], prefix: str = "") -> Iterator[str]:
    for name, item in node.items():
        if isinstance(item, Mapping) and item:
            yield from _leaves(item, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}"
