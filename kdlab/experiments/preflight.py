"""What is tried before the first point trains: the store, the data, each architecture once, the user's checkpoint."""

from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import Any

import torch
from torch import nn

from kdlab.data.augmentation import Augmentation, try_augmentation
from kdlab.data.views import check_unmixed
from kdlab.errors import UserError
from kdlab.experiments.assembling import build_teacher_network, load_checkpoint, training_set, untrained_teacher
from kdlab.experiments.bias_correction import check_correctable
from kdlab.experiments.lab import Lab
from kdlab.experiments.latency import latency_of
from kdlab.experiments.objectives import objective_of, terms_of
from kdlab.experiments.plan import plan
from kdlab.experiments.several import configs_behind, is_several, quality_of, told_as
from kdlab.experiments.step_cost import step_cost_of
from kdlab.experiments.students import build_student
from kdlab.experiments.transfer import kept_rows, rows_identity
from kdlab.models import as_output
from kdlab.outputs import Batch
from kdlab.records.identity import canonical_json
from kdlab.schema.config import RunConfig
from kdlab.schema.learning import TrainingConfig
from kdlab.teachers import answers_by_index
from kdlab.training import Recipe, Runtime
from kdlab.training.distillation import BY_INDEX_AUGMENTED
from kdlab.training.equipped import modules_of, prepared
from kdlab.training.fit import make_trainer
from kdlab.training.optimizers import build_optimizer

FEW = 8
"""Training examples on which the data part of a quality is tried."""


def preflight(configs: Iterable[RunConfig], lab: Lab) -> None:
    """Try everything that can fail without training, each distinct thing once.

    Raises:
        UserError: with all that failed.
    """
    problems: list[str] = []
    seen: set[str] = set()
    for config in configs:
        for key, check in _checks(config, lab):
            if key in seen:
                continue
            seen.add(key)
            try:
                check()
            except UserError as error:
                problems += str(error).splitlines()
    if problems:
        raise UserError("\n".join(dict.fromkeys(problems)))


def measure_latencies(configs: Iterable[RunConfig], lab: Lab) -> None:
    """Time every pair of architectures, and every method's step, of a sweep while nothing of it trains."""
    for config in configs:
        point, dataset = plan(config), lab.dataset(config)
        latency_of(config.student, point.timed_beside, config=config, dataset=dataset, lab=lab)
        if point.teacher is not None and point.timed_beside is not None and _has_network(config):
            latency_of(point.timed_beside, None, config=config, dataset=dataset, lab=lab)
        if point.run.role == "student":
            step_cost_of(config, dataset=dataset, lab=lab)


def _has_network(config: RunConfig) -> bool:
    return config.teacher is not None and quality_of(config).needs_network


def _checks(config: RunConfig, lab: Lab) -> list[tuple[str, Callable[[], Any]]]:
    """Named checks; the name says what makes two of them the same (seeds do not)."""
    data = {"data": config.data.spec, "name": config.data.name, "slices": sorted(config.data.slices)}
    slices = {name: piece.model_dump() for name, piece in config.data.slices.items()}
    whole = {**data, "slices": slices, "sets": "slices" in config.evaluation.sets}
    checks: list[tuple[str, Callable[[], Any]]] = [
        (canonical_json(whole), lambda: lab.dataset(config)),
        (canonical_json({**data, "student": config.student}), lambda: build_student(config, lab.dataset(config))),
    ]
    if rows := rows_identity(config):
        checks.append((canonical_json({**data, **rows}), lambda: kept_rows(config, lab)))
    if config.data.shown.bias_correction:
        named = canonical_json({**data, **rows, "corrected": config.student})
        checks.append((named, lambda: check_correctable(build_student(config, lab.dataset(config)), config, lab)))
    trainer, recipes = config.trainer, {"training": config.shown_training()}
    teacher = config.teacher
    known = {} if teacher is None else teacher.model_dump(exclude={"seed", "training", "cache"})
    if teacher is not None and _has_network(config) and not (is_several(config) and not config.taught_terms):
        behind = configs_behind(config)
        if not behind and quality_of(config).trained:
            recipes["teacher.training"] = teacher.effective_training()
        at_random = bool(config.training.augmentation) and not (teacher.cache.views or teacher.cache.fixed_targets)
        augmented = at_random and plan(config).teacher is not None
        checks.append(
            (
                canonical_json({**data, **known, "shift": config.data.shift, "augmented": augmented}),
                lambda: _try_teacher(config, lab, augmented=augmented),
            )
        )
        for one, keys in behind:
            checks += [(text, partial(_named, check, keys)) for text, check in _checks(one, lab)]
    networks = {"student": config.student, "teacher": known}
    wanted = canonical_json({**data, **networks, "terms": terms_of(config)})
    checks.append((wanted, lambda: _try_features(config, lab)))
    runtime = Runtime(accelerator=trainer.accelerator, devices=trainer.devices)
    for key, recipe in recipes.items():
        checks.append((key + canonical_json(recipe.model_dump()), partial(_try_recipe, recipe, key)))
        told = {
            f"{key}.augmentation": recipe.augmentation,
            "order": list(recipe.augmentation),
            "stored": _stored(config),
        }
        steps = canonical_json({**data, **told})
        checks.append((steps, partial(_try_augmentation, recipe, key, config, lab)))
        name = canonical_json({**trainer.model_dump(), "precision": recipe.precision})
        checks.append((name, partial(make_trainer, Recipe(**recipe.model_dump()), runtime)))
    return checks


