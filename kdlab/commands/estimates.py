"""What a run will take, before it runs: from records of the same kind, else from a few steps that are timed now.

A kind is a role, a model, a data set, a batch size and the terms of the objective. Seconds of training scale with the
steps; seconds of measuring and the size of the folder do not.
"""

import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from kdlab.commands.progress import steps_of
from kdlab.experiments.lab import Lab
from kdlab.experiments.plan import HARD_LABELS
from kdlab.experiments.planned import Plan, PlannedRun
from kdlab.experiments.several import as_student, teacher_recipe, teaching_model
from kdlab.experiments.transfer import steps_an_epoch
from kdlab.records.identity import canonical_json
from kdlab.records.record import RunRecord
from kdlab.schema.config import RunConfig

TIMING_SECONDS, MOST_STEPS = 0.6, 20
# What a run takes beside its bare steps and forward passes, on one core: rough, and read only where no record tells.
TRAINER_SECONDS_A_STEP = 0.0005
SECONDS_A_VALIDATION = 0.01
STACKED_SHARE = 0.3  # what a network costs as one of many, of what it costs alone
SECONDS_A_SET = 0.02
SECONDS_A_RUN = 0.2
RECORD_BYTES = 80_000  # record, history, config, log
STEP_COST_SECONDS = 1.6  # kdlab.experiments.step_cost times a method and plain cross-entropy for 0.8 s


class Estimate(NamedTuple):
    """What one run takes; None where nothing could tell.

    Args:
        train: seconds of training.
        measure: seconds of everything else.
        size: bytes of its folder.
        source: ``records`` or ``timed``, or why there is no estimate.
    """

    train: float | None
    measure: float | None
    size: float | None
    source: str


@dataclass
class _Seen:
    """What the finished runs of one kind took."""

    a_step: list[float] = field(default_factory=list)
    stacked: list[float] = field(default_factory=list)
    measure: list[float] = field(default_factory=list)
    folders: list[Path] = field(default_factory=list)


class _Timed(NamedTuple):
    """What was timed of one architecture: seconds of a step, of a forward pass per example and of a single example."""

    step: float
    forward: float
    single: float
    num_bytes: int


