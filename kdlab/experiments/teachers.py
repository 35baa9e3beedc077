"""The teacher of a student: found by identity, or trained once, with a full record of its own in the same store.

A teacher that only transforms another (over-confident, low-bit, ...) shares that parent over all its doses, an ensemble
is put together from members that other ensembles may share, and a teacher may be taught by another; the record names
them. Its accuracy on our own loader is measured, and so known, before any student trains.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from torch import nn

from kdlab.data import Dataset
from kdlab.data.dataset import Examples
from kdlab.evaluation.dark_knowledge import describe_dark_knowledge, undefined_dark_knowledge
from kdlab.evaluation.fidelity import target_entropy
from kdlab.evaluation.scored import Scored
from kdlab.experiments.assembling import (
    FACTS,
    Assembled,
    assemble,
    build_teacher_network,
    load_checkpoint,
    predicted,
    training_set,
)
from kdlab.experiments.assess import TaughtBy, assess, chosen_sets
from kdlab.experiments.fitting import Lesson, Trained, recipe_of, taught_by_itself
from kdlab.experiments.lab import Lab, say
from kdlab.experiments.latency import latency_of
from kdlab.experiments.learners import how_taught, learner_of
from kdlab.experiments.plan import teacher_terms
from kdlab.experiments.planned import PlannedRun
from kdlab.experiments.runs import Desk, Made, Measured, Work, obtain
from kdlab.experiments.several import (
    as_student,
    generation_seed,
    quality_of,
    teacher_recipe,
    teaching_model,
    word_of,
)
from kdlab.experiments.transfer import kept_rows
from kdlab.objectives import Objective
from kdlab.outputs import Predictions
from kdlab.records.record import RunRecord
from kdlab.schema.config import RunConfig
from kdlab.teachers import (
    Quality,
    Teacher,
    facts_of,
    make_teacher,
)
from kdlab.training import Learner

NO_TEACHER_OF_ITS_OWN = "a teacher was taught by no other network"
NO_NETWORK = "this control has no network"
PARENT_KEYS = ("validation/parent_accuracy", "test/parent_accuracy")
TRAINING_COST = ("cost/train_seconds", "cost/stack_size")
NETWORK_KEYS = ("cost/", *TRAINING_COST, "latency/", "throughput/", *PARENT_KEYS)


@dataclass(frozen=True)
class Taught:
    """A teacher ready to teach.

    Args:
        provider: who answers.
        record: of the teacher.
        is_network: whether it is a network that teaches, or several; False for a control.
        train_seconds: of all networks that had to be trained for it; None where one of them was not trained here.
    """

    provider: Teacher
    record: RunRecord
    is_network: bool
    train_seconds: float | None


def obtain_teacher(planned: PlannedRun, lab: Lab, *, force: bool = False) -> Taught:
    """Find or make the teacher of ``planned`` (those it comes from first), and put it together."""
    for run in planned.lineage():
        record = obtain(run, lab, teacher_work(run, lab), force=force)
    return teach(planned, record, lab)


def teach(planned: PlannedRun, record: RunRecord, lab: Lab) -> Taught:
    """A finished teacher, ready to teach."""
    assembled = assemble(planned, lab, fitted=record.provenance.get(FACTS, {}))
    return Taught(assembled.provider, record, assembled.network is not None, _seconds_behind(planned, lab))


def _seconds_behind(planned: PlannedRun, lab: Lab) -> float | None:
    """What all networks that had to be trained for a teacher took, each once; None where one was not trained here."""
    own = [run for run in planned.lineage() if run.parent is None and not run.members]
    seconds = [lab.store.load(run.run_id).metrics.get("cost/train_seconds") for run in own]
    known = [value for value in seconds if value is not None]
    return sum(known) if len(known) == len(seconds) else None


def teacher_work(planned: PlannedRun, lab: Lab) -> Work:
    """How a teacher is made and measured: trained (or loaded) where it has weights of its own, else put together."""
    own = not planned.sources and quality_of(planned.config).needs_network

    def make(desk: Desk) -> Made:
        if is_trained(planned):
            return taught_by_itself(lesson(planned, lab, desk))
        return _untrained(planned, lab) if own else _transformed(planned, lab)

    def measure(record: RunRecord, config: RunConfig) -> Measured:
        asked = replace(planned, config=config)
        assembled = assemble(asked, lab, fitted=record.provenance.get(FACTS, {}))
        return _measured(asked, assembled, lab, cost=_cost_of(record), parent=_parent(planned, lab))

    return Work(make, measure)


def _parent(planned: PlannedRun, lab: Lab) -> RunRecord | None:
    return None if planned.parent is None else lab.store.load(planned.parent.run_id)


def teacher_predictions(taught: Taught, config: RunConfig, lab: Lab) -> TaughtBy:
    """What the network that taught says of the chosen sets: remembered, kept in its folder, or computed now."""
    if not taught.is_network:
        return TaughtBy(None, "the control that taught is no network")
    names = chosen_sets(config, lab.dataset(config))
    return TaughtBy(_said_of(names, taught.record.run_id, taught.provider, config, lab), "")


def transfer_targets(taught: Taught, config: RunConfig, lab: Lab) -> Predictions:
    """The teacher's logits on all that its student is shown, and the labels that are known of it."""
    shown, train = kept_rows(config, lab).known, lab.dataset(config).train
    name = "train" if shown is train else "transfer"
    return _said_of({name: shown}, taught.record.run_id, taught.provider, config, lab)[name].predictions


