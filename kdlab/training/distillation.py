"""The Lightning module that trains a network with an objective: a student beside its teacher, or a teacher on labels.

One module serves both: what differs is the objective, and whether one of its terms asks for a teacher. The teacher is a
plain object, never a submodule: it is absent from ``state_dict``, checkpoints and optimizers, and ``.train()`` does not
reach it.
"""

import math
from collections.abc import Callable, Mapping
from typing import Any

import pytorch_lightning as pl
import torch
from torch import Tensor, nn
from torchmetrics import MeanMetric
from torchmetrics.classification import MulticlassAccuracy

from kdlab.data.dataset import Examples
from kdlab.errors import UserError
from kdlab.models import as_output, tap
from kdlab.objectives import Objective
from kdlab.outputs import Batch
from kdlab.teachers import Teacher, answers_by_index, refuses_augmentation
from kdlab.training.batches import as_batch
from kdlab.training.equipped import Beside, after_step, learned, modules_for, modules_of
from kdlab.training.listening import listen, placed
from kdlab.training.monitor import LossMonitor
from kdlab.training.optimizers import build_optimizer

Factory = Mapping[str, Any] | Callable[..., Any]
"""What makes an optimizer or a schedule: a ``_target_`` spec, or a callable (``partial(torch.optim.SGD, lr=0.1)``)."""
BY_INDEX_AUGMENTED = (
    "answers by example index, for the inputs as they were; training.augmentation changes them and must be empty, "
    "unless teacher.cache.views=N stores views that both are shown, or teacher.cache.fixed_targets=true means it so"
)


