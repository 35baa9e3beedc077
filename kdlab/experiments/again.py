"""Runs that exist already: are they up to date, evaluate them again from their weights, load their network."""

import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from torch import nn

from kdlab.errors import UserError
from kdlab.evaluation import EVALUATION_VERSION
from kdlab.experiments.lab import Lab
from kdlab.experiments.plan import Plan, PlannedRun, plan, plan_teacher
from kdlab.experiments.runs import log, write_predictions
from kdlab.experiments.students import assess_student, build_student, teacher_entry
from kdlab.experiments.teachers import Taught, build_teacher_network, measure_teacher, obtain_teacher
from kdlab.records.record import RunRecord
from kdlab.records.store import read_record
from kdlab.records.weights import load_weights, match_state
from kdlab.schema import RunConfig, read_config
from kdlab.targets import refuse_unsafe


def is_up_to_date(planned: PlannedRun, lab: Lab) -> bool:
    """Whether a run is finished and its record holds what this config asks to be measured, as measured today."""
    record = lab.store.finished(planned.run_id)
    return record is not None and not missing_evaluation(record, planned.config)


def missing_evaluation(record: RunRecord, config: RunConfig) -> bool:
    """Whether a finished record was evaluated by older rules, or lacks a set that the config wants."""
    wanted = {name for name in config.evaluation.sets if name != "slices"}
    if "slices" in config.evaluation.sets:
        wanted |= set(config.data.slices)
    has_all = wanted <= set(record.bins)
    wants_latency = config.evaluation.latency.enabled and record.metrics.get("latency/p50_ms") is None
    is_network = record.metrics.get("cost/num_params") is not None
    return record.evaluation_version < EVALUATION_VERSION or not has_all or (wants_latency and is_network)


def config_of(record: RunRecord, *, allow: Sequence[str]) -> RunConfig:
    """The config of a record, held to the allow-list: a run folder never names code to execute.

    Raises:
        UserError: a target outside the list, or a config this kdlab does not understand.
    """
    refuse_unsafe(record.config, allow=allow)
    return read_config(record.config)


def load_model(folder: Path, lab: Lab, *, allow: Sequence[str] = ()) -> nn.Module:
    """The trained network of a run, in eval mode.

    Raises:
        UserError: no record, or a run without weights of its own (then the parent is named).
    """
    record = _record(folder)
    config = config_of(record, allow=allow)
    path = folder / "weights.safetensors"
    if not path.exists():
        where = f"; its weights are those of {record.parent}" if record.parent else ""
        raise UserError(f"run {record.run_id} ({record.role}, {record.status}) has no weights of its own{where}")
    dataset = lab.dataset(config)
    network = (build_teacher_network if record.role == "teacher" else build_student)(config, dataset)
    match_state(network, load_weights(path))
    return network.eval()


def evaluate_again(folder: Path, lab: Lab, config: RunConfig) -> RunRecord:
    """Measure a finished run again from its weights with ``config.evaluation``, and write its record anew."""
    record = _record(folder)
    if record.status != "finished":
        raise UserError(f"run {record.run_id} failed ({(record.error or {}).get('message')}): run it again first")
    planned = plan_teacher(config) if record.role == "teacher" else None
    point: Plan | None = None if planned is not None else plan(config)
    with lab.store.lock(record.run_id):
        started = time.perf_counter()
        if point is None:
            assert planned is not None
            assessment = measure_teacher(planned, lab, record)
            fields = {}
        else:
            taught: Taught | None = None if point.teacher is None else obtain_teacher(point.teacher, lab)
            reference = config.teacher.model if config.teacher is not None else _timed_beside(record)
            assessment = assess_student(
                load_model(folder, lab, allow=config.allow_targets),
                planned=replace(point.run, role=record.role),
                taught=taught,
                timed_beside=reference,
                lab=lab,
                train_seconds=record.metrics.get("cost/train_seconds"),
            )
            fields = {"teacher": None if taught is None else teacher_entry(taught, config, lab)}
        write_predictions(folder, assessment, keep=config.evaluation.keep_predictions or "all")
        again = replace(record, **assessment.fields(), **fields)
        lab.store.write(again)
        log(folder, f"evaluated again in {time.perf_counter() - started:.1f} s")
    return again


def _record(folder: Path) -> RunRecord:
    record = read_record(folder)
    if record is None:
        raise UserError(f"{folder} has no record yet: the run is going on or was killed; run it again")
    return record


def _timed_beside(record: RunRecord) -> dict[str, object] | None:
    """The teacher architecture a scratch twin was timed beside."""
    described = record.latency.get("reference_model")
    return dict(described) if described else None
