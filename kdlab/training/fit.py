"""Fit a network: the Trainer, put together for small runs that are many, and honest about interruption."""

import logging
import signal
import time
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from torch import nn

from kdlab.data.dataset import Examples
from kdlab.objectives import Objective
from kdlab.streams import Role, global_stream, stream_seed
from kdlab.teachers import Teacher
from kdlab.training.batches import EvaluationBatches, TrainingBatches
from kdlab.training.callbacks import Curves, CurveSink, EpochCheckpoint, EpochStream, ProgressLine
from kdlab.training.distillation import Distillation


@dataclass(frozen=True)
class Recipe:
    """What trains a network, besides data and objective (all of it part of a run's identity)."""

    steps: int
    batch_size: int
    optimizer: Mapping[str, Any]
    schedule: Mapping[str, Any]
    gradient_clip_norm: float | None = None
    precision: str = "32-true"


@dataclass(frozen=True)
class Runtime:
    """Where and how often (no part of the identity).

    Args:
        label: what the progress bar says.
        checkpoint: where epoch ends are saved and a killed run is taken up again; None for no checkpoint.
        sinks: who gets the curves.
    """

    accelerator: str = "auto"
    devices: int | str = 1
    validate_every_epochs: int = 1
    evaluation_batch_size: int = 1000
    checkpoint: Path | None = None
    checkpoint_every_seconds: float = 30.0
    progress: bool = True
    label: str = "training"
    sinks: list[CurveSink] = field(default_factory=list)


@dataclass(frozen=True)
class Fitted:
    """How a fit went: wall seconds, optimizer steps done, and the step it was resumed from (0 for a fresh one)."""

    seconds: float
    steps: int
    resumed_from: int
    device: str


def fit(
    model: nn.Module,
    objective: Objective,
    *,
    train: Examples,
    validation: Examples,
    num_classes: int,
    recipe: Recipe,
    role: Role,
    seed: int,
    teacher: Teacher | None = None,
    runtime: Runtime = Runtime(),
) -> Fitted:
    """Train ``model`` in place for ``recipe.steps`` optimizer steps; it ends in eval mode on the CPU.

    Raises:
        NonFiniteLossError: naming the step and the term.
        KeyboardInterrupt: the user's; Lightning's own way out would be ``exit(1)`` with Ctrl-C disarmed.
    """
    module = Distillation(
        model,
        objective,
        num_classes=num_classes,
        optimizer=recipe.optimizer,
        schedule=recipe.schedule,
        teacher=teacher,
        steps=recipe.steps,
    )
    trainer = _trainer(recipe, runtime, role=role, seed=seed)
    device = trainer.strategy.root_device
    resumed = runtime.checkpoint if runtime.checkpoint is not None and runtime.checkpoint.exists() else None
    started_at = 0 if resumed is None else saved_step(resumed)
    batches = TrainingBatches(train, batch_size=recipe.batch_size, role=role, seed=seed, device=device)
    holdout = EvaluationBatches(validation, batch_size=runtime.evaluation_batch_size, device=device)
    started = time.perf_counter()
    with _interruptible(trainer), _quiet(), global_stream(stream_seed(role, "dropout", seed)):
        trainer.fit(module, batches, holdout, ckpt_path=resumed, weights_only=True)
    model.cpu().eval()
    return Fitted(time.perf_counter() - started, trainer.global_step, started_at, device.type)


def _trainer(recipe: Recipe, runtime: Runtime, *, role: Role, seed: int) -> pl.Trainer:
    callbacks: list[pl.Callback] = [EpochStream(role=role, seed=seed), Curves(runtime.sinks)]
    if runtime.checkpoint is not None:
        callbacks.append(EpochCheckpoint(runtime.checkpoint, every_seconds=runtime.checkpoint_every_seconds))
    if runtime.progress:
        callbacks.append(ProgressLine(runtime.label))
    with _quiet():
        return pl.Trainer(
            accelerator=runtime.accelerator,
            devices=runtime.devices,
            precision=recipe.precision,  # type: ignore[arg-type]
            max_steps=recipe.steps,
            max_epochs=-1,
            gradient_clip_val=recipe.gradient_clip_norm,
            gradient_clip_algorithm="norm" if recipe.gradient_clip_norm is not None else None,
            check_val_every_n_epoch=runtime.validate_every_epochs,
            callbacks=callbacks,
            logger=False,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
            num_sanity_val_steps=0,
            use_distributed_sampler=False,
        )


def saved_step(checkpoint: Path) -> int:
    """The optimizer step at which a checkpoint was saved."""
    return int(torch.load(checkpoint, map_location="cpu", weights_only=True)["global_step"])


@contextmanager
def _interruptible(trainer: pl.Trainer) -> Iterator[None]:
    """Turn Lightning's exit on Ctrl-C back into the KeyboardInterrupt it was, and arm Ctrl-C again."""
    handler = signal.getsignal(signal.SIGINT)
    try:
        yield
    except SystemExit as error:
        if trainer.interrupted:
            raise KeyboardInterrupt from error
        raise
    finally:
        if signal.getsignal(signal.SIGINT) is not handler:
            signal.signal(signal.SIGINT, handler)


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep Lightning's advertisements and its advice for large data out of a sweep's output; warnings of ours stay."""
    loggers = [logging.getLogger(name) for name in ("pytorch_lightning", "lightning.pytorch", "lightning_fabric")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", module=r"(pytorch_lightning|lightning_fabric)\.")
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
