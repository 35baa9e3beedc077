"""Fit learners: a Trainer put together for small runs that are many, and honest about interruption."""

import logging
import signal
import time
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import pytorch_lightning as pl
import torch
from lightning_fabric.utilities.exceptions import MisconfigurationException

from kdlab.data.augmentation import Augmentation
from kdlab.errors import NonFiniteLossError, UserError
from kdlab.models import untap
from kdlab.models.stacking import Stack
from kdlab.streams import global_stream
from kdlab.teachers import refuses_augmentation
from kdlab.training.batches import EvaluationBatches, Source, TrainingBatches
from kdlab.training.callbacks import CurveSink, ProgressLine
from kdlab.training.checkpoints import EpochCheckpoint, joined, read_checkpoint
from kdlab.training.distillation import BY_INDEX_AUGMENTED
from kdlab.training.equipped import made_ready
from kdlab.training.layout import order_of
from kdlab.training.learner import Fitted, Learner, Recipe, Runtime
from kdlab.training.memory import kept_memory
from kdlab.training.optimizers import spans_of
from kdlab.training.stack_module import StackModule
from kdlab.training.stackable import difference

DEFAULT = Runtime()


def fit(learners: Sequence[Learner], *, num_classes: int, runtime: Runtime = DEFAULT) -> list[Fitted]:
    """Train every learner's network in place, all together; each ends in eval mode on the CPU, in its own dtype.

    A learner is trained as it would be alone: its initial weights, order of batches, dropout masks, random changes,
    clipping, curves and checkpoint are its own. Objective, teacher, seed, data of one size, optimizer, schedule and
    clipping may differ; architecture, steps, batch size, precision and augmentation are those of the first.

    Args:
        learners: K >= 1; see ``stack_problem`` for whether K > 1 of them fit together.
        num_classes: C.
        runtime: where and how often.

    Returns:
        How it went for each. One whose loss was not finite has an ``error``; it stops nobody else. Its network is what
        was left of it (alone perhaps NaN, in a stack its last finite weights): no run saves or measures it.

    Raises:
        UserError: an augmentation does not fit the data, or the teacher; learners differ in what they must share.
        KeyboardInterrupt: the user's; Lightning's own way out would be ``exit(1)`` with Ctrl-C disarmed.
    """
    _check(learners, num_classes=num_classes)
    learners = [made_ready(learner) for learner in learners]
    order = order_of(learners)
    found = _fit([learners[at] for at in order], runtime)
    return [found[order.index(at)] for at in range(len(learners))]


def _fit(learners: Sequence[Learner], runtime: Runtime) -> list[Fitted]:
    recipe = learners[0].recipe
    resumed = _taken_up(learners)
    before = [float(saved["kdlab"]["seconds"]) for saved in resumed] or [0.0] * len(learners)
    started_at = int(resumed[0]["global_step"]) if resumed else 0
    paths = [learner.checkpoint for learner in learners if learner.checkpoint is not None]
    every = runtime.checkpoint_every_seconds
    spans = spans_of([learner.recipe for learner in learners])
    savers: list[pl.Callback] = (
        [EpochCheckpoint(paths, every_seconds=every, before=before, spans=spans)] if paths else []
    )
    trainer = make_trainer(recipe, runtime, callbacks=savers)
    device = trainer.strategy.root_device
    bars = [ProgressLine(runtime.label, steps=recipe.steps)] if runtime.progress else []
    dtypes = [_dtype(learner) for learner in learners]
    module, batches = _module(learners, runtime, device=device, listeners=bars)
    if resumed:
        module.resumed = resumed[0] if len(resumed) == 1 else joined(resumed, spans=spans)
    started = time.perf_counter()
    try:
        with _interruptible(trainer), _quiet(), global_stream(0), kept_memory():
            trainer.fit(module, batches)
    except NonFiniteLossError:  # nobody is left; each one's error is kept
        if not module.errors:
            raise
    finally:
        _hand_back(module, learners, dtypes)
        for bar in bars:
            bar.close()
    share = (time.perf_counter() - started) / len(learners)
    return [
        Fitted(seconds + share, trainer.global_step, started_at, device.type, module.errors.get(at))
        for at, seconds in enumerate(before)
    ]