class Estimator:
    """Estimates runs; every distinct architecture is timed once, and only where no record tells.

    Args:
        lab: the store whose records tell, and the data sets.
    """

    def __init__(self, lab: Lab) -> None:
        self.lab = lab
        self._seen = _seen(lab)
        self._timed: dict[str, _Timed | str] = {}

    def of(self, planned: PlannedRun, *, trained: bool, together: int = 1) -> Estimate:
        """What a run takes, to be trained (as one of so many at once) or only to be measured."""
        seen = self._seen.get(_kind(planned.role, planned.config.plain, planned.config))
        steps = steps_of(planned) if trained else 0
        a_step = [] if seen is None else seen.stacked if together > 1 else seen.a_step
        if seen is not None and (a_step or not steps):
            train = statistics.median(a_step) * steps if steps else 0.0
            return Estimate(
                train, statistics.median(seen.measure), statistics.mean(map(_bytes, seen.folders)), "records"
            )
        timed = self._timing(planned)
        if isinstance(timed, str):
            return Estimate(None, None, None, timed)
        train, measure, size = self._from_timing(planned, timed, steps)
        return Estimate(train * (STACKED_SHARE if together > 1 else 1.0), measure, size, "timed")

    def latency_seconds(self, points: Sequence[Plan]) -> tuple[int, float]:
        """How many latencies and step costs a sweep measures first, and the seconds of that."""
        wanted: dict[str, float] = {}
        known = _measured_before(self.lab.store.root)
        for point in points:
            config = point.run.config
            if not config.evaluation.latency.enabled:
                continue
            pairs = [(config.student, point.timed_beside)]
            if point.teacher is not None and point.timed_beside is not None:
                pairs.append((dict(point.timed_beside), None))
            for model, beside in pairs:
                key = canonical_json({"student": model, "reference": beside})
                if key not in known and key not in wanted:
                    singles = [self._single(point, role) for role in ("student", "teacher")[: 1 + (beside is not None)]]
                    wanted[key] = _latency_seconds(config, singles)
            if point.run.role == "student":
                terms = sorted(str(term["_target_"]) for term in config.objective.terms.values())
                key = canonical_json({"student": config.student, "terms": terms})
                if key not in known:
                    wanted.setdefault(key, STEP_COST_SECONDS)
        return len(wanted), sum(wanted.values())

    def _single(self, point: Plan, role: str) -> float:
        planned = point.teacher if role == "teacher" else point.run
        timed = "no teacher" if planned is None else self._timing(planned)
        return 0.0003 if isinstance(timed, str) else timed.single

    def _timing(self, planned: PlannedRun) -> _Timed | str:
        key = _kind(planned.role, planned.config.plain, planned.config)
        if key not in self._timed:
            try:
                self._timed[key] = _time(planned, self.lab)
            except Exception as error:  # an estimate is no check: what cannot be timed alone may well train
                self._timed[key] = f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}"
        return self._timed[key]

    def _steps_an_epoch(self, planned: PlannedRun) -> int:
        if planned.role != "teacher":
            return steps_an_epoch(planned.config, self.lab)
        batch_size = teacher_recipe(planned.config).batch_size
        return max(len(self.lab.dataset(planned.config).train) // batch_size, 1)

    def _from_timing(self, planned: PlannedRun, timed: _Timed, steps: int) -> tuple[float, float, float]:
        config = planned.config
        dataset = self.lab.dataset(config)
        from kdlab.experiments.assess import chosen_sets

        validations = steps / self._steps_an_epoch(planned) / config.trainer.validate_every_epochs
        a_validation = SECONDS_A_VALIDATION + timed.forward * len(dataset.validation)
        train = steps * (timed.step + TRAINER_SECONDS_A_STEP) + validations * a_validation
        sets = chosen_sets(config, dataset)
        examples = sum(len(found) for found in sets.values())
        measure = SECONDS_A_RUN + SECONDS_A_SET * len(sets) + timed.forward * examples
        kept = {"all": examples, "test": len(sets["test"]) if "test" in sets else 0}
        predictions = kept.get(config.evaluation.keep_predictions or "all", 0) * (4 * dataset.num_classes + 16)
        own_weights = planned.parent is None and not planned.members and timed.num_bytes
        return train, measure, float(own_weights + predictions + RECORD_BYTES)


def _kind(role: str, plain: Mapping[str, Any], config: RunConfig | None = None) -> str:
    """What makes runs take the same: of a plain config, a record's or a planned one's."""
    teacher = plain.get("teacher") or {}
    of_teacher, chain = role == "teacher", _chain(teacher) if role == "teacher" else ""
    recipe = (teacher if of_teacher and not chain else plain).get("training") or {}
    quality = {name: value for name, value in (teacher.get("quality") or {}).items() if name == "name"}
    terms = {} if of_teacher and not chain else (plain.get("objective") or {}).get("terms") or {}
    return canonical_json(
        {
            "role": role,
            "model": teacher.get("model") if of_teacher and chain != STUDENT else plain.get("student"),
            "data": (plain.get("data") or {}).get("name"),
            "batch_size": recipe.get("batch_size"),
            "quality": quality if of_teacher else None,
            "terms": sorted(str(term.get("_target_")) for term in terms.values() if term.get("weight") != 0),
            "sets": sorted((plain.get("evaluation") or {}).get("sets") or ()),
            **({"ensemble": ensemble} if of_teacher and (ensemble := _ensemble(teacher)) else {}),
            **({"chain": chain} if chain else {}),
        }
    )


STUDENT = "student"


def _chain(teacher: Mapping[str, Any]) -> str:
    """Which model of the config the last network of a chain has; empty for a teacher that learned from labels."""
    assistants = teacher.get("assistants") or {}
    if assistants:
        return canonical_json(list(assistants.values())[-1])
    return STUDENT if (teacher.get("generations") or 0) > 1 else ""


def _ensemble(teacher: Mapping[str, Any]) -> Mapping[str, Any]:
    """The members of an ensemble; empty for one teacher."""
    ensemble = teacher.get("ensemble") or {}
    return ensemble if ensemble.get("members") or (ensemble.get("count") or 1) > 1 else {}


def _seen(lab: Lab) -> dict[str, _Seen]:
    """What the finished runs of the store took, by kind."""
    found: dict[str, _Seen] = {}
    for run_id in lab.store.ids():
        record = lab.store.finished(run_id)
        if record is None or "seconds" not in record.provenance:
            continue
        seen = found.setdefault(_kind(record.role, record.config), _Seen())
        seconds, steps = _trained_seconds(record)
        if steps:
            stacked = (record.metrics.get("cost/stack_size") or 1) > 1
            (seen.stacked if stacked else seen.a_step).append(seconds / steps)
        seen.measure.append(max(float(record.provenance["seconds"]) - seconds, 0.0))
        seen.folders.append(lab.store.folder(run_id))
    return found


def _trained_seconds(record: RunRecord) -> tuple[float, int]:
    """Seconds and steps of a run's own training in the process that made its record."""
    seconds, steps = record.metrics.get("cost/train_seconds"), record.provenance.get("steps")
    if seconds is None or not steps or record.provenance.get("resumed_from"):
        return 0.0, 0
    return float(seconds), int(steps)


def _bytes(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def _measured_before(root: Path) -> set[str]:
    """The latencies and step costs that the store holds for this kind of machine."""
    import json

    from kdlab.evaluation.machine import machine_name

    found, here = set(), machine_name()
    for path in [*(root / "latency").glob("*.json"), *(root / "step_cost").glob("*.json")]:
        described = json.loads(path.read_text(encoding="utf-8")).get("described") or {}
        if described.get("machine") == here:
            second = "terms" if "terms" in described else "reference"
            found.add(canonical_json({"student": described["student"], second: described[second]}))
    return found


def _latency_seconds(config: RunConfig, singles: Sequence[float]) -> float:
    """A thousand calls of each network, five thousand of fast ones, after a warm-up."""
    calls = config.evaluation.latency.calls * (5 if min(singles) < 0.0002 else 1)
    return 0.3 + 1.2 * calls * sum(singles)


def _time(planned: PlannedRun, lab: Lab) -> _Timed:
    """A few optimizer steps and forward passes of one architecture, about a second at most."""
    import torch

    from kdlab.experiments.assembling import build_teacher_network
    from kdlab.experiments.lab import device_of
    from kdlab.experiments.step_cost import bare_step
    from kdlab.experiments.students import build_student
    from kdlab.experiments.teacher_cache import is_cached
    from kdlab.experiments.threads import threads_alone

    config = planned.config
    dataset = lab.dataset(config)
    if planned.role == "teacher":
        assert config.teacher is not None
        if "model" not in planned.identity_config and not planned.sources:
            return _Timed(0.0, 0.0, 0.0, 0)  # a control without a network
        network = build_teacher_network(config, dataset)
        config = as_student(config) if planned.taught_by is not None else _on_labels(config)
    else:
        network = build_student(config, dataset)
    device = device_of(config)
    network.to(device).eval()
    rows = dataset.train.inputs[: min(config.evaluation.batch_size, len(dataset.train))].to(device)
    before = torch.get_num_threads()
    torch.set_num_threads(threads_alone(config))
    try:
        with torch.no_grad():
            forward = median_seconds(lambda: network(rows), seconds=TIMING_SECONDS / 4)
            single = median_seconds(lambda: network(rows[:1]), seconds=TIMING_SECONDS / 10)
        bare = bare_step(config, dataset=dataset, stored_answers=is_cached(config))
        step = median_seconds(bare, seconds=TIMING_SECONDS)
    finally:
        torch.set_num_threads(before)
    num_bytes = sum(t.numel() * t.element_size() for t in [*network.parameters(), *network.buffers()])
    return _Timed(step, forward / len(rows), single, num_bytes)


def _on_labels(config: RunConfig) -> RunConfig:
    """A config whose student is the teacher of this one, which learns from labels."""
    objective = config.objective.model_copy(update={"terms": {"hard_labels": HARD_LABELS}})
    learner = {"student": teaching_model(config), "training": teacher_recipe(config)}
    return config.model_copy(update={**learner, "objective": objective, "teacher": None})


def median_seconds(action: Callable[[], object], *, seconds: float) -> float:
    """The median time of an action; its first call, which finds cold caches, counts only where it is the only one."""
    taken: list[float] = []
    began = time.perf_counter()
    while len(taken) <= MOST_STEPS and (not taken or time.perf_counter() - began < seconds):
        start = time.perf_counter()
        action()
        taken.append(time.perf_counter() - start)
    return statistics.median(taken[1:] or taken)
