"""Runs that exist already: are they up to date, evaluate them again from their weights, load their network."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from torch import nn

from kdlab.data.loading import data_identity
from kdlab.errors import UserError
from kdlab.experiments.assembling import build_teacher_network
from kdlab.experiments.currency import missing_evaluation
from kdlab.experiments.lab import Lab
from kdlab.experiments.plan import plan, plan_teacher
from kdlab.experiments.planned import PlannedRun
from kdlab.experiments.runs import WEIGHTS, Work, measured_again
from kdlab.experiments.students import build_student, student_work
from kdlab.experiments.teachers import obtain_teacher, teacher_work
from kdlab.records.identity import canonical_json
from kdlab.records.record import RunRecord
from kdlab.records.store import read_record
from kdlab.records.weights import load_weights, match_state
from kdlab.schema.config import RunConfig
from kdlab.schema.reading import read_config
from kdlab.targets import refuse_unsafe


def is_up_to_date(planned: PlannedRun, lab: Lab) -> bool:
    """Whether a run is finished and its record holds what this config asks to be measured, as measured today."""
    record = lab.store.finished(planned.run_id)
    return record is not None and not missing_evaluation(record, planned.config)


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
    path = folder / WEIGHTS
    if not path.exists():
        behind = ", ".join(record.members) or record.parent
        where = f"; its weights are those of {behind}" if behind else ""
        raise UserError(f"run {record.run_id} ({record.role}, {record.status}) has no weights of its own{where}")
    without_slices = config.model_copy(update={"evaluation": config.evaluation.model_copy(update={"sets": ["train"]})})
    dataset = lab.dataset(without_slices)  # its shape is needed, not its slices
    network = (build_teacher_network if record.role == "teacher" else build_student)(config, dataset)
    match_state(network, load_weights(path))
    return network.eval()


def evaluate_again(folder: Path, lab: Lab, config: RunConfig) -> RunRecord:
    """Measure a finished run again from its weights with ``config.evaluation``, and write its record anew."""
    record = _record(folder)
    if record.status != "finished":
        raise UserError(f"run {record.run_id} failed ({(record.error or {}).get('message')}): run it again first")
    _refuse_other_data(record, config)
    work = _work_of(record, lab, config)
    with lab.store.lock(record.run_id):
        return measured_again(record, lab, work, config=config)


def _refuse_other_data(record: RunRecord, config: RunConfig) -> None:
    """A path in a config may hold another file by now: a network is never measured on data it does not belong to."""
    told: Mapping[str, Any] = record.identity_config
    while "parent" in told:
        told = told["parent"]
    found = {"name": config.data.name, **data_identity(config.data.spec)}
    if canonical_json(told.get("data", found)) != canonical_json(found):
        raise UserError(
            f"run {record.run_id}: its data has changed since it was trained: what lies there is another set"
        )


def _work_of(record: RunRecord, lab: Lab, config: RunConfig) -> Work:
    if record.role == "teacher":
        return teacher_work(plan_teacher(config), lab)
    point = plan(config)
    taught = None if point.teacher is None else obtain_teacher(point.teacher, lab)
    return student_work(replace(point, run=replace(point.run, role=record.role)), taught, lab)


def _record(folder: Path) -> RunRecord:
    record = read_record(folder)
    if record is None:
        raise UserError(f"{folder} has no record yet: the run is going on or was killed; run it again")
    return record
