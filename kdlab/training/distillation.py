"""The Lightning module that trains a network with an objective: a student beside its teacher, or a teacher on labels.

One module serves both: what differs is the objective, and whether one of its terms asks for a teacher. The teacher is a
plain object, never a submodule: it is absent from ``state_dict``, checkpoints and optimizers, and ``.train()`` does not
reach it.
"""

from collections.abc import Iterable, Mapping, Sequence
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
from kdlab.training.callbacks import CurveSink
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
        sinks: who gets the values of an epoch instead of Lightning's loggers, at a fifth of the price of ``self.log``.

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
        sinks: Sequence[CurveSink] = (),
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
        self._sinks = tuple(sinks)
        self.monitor = TermMonitor()
        self.train_accuracy = MulticlassAccuracy(num_classes, average="micro", validate_args=False)
        self.validation_accuracy = MulticlassAccuracy(num_classes, average="micro", validate_args=False)
        self.validation_nll = MeanMetric()
        self._answers: list[tuple[Tensor, Tensor]] = []

    @property
    def teacher(self) -> Teacher | None:
        """The frozen teacher, or None."""
        return self._teacher[0]

    def forward(self, inputs: Tensor) -> Tensor:
        """Logits ``[B, C]``."""
        return as_output(self.student(inputs)).logits

    def on_fit_start(self) -> None:
        """The student is in train mode, however it came; the teacher follows it to its device and precision."""
        self.student.train()
        if self.teacher is not None:
            dtype = next((p.dtype for p in self.student.parameters() if p.is_floating_point()), None)
            self._teacher = (self.teacher.to(self.device, dtype),)

    def on_train_epoch_start(self) -> None:
        """Forget the last epoch."""
        self.monitor.reset()
        self._answers.clear()

    def transfer_batch_to_device(self, batch: Any, device: torch.device, dataloader_idx: int) -> Any:
        """Leave our own batches, cut where they are needed, alone; a plain loader's are moved."""
        if isinstance(batch, Batch) and batch.inputs.device == device:
            return batch
        return super().transfer_batch_to_device(batch, device, dataloader_idx)

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        """The loss of one batch; terms and answers are kept and logged once an epoch."""
        rows = as_batch(batch)
        output = as_output(self.student(rows.inputs))
        taught = self.teacher(rows.inputs, rows.index) if self.teacher is not None and self.objective.needs else None
        value = self.objective(output, taught, rows, self.global_step)
        self.monitor.add(self.global_step, value.loss, value.terms)
        self._answers.append((output.logits.detach().argmax(-1), rows.labels))
        return value.loss

    def on_train_epoch_end(self) -> None:
        """Publish what the epoch accumulated."""
        if not self._answers:  # a resumed fit first ends the epoch it was saved in, whose values were published
            return
        values = {f"train/{name}": mean for name, mean in self.monitor.means().items()}
        answers, labels = (torch.cat(parts) for parts in zip(*self._answers, strict=True))
        values["train/running_accuracy"] = float(self.train_accuracy(answers, labels))
        self.train_accuracy.reset()
        values["train/lr"] = float(self.optimizers().param_groups[0]["lr"])  # type: ignore[union-attr]
        self._publish(values)

    def on_validation_epoch_start(self) -> None:
        """Forget the last validation."""
        self.validation_accuracy.reset()
        self.validation_nll.reset()

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        """Accumulate accuracy and negative log-likelihood over the validation set."""
        rows = as_batch(batch)
        logits = self(rows.inputs).float()
        self.validation_accuracy.update(logits, rows.labels)
        self.validation_nll.update(nn.functional.cross_entropy(logits, rows.labels, reduction="none"))

    def on_validation_epoch_end(self) -> None:
        """Publish accuracy and negative log-likelihood."""
        accuracy, nll = float(self.validation_accuracy.compute()), float(self.validation_nll.compute())
        self._publish({"validation/accuracy": accuracy, "validation/nll": nll})

    def _publish(self, values: dict[str, float]) -> None:
        """To the sinks, with the step and the (fractional) epoch they were measured at; else to Lightning's loggers."""
        if not self._sinks:
            self.log_dict(values)
            return
        epoch = self.global_step / max(int(self.trainer.num_training_batches), 1)
        for sink in self._sinks:
            sink.log(values, step=self.global_step, epoch=epoch)

    def configure_optimizers(self) -> Any:
        """The optimizer over the student alone, and its schedule by steps."""
        parameters = self.student.parameters()
        optimizer, schedule = build_optimizer(parameters, self._optimizer, self._schedule, steps=self._steps)
        if schedule is None:
            return optimizer
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}


def build_optimizer(
    parameters: Iterable[nn.Parameter],
    optimizer: Mapping[str, Any],
    schedule: Mapping[str, Any] | None,
    *,
    steps: int,
) -> tuple[Any, Any]:
    """The optimizer of a recipe over some parameters, and its schedule over ``steps``, None where it has none."""
    built = build(optimizer, parameters)
    if schedule is None:
        return built, None
    return built, build(schedule, built, T_max=steps, total_steps=steps, total_iters=steps)


def as_batch(batch: Any) -> Batch:
    """A ``Batch``, from one of ours or from a plain loader's ``(inputs, labels)`` or ``(inputs, labels, index)``."""
    if isinstance(batch, Batch):
        return batch
    inputs, labels, *rest = batch
    index = rest[0] if rest else torch.full_like(labels, -1)
    return Batch(inputs, labels, index, torch.ones_like(labels, dtype=torch.bool))
