"""Activation boundaries (Heo et al. 2019, AB, arXiv:1811.03233): a student's units learn on which side of zero the
teacher's are, not how far.

The teacher's features may come from before or behind a ReLU: both are above 0 at the same examples. The student's go
through a connector whose output has both signs; ``stage1_preactivation``, ... of a ResNet are the paper's choice.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from kdlab.objectives.features.projections import check_axes, convolution, normalisation, num_axes, resized
from kdlab.objectives.marks import positive, term
from kdlab.objectives.setting import Setting, Shape
from kdlab.outputs import Batch, ModelOutput, TeacherOutput


class Connector(nn.Module):
    """A 1x1 convolution and batch normalisation: the student's feature with the teacher's channels and positions.

    Args:
        student: shape of one example's feature.
        teacher: the same of the teacher.
    """

    def __init__(self, student: Shape, teacher: Shape) -> None:
        super().__init__()
        axes = num_axes(student, teacher)
        self.own_axes, self.positions = len(student) - 1, teacher[1:] or (1,) * axes
        self.layers = nn.Sequential(
            convolution(student[0], teacher[0], axes=axes, bias=False), normalisation(teacher[0], axes=axes)
        )

    def forward(self, features: Tensor) -> Tensor:
        """``[B, C, *positions]`` of ``[B, *student]``."""
        found: Tensor = self.layers(resized(features, self.positions, axes=self.own_axes))
        return found


class Connectors(nn.ModuleList):
    """One for each pair of layers, called with all features of the student."""

    def forward(self, features: Sequence[Tensor]) -> list[Tensor]:
        """Each feature with the channels and positions of the teacher's."""
        return [one(feature) for one, feature in zip(self, features, strict=True)]


def make_connectors(
    setting: Setting, *, student_layers: Sequence[str], teacher_layers: Sequence[str], **knobs: object
) -> nn.Module:
    """The connectors of one student."""
    pairs = list(zip(student_layers, teacher_layers, strict=True))
    for student, teacher in pairs:
        check_axes(setting, student=student, teacher=teacher, term="activation_boundaries")
    return Connectors(Connector(setting.student[student], setting.teacher[teacher]) for student, teacher in pairs)


@term(
    needs=("features.{teacher_layers}",),
    student_needs=("features.{student_layers}",),
    knobs={"margin": positive},
    modules={"connectors": make_connectors},
)
def activation_boundaries(
    student: ModelOutput,
    teacher: TeacherOutput | None,
    batch: Batch,
    step: int,
    *,
    connectors: Connectors,
    student_layers: Sequence[str] = "all",
    teacher_layers: Sequence[str] = "all",
    margin: float = 1.0,
) -> Tensor:
    """``sum_layers 2^(l - n) sum_units relu(m + s)^2`` where a teacher's unit is off, ``relu(m - s)^2`` where it is on.

    Equation 5, the last of n layers with weight 1 and each before it with half of that. The authors' code multiplies by
    .003, which is the weight of the preset.

    Args:
        student: its features ``student_layers`` are read.
        teacher: its features ``teacher_layers`` are read: a unit is on where they are above 0.
        batch: not read.
        step: not read.
        connectors: give ``[..., B, C, *positions]`` of each layer, with the teacher's shape.
        student_layers: names.
        teacher_layers: names, as many, in the order of depth.
        margin: m > 0.

    Returns:
        ``[..., B]``.
    """
    if teacher is None:
        raise ValueError("the term activation_boundaries needs a teacher")
    connected = connectors([student.features[name] for name in student_layers])
    values = []
    for depth, (name, source) in enumerate(zip(teacher_layers, connected, strict=True), start=1):
        on = teacher.features[name].reshape(source.shape) > 0
        missed = torch.where(on, margin - source, margin + source).relu().square()
        values.append(0.5 ** (len(connected) - depth) * missed.flatten(student.logits.ndim - 1).sum(-1))
    return torch.stack(values).sum(0)
