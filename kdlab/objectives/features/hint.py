"""Hints (Romero et al. 2015, FitNets, arXiv:1412.6550): from a layer of the student, what a layer of the teacher says
can be regressed.
"""

import math

import torch.nn.functional as F
from torch import Tensor, nn

from kdlab.objectives.features.projections import CONVOLUTIONS, check_axes, resized
from kdlab.objectives.features.shapes import channels_first, feature_of
from kdlab.objectives.marks import boolean, term
from kdlab.objectives.setting import Setting, Shape
from kdlab.outputs import Batch, ModelOutput, TeacherOutput


class Regressor(nn.Module):
    """The teacher's feature from the student's, with as few weights as keep the places of both.

    A convolution without padding, whose kernel turns the positions of the student into those of the teacher; a student
    with fewer is repeated onto the teacher's first. From a vector it is linear.

    Args:
        student: shape of one example's feature, channels first.
        teacher: the same of the teacher.
        rectified: whether it ends in a ReLU.
    """

    def __init__(self, student: Shape, teacher: Shape, *, rectified: bool) -> None:
        super().__init__()
        self.axes, self.rectified = len(student) - 1, rectified
        self.linear, self.positions = _linear(student, teacher)

    def forward(self, features: Tensor) -> Tensor:
        """``[B, D]`` of ``[B, *student]``: the teacher's feature, flattened."""
        found = self.linear(resized(features, self.positions, axes=self.axes)).flatten(1)
        return F.relu(found) if self.rectified else found


def _linear(student: Shape, teacher: Shape) -> tuple[nn.Module, Shape]:
    """The linear part, and the positions at which it wants the student's feature."""
    if len(student) == 1:
        return nn.Linear(student[0], math.prod(teacher)), ()
    wanted = teacher[1:] or (1,) * (len(student) - 1)
    grown = tuple(max(pair) for pair in zip(student[1:], wanted, strict=True))
    kernel = tuple(size - after + 1 for size, after in zip(grown, wanted, strict=True))
    return CONVOLUTIONS[len(kernel)](student[0], teacher[0], kernel), grown  # type: ignore[arg-type]


def make_regressor(
    setting: Setting,
    *,
    student_layer: str = "middle",
    teacher_layer: str = "middle",
    rectified: bool = True,
    tokens: bool = False,
    **knobs: object,
) -> nn.Module:
    """The regressor of one student."""
    check_axes(setting, student=student_layer, teacher=teacher_layer, term="hint")
    shapes = (
        channels_first(setting.student[student_layer], tokens=tokens),
        channels_first(setting.teacher[teacher_layer], tokens=tokens),
    )
    return Regressor(*shapes, rectified=rectified)


@term(
    needs=("features.{teacher_layer}",),
    student_needs=("features.{student_layer}",),
    knobs={"rectified": boolean, "tokens": boolean},
    modules={"regressor": make_regressor},
)
def hint(
    student: ModelOutput,
    teacher: TeacherOutput | None,
    batch: Batch,
    step: int,
    *,
    regressor: nn.Module,
    student_layer: str = "middle",
    teacher_layer: str = "middle",
    rectified: bool = True,
    tokens: bool = False,
) -> Tensor:
    """``mean_units (teacher - regressor(student))^2``.

    Equation 3 is half the sum over units; the mean, as in RepDistiller, lets a weight mean the same for every layer.

    Args:
        student: its feature ``student_layer`` is read, the guided layer.
        teacher: its feature ``teacher_layer`` is read, the hint.
        batch: not read.
        step: not read.
        regressor: gives ``[..., B, *]`` with as many numbers as the teacher's feature has.
        student_layer: name.
        teacher_layer: name.
        rectified: whether the hint comes from behind a ReLU: the regressor ends as the hint does.
        tokens: whether features ``[..., B, S, D]`` are tokens of a transformer.

    Returns:
        ``[..., B]``.
    """
    wanted = feature_of(teacher, teacher_layer, tokens=tokens).rows
    found: Tensor = regressor(feature_of(student, student_layer, tokens=tokens).values)
    return (wanted - found.flatten(student.logits.ndim - 1)).square().mean(-1)
