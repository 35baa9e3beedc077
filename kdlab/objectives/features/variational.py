"""Variational information distillation (Ahn et al. 2019, VID, arXiv:1904.05835).

What the student knows of the teacher is bounded from below by how well a Gaussian around a function of the student's
feature predicts the teacher's.
"""

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from kdlab.objectives.features.projections import check_axes, convolution, fewer_positions, num_axes, resized
from kdlab.objectives.marks import term
from kdlab.objectives.setting import Setting, Shape
from kdlab.outputs import Batch, ModelOutput, TeacherOutput

VARIANCE, SMALLEST = 5.0, 1e-5
"""The variance that every channel begins with, and what is added to it, in the authors' code."""


class Gaussian(nn.Module):
    """A mean for each position of the teacher's feature, and a variance for each channel.

    ``mean``: three 1x1 convolutions without bias, ReLU between, as many channels as the teacher; the features are
    pooled to the positions of the one that has fewer. ``variance = softplus(raw) + 1e-5``.

    Args:
        student: shape of one example's feature.
        teacher: the same of the teacher.
    """

    def __init__(self, student: Shape, teacher: Shape) -> None:
        super().__init__()
        axes, channels = num_axes(student, teacher), teacher[0]
        self.own_axes = len(student) - 1
        self.positions = fewer_positions(student, teacher)
        self.mean = nn.Sequential(
            convolution(student[0], channels, axes=axes, bias=False),
            nn.ReLU(),
            convolution(channels, channels, axes=axes, bias=False),
            nn.ReLU(),
            convolution(channels, channels, axes=axes, bias=False),
        )
        self.raw = nn.Parameter(torch.full((channels,), math.log(math.expm1(VARIANCE - SMALLEST))))

    def forward(self, features: Tensor) -> tuple[Tensor, Tensor]:
        """Mean ``[B, C, *positions]`` and variance ``[C]``."""
        return self.mean(resized(features, self.positions, axes=self.own_axes)), F.softplus(self.raw) + SMALLEST


class Gaussians(nn.ModuleList):
    """A Gaussian for each pair of layers, called with all features of the student."""

    def forward(self, features: Sequence[Tensor]) -> list[tuple[Tensor, Tensor]]:
        """Means and variances."""
        return [one(feature) for one, feature in zip(self, features, strict=True)]


def make_regressor(
    setting: Setting, *, student_layers: Sequence[str], teacher_layers: Sequence[str], **knobs: object
) -> nn.Module:
    """What predicts the teacher's features from one student's."""
    pairs = list(zip(student_layers, teacher_layers, strict=True))
    for student, teacher in pairs:
        check_axes(setting, student=student, teacher=teacher, term="variational")
    return Gaussians(Gaussian(setting.student[student], setting.teacher[teacher]) for student, teacher in pairs)


@term(
    needs=("features.{teacher_layers}",),
    student_needs=("features.{student_layers}",),
    modules={"regressor": make_regressor},
)
def variational(
    student: ModelOutput,
    teacher: TeacherOutput | None,
    batch: Batch,
    step: int,
    *,
    regressor: Gaussians,
    student_layers: Sequence[str] = "all",
    teacher_layers: Sequence[str] = "all",
) -> Tensor:
    """``sum_layers mean_units 1/2 ((t - mean(s))^2 / variance + log variance)``: without the constant of a Gaussian.

    Equation 5 sums over units; the authors' code averages, as here, so that a weight means the same for every layer.
    The value may be below 0.

    Args:
        student: its features ``student_layers`` are read.
        teacher: its features ``teacher_layers`` are read.
        batch: not read.
        step: not read.
        regressor: means ``[..., B, C, *positions]`` and variances ``[..., C]`` of each layer.
        student_layers: names.
        teacher_layers: names, as many.

    Returns:
        ``[..., B]``.
    """
    if teacher is None:
        raise ValueError("the term variational needs a teacher")
    predicted = regressor([student.features[name] for name in student_layers])
    values = [
        _per_example(teacher.features[name], mean, variance, rows=student.logits.ndim - 1)
        for name, (mean, variance) in zip(teacher_layers, predicted, strict=True)
    ]
    return torch.stack(values).sum(0)


def _per_example(target: Tensor, mean: Tensor, variance: Tensor, *, rows: int) -> Tensor:
    """The negative log-density of a layer, averaged over units; ``rows`` axes are in front of the channels."""
    positions = tuple(mean.shape[rows + 1 :])
    target = resized(target, positions, axes=target.ndim - rows - 1)
    spread = variance.reshape(*variance.shape[:-1], 1, -1, *[1] * len(positions))
    density = ((target - mean).square() / spread + spread.log()) / 2
    return density.flatten(rows).mean(-1)