def _said_of(
    sets: Mapping[str, Examples], run_id: str, provider: Teacher, config: RunConfig, lab: Lab
) -> dict[str, Scored]:
    return lab.said_by(run_id, sets, lambda examples: predicted(provider, examples, config))


def is_trained(planned: PlannedRun) -> bool:
    """Whether a teacher has weights of its own that are trained here."""
    teacher = planned.config.teacher
    assert teacher is not None
    if planned.sources:
        return planned.taught_by is not None
    quality = quality_of(planned.config)
    return quality.needs_network and quality.trained and teacher.checkpoint is None


def lesson(planned: PlannedRun, lab: Lab, desk: Desk) -> Lesson:
    """A teacher ready to learn, and how it is measured then."""
    return _lesson_on_labels(planned, lab, desk) if planned.taught_by is None else _lesson_of_pupil(planned, lab, desk)


def _lesson_of_pupil(planned: PlannedRun, lab: Lab, desk: Desk) -> Lesson:
    """A teacher that learns from another as a student does.

    It is an assistant (Mirzadeh et al. 2020, arXiv:1902.03393), or an earlier generation of the student's own
    architecture (Furlanello et al. 2018, arXiv:1805.04770).

    Its streams are a teacher's, begun anew for every generation, and it is measured as a teacher.
    """
    assert planned.taught_by is not None
    dataset = lab.dataset(planned.config)
    network = build_teacher_network(planned.config, dataset)
    taught = teach(planned.taught_by, lab.store.load(planned.taught_by.run_id), lab)
    pupil, seed = as_student(planned.config), generation_seed(planned.config)
    learner = learner_of(pupil, network, taught, lab, desk, role="teacher", seed=seed)

    def made(trained: Trained) -> Made:
        measured = _own(planned, network, lab, seconds=trained.seconds, stack_size=float(trained.stack_size))
        fields = {"weights": learner.objective.weights()}
        return Made(network, measured, fields, {**trained.facts, **how_taught(learner)})

    return Lesson(planned, learner, dataset.num_classes, made)


def _lesson_on_labels(planned: PlannedRun, lab: Lab, desk: Desk) -> Lesson:
    """A teacher that learns from hard labels, or what its quality makes of them."""
    config = planned.config
    assert config.teacher is not None
    dataset, quality = lab.dataset(config), quality_of(config)
    network = build_teacher_network(config, dataset)
    recipe = recipe_of(teacher_recipe(config))
    objective = Objective.from_specs(teacher_terms(quality), num_steps=recipe.steps)
    examples = training_set(config, dataset.train, dataset)
    learner = Learner(
        network,
        objective,
        train=examples,
        validation=dataset.validation,
        recipe=recipe,
        role="teacher",
        seed=config.teacher.seed,
        facts=dataset.facts,
        sinks=desk.sinks,
        checkpoint=desk.checkpoint,
    )

    def made(trained: Trained) -> Made:
        facts = {FACTS: _changed(dataset.train, examples)} if quality.data else {}
        measured = _own(planned, network, lab, seconds=trained.seconds, stack_size=float(trained.stack_size))
        return Made(network, measured, {"weights": objective.weights()}, {**trained.facts, **facts})

    return Lesson(planned, learner, dataset.num_classes, made)


def _untrained(planned: PlannedRun, lab: Lab) -> Made:
    """Load the user's weights, or leave the initial ones, and measure that."""
    config = planned.config
    assert config.teacher is not None
    network = build_teacher_network(config, lab.dataset(config)).eval()
    if config.teacher.checkpoint is None:
        return Made(network, _own(planned, network, lab, seconds=0.0, stack_size=1.0), {"weights": {}}, {"steps": 0})
    load_checkpoint(config.teacher, network)
    facts = {"checkpoint": Path(config.teacher.checkpoint).name}
    return Made(network, _own(planned, network, lab, seconds=None, stack_size=None), {"weights": {}}, facts)


def _own(
    planned: PlannedRun, network: nn.Module, lab: Lab, *, seconds: float | None, stack_size: float | None
) -> Measured:
    """What is measured of a teacher with weights of its own."""
    num_classes = lab.dataset(planned.config).num_classes
    provider = make_teacher(Quality(name="standard"), network, num_classes=num_classes)
    cost = {"cost/train_seconds": seconds, "cost/stack_size": stack_size}
    return _measured(planned, Assembled(provider, network), lab, cost=cost, parent=None)


