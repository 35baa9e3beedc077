"""Contrastive representation distillation (Tian et al. 2020, CRD, arXiv:1910.10699).

Both networks embed an example alike, and unlike examples of other classes: a critic tells true pairs (one example seen
by both) from m false ones by noise-contrastive estimation.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from kdlab.objectives.features.memory import Memory
from kdlab.objectives.features.shapes import feature_of, unit
from kdlab.objectives.marks import count, fraction, positive, term
from kdlab.objectives.setting import Setting, Shape
from kdlab.outputs import Batch, ModelOutput, TeacherOutput


class Embedding(nn.Module):
    """A linear map of the flattened feature to a unit vector.

    Args:
        shape: of one example's feature.
        dimension: D.
    """

    def __init__(self, shape: Shape, *, dimension: int) -> None:
        super().__init__()
        self.linear = nn.Linear(math.prod(shape), dimension)

    def forward(self, features: Tensor) -> Tensor:
        """``[B, D]`` of ``[B, *shape]``."""
        return unit(self.linear(features.flatten(1)))


def make_student_embedding(
    setting: Setting, *, student_layer: str = "penultimate", dimension: int = 128, **knobs: object
) -> nn.Module:
    """The embedding of one student's features."""
    return Embedding(setting.student[student_layer], dimension=dimension)


def make_teacher_embedding(
    setting: Setting, *, teacher_layer: str = "penultimate", dimension: int = 128, **knobs: object
) -> nn.Module:
    """The embedding of the teacher's features, of each student its own."""
    return Embedding(setting.teacher[teacher_layer], dimension=dimension)


def make_memory(
    setting: Setting,
    *,
    dimension: int = 128,
    temperature: float = 0.07,
    negatives: int = 16384,
    momentum: float = 0.5,
    **knobs: object,
) -> nn.Module:
    """What remembers the training set as both networks embed it."""
    return Memory(
        labels=setting.labels,
        index=setting.index,
        dimension=dimension,
        negatives=negatives,
        momentum=momentum,
        temperature=temperature,
    )


@term(
    needs=("features.{teacher_layer}",),
    student_needs=("features.{student_layer}",),
    knobs={"dimension": count, "temperature": positive, "negatives": count, "momentum": fraction},
    modules={
        "student_embedding": make_student_embedding,
        "teacher_embedding": make_teacher_embedding,
        "memory": make_memory,
    },
)
def contrastive(
    student: ModelOutput,
    teacher: TeacherOutput | None,
    batch: Batch,
    step: int,
    *,
    student_embedding: nn.Module,
    teacher_embedding: nn.Module,
    memory: nn.Module,
    student_layer: str = "penultimate",
    teacher_layer: str = "penultimate",
    dimension: int = 128,
    temperature: float = 0.07,
    negatives: int = 16384,
    momentum: float = 0.5,
) -> Tensor:
    """``-log h(true pair) - sum_m log (1 - h(false pair))``, with student and with teacher as the anchor.

    ``h = p / (p + m / N)``, ``p = exp(anchor . memory / T) / Z``, with Z as in Wu et al. 2018 (arXiv:1805.01978). The
    authors' code adds 1e-7 to the denominator.

    Args:
        student: its feature ``student_layer`` is read.
        teacher: its feature ``teacher_layer`` is read.
        batch: its index says which examples these are; labels are those that the memory was made with.
        step: which false pairs are drawn depends on it.
        student_embedding: ``[..., B, *shape]`` to unit vectors ``[..., B, D]``.
        teacher_embedding: the same for the teacher's feature.
        memory: gives log odds ``[..., 2, B, 1 + m]``.
        student_layer: any shape.
        teacher_layer: any shape.
        dimension: D.
        temperature: T of the scores.
        negatives: m, at most as many as there are examples of other classes.
        momentum: share of the old embedding in the memory.

    Returns:
        ``[..., B]`` nats.
    """
    *leading, rows, _ = student.logits.shape
    index = batch.index.expand(*leading, rows)
    own = student_embedding(feature_of(student, student_layer).values)
    other = teacher_embedding(feature_of(teacher, teacher_layer).values)
    odds = memory(own, other, index, torch.full(leading, step, device=index.device))
    true, false = odds[..., 0], odds[..., 1:]
    return (F.softplus(-true) + F.softplus(false).sum(-1)).sum(-2)
