"""Training inside a run: the config's recipe handed to ``fit``, visible to other processes while it lasts."""

from dataclasses import dataclass
from typing import Any

from torch import nn

from kdlab.data import Dataset
from kdlab.evaluation.machine import training_marker
from kdlab.experiments.plan import PlannedRun
from kdlab.experiments.runs import Desk
from kdlab.objectives import Objective
from kdlab.schema import TrainingConfig
from kdlab.streams import Role
from kdlab.teachers import Teacher
from kdlab.training import Recipe, Runtime, fit


@dataclass(frozen=True)
class Trained:
    """Wall seconds of a training, and what belongs in the provenance of its record."""

    seconds: float
    facts: dict[str, Any]


def train(
    network: nn.Module,
    objective: Objective,
    *,
    planned: PlannedRun,
    recipe: TrainingConfig,
    dataset: Dataset,
    desk: Desk,
    role: Role,
    seed: int,
    teacher: Teacher | None = None,
) -> Trained:
    """Train ``network`` in place."""
    trainer = planned.config.trainer
    runtime = Runtime(
        accelerator=trainer.accelerator,
        devices=trainer.devices,
        validate_every_epochs=trainer.validate_every_epochs,
        evaluation_batch_size=planned.config.evaluation.batch_size,
        checkpoint=desk.checkpoint,
        checkpoint_every_seconds=trainer.checkpoint_every_seconds,
        progress=trainer.progress,
        label=f"{planned.role} {planned.run_id}",
        sinks=desk.sinks,
    )
    with training_marker():
        fitted = fit(
            network,
            objective,
            train=dataset.train,
            validation=dataset.validation,
            num_classes=dataset.num_classes,
            recipe=Recipe(**recipe.model_dump()),
            role=role,
            seed=seed,
            teacher=teacher,
            facts=dataset.facts,
            runtime=runtime,
        )
    facts = {"device": fitted.device, "steps": fitted.steps, "resumed_from": fitted.resumed_from, "stack_position": 0}
    return Trained(fitted.seconds, facts)