def _changed(before: Examples, after: Examples) -> dict[str, float]:
    """Shares of a training set that its quality changed."""
    inputs = (before.inputs != after.inputs).flatten(1).any(1)
    return {
        "labels_changed": float((before.labels != after.labels).double().mean()),
        "inputs_changed": float(inputs.double().mean()),
    }


def _transformed(planned: PlannedRun, lab: Lab) -> Made:
    """Measure a teacher that has no weights of its own."""
    parent = _parent(planned, lab)
    assembled = assemble(planned, lab)
    facts = facts_of(assembled.provider)
    cost = _cost_of(parent)
    if planned.members:
        cost = {"cost/train_seconds": _seconds_behind(planned, lab), "cost/stack_size": None}
    measured = _measured(planned, assembled, lab, cost=cost, parent=parent)
    return Made(None, measured, {}, {FACTS: facts} if facts else {})


def _cost_of(record: RunRecord | None) -> dict[str, float | None]:
    """What the training behind a teacher took, as its record (or its parent's) tells."""
    return {key: None if record is None else record.metrics.get(key) for key in TRAINING_COST}


def _measured(
    planned: PlannedRun,
    assembled: Assembled,
    lab: Lab,
    *,
    cost: Mapping[str, float | None],
    parent: RunRecord | None,
) -> Measured:
    """Everything the record of a teacher says about it."""
    config = planned.config
    assert config.teacher is not None
    dataset = lab.dataset(config)
    network = assembled.network
    latency = None
    if network is not None:
        model = teaching_model(config)
        assert model is not None
        latency = latency_of(model, None, config=config, dataset=dataset, lab=lab)
    extra: dict[str, float | None] = {**cost, **_of_parent(parent, config)}
    if "rows" in planned.identity_config:
        extra["transfer/target_entropy"] = _entropy_on_rows(planned, assembled, lab)
    lab.taught.pop(planned.run_id, None)  # measured now, whatever was said before; its students are told the same
    said = _said_of(chosen_sets(config, dataset), planned.run_id, assembled.provider, config, lab)
    predictions = {name: found.predictions for name, found in said.items()}
    assessment = assess(
        predictions,
        role="teacher",
        config=config,
        dataset=dataset,
        teacher=TaughtBy(None, NO_TEACHER_OF_ITS_OWN),
        network=network,
        latency=latency,
        extra=extra,
        why=_reasons(network, parent, is_ensemble=config.teacher.ensemble.is_one),
    )
    accuracy = assessment.metrics.get("validation/accuracy")
    shown = "" if accuracy is None or network is None else f": validation accuracy {accuracy:.4f}"
    say(f"  teacher {planned.run_id} ({word_of(config.teacher)}){shown}")
    return Measured(assessment, {"dark_knowledge": _dark_knowledge(predictions, config, dataset, network)})


def _dark_knowledge(
    predictions: Mapping[str, Predictions], config: RunConfig, dataset: Dataset, network: nn.Module | None
) -> dict[str, Any]:
    """What a teacher says of the wrong classes; a control that is no network knows nothing of them."""
    if network is None:
        return undefined_dark_knowledge(NO_NETWORK)
    temperature = config.evaluation.dark_knowledge_temperature
    return describe_dark_knowledge(predictions, temperature=temperature, class_names=dataset.class_names)


def _entropy_on_rows(planned: PlannedRun, assembled: Assembled, lab: Lab) -> float:
    """Mean entropy (nats) on the rows of the student that the teacher was fitted to."""
    shown = kept_rows(planned.config, lab).known
    return target_entropy(predicted(assembled.provider, shown, planned.config).logits)


def _of_parent(parent: RunRecord | None, config: RunConfig) -> dict[str, float | None]:
    """The accuracy of the trained network behind a transformed teacher, on the sets that are measured."""
    keys = [key for key in PARENT_KEYS if key.split("/")[0] in config.evaluation.sets]
    return {key: None if parent is None else parent.metrics.get(key.replace("parent_", "")) for key in keys}


def _reasons(network: nn.Module | None, parent: RunRecord | None, *, is_ensemble: bool = False) -> dict[str, str]:
    """Why keys of a teacher's record stay undefined, by prefix."""
    reasons = {"": NO_TEACHER_OF_ITS_OWN, "latency/": "not measured: evaluation.latency.enabled is false"}
    reasons["throughput/"] = reasons["latency/"]
    reasons["cost/train_seconds"] = reasons["cost/stack_size"] = "loaded from a checkpoint, not trained here"
    if is_ensemble:
        reasons["cost/train_seconds"] = "one of its members was not trained here"
        reasons["cost/stack_size"] = "its members were trained apart"
    trained = "a trained teacher is no transformation of another"
    reasons |= dict.fromkeys(PARENT_KEYS, trained if parent is None else "its parent was not measured there")
    if network is None:
        lacking = [key for key in NETWORK_KEYS if parent is None or key not in PARENT_KEYS]
        reasons |= dict.fromkeys(lacking, NO_NETWORK)
    return reasons
