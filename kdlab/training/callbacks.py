"""What happens at the ends of epochs: curves to whoever listens, checkpoints, a progress bar, keyed dropout."""

import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import Checkpoint

from kdlab.streams import Role, stream_seed
from kdlab.training.batches import TrainingBatches

#: Set in the environment by a sweep that watches its runs: they draw nothing themselves.
WATCHED = "KDLAB_WATCHED"


class CurveSink(Protocol):
    """Whoever listens to the curves: the history file, the tracker, the progress bar."""

    def log(self, metrics: Mapping[str, float], *, step: int, epoch: float) -> None:
        """Take in the values of one moment."""


class EpochCheckpoint(Checkpoint):
    """Saves a checkpoint at the end of an epoch once ``every_seconds`` have passed, so that a killed run goes on.

    At epoch ends only: a loader resumed in mid-epoch would silently replay batches. The file holds tensors and plain
    Python, so it loads with ``weights_only=True``. As a ``Checkpoint`` it comes after the module's own hook: the curves
    of an epoch are written before the checkpoint that says the epoch is done.

    Args:
        path: where; written beside it and renamed.
        every_seconds: the least time between two.
    """

    def __init__(self, path: Path, *, every_seconds: float) -> None:
        self.path, self.every_seconds = path, every_seconds
        self.seconds_before = 0.0
        self._began = self._last = time.monotonic()

    @property
    def seconds(self) -> float:
        """Wall seconds of training so far, those before a resumption included."""
        return self.seconds_before + time.monotonic() - self._began

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Save, if it is time."""
        if time.monotonic() - self._last < self.every_seconds:
            return
        partial = self.path.with_suffix(".partial")
        trainer.save_checkpoint(partial)
        partial.replace(self.path)
        self._last = time.monotonic()

    def state_dict(self) -> dict[str, Any]:
        """The time spent, which a resumed run goes on counting from."""
        return {"seconds": self.seconds}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take the time spent before over."""
        self.seconds_before = float(state_dict["seconds"])


class EpochStream(pl.Callback):
    """Begins the streams of every epoch: the order of the batches, and dropout's.

    Dropout draws from torch's global generators, which are seeded anew by (role, dropout, seed, epoch).
    """

    def __init__(self, *, role: Role, seed: int) -> None:
        self.role: Role = role
        self.seed = seed

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Set and seed the epoch."""
        epoch = trainer.current_epoch
        if isinstance(trainer.train_dataloader, TrainingBatches):
            trainer.train_dataloader.epoch = epoch
        torch.manual_seed(stream_seed(self.role, "dropout", self.seed, epoch=epoch))


class ProgressLine:
    """A bar over optimizer steps, moved by the curves; silent where the output is no terminal that can move its cursor.

    Silent too in a run that a sweep watches, here or in a worker process: the sweep draws its line.
    No Lightning callback: Lightning puts its own ``log`` on those.
    """

    def __init__(self, label: str, *, steps: int) -> None:
        from tqdm import tqdm

        silent = WATCHED in os.environ or os.environ.get("TERM") == "dumb"
        self._bar = tqdm(total=steps, desc=label, unit="step", leave=False, disable=True if silent else None)

    def log(self, metrics: Mapping[str, float], *, step: int, epoch: float) -> None:
        """Move the bar."""
        self._bar.update(step - self._bar.n)
        if "validation/accuracy" in metrics:
            self._bar.set_postfix_str(f"validation {metrics['validation/accuracy']:.3f}", refresh=False)

    def close(self) -> None:
        """Close the bar."""
        self._bar.close()
