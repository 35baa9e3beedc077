"""Lightning callbacks: curves to whoever listens, checkpoints at epoch ends, a progress bar, keyed dropout."""

import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Protocol

import pytorch_lightning as pl
import torch

from kdlab.streams import Role, stream_seed


class CurveSink(Protocol):
    """Whoever listens to the curves: the history file, the tracker."""

    def log(self, metrics: Mapping[str, float], *, step: int, epoch: float) -> None:
        """Take in the values of one moment."""


class Curves(pl.Callback):
    """Hands the values logged in an epoch to the sinks when it ends."""

    def __init__(self, sinks: list[CurveSink]) -> None:
        self.sinks = sinks

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        values = {name: float(value) for name, value in trainer.callback_metrics.items()}
        for sink in self.sinks:
            sink.log(values, step=trainer.global_step, epoch=trainer.current_epoch + 1)


class EpochCheckpoint(pl.Callback):
    """Saves a checkpoint at the end of an epoch once ``every_seconds`` have passed, so that a killed run goes on.

    At epoch ends only: a loader resumed in mid-epoch would silently replay batches. The file holds tensors and plain
    Python, so it loads with ``weights_only=True``.
    """

    def __init__(self, path: Path, *, every_seconds: float) -> None:
        self.path, self.every_seconds = path, every_seconds
        self._last = time.monotonic()

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if time.monotonic() - self._last < self.every_seconds:
            return
        partial = self.path.with_suffix(".partial")
        trainer.save_checkpoint(partial)
        os.replace(partial, self.path)
        self._last = time.monotonic()


class EpochStream(pl.Callback):
    """Seeds torch's global generators, which dropout draws from, anew for every epoch: (role, dropout, seed, epoch)."""

    def __init__(self, *, role: Role, seed: int) -> None:
        self.role: Role = role
        self.seed = seed

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        torch.manual_seed(stream_seed(self.role, "dropout", self.seed, epoch=trainer.current_epoch))


class ProgressLine(pl.Callback):
    """A bar over optimizer steps, moved once an epoch; silent where the output is no terminal."""

    def __init__(self, label: str) -> None:
        self.label = label

    def on_fit_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        from tqdm import tqdm

        self._bar = tqdm(total=trainer.max_steps, desc=self.label, unit="step", leave=False, disable=None)

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._bar.update(trainer.global_step - self._bar.n)
        accuracy = trainer.callback_metrics.get("validation/accuracy")
        if accuracy is not None:
            self._bar.set_postfix_str(f"validation {float(accuracy):.3f}", refresh=False)

    def teardown(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        if hasattr(self, "_bar"):
            self._bar.close()