def _named(check: Callable[[], Any], named: Mapping[str, str]) -> None:
    """A check of a network behind the teacher; keys in its messages are those that the user knows."""
    try:
        check()
    except UserError as error:
        raise told_as(error, named) from error


def _try_augmentation(recipe: TrainingConfig, key: str, config: RunConfig, lab: Lab) -> None:
    """Augment a few examples once: libraries judge their knobs, and the shape of the data, when called."""
    if not recipe.augmentation:
        return
    dataset = lab.dataset(config)
    try_augmentation(recipe.augmentation, dataset.train, facts=dataset.facts, key=f"{key}.augmentation")
    if key == "training" and (stored := _stored(config)):
        check_unmixed(
            Augmentation(recipe.augmentation, input_shape=dataset.input_shape, facts=dataset.facts), key=stored
        )


def _stored(config: RunConfig) -> str:
    """The key that stores views, or answers beside an augmentation; empty for none."""
    if config.teacher is not None and config.teacher.cache.fixed_targets:
        return "teacher.cache.fixed_targets"
    if not config.shown_training().views:
        return ""
    return "training.views" if config.training.views else "teacher.cache.views"


def _try_teacher(config: RunConfig, lab: Lab, *, augmented: bool) -> None:
    """Build the teacher with weights that nobody trained: every dose is judged where it acts, on a few examples.

    ``augmented``: whether its student sees changed inputs.
    """
    teacher, dataset = config.teacher, lab.dataset(config)
    assert teacher is not None
    made = untrained_teacher(config, dataset)
    if not configs_behind(config):
        if teacher.checkpoint is not None:
            load_checkpoint(teacher, build_teacher_network(config, dataset))
        few = dataset.train.select(torch.arange(min(FEW, len(dataset.train))))
        training_set(config, few, dataset)
    if augmented and answers_by_index(made):
        raise UserError(f"teacher.quality.name = '{teacher.quality['name']}': {BY_INDEX_AUGMENTED}")


def _try_features(config: RunConfig, lab: Lab) -> None:
    """Where terms read features or learn beside the student: try them once on untrained networks."""
    objective = objective_of(config)
    if not (objective.student_features | objective.teacher_features | set(objective.builders)):
        return
    dataset, provider = lab.dataset(config), None
    if config.teacher is not None and objective.needs:
        provider = untrained_teacher(config, dataset)
    student = build_student(config, dataset).eval()
    found, ready = prepared(objective, student=student, teacher=provider, examples=dataset.train)
    few = dataset.train.select(torch.arange(min(FEW, len(dataset.train))))
    batch = Batch(few.inputs, few.labels, few.index, torch.ones_like(few.labels, dtype=torch.bool))
    with torch.no_grad():
        taught = None if provider is None else provider(few.inputs, few.index)
        output = as_output(ready(few.inputs))
        try:
            found(output, taught, batch, 0, modules_of(ready, slice(None)))
        except (RuntimeError, KeyError) as error:
            raise UserError(f"objective.terms: features do not fit each other: {error}") from error


def _try_recipe(recipe: TrainingConfig, key: str) -> None:
    """Build the optimizer and its schedule over a weight of no network: libraries judge their knobs when built."""
    weight = nn.Parameter(torch.zeros(2, 2))
    for part, schedule in (("optimizer", None), ("schedule", recipe.schedule)):
        try:
            build_optimizer([weight], recipe.optimizer, schedule, steps=recipe.steps)
        except (TypeError, ValueError, ArithmeticError) as error:
            spec = recipe.optimizer if schedule is None else schedule
            knobs = ", ".join(f"{name} = {value!r}" for name, value in spec.items() if name != "_target_")
            raise UserError(f"{key}.{part}: {knobs or spec['_target_']}: {error}") from error
