"""Knowledge review (Chen et al. 2021, ReviewKD, arXiv:2104.09044): each layer of the teacher is learned from by that
layer of the student and all deeper ones, fused from the last to the first.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from kdlab.objectives.features.projections import check_axes, convolution, normalisation, num_axes, resized
from kdlab.objectives.features.shapes import channels_first, features_of
from kdlab.objectives.marks import boolean, term
from kdlab.objectives.setting import Setting, Shape
from kdlab.objectives.terms import at_least_single
from kdlab.outputs import Batch, ModelOutput, TeacherOutput

WIDEST = 512
"""Channels at most of what is handed from layer to layer; else those of the student's last one."""
LEVELS = (4, 2, 1)
"""Positions along each axis of the pyramid, below all of them."""


class Fusion(nn.Module):
    """Attention-based fusion (ABF): a layer of the student and what came from deeper ones, as the teacher's layer.

    Args:
        student: shape of one example's feature.
        teacher: the same of the teacher.
        middle: channels of what is handed on.
        axes: of positions, of all maps.
        last: whether this is the deepest layer, where there is nothing to fuse.
    """

    def __init__(self, student: Shape, teacher: Shape, *, middle: int, axes: int, last: bool) -> None:
        super().__init__()
        self.own_axes, single = len(student) - 1, (1,) * axes
        self.student_positions, self.teacher_positions = student[1:] or single, teacher[1:] or single
        self.reduce = _normalised(student[0], middle, axes=axes, kernel=1)
        self.attention = None if last else convolution(2 * middle, 2, axes=axes)
        self.expand = _normalised(middle, teacher[0], axes=axes, kernel=3)

    def forward(self, features: Tensor, deeper: Tensor | None) -> tuple[Tensor, Tensor]:
        """``[B, C, *positions]`` of the teacher, and what is handed to the next layer above."""
        fused = self.reduce(resized(features, self.student_positions, axes=self.own_axes))
        if self.attention is not None and deeper is not None:
            deeper = resized(deeper, self.student_positions, axes=len(self.student_positions))
            shares = self.attention(torch.cat([fused, deeper], dim=1)).sigmoid()
            fused = fused * shares[:, :1] + deeper * shares[:, 1:]
        fused = resized(fused, self.teacher_positions, axes=len(self.student_positions))
        return self.expand(fused), fused


class Review(nn.ModuleList):
    """A fusion for each pair of layers, called with all features of the student, first to last."""

    def forward(self, features: Sequence[Tensor]) -> list[Tensor]:
        """Each with the shape of the teacher's feature."""
        found, deeper = [], None
        for fusion, feature in zip(reversed(self), reversed(features), strict=True):
            reviewed, deeper = fusion(feature, deeper)
            found.append(reviewed)
        return found[::-1]


def _normalised(fan_in: int, fan_out: int, *, axes: int, kernel: int) -> nn.Sequential:
    layer = convolution(fan_in, fan_out, axes=axes, kernel=kernel, bias=False)
    nn.init.kaiming_uniform_(layer.weight, a=1)  # type: ignore[arg-type]
    return nn.Sequential(layer, normalisation(fan_out, axes=axes))


def make_fusions(
    setting: Setting,
    *,
    student_layers: Sequence[str],
    teacher_layers: Sequence[str],
    tokens: bool = False,
    **knobs: object,
) -> nn.Module:
    """The fusions of one student."""
    for student, teacher in zip(student_layers, teacher_layers, strict=True):
        check_axes(setting, student=student, teacher=teacher, term="review")
    own = [channels_first(setting.student[name], tokens=tokens) for name in student_layers]
    wanted = [channels_first(setting.teacher[name], tokens=tokens) for name in teacher_layers]
    axes, middle = num_axes(*own, *wanted), min(WIDEST, own[-1][0])
    return Review(
        Fusion(one, other, middle=middle, axes=axes, last=depth == len(own))
        for depth, (one, other) in enumerate(zip(own, wanted, strict=True), start=1)
    )


@term(
    needs=("features.{teacher_layers}",),
    student_needs=("features.{student_layers}",),
    knobs={"tokens": boolean},
    modules={"fusions": make_fusions},
)
def review(
    student: ModelOutput,
    teacher: TeacherOutput | None,
    batch: Batch,
    step: int,
    *,
    fusions: Review,
    student_layers: Sequence[str] = "all",
    teacher_layers: Sequence[str] = "all",
    tokens: bool = False,
) -> Tensor:
    """``sum_layers HCL(fused student, teacher)``: squared differences at all positions and pooled to 4, 2, 1 of them.

    Levels have weights 1, 1/2, 1/4, 1/8, divided by their sum; a map of 4 positions or fewer has fewer levels (the
    authors' code). Where positions differ this averages or repeats, where theirs takes the nearest.

    Args:
        student: its features ``student_layers`` are read.
        teacher: its features ``teacher_layers`` are read.
        batch: not read.
        step: not read.
        fusions: give ``[..., B, C, *positions]`` of each layer, with the teacher's shape.
        student_layers: names, in the order of depth.
        teacher_layers: names, as many.
        tokens: whether features ``[..., B, S, D]`` are tokens of a transformer.

    Returns:
        ``[..., B]``.
    """
    targets = features_of(teacher, teacher_layers, tokens=tokens)
    reviewed = fusions([feature.values for feature in features_of(student, student_layers, tokens=tokens)])
    rows = student.logits.ndim - 1
    values = [
        hierarchical_context(at_least_single(found) - target.values.reshape(found.shape), rows=rows)
        for target, found in zip(targets, reviewed, strict=True)
    ]
    return torch.stack(values).sum(0)


def hierarchical_context(difference: Tensor, *, rows: int) -> Tensor:
    """HCL of a difference ``[..., B, C, *positions]``, ``[..., B]``; pooling is linear, so it may be done behind it.

    Args:
        difference: of two maps.
        rows: how many axes are in front of the channels.
    """
    positions = tuple(difference.shape[rows + 1 :])
    pooled = [tuple(min(level, size) for size in positions) for level in LEVELS if level < max(positions, default=1)]
    levels = [difference, *(resized(difference, fewer, axes=len(positions)) for fewer in pooled)]
    weights = [0.5**depth for depth in range(len(levels))]
    errors = [level.square().flatten(rows).mean(-1) for level in levels]
    return sum(weight * error for weight, error in zip(weights, errors, strict=True)) / sum(weights)  # type: ignore[return-value]
