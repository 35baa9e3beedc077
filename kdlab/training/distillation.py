"""The Lightning module that trains a network with an objective: a student beside its teacher, or a teacher on labels.

One module serves both: what differs is the objective, and whether one of its terms asks for a teacher. The teacher is a
plain object, never a submodule: it is absent from ``state_dict``, checkpoints and optimizers, and ``.train()`` does not
reach it.
"""

from collections.abc import Mapping
from typing import Any

import pytorch_lightning as pl
import torch
from torch import Tensor, nn
from torchmetrics import MeanMetric
from torchmetrics.classification import MulticlassAccuracy

from kdlab.models import as_output
from kdlab.objectives import Objective
from kdlab.outputs import Batch
from kdlab.targets import build
from kdlab.teachers import Teacher
from kdlab.training.monitor import TermMonitor


class Distillation(pl.LightningModule):
    """Trains ``student`` with ``objective``.

    Args:
        student: the network, any ``nn.Module`` that returns logits ``[B, C]`` or a ``ModelOutput``.
        objective: the weighted sum of named terms.
        num_classes: C.
        optimizer: spec of a ``torch.optim`` optimizer.
        schedule: spec of a ``torch.optim.lr_scheduler``, stepped every optimizer step; None for a constant rate.
        teacher: frozen provider of soft targets; needed when a term of the objective asks for it.
        steps: the length of the run, handed to schedules that want one.

    Raises:
        UserError: the teacher cannot give what the objective's terms need, or gives another number of classes.
    """

    def __init__(
        self,
        student: nn.Module,
        objective: Objective,
        *,
        num_classes: int,
        optimizer: Mapping[str, Any],
        schedule: Mapping[str, Any] | None = None,
        teacher: Teacher | None = None,
        steps: int = 0,
    ) -> None:
        super().__init__()
        objective.check(teacher.provides if teacher is not None else frozenset())
        if teacher is not None and teacher.num_classes != num_classes:
            raise ValueError(f"the teacher has {teacher.num_classes} classes, the student {num_classes}")
        self.student = student
        self.objective = objective
        # held in a tuple: a teacher that is an nn.Module must not become a submodule
        self._teacher = (teacher,)
        self._optimizer, self._schedule, self._steps = optimizer, schedule, steps
        self.monitor = TermMonitor()
        self.train_accuracy = MulticlassAccuracy(num_classes, average="micro", validate_args=False)
        self.validation_accuracy = MulticlassAccuracy(num_classes, average="micro", validate_args=False)
        self.validation_nll = MeanMetric()

    @property
    def teacher(self) -> Teacher | None:
        """The frozen teacher, or None."""
        return self._teacher[0]

    def forward(self, inputs: Tensor) -> Tensor:
        """Logits ``[B, C]``."""
        return as_output(self.student(inputs)).logits

    def on_fit_start(self) -> None:
        """The teacher follows the student to its device."""
        if self.teacher is not None:
            self._teacher = (self.teacher.to(self.device),)

    def on_train_epoch_start(self) -> None:
        self.monitor.reset()
        self.train_accuracy.reset()

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        """The loss of one batch; terms are accumulated on the device and logged once an epoch."""
        rows = as_batch(batch)
        output = as_output(self.student(rows.inputs))
        taught = self.teacher(rows.inputs, rows.index) if self.teacher is not None and self.objective.needs else None
        value = self.objective(output, taught, rows, self.global_step)
        self.monitor.add(self.global_step, value.loss, value.terms)
        self.train_accuracy.update(output.logits.detach(), rows.labels)
        return value.loss

    def on_train_epoch_end(self) -> None:
        """Log what the epoch accumulated."""
        for name, mean in self.monitor.means().items():
            self.log(f"train/{name}", mean)
        self.log("train/running_accuracy", self.train_accuracy.compute())
        self.log("train/lr", float(self.optimizers().param_groups[0]["lr"]))  # type: ignore[union-attr]

    def on_validation_epoch_start(self) -> None:
        self.validation_accuracy.reset()
        self.validation_nll.reset()

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        """Accumulate accuracy and negative log-likelihood over the validation set."""
        rows = as_batch(batch)
        logits = self(rows.inputs).float()
        self.validation_accuracy.update(logits, rows.labels)
        self.validation_nll.update(nn.functional.cross_entropy(logits, rows.labels, reduction="none"))

    def on_validation_epoch_end(self) -> None:
        self.log("validation/accuracy", self.validation_accuracy.compute())
        self.log("validation/nll", self.validation_nll.compute())

    def configure_optimizers(self) -> Any:
        """The optimizer over the student alone, and its schedule by steps."""
        optimizer = build(self._optimizer, self.student.parameters())
        if self._schedule is None:
            return optimizer
        lengths = {"T_max": self._steps, "total_steps": self._steps, "total_iters": self._steps}
        schedule = build(self._schedule, optimizer, **lengths)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}


def as_batch(batch: Any) -> Batch:
    """A ``Batch``, from one of ours or from a plain loader's ``(inputs, labels)`` or ``(inputs, labels, index)``."""
    if isinstance(batch, Batch):
        return batch
    inputs, labels, *rest = batch
    index = rest[0] if rest else torch.full_like(labels, -1)
    return Batch(inputs, labels, index, torch.ones_like(labels, dtype=torch.bool))
