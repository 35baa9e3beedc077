"""Training inside runs: lessons handed to ``fit``, alone or many as one stack, visible to other processes meanwhile."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch

from kdlab.data.dataset import Examples
from kdlab.evaluation.machine import training_marker
from kdlab.experiments.assess import predict_together
from kdlab.experiments.lab import device_of
from kdlab.experiments.planned import PlannedRun
from kdlab.experiments.runs import Made
from kdlab.outputs import Predictions
from kdlab.schema.learning import TrainingConfig
from kdlab.training import Fitted, Learner, Recipe, Runtime, fit
from kdlab.training.stackable import stack_problem


@dataclass(frozen=True)
class Trained:
    """How the training of one network went.

    Args:
        seconds: wall seconds; of a stack, its seconds divided by its size.
        facts: what belongs in the provenance of its record.
        stack_size: how many were trained together.
        predictions: what it says of the sets of its lesson, where a stack was asked for all of its networks at once.
    """

    seconds: float
    facts: dict[str, Any]
    stack_size: int = 1
    predictions: Mapping[str, Predictions] | None = None


@dataclass(frozen=True)
class Lesson:
    """A network ready to be trained, and what its run makes of it afterwards.

    Args:
        planned: its run.
        learner: the network, what it learns and from whom.
        num_classes: C of its data.
        made: measures what was trained.
        sets: what it is measured on as a network; empty where it is measured as a teacher.
    """

    planned: PlannedRun
    learner: Learner
    num_classes: int
    made: Callable[[Trained], Made]
    sets: Mapping[str, Examples] = field(default_factory=dict)


def recipe_of(recipe: TrainingConfig) -> Recipe:
    """A recipe of a config as training reads it."""
    return Recipe(**recipe.model_dump())


def taught_by_itself(lesson: Lesson) -> Made:
    """Train and measure one network.

    Raises:
        NonFiniteLossError: it diverged.
    """
    (trained,) = train([lesson])
    if isinstance(trained, Exception):
        raise trained
    return lesson.made(trained)


def train(lessons: Sequence[Lesson]) -> list[Trained | Exception]:
    """Train the networks of lessons that fit together, in place; what went wrong with one of them stands in its place.

    Args:
        lessons: with the same architecture, sizes, steps, batch size and trainer.
    """
    first = lessons[0]
    with training_marker():
        fitted = fit([lesson.learner for lesson in lessons], num_classes=first.num_classes, runtime=_runtime(lessons))
    return [_trained(one, size=len(lessons), position=at) for at, one in enumerate(fitted)]


def examined(lessons: Sequence[Lesson], trained: Sequence[Trained | Exception]) -> Iterator[Trained | Exception]:
    """What was trained, in its order, with the predictions of all networks in one pass where that pays.

    It does on an accelerator, for networks that are measured on the same sets (``predict_together``).
    """
    config = lessons[0].planned.config
    device = device_of(config)
    shown = [{name: id(examples) for name, examples in lesson.sets.items()} for lesson in lessons]
    if device.type == "cpu" or len(lessons) < 2 or not shown[0] or any(sets != shown[0] for sets in shown):
        yield from trained
        return
    fine = [lesson.learner.network for lesson, one in zip(lessons, trained, strict=True) if isinstance(one, Trained)]
    said = predict_together(
        fine,
        lessons[0].sets,
        num_classes=lessons[0].num_classes,
        batch_size=config.evaluation.batch_size,
        device=device,
    )
    together = True
    for one in trained:
        predictions = None
        if isinstance(one, Trained) and together:
            try:
                predictions = next(said)
            except torch.OutOfMemoryError:  # then each is asked by itself
                together = False
        yield one if predictions is None or isinstance(one, Exception) else replace(one, predictions=predictions)


def why_not_together(lessons: Sequence[Lesson]) -> str | None:
    """Why these cannot be trained as one stack; None where they can."""
    return stack_problem([lesson.learner for lesson in lessons])


def _trained(fitted: Fitted, *, size: int, position: int) -> Trained | Exception:
    if fitted.error is not None:
        return fitted.error
    facts = {
        "device": fitted.device,
        "steps": fitted.steps,
        "resumed_from": fitted.resumed_from,
        "stack_size": size,
        "stack_position": position,
    }
    return Trained(fitted.seconds, facts, size)


def _runtime(lessons: Sequence[Lesson]) -> Runtime:
    planned = lessons[0].planned
    trainer = planned.config.trainer
    alone = f"{planned.role} {planned.run_id}"
    return Runtime(
        accelerator=trainer.accelerator,
        devices=trainer.devices,
        compile=trainer.compile,
        validate_every_epochs=trainer.validate_every_epochs,
        evaluation_batch_size=planned.config.evaluation.batch_size,
        checkpoint_every_seconds=trainer.checkpoint_every_seconds,
        progress=trainer.progress,
        label=alone if len(lessons) == 1 else f"{len(lessons)} networks",
    )
