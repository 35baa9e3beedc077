"""Who is trained, by what recipe, where, and how it went: the values that ``fit`` takes and gives."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from torch import nn

from kdlab.data.dataset import Examples
from kdlab.data.transfer_order import Mixture
from kdlab.errors import NonFiniteLossError
from kdlab.objectives import Objective
from kdlab.streams import Role
from kdlab.teachers import Teacher
from kdlab.training.callbacks import CurveSink


@dataclass(frozen=True)
class Recipe:
    """What trains a network, besides data and objective (all of it part of a run's identity)."""

    steps: int
    batch_size: int
    optimizer: Mapping[str, Any]
    schedule: Mapping[str, Any]
    augmentation: Mapping[str, Any] = field(default_factory=dict)
    gradient_clip_norm: float | None = None
    precision: str = "32-true"
    views: int = 0


@dataclass(frozen=True)
class Runtime:
    """Where and how often (no part of the identity).

    Args:
        compile: the mode of ``torch.compile`` for the forward of training, None for none.
        label: what the progress bar says.
        checkpoint_every_seconds: the least time between two checkpoints.
    """

    accelerator: str = "auto"
    devices: int | str = 1
    compile: str | None = None
    validate_every_epochs: int = 1
    evaluation_batch_size: int = 1000
    checkpoint_every_seconds: float = 30.0
    progress: bool = True
    label: str = "training"


@dataclass(frozen=True)
class Learner:
    """One network that is trained: alone, or as one of a stack.

    Args:
        network: trained in place.
        objective: what it is trained to do.
        train: what it learns from.
        validation: what its curves are measured on.
        recipe: how it is trained.
        role: whose streams order its batches and draw its dropout masks.
        seed: the seed of these streams.
        teacher: frozen provider of soft targets; needed when a term of the objective asks for it.
        facts: the data set's: what its inputs were standardised by, and the range of its pixels, which an augmentation
            may need.
        sinks: who gets its curves.
        checkpoint: where its epoch ends are saved and it is taken up again once killed; None for no checkpoint.
        mixture: where ``train`` are labelled rows and a transfer set behind them: how its batches are mixed of both.
    """

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
    mixture: Mixture | None = None


@dataclass(frozen=True)
class Fitted:
    """How a fit went.

    Args:
        seconds: wall seconds of training divided by the size of the stack, those before a resumption included.
        steps: optimizer steps done.
        resumed_from: the step it was taken up at, 0 for a fresh one.
        device: the kind of device.
        error: why it stopped early: its loss was not finite. In a stack its network holds weights from before.
    """

    seconds: float
    steps: int
    resumed_from: int
    device: str
    error: NonFiniteLossError | None = None
