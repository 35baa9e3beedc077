"""Activation boundaries (Heo et al. 2019, AB, arXiv:1811.03233): a student's units learn on which side of zero the
teacher's are, not how far.

The teacher's features may come from before or behind a ReLU: both are above 0 at the same examples. The student's go
through a connector whose output has both signs; ``stage1_preactivation``, ... of a ResNet are the paper's choice.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from kdlab.objectives.features.projections import convolution, normalisation, num_axes, resized
from kdlab.objectives.features.shapes import features_of, paired
from kdlab.objectives.marks import boolean, positive, term
from kdlab.objectives.setting import Setting, Shape
from kdlab.objectives.terms import at_least_single
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


def make_connectors(
    setting: Setting,
    *,
    student_layers: Sequence[str],
    teacher_layers: Sequence[str],
    tokens: bool = False,
    **knobs: object,
) -> nn.Module:
    """The connectors of one student, one for each pair of layers."""
    layers = {"student_layers": student_layers, "teacher_layers": teacher_layers}
    return paired(Connector, setting, **layers, tokens=tokens, term="activation_boundaries")


@term(
    needs=("features.{teacher_layers}",),
    student_needs=("features.{student_layers}",),
    knobs={"margin": positive, "tokens": boolean},
    modules={"connectors": make_connectors},
)
def activation_boundaries(
    student: ModelOutput,
    teacher: TeacherOutput | None,
    batch: Batch,
    step: int,
    *,
    connectors: nn.Module,
    student_layers: Sequence[str] = "all",
    teacher_layers: Sequence[str] = "all",
    margin: float = 1.0,
    tokens: bool = False,
) -> Tensor:
    """``sum_layers 2^(l - n) sum_units relu(m + s)^2`` where a teacher's unit is off, ``relu(m - s)^2`` where it is on.

    As in the authors' code: the last of n layers has weight 1, each before it half of that. They multiply by .003, the
    weight of the preset.

    Args:
        student: its features ``student_layers`` are read.
        teacher: its features ``teacher_layers`` are read: a unit is on where they are above 0.
        batch: not read.
        step: not read.
        connectors: give ``[..., B, C, *positions]`` of each layer, with the teacher's shape.
        student_layers: names.
        teacher_layers: names, as many, in the order of depth.
        margin: m > 0.
        tokens: whether features ``[..., B, S, D]`` are tokens of a transformer.

    Returns:
        ``[..., B]``.
    """
    targets = features_of(teacher, teacher_layers, tokens=tokens)
    connected = connectors([feature.values for feature in features_of(student, student_layers, tokens=tokens)])
    values = []
    for above, (target, source) in enumerate(reversed([*zip(targets, connected, strict=True)])):
        side = torch.where(target.rows > 0, 1, -1)
        missed = (margin - side * at_least_single(source).reshape(target.rows.shape)).relu().square()
        values.append(0.5**above * missed.sum(-1))
    return torch.stack(values).sum(0)
