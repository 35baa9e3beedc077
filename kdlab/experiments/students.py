"""One point of a sweep: the teacher it needs, its scratch twin, and the student itself, measured the same way."""

from collections.abc import Mapping
from typing import Any

from torch import nn

from kdlab.data import Dataset
from kdlab.evaluation.fidelity import target_entropy
from kdlab.evaluation.metrics import accuracy
from kdlab.evaluation.predict import predict
from kdlab.experiments.assess import Assessment, TaughtBy, assess
from kdlab.experiments.fitting import train
from kdlab.experiments.lab import Lab, device_of
from kdlab.experiments.latency import latency_of
from kdlab.experiments.plan import Plan, PlannedRun
from kdlab.experiments.runs import Desk, Made, obtain
from kdlab.experiments.teachers import Taught, obtain_teacher, teacher_predictions, transfer_targets
from kdlab.models import build_model, check_model
from kdlab.objectives import Objective
from kdlab.records.record import RunRecord
from kdlab.schema import RunConfig
from kdlab.streams import stream_seed

NO_TEACHER = "no teacher taught this network"


def run_point(plan: Plan, lab: Lab, *, force: bool = False) -> RunRecord:
    """Find or make everything a point needs, then the point itself."""
    taught = None if plan.teacher is None else obtain_teacher(plan.teacher, lab)
    reference = plan.run.config.teacher
    timed_beside = None if reference is None else reference.model
    is_twin = plan.run.run_id == plan.twin.run_id
    if not is_twin:
        obtain(plan.twin, lab, lambda desk: _student(plan.twin, None, timed_beside, None, lab, desk))
    twin_id = None if is_twin else plan.twin.run_id
    return obtain(
        plan.run, lab, lambda desk: _student(plan.run, taught, timed_beside, twin_id, lab, desk), force=force
    )


def build_student(config: RunConfig, dataset: Dataset) -> nn.Module:
    """The student's architecture, initialised from the stream (student, init, seed)."""
    shape = {"input_shape": dataset.input_shape, "num_classes": dataset.num_classes}
    network = build_model(
        config.student, **shape, seed_value=stream_seed("student", "init", config.seed), key="student"
    )
    check_model(network, **shape, key="student")
    return network


def _student(
    planned: PlannedRun,
    taught: Taught | None,
    timed_beside: Mapping[str, Any] | None,
    twin_id: str | None,
    lab: Lab,
    desk: Desk,
) -> Made:
    """Train and measure a student."""
    config = planned.config
    dataset = lab.dataset(config)
    network = build_student(config, dataset)
    objective = Objective.from_specs(config.objective.terms)
    trained = train(
        network,
        objective,
        planned=planned,
        recipe=config.training,
        dataset=dataset,
        desk=desk,
        role="student",
        seed=config.seed,
        teacher=None if taught is None else taught.provider,
    )
    assessment = assess_student(
        network, planned=planned, taught=taught, timed_beside=timed_beside, lab=lab, train_seconds=trained.seconds
    )
    fields = {
        "twin": twin_id,
        "weights": objective.weights(),
        "teacher": None if taught is None else teacher_entry(taught, config, lab),
    }
    return Made(network, assessment, fields, trained.facts)


def assess_student(
    network: nn.Module,
    *,
    planned: PlannedRun,
    taught: Taught | None,
    timed_beside: Mapping[str, Any] | None,
    lab: Lab,
    train_seconds: float | None,
) -> Assessment:
    """Measure a student (again, from its weights, for ``kdlab evaluate``)."""
    config = planned.config
    dataset = lab.dataset(config)
    device = device_of(config)
    latency = latency_of(config.student, timed_beside, config=config, dataset=dataset, lab=lab)
    seen = TaughtBy(None, NO_TEACHER) if taught is None else teacher_predictions(taught, config, lab)
    network.to(device)
    assessment = assess(
        lambda examples: predict(network, examples, batch_size=config.evaluation.batch_size, device=device),
        role=planned.role,
        config=config,
        dataset=dataset,
        teacher=seen,
        network=network,
        latency=latency,
        extra={
            "cost/train_seconds": train_seconds,
            "cost/stack_size": 1.0,
            "cost/teacher_train_seconds": None if taught is None else taught.record.metrics.get("cost/train_seconds"),
        },
        why={
            "cost/teacher_train_seconds": NO_TEACHER if taught is None else "its teacher was not trained here",
            "latency/": "evaluation.latency.enabled is false",
            "throughput/": "evaluation.latency.enabled is false",
            "cost/step_ms_ratio": "measured once per method, architecture and machine, not per run",
        },
    )
    network.cpu()
    return assessment


def teacher_entry(taught: Taught, config: RunConfig, lab: Lab) -> dict[str, Any]:
    """What a student's record says of its teacher: the network's metrics, and those of the targets that were shown."""
    assert config.teacher is not None
    record = taught.record
    kept = {key: value for key, value in record.metrics.items() if "/" in key and not key.startswith(("latency", "cost"))}
    return {
        "id": record.run_id,
        "quality": config.teacher.quality["name"],
        "metrics": kept if taught.is_network else None,
        "targets": _targets(taught, config, lab),
    }


def _targets(taught: Taught, config: RunConfig, lab: Lab) -> dict[str, float | None]:
    """The targets on the transfer set: accuracy, and mean entropy at the temperature they are shown at (nats)."""
    shown = transfer_targets(taught, config, lab)
    temperatures = [term["temperature"] for term in config.objective.terms.values() if "temperature" in term]
    temperature = float(temperatures[0]) if temperatures else 1.0
    return {
        "temperature": temperature,
        "accuracy": accuracy(shown.logits, shown.labels) if taught.is_network else None,
        "entropy": target_entropy(shown.logits, temperature=temperature),
    }
