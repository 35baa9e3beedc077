"""The flow of the solution procedure (Yim et al. 2017, FSP, CVPR): how the channels of one layer go with those of the
next, as a matrix of their inner products over positions.
"""

import itertools
from collections.abc import Sequence

import torch
from torch import Tensor

from kdlab.errors import UserError
from kdlab.objectives.features.shapes import (
    Feature,
    Projections,
    features_of,
    make_projections,
    maps,
    products,
    projected,
)
from kdlab.objectives.marks import boolean, term
from kdlab.outputs import Batch, ModelOutput, TeacherOutput


def flows(layers: Sequence[Feature]) -> list[Tensor]:
    """``G = F_lower F_upper^T / P`` of each layer and the next, ``[..., B, C_lower, C_upper]`` (equation 1).

    The one with more positions is pooled by the mean, as in RepDistiller; the paper takes the maximum.
    """
    pairs = [maps(lower, upper) for lower, upper in itertools.pairwise(layers)]
    return [products(lower, upper) / lower.shape[-1] for lower, upper in pairs]


@term(
    needs=("features.{teacher_layers}",),
    student_needs=("features.{student_layers}",),
    knobs={"tokens": boolean},
    modules={"projection": make_projections},
)
def solution_flow(
    student: ModelOutput,
    teacher: TeacherOutput | None,
    batch: Batch,
    step: int,
    *,
    projection: Projections,
    student_layers: Sequence[str] = "all",
    teacher_layers: Sequence[str] = "all",
    tokens: bool = False,
) -> Tensor:
    """``sum_pairs mean_channels (G_teacher - G_student)^2`` (equation 2).

    The paper sums over channels; RepDistiller averages, as here, so that a weight means the same for every width. Both
    learn from it first and from labels afterwards, of networks with as many channels as each other: where they have
    not, the student's are projected.

    Args:
        student: its features ``student_layers`` are read.
        teacher: its features ``teacher_layers`` are read.
        batch: not read.
        step: not read.
        projection: gives each of the student's features the teacher's channels.
        student_layers: two names or more, in the order of depth.
        teacher_layers: names, as many.
        tokens: whether features ``[..., B, S, D]`` are tokens of a transformer.

    Returns:
        ``[..., B]``.
    """
    if len(student_layers) < 2:
        raise UserError(
            f"objective.terms.solution_flow.student_layers = {list(student_layers)}: two layers or more are needed"
        )
    own = flows(projected(features_of(student, student_layers, tokens=tokens), projection))
    wanted = flows(features_of(teacher, teacher_layers, tokens=tokens))
    return torch.stack([(t - s).square().mean((-2, -1)) for s, t in zip(own, wanted, strict=True)]).sum(0)
