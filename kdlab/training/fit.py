"""Fit a network: the Trainer, put together for small runs that are many, and honest about interruption."""

import logging
import signal
import time
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any

import pytorch_lightning as pl
import torch
from lightning_fabric.utilities.exceptions import MisconfigurationException
from torch import nn

from kdlab.data.augmentation import Augmentation
from kdlab.data.dataset import Examples
from kdlab.errors import UserError
from kdlab.models import untap
from kdlab.objectives import Objective
from kdlab.streams import Role, global_stream, stream_seed
from kdlab.teachers import Teacher
from kdlab.training.batches import EvaluationBatches, TrainingBatches
from kdlab.training.callbacks import CurveSink, EpochCheckpoint, EpochStream, ProgressLine
from kdlab.training.distillation import Distillation


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
    """How a fit went.

    Args:
        seconds: wall seconds of training, those before a resumption included.
        steps: optimizer steps done.
        resumed_from: the step it was taken up at, 0 for a fresh one.
        device: the kind of device.
    """

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
    facts: Mapping[str, Any] = MappingProxyType({}),
    runtime: Runtime = Runtime(),
) -> Fitted:
    """Train ``model`` in place; it ends in eval mode on the CPU, in its own dtype.

    ``facts`` are the data set's: what its inputs were standardised by, and the range of its pixels, which an
    augmentation may need.

    Raises:
        UserError: an augmentation does not fit the data, or the teacher.
        NonFiniteLossError: naming the step and the term.
        KeyboardInterrupt: the user's; Lightning's own way out would be ``exit(1)`` with Ctrl-C disarmed.
    """
    augment = _augmentation(recipe, train, facts)
    bars = [ProgressLine(runtime.label, steps=recipe.steps)] if runtime.progress else []
    module = Distillation(
        model,
        objective,
        num_classes=num_classes,
        optimizer=recipe.optimizer,
        schedule=recipe.schedule,
        teacher=teacher,
        steps=recipe.steps,
        augmented=augment is not None,
        sinks=[*runtime.sinks, *bars] or [_Silence()],
    )
    saver = _saver(runtime)
    callbacks: list[pl.Callback] = [EpochStream(role=role, seed=seed), *([saver] if saver else [])]
    trainer = make_trainer(recipe, runtime, callbacks=callbacks)
    device = trainer.strategy.root_device
    dtype = next((p.dtype for p in model.parameters() if p.is_floating_point()), None)
    resumed = runtime.checkpoint if runtime.checkpoint is not None and runtime.checkpoint.exists() else None
    started_at = 0 if resumed is None else saved_step(resumed)
    batches = TrainingBatches(train, batch_size=recipe.batch_size, role=role, seed=seed, device=device, augment=augment)
    holdout = EvaluationBatches(validation, batch_size=runtime.evaluation_batch_size, device=device)
    started = time.perf_counter()
    try:
        with _interruptible(trainer), _quiet(), global_stream(stream_seed(role, "dropout", seed)):
            trainer.fit(module, batches, holdout, ckpt_path=resumed, weights_only=True)
    finally:  # what was trained in double precision is deployed, and its teacher asked, as it came
        untap(model).to(device="cpu", dtype=dtype).eval()
        if teacher is not None:
            teacher.to("cpu", torch.float32)
        for bar in bars:
            bar.close()
    seconds = time.perf_counter() - started + (saver.seconds_before if saver else 0.0)
    return Fitted(seconds, trainer.global_step, started_at, device.type)


def _augmentation(recipe: Recipe, train: Examples, facts: Mapping[str, Any]) -> Augmentation | None:
    if not recipe.augmentation:
        return None
    return Augmentation(recipe.augmentation, input_shape=tuple(train.inputs.shape[1:]), facts=facts)


class _Silence:
    """A sink for runs nobody listens to: Lightning's own logging would cost without being read."""

    def log(self, metrics: Mapping[str, float], *, step: int, epoch: float) -> None:
        """Nothing."""


def _saver(runtime: Runtime) -> EpochCheckpoint | None:
    if runtime.checkpoint is None:
        return None
    return EpochCheckpoint(runtime.checkpoint, every_seconds=runtime.checkpoint_every_seconds)


def make_trainer(recipe: Recipe, runtime: Runtime, *, callbacks: Sequence[pl.Callback] = ()) -> pl.Trainer:
    """The Trainer of a fit.

    Raises:
        UserError: this machine has no such accelerator, or the accelerator cannot do this precision.
    """
    with _quiet():
        try:
            trainer = pl.Trainer(
                accelerator=runtime.accelerator,
                devices=runtime.devices,
                precision=recipe.precision,  # type: ignore[arg-type]
                max_steps=recipe.steps,
                max_epochs=-1,
                gradient_clip_val=recipe.gradient_clip_norm,
                gradient_clip_algorithm="norm" if recipe.gradient_clip_norm is not None else None,
                check_val_every_n_epoch=runtime.validate_every_epochs,
                callbacks=list(callbacks),
                logger=False,
                enable_checkpointing=runtime.checkpoint is not None,
                enable_progress_bar=False,
                enable_model_summary=False,
                num_sanity_val_steps=0,
                use_distributed_sampler=False,
            )
        except (MisconfigurationException, ValueError) as error:
            raise UserError(
                f"trainer.accelerator = '{runtime.accelerator}', trainer.devices = {runtime.devices}, "
                f"training.precision = '{recipe.precision}': {str(error).splitlines()[0]}"
            ) from error
    if trainer.world_size != 1:
        raise UserError(f"trainer.devices = {runtime.devices!r}: a network trains on one device; 1 is allowed")
    return trainer


def saved_step(checkpoint: Path) -> int:
    """The optimizer step at which a checkpoint was saved.

    Raises:
        UserError: the file is no whole checkpoint.
    """
    try:
        return int(torch.load(checkpoint, map_location="cpu", weights_only=True)["global_step"])
    except Exception as error:  # a damaged file raises anything; all of it means that it cannot be used
        raise UserError(f"{checkpoint.name} is damaged ({type(error).__name__})") from error


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
