"""One distillation as a user of Lightning writes it: Trainer, DataLoader, ``self.log``, teacher online.

What only costs and shows nothing is off (progress bar, summary, checkpoints, logger), so the comparison is kind.
"""

import logging
import time
import warnings

import pytorch_lightning as pl
import torch
from task import BATCH, LEARNING_RATE, WEIGHT_DECAY
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.data import DataLoader, TensorDataset


class Distilled(pl.LightningModule):
    """A student and its frozen teacher."""

    def __init__(self, student: nn.Module, teacher: nn.Module, *, temperature: float, alpha: float) -> None:
        super().__init__()
        self.student, self.teacher = student, teacher.requires_grad_(False).eval()
        self.temperature, self.alpha = temperature, alpha

    def training_step(self, batch: tuple[Tensor, Tensor], batch_index: int) -> Tensor:
        inputs, labels = batch
        logits = self.student(inputs)
        with torch.no_grad():
            taught = self.teacher(inputs)
        soft = functional.kl_div((logits / self.temperature).log_softmax(-1), (taught / self.temperature).softmax(-1),
                                 reduction="batchmean")  # fmt: skip
        hard = functional.cross_entropy(logits, labels)
        loss = (1 - self.alpha) * hard + self.alpha * self.temperature**2 * soft
        self.log("train/loss", loss)
        return loss

    def validation_step(self, batch: tuple[Tensor, Tensor], batch_index: int) -> None:
        inputs, labels = batch
        logits = self.student(inputs)
        self.log("validation/loss", functional.cross_entropy(logits, labels))
        self.log("validation/accuracy", (logits.argmax(-1) == labels).float().mean())

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.AdamW(self.student.parameters(), lr=LEARNING_RATE, weight_decay=WEIGHT_DECAY)


def train(
    student: nn.Module, teacher: nn.Module, dataset, *, temperature: float, alpha: float, steps: int
) -> tuple[float, float]:
    """Seconds of ``trainer.fit``, set-up of the Trainer included, and the validation accuracy it ends with."""
    warnings.filterwarnings("ignore", module=r"(pytorch_lightning|lightning_fabric)\.")
    for name in ("pytorch_lightning", "lightning.pytorch", "lightning_fabric"):
        logging.getLogger(name).setLevel(logging.ERROR)
    started = time.perf_counter()
    loaders = [
        DataLoader(TensorDataset(one.inputs, one.labels), batch_size=size, shuffle=shuffle)
        for one, size, shuffle in ((dataset.train, BATCH, True), (dataset.validation, 1000, False))
    ]
    trainer = pl.Trainer(accelerator="cpu", max_steps=steps, logger=False, enable_progress_bar=False,
                         enable_model_summary=False, enable_checkpointing=False)  # fmt: skip
    trainer.fit(Distilled(student, teacher, temperature=temperature, alpha=alpha), *loaders)
    seconds = time.perf_counter() - started
    if trainer.global_step != steps:
        raise RuntimeError(f"Lightning did {trainer.global_step} steps of {steps}")
    return seconds, float(trainer.callback_metrics["validation/accuracy"])
