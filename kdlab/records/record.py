"""RunRecord: everything one run measured, in one versioned value that survives a round trip through JSON."""

import dataclasses
import functools
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

SCHEMA_VERSION = 1

Role = Literal["student", "scratch", "teacher"]
Status = Literal["finished", "failed"]


@dataclass(frozen=True)
class RunRecord:
    """One run: who it is, what it was told, what it measured, where and when.

    Args:
        run_id: first 16 hex digits of ``identity``, the name of the folder.
        identity: sha256 (hex) of ``identity_config``.
        status: ``finished`` or ``failed``.
        role: ``student``, ``scratch`` (hard labels alone) or ``teacher``.
        data: name of the data set.
        seeds: ``{"student": int | None, "teacher": int | None, "data": int}``.
        config: the resolved config, whole.
        identity_config: what trains the network (seeds under keys named ``seeds``).
        overrides: the overrides the run was first asked for with.
        weights: effective weight of every term of the objective.
        teacher: of a student ``{"id", "quality", "metrics", "targets"}``: the record of the network that taught and the
            metrics of the targets that were shown; None for scratch and teacher.
        parent: the run id of the trained teacher that a transformed teacher comes from, or of the teacher that taught
            one that was taught itself.
        members: of an ensemble, the run ids of the teachers it is made of.
        twin: run id of the student's scratch twin.
        metrics: flat, fractions / nats / milliseconds; None where undefined.
        metrics_undefined: key -> reason, for every None.
        bins: set -> ``{"count", "confidence", "accuracy"}``, 15 equal-width bins each.
        slices: slice -> ``{"reference", "ood", "size"}``.
        dark_knowledge: of a teacher ``{"set", "temperature", "class_names", "probabilities"}``, true class by other
            class, or ``{"probabilities": None, "reason"}``; empty for the others and in records older than it.
        curves: key -> ``[[step, value], ...]``, decimated.
        latency: how the latency of this architecture was measured (machine, threads, batch, load, by whom).
        provenance: commit, dirty, versions, hardware, threads, started, seconds.
        error: ``{"type", "message"}`` of a failed run.
        tracker_id: id of the W&B run.
    """

    run_id: str
    identity: str
    status: Status
    role: Role
    data: str
    seeds: Mapping[str, int | None]
    config: Mapping[str, Any]
    identity_config: Mapping[str, Any]
    overrides: list[str] = field(default_factory=list)
    weights: Mapping[str, float] = field(default_factory=dict)
    teacher: Mapping[str, Any] | None = None
    parent: str | None = None
    members: list[str] = field(default_factory=list)
    twin: str | None = None
    metrics: Mapping[str, float | None] = field(default_factory=dict)
    metrics_undefined: Mapping[str, str] = field(default_factory=dict)
    bins: Mapping[str, Mapping[str, list[float]]] = field(default_factory=dict)
    slices: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    dark_knowledge: Mapping[str, Any] = field(default_factory=dict)
    curves: Mapping[str, list[list[float]]] = field(default_factory=dict)
    latency: Mapping[str, Any] = field(default_factory=dict)
    provenance: Mapping[str, Any] = field(default_factory=dict)
    error: Mapping[str, str] | None = None
    tracker_id: str | None = None
    schema_version: int = SCHEMA_VERSION
    evaluation_version: int = 0

    def to_json(self) -> dict[str, Any]:
        """Plain Python, ready for ``json.dump``."""
        return dataclasses.asdict(self)

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> "RunRecord":
        """The record of ``record.json``.

        Raises:
            ValueError: the record was written by a newer kdlab, or is not a record.
        """
        version = data.get("schema_version")
        if not isinstance(version, int) or version > SCHEMA_VERSION:
            raise ValueError(f"schema_version {version!r}: this kdlab reads versions up to {SCHEMA_VERSION}")
        known, needed = _fields()
        missing = [name for name in needed if name not in data]
        if missing:
            raise ValueError(f"not a record: {', '.join(missing)} missing")
        return cls(**{key: value for key, value in data.items() if key in known})


@functools.cache  # a report reads ten thousand records
def _fields() -> tuple[frozenset[str], tuple[str, ...]]:
    """The names of all fields, and of those without a default."""
    fields = dataclasses.fields(RunRecord)
    none = dataclasses.MISSING
    needed = tuple(f.name for f in fields if f.default is none and f.default_factory is none)
    return frozenset(f.name for f in fields), needed