class Distillation(pl.LightningModule):
    """Trains ``student`` with ``objective``.

    Args:
        student: the network, any ``nn.Module`` that returns logits ``[B, C]`` or a ``ModelOutput``.
        objective: the weighted sum of named terms.
        num_classes: C.
        optimizer: spec of a ``torch.optim`` optimizer, or a callable that makes one of the student's parameters; None
            where a subclass has ``configure_optimizers`` of its own.
        schedule: spec of a ``torch.optim.lr_scheduler``, or a callable that makes one of the optimizer; stepped every
            optimizer step. None for a constant rate.
        teacher: frozen provider of soft targets; needed when a term of the objective asks for it.
        steps: the length of the run, handed to schedules that want one; 0 asks the Trainer.
        augmented: whether the inputs of an example change at random from epoch to epoch. A teacher that answers by
            index (``by_index = True``), with what it said of the unchanged example, is refused then.
        examples: the training set; needed by terms that learn or remember beside the student (``hint``).
        seed: of what these terms learn.

    Batches are ``(inputs, labels)``, ``(inputs, labels, index)``, a mapping with these names, or a ``Batch``.

    Raises:
        UserError: the teacher cannot give what the objective's terms need, gives another number of classes, or answers
            by index where inputs are augmented.
    """

    def __init__(
        self,
        student: nn.Module,
        objective: Objective,
        *,
        num_classes: int,
        optimizer: Factory | None = None,
        schedule: Factory | None = None,
        teacher: Teacher | None = None,
        steps: int = 0,
        augmented: bool = False,
        examples: Examples | None = None,
        seed: int = 0,
    ) -> None:
        super().__init__()
        objective = placed(objective, student=student, teacher=teacher)
        listen(objective, student=student, teacher=teacher)
        if teacher is not None and teacher.num_classes != num_classes:
            raise UserError(f"the teacher has {teacher.num_classes} classes, the student {num_classes}")
        self._by_index = bool(objective.needs) and answers_by_index(teacher)
        if augmented and self._by_index and refuses_augmentation(teacher):
            raise UserError(f"the teacher {BY_INDEX_AUGMENTED}")
        self.student, self.objective = student, objective
        self.beside = Beside(_modules(objective, student, teacher, examples, seed))
        # held in a tuple: a teacher that is an nn.Module must not become a submodule
        self._teacher = (teacher,)
        self._optimizer, self._schedule, self._steps = optimizer, schedule, steps
        self.monitor = LossMonitor()
        self.train_accuracy = MulticlassAccuracy(num_classes, average="micro", validate_args=False)
        self.measured_accuracy = MulticlassAccuracy(num_classes, average="micro", validate_args=False)
        self.measured_nll = MeanMetric()
        self._answers: list[tuple[Tensor, Tensor, Tensor]] = []

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
        tap(self.student, self.objective.student_features)
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
        rows = as_batch(batch, needs_index=self._by_index)
        output = as_output(self.student(rows.inputs))
        taught = self.teacher(rows.inputs, rows.index) if self.teacher is not None and self.objective.needs else None
        value = self.objective(output, taught, rows, self.global_step, modules_of(self, slice(None)))
        terms = {name: term.reshape(1) for name, term in value.terms.items()}
        for at in self.monitor.add(self.global_step, value.loss.reshape(1), [(0, terms)]):
            raise self.monitor.errors[at]
        self._answers.append((output.logits.detach().argmax(-1), rows.main_labels, rows.labelled))
        return value.loss

    def on_train_batch_end(self, outputs: Any, batch: Any, batch_idx: int) -> None:
        """What remembers beside the student follows it."""
        after_step(self)

    def on_train_epoch_end(self) -> None:
        """Publish what the epoch accumulated."""
        if not self._answers:  # a resumed fit first ends the epoch it was saved in, whose values were published
            return
        for at in self.monitor.look():
            raise self.monitor.errors[at]
        values = {f"train/{name}": mean for means in self.monitor.means() for name, mean in means.items()}
        answers, labels, labelled = (torch.cat(parts) for parts in zip(*self._answers, strict=True))
        values["train/running_accuracy"] = float(self.train_accuracy(answers[labelled], labels[labelled]))
        self.train_accuracy.reset()
        values["train/lr"] = float(self.trainer.optimizers[0].param_groups[0]["lr"])
        scheduled = self.objective.scheduled(max(self.global_step - 1, 0))
        values |= {f"train/scheduled/{name}": float(number) for name, number in scheduled.items()}
        values |= {f"train/learned/{name}": float(number) for name, number in learned(self).items()}
        self.log_dict(values, sync_dist=True)

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        """Accumulate accuracy and negative log-likelihood over the validation set."""
        self._measure(batch)

    def test_step(self, batch: Any, batch_idx: int) -> None:
        """The same over the test set."""
        self._measure(batch)

    def predict_step(self, batch: Any, batch_idx: int) -> Tensor:
        """Logits ``[B, C]`` of a batch, or of inputs alone."""
        if isinstance(batch, list | tuple) and len(batch) == 1:
            (batch,) = batch
        logits: Tensor = self(batch if isinstance(batch, Tensor) else as_batch(batch).inputs)
        return logits

    def on_validation_epoch_end(self) -> None:
        """Publish ``validation/accuracy`` and ``validation/nll``."""
        self._publish_measured("validation")

    def on_test_epoch_end(self) -> None:
        """Publish ``test/accuracy`` and ``test/nll``."""
        self._publish_measured("test")

    def _measure(self, batch: Any) -> None:
        rows = as_batch(batch)
        logits, labels = self(rows.inputs).float()[rows.labelled], rows.labels[rows.labelled]
        self.measured_accuracy.update(logits, labels)
        self.measured_nll.update(nn.functional.cross_entropy(logits, labels, reduction="none"))

    def _publish_measured(self, name: str) -> None:
        accuracy, nll = float(self.measured_accuracy.compute()), float(self.measured_nll.compute())
        self.measured_accuracy.reset()
        self.measured_nll.reset()
        self.log_dict({f"{name}/accuracy": accuracy, f"{name}/nll": nll}, sync_dist=True)

    def configure_optimizers(self) -> Any:
        """The optimizer over the student and what its terms learn, and its schedule by steps.

        Raises:
            UserError: there is no optimizer, or a schedule needs the length of a run that has no end.
        """
        if self._optimizer is None:
            raise UserError("Distillation has no optimizer: pass optimizer=partial(torch.optim.AdamW, lr=...)")
        optimizer, schedule = build_optimizer(self.parameters(), self._optimizer, self._schedule, steps=self._length())
        if schedule is None:
            return optimizer
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    def _length(self) -> int:
        """Optimizer steps of the run, where a schedule may want to know."""
        if self._steps or not isinstance(self._schedule, Mapping):
            return self._steps
        found = self.trainer.estimated_stepping_batches
        if not math.isfinite(found):
            raise UserError("the schedule needs the length of the run: pass steps= to Distillation")
        return int(found)


def _modules(
    objective: Objective, student: nn.Module, teacher: Teacher | None, examples: Examples | None, seed: int
) -> Mapping[str, Mapping[str, nn.Module]]:
    if not objective.builders:
        return {}
    if examples is None:
        told = ", ".join(sorted(objective.builders))
        raise UserError(f"the terms {told} learn beside the student: pass examples=, the training set, to Distillation")
    return modules_for(objective, student=student, teacher=teacher, examples=examples, role="student", seed=seed)
