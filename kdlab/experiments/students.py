"""One point of a sweep: the teacher it needs, its scratch twin, and the student itself, measured the same way."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from torch import nn

from kdlab.data import Dataset
from kdlab.errors import UserError
from kdlab.evaluation.fidelity import target_entropy
from kdlab.evaluation.metrics import accuracy
from kdlab.evaluation.predict import predict
from kdlab.experiments.assess import TaughtBy, assess, chosen_sets
from kdlab.experiments.bias_correction import corrected
from kdlab.experiments.fitting import Lesson, Trained, taught_by_itself
from kdlab.experiments.lab import Lab, device_of
from kdlab.experiments.latency import latency_of
from kdlab.experiments.learners import how_taught, learner_of
from kdlab.experiments.objectives import objective_of
from kdlab.experiments.planned import Plan
from kdlab.experiments.runs import WEIGHTS, Desk, Made, Measured, Work, obtain
from kdlab.experiments.step_cost import step_cost_of
from kdlab.experiments.teachers import Taught, obtain_teacher, teacher_predictions, transfer_targets
from kdlab.models import build_model, check_model
from kdlab.outputs import Predictions
from kdlab.records.record import RunRecord
from kdlab.records.weights import load_weights, match_state
from kdlab.schema.config import RunConfig
from kdlab.streams import stream_seed

NO_TEACHER = "no teacher taught this network"
UNTIMED = "not measured: evaluation.latency.enabled is false"


def run_point(point: Plan, lab: Lab, *, force: bool = False) -> RunRecord:
    """Find or make everything a point needs, then the point itself; what is finished is brought up to date."""
    taught = None if point.teacher is None else obtain_teacher(point.teacher, lab)
    if point.run.run_id != point.twin.run_id:
        obtain(point.twin, lab, student_work(replace(point, run=point.twin), None, lab))
    return obtain(point.run, lab, student_work(point, taught, lab), force=force)


def student_work(point: Plan, taught: Taught | None, lab: Lab) -> Work:
    """How the student of a point is trained and measured."""

    def measure(record: RunRecord, config: RunConfig) -> Measured:
        network = build_student(config, lab.dataset(config))
        match_state(network, load_weights(lab.store.folder(record.run_id) / WEIGHTS))
        seconds, size = (record.metrics.get(f"cost/{name}") for name in ("train_seconds", "stack_size"))
        beside = point.timed_beside or record.latency.get("reference_model")
        asked = replace(point, run=replace(point.run, config=config), timed_beside=beside)
        return _measured(network, asked, taught, lab, train_seconds=seconds, stack_size=size)

    return Work(lambda desk: taught_by_itself(lesson(point, taught, lab, desk)), measure)


def build_student(config: RunConfig, dataset: Dataset) -> nn.Module:
    """The student's architecture, initialised from the stream (student, init, seed)."""
    shape: dict[str, Any] = {"input_shape": dataset.input_shape, "num_classes": dataset.num_classes}
    network = build_model(
        config.student, **shape, seed_value=stream_seed("student", "init", config.seed), key="student"
    )
    if not any(parameter.requires_grad for parameter in network.parameters()):
        raise UserError(f"student._target_ = '{config.student['_target_']}' has no parameter to train")
    check_model(network, **shape, key="student")
    return network


def lesson(point: Plan, taught: Taught | None, lab: Lab, desk: Desk) -> Lesson:
    """A student ready to be trained, and how it is measured afterwards."""
    config = point.run.config
    dataset = lab.dataset(config)
    network = build_student(config, dataset)
    learner = learner_of(config, network, taught, lab, desk, role="student", seed=config.seed)

    def made(trained: Trained) -> Made:
        correction = corrected(network, config, lab)
        measured = _measured(
            network,
            point,
            taught,
            lab,
            train_seconds=trained.seconds,
            stack_size=float(trained.stack_size),
            predictions=None if correction else trained.predictions,
        )
        twin_id = None if point.twin.run_id == point.run.run_id else point.twin.run_id
        fields = {"twin": twin_id, "weights": learner.objective.weights()}
        return Made(network, measured, fields, {**trained.facts, **how_taught(learner), **correction})

    return Lesson(point.run, learner, dataset.num_classes, made, sets=chosen_sets(config, dataset))


def _measured(
    network: nn.Module,
    point: Plan,
    taught: Taught | None,
    lab: Lab,
    *,
    train_seconds: float | None,
    stack_size: float | None,
    predictions: Mapping[str, Predictions] | None = None,
) -> Measured:
    """Everything the record of a student (or twin) says about it; ``predictions`` where they are known already."""
    config, role = point.run.config, point.run.role
    dataset = lab.dataset(config)
    device = device_of(config)
    latency = latency_of(config.student, point.timed_beside, config=config, dataset=dataset, lab=lab)
    price = step_cost_of(config, dataset=dataset, lab=lab) if role == "student" else None
    if predictions is None:
        network.to(device)
        predictions = {
            name: predict(network, examples, batch_size=config.evaluation.batch_size, device=device)
            for name, examples in chosen_sets(config, dataset).items()
        }
        network.cpu()
    assessment = assess(
        predictions,
        role=role,
        config=config,
        dataset=dataset,
        teacher=TaughtBy(None, NO_TEACHER) if taught is None else teacher_predictions(taught, config, lab),
        network=network,
        latency=latency,
        extra={
            "cost/train_seconds": train_seconds,
            "cost/stack_size": stack_size,
            "cost/step_ms_ratio": None if price is None else price.ratio,
            "cost/teacher_train_seconds": None if taught is None else taught.train_seconds,
        },
        why={
            "cost/teacher_train_seconds": NO_TEACHER if taught is None else "its teacher was not trained here",
            "cost/step_ms_ratio": UNTIMED,
            "latency/": UNTIMED,
            "throughput/": UNTIMED,
        },
    )
    if price is not None:
        assessment.latency["step_cost"] = price.facts
    return Measured(assessment, {"teacher": None if taught is None else teacher_entry(taught, config, lab)})


def teacher_entry(taught: Taught, config: RunConfig, lab: Lab) -> dict[str, Any]:
    """What a student's record says of its teacher: the network's metrics, and those of the targets that were shown."""
    assert config.teacher is not None
    record = taught.record
    kept = {
        key: value for key, value in record.metrics.items() if "/" in key and not key.startswith(("latency", "cost"))
    }
    return {
        "id": record.run_id,
        "quality": config.teacher.quality["name"],
        "metrics": kept if taught.is_network else None,
        "targets": _targets(taught, config, lab),
    }


def _targets(taught: Taught, config: RunConfig, lab: Lab) -> dict[str, float | None]:
    """The targets on the transfer set: accuracy, and mean entropy at the temperature they are shown at (nats)."""
    shown = transfer_targets(taught, config, lab)
    temperature, known = _shown_temperature(config), shown.labels >= 0
    return {
        "temperature": temperature,
        "accuracy": accuracy(shown.logits[known], shown.labels[known]) if taught.is_network else None,
        "entropy": target_entropy(shown.logits, temperature=temperature),
    }


def _shown_temperature(config: RunConfig) -> float:
    """The temperature at which targets are shown, at the last step where it is scheduled; 1 where no term has one."""
    objective = objective_of(config)
    last = [spec.at(config.training.steps - 1) for spec in objective.active]
    found = [spec.knobs["temperature"] for spec in last if "logits" in spec.needs and "temperature" in spec.knobs]
    return float(found[0]) if found else 1.0
