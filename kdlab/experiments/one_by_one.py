"""A stand-in until training takes many: the same signature, one after the other."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from torch import nn

from kdlab.data.dataset import Examples
from kdlab.objectives import Objective
from kdlab.streams import Role
from kdlab.teachers import Teacher
from kdlab.training import NonFiniteLossError, Recipe, Runtime
from kdlab.training import fit as fit_one
from kdlab.training.callbacks import CurveSink


@dataclass
class Learner:
    """One network of a stack."""

    network: nn.Module
    objective: Objective
    train: Examples
    validation: Examples
    recipe: Recipe
    role: Role
    seed: int
    teacher: Teacher | None = None
    facts: Mapping[str, Any] = field(default_factory=dict)
    sinks: Sequence[CurveSink] = ()
    checkpoint: Path | None = None


@dataclass
class Fitted:
    """How it went."""

    seconds: float
    steps: int
    resumed_from: int
    device: str
    error: NonFiniteLossError | None = None


def stack_problem(learners: Sequence[Learner], *, num_classes: int) -> str | None:
    """Why these cannot be one stack."""
    return None


def fit(learners: Sequence[Learner], *, num_classes: int, runtime: Runtime) -> list[Fitted]:
    """Train them."""
    found = []
    for one in learners:
        try:
            fitted = fit_one(
                one.network,
                one.objective,
                train=one.train,
                validation=one.validation,
                num_classes=num_classes,
                recipe=one.recipe,
                role=one.role,
                seed=one.seed,
                teacher=one.teacher,
                facts=one.facts,
                runtime=replace(runtime, checkpoint=one.checkpoint, sinks=list(one.sinks)),
            )
            found.append(Fitted(fitted.seconds, fitted.steps, fitted.resumed_from, fitted.device))
        except NonFiniteLossError as error:
            found.append(Fitted(0.0, 0, 0, "cpu", error))
    return found
