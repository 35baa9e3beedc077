"""Variational information distillation (Ahn et al. 2019, VID, arXiv:1904.05835).

What the student knows of the teacher is bounded from below by how well a Gaussian around a function of the student's
feature predicts the teacher's.
"""

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from kdlab.objectives.features.projections import convolution, fewer_positions, num_axes, resized
from kdlab.objectives.features.shapes import features_of, paired
from kdlab.objectives.marks import boolean, term
from kdlab.objectives.setting import Setting, Shape
from kdlab.objectives.terms import at_least_single
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


def make_regressor(
    setting: Setting,
    *,
    student_layers: Sequence[str],
    teacher_layers: Sequence[str],
    tokens: bool = False,
    **knobs: object,
) -> nn.Module:
    """What predicts the teacher's features from one student's: a Gaussian for each pair of layers."""
    layers = {"student_layers": student_layers, "teacher_layers": teacher_layers}
    return paired(Gaussian, setting, **layers, tokens=tokens, term="variational")


@term(
    needs=("features.{teacher_layers}",),
    student_needs=("features.{student_layers}",),
    knobs={"tokens": boolean},
    modules={"regressor": make_regressor},
)
def variational(
    student: ModelOutput,
    teacher: TeacherOutput | None,
    batch: Batch,
    step: int,
    *,
    regressor: nn.Module,
    student_layers: Sequence[str] = "all",
    teacher_layers: Sequence[str] = "all",
    tokens: bool = False,
) -> Tensor:
    """``sum_layers mean_units 1/2 ((t - mean(s))^2 / variance + log variance)``: without the constant of a Gaussian.

    The paper sums over units; the authors' code averages, as here, so that a weight means the same for every layer.
    The value may be below 0.

    Args:
        student: its features ``student_layers`` are read.
        teacher: its features ``teacher_layers`` are read.
        batch: not read.
        step: not read.
        regressor: means ``[..., B, C, *positions]`` and variances ``[..., C]`` of each layer.
        student_layers: names.
        teacher_layers: names, as many.
        tokens: whether features ``[..., B, S, D]`` are tokens of a transformer.

    Returns:
        ``[..., B]``.
    """
    targets = features_of(teacher, teacher_layers, tokens=tokens)
    predicted = regressor([feature.values for feature in features_of(student, student_layers, tokens=tokens)])
    values = []
    for target, (mean, variance) in zip(targets, predicted, strict=True):
        wanted = target.at(tuple(mean.shape[student.logits.ndim :]))
        spread = variance.unsqueeze(-2).unsqueeze(-1)
        density = (wanted - at_least_single(mean).reshape(wanted.shape)).square() / spread + spread.log()
        values.append(density.mean((-2, -1)) / 2)
    return torch.stack(values).sum(0)
