"""Checkpoints: every learner has one of its own, in the format of a single one, whatever stack it was trained in.

So a killed stack goes on as that stack, as a part of another one, or student by student. ``parted`` cuts the state of a
stack into those of its students and ``joined`` puts such states together again.

They are files of ours and not Lightning's: its Trainer, resumed at the end of an epoch, trains that epoch's last batch
again where the module validates by itself.
"""

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import Checkpoint
from torch import Tensor

from kdlab.errors import UserError

FORMAT = 2
OURS = "kdlab"
STACKED, SINGLE = "student.network.", "student."
OF_A_TENSOR = ("step", "mu_product", "eta", "mu")
"""What torch's elementwise optimizers keep once for a tensor: NAdam's product of momenta, ASGD's rate and average."""
Span = tuple[int, int, bool]
"""A group of a stack: first student, the one behind the last, and whether its leaves keep the axis of the students."""


class EpochCheckpoint(Checkpoint):
    """Saves a checkpoint at the end of an epoch once ``every_seconds`` have passed, so that a killed run goes on.

    And at the last step, whatever time it is: a run that is stopped while it is measured only has to be measured.

    A learner that diverged keeps the one it had: tried again, it diverges again, as it does alone.

    At epoch ends only: a loader resumed in mid-epoch would silently replay batches. The files hold tensors and plain
    Python, so they load with ``weights_only=True``. As a ``Checkpoint`` it comes after the module's own hook: the
    curves of an epoch are written before the checkpoint that says the epoch is done.

    Args:
        paths: where, one for each learner; written beside it and renamed.
        every_seconds: the least time between two.
        before: seconds each learner trained before it was taken up.
        spans: the groups of the stack.
    """

    def __init__(
        self, paths: Sequence[Path], *, every_seconds: float, before: Sequence[float], spans: Sequence[Span]
    ) -> None:
        self.paths, self.every_seconds, self.before, self.spans = list(paths), every_seconds, list(before), list(spans)
        self._began = self._last = time.monotonic()

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Save, if it is time."""
        is_time = time.monotonic() - self._last >= self.every_seconds
        if not is_time and trainer.global_step < trainer.max_steps:
            return
        saved = state_of(trainer, pl_module)
        if not is_time:  # only to be measured: what optimizers remember is three quarters of the time to save
            states = [{**state, "state": {}} for state in saved["optimizer_states"]]
            saved |= {"optimizer_states": states, "ended": True}
        share = (time.monotonic() - self._began) / len(self.paths)
        parts = parted(saved, spans=self.spans) if len(self.paths) > 1 else [saved]
        diverged = getattr(pl_module, "errors", {})  # frozen: taken up, it would end as if nothing had been
        for at, (path, before, part) in enumerate(zip(self.paths, self.before, parts, strict=True)):
            if at in diverged:
                continue
            partial = path.with_suffix(".partial")
            torch.save({**part, OURS: {"format": FORMAT, "seconds": before + share}}, partial)
            partial.replace(path)
        self._last = time.monotonic()


def state_of(trainer: pl.Trainer, module: pl.LightningModule) -> dict[str, Any]:
    """All that a fit goes on from at the end of an epoch, as tensors and plain Python."""
    scaler = getattr(trainer.precision_plugin, "scaler", None)
    return {
        "global_step": trainer.global_step,
        "epoch": trainer.current_epoch + 1,
        "state_dict": {name: tensor.detach().clone() for name, tensor in module.state_dict().items()},
        "optimizer_states": [optimizer.state_dict() for optimizer in trainer.optimizers],
        "lr_schedulers": [config.scheduler.state_dict() for config in trainer.lr_scheduler_configs],
        "scaler": None if scaler is None else scaler.state_dict(),
    }


def go_on_from(saved: Mapping[str, Any], trainer: pl.Trainer, module: pl.LightningModule) -> None:
    """Put a fit back to where ``state_of`` was taken, its Trainer's counts of epochs and steps included.

    Raises:
        UserError: it ended there, and is to go on.
    """
    if saved.get("ended") and int(saved["global_step"]) < trainer.max_steps:
        raise UserError(
            f"the checkpoint is of a training that ended at step {saved['global_step']} and cannot go on to step "
            f"{trainer.max_steps}; remove it"
        )
    module.load_state_dict(saved["state_dict"])
    for optimizer, state in zip(trainer.optimizers, saved["optimizer_states"], strict=True):
        optimizer.load_state_dict(state)
    for config, state in zip(trainer.lr_scheduler_configs, saved["lr_schedulers"], strict=True):
        config.scheduler.load_state_dict(state)
    if saved["scaler"] is not None:
        trainer.precision_plugin.scaler.load_state_dict(saved["scaler"])  # type: ignore[attr-defined]
    epochs, steps = trainer.fit_loop.epoch_progress, trainer.fit_loop.epoch_loop.manual_optimization.optim_step_progress
    for counted in (epochs.current, epochs.total):
        for name in ("ready", "started", "processed", "completed"):
            setattr(counted, name, int(saved["epoch"]))
    for counts in (steps.current, steps.total):
        counts.ready = counts.completed = int(saved["global_step"])


def read_checkpoint(path: Path) -> dict[str, Any]:
    """A learner's checkpoint.

    Raises:
        UserError: the file is no whole checkpoint of this version.
    """
    try:
        saved: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
        known = int(saved[OURS]["format"])
        int(saved["global_step"])
    except Exception as error:  # a damaged file raises anything; all of it means that it cannot be used
        raise UserError(f"{path.name} is damaged or of another version ({type(error).__name__})") from error
    if known != FORMAT:
        raise UserError(f"{path.name} is of another version")
    return saved


def saved_step(checkpoint: Path) -> int:
    """The optimizer step at which a checkpoint was saved.

    Raises:
        UserError: the file is no whole checkpoint of this version.
    """
    return int(read_checkpoint(checkpoint)["global_step"])


def parted(saved: Mapping[str, Any], *, spans: Sequence[Span]) -> list[dict[str, Any]]:
    """The checkpoints of the students of a stack.

    Args:
        saved: the stack's.
        spans: its groups, one optimizer and one schedule each.
    """
    found = []
    for (start, stop, whole), optimizer, schedule in zip(
        spans, saved["optimizer_states"], saved["lr_schedulers"], strict=True
    ):
        for at in range(start, stop):
            weights = {
                name.replace(STACKED, SINGLE, 1): tensor[at].clone() for name, tensor in saved["state_dict"].items()
            }
            own = _state_of(optimizer, at - start) if whole else optimizer
            found.append({**saved, "state_dict": weights, "optimizer_states": [own], "lr_schedulers": [schedule]})
    return found


def joined(saved: Sequence[Mapping[str, Any]], *, spans: Sequence[Span]) -> dict[str, Any]:
    """The checkpoint of a stack, from those of its students at one step.

    Raises:
        ValueError: they were saved at several steps.
    """
    if len({int(one["global_step"]) for one in saved}) != 1:
        raise ValueError("checkpoints of several steps cannot be taken up together")
    names = saved[0]["state_dict"]
    weights = {
        name.replace(SINGLE, STACKED, 1): torch.stack([one["state_dict"][name] for one in saved]) for name in names
    }
    optimizers, schedules = [], []
    for start, stop, whole in spans:
        states = [one["optimizer_states"][0] for one in saved[start:stop]]
        optimizers.append(_joined_state(states) if whole else states[0])
        schedules.append(saved[start]["lr_schedulers"][0])
    return {**saved[0], "state_dict": weights, "optimizer_states": optimizers, "lr_schedulers": schedules}


def _state_of(optimizer: Mapping[str, Any], at: int) -> dict[str, Any]:
    """One student's part of the state of an optimizer that steps several."""
    own = {
        number: {key: value if _is_shared(key, value) else value[at].clone() for key, value in entry.items()}
        for number, entry in optimizer["state"].items()
    }
    return {"state": own, "param_groups": optimizer["param_groups"]}


def _joined_state(states: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    state = {
        number: {
            key: value if _is_shared(key, value) else torch.stack([one["state"][number][key] for one in states])
            for key, value in entry.items()
        }
        for number, entry in states[0]["state"].items()
    }
    return {"state": state, "param_groups": states[0]["param_groups"]}


def _is_shared(key: str, value: Any) -> bool:
    """Whether torch keeps a value for a whole tensor, which students of one recipe have in common, or no tensor."""
    return key in OF_A_TENSOR or not isinstance(value, Tensor)