def _check(learners: Sequence[Learner], *, num_classes: int) -> None:
    if (name := difference(learners)) is not None:
        raise UserError(f"{len(learners)} learners cannot be trained together: they differ in {name}")
    for learner in learners:
        teacher = learner.teacher
        if teacher is not None and teacher.num_classes != num_classes:
            raise UserError(f"the teacher has {teacher.num_classes} classes, the student {num_classes}")
        if learner.recipe.augmentation and learner.objective.needs and refuses_augmentation(teacher):
            raise UserError(f"the teacher {BY_INDEX_AUGMENTED}")


def _module(
    learners: Sequence[Learner], runtime: Runtime, *, device: torch.device, listeners: Sequence[CurveSink]
) -> tuple[StackModule, TrainingBatches]:
    """The module and its batches; learners who see the same batches share a source."""
    recipe = learners[0].recipe
    dtype = torch.float64 if recipe.precision == "64-true" else None
    keys = [(id(learner.train), learner.role, learner.seed) for learner in learners]
    distinct = list(dict.fromkeys(keys))
    members = [learners[keys.index(key)] for key in distinct]
    sources = [
        Source(
            one.train,
            role=one.role,
            seed=one.seed,
            augment=_augmentation(one),
            views=one.recipe.views,
            mixture=one.mixture,
        )
        for one in members
    ]
    batches = TrainingBatches(sources, batch_size=recipe.batch_size, device=device, dtype=dtype)
    holdouts = {
        id(one.validation): EvaluationBatches(
            one.validation, batch_size=runtime.evaluation_batch_size, device=device, dtype=dtype
        )
        for one in learners
    }
    module = StackModule(
        learners,
        batches=batches,
        of_source=[distinct.index(key) for key in keys],
        holdouts=[holdouts[id(one.validation)] for one in learners],
        validate_every=runtime.validate_every_epochs,
        fused=recipe.precision != "16-mixed",
        compile_mode=runtime.compile,
        listeners=listeners,
    )
    return module, batches


def _augmentation(learner: Learner) -> Augmentation | None:
    if not learner.recipe.augmentation:
        return None
    shape = tuple(learner.train.inputs.shape[1:])
    return Augmentation(learner.recipe.augmentation, input_shape=shape, facts=learner.facts)


def _dtype(learner: Learner) -> torch.dtype | None:
    return next((p.dtype for p in learner.network.parameters() if p.is_floating_point()), None)


def _hand_back(module: StackModule, learners: Sequence[Learner], dtypes: Sequence[torch.dtype | None]) -> None:
    """What was trained in double precision is deployed, and its teacher asked, as it came."""
    networks = [learner.network for learner in learners]
    if isinstance(module.student, Stack):
        module.student.unstack(networks)
    for learner, dtype in zip(learners, dtypes, strict=True):
        untap(learner.network).to(device="cpu", dtype=dtype).eval()
        if learner.teacher is not None:
            learner.teacher.to("cpu", torch.float32)


# --- checkpoints ------------------------------------------------------------------------------------------------------


def _taken_up(learners: Sequence[Learner]) -> list[dict[str, Any]]:
    """The checkpoints of learners that were cut off; none where one of them has none.

    Raises:
        UserError: one is damaged.
    """
    paths = [learner.checkpoint for learner in learners]
    if not all(path is not None and path.exists() for path in paths):
        return []
    saved = [read_checkpoint(path) for path in paths if path is not None]
    return saved if len({int(one["global_step"]) for one in saved}) == 1 else []


# --- the Trainer ------------------------------------------------------------------------------------------------------


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
                callbacks=list(callbacks),
                logger=False,
                enable_checkpointing=bool(callbacks),  # ours is a Checkpoint, which Lightning asks to be allowed
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
            warnings.filterwarnings("ignore", message="There is a performance drop because we have not yet implemented")
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
