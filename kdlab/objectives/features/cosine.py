"""Directions of hidden states (Sanh et al. 2019, DistilBERT, arXiv:1910.01108): at each position the student's channels
point where the teacher's do.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from kdlab.objectives.features.shapes import Projections, features_of, make_projections, maps, projected, unit
from kdlab.objectives.marks import boolean, term
from kdlab.outputs import Batch, ModelOutput, TeacherOutput


def mean_cosine(first: Tensor, second: Tensor) -> Tensor:
    """Of the channels of two maps ``[..., C, P]``, averaged over positions; 0 where one of them has none."""
    return (unit(first.mT) * unit(second.mT)).sum(-1).mean(-1)


@term(
    needs=("features.{teacher_layers}",),
    student_needs=("features.{student_layers}",),
    knobs={"tokens": boolean},
    modules={"projection": make_projections},
)
def hidden_cosine(
    student: ModelOutput,
    teacher: TeacherOutput | None,
    batch: Batch,
    step: int,
    *,
    projection: Projections,
    student_layers: Sequence[str] = ("last",),
    teacher_layers: Sequence[str] = ("last",),
    tokens: bool = False,
) -> Tensor:
    """``mean_layers mean_positions (1 - cosine(teacher, student))``.

    The paper compares the last hidden states of networks of one width. Where the widths differ the student's are
    projected; where positions do, both are pooled to those of the one that has fewer.

    Args:
        student: its features ``student_layers`` are read.
        teacher: its features ``teacher_layers`` are read.
        batch: not read.
        step: not read.
        projection: gives each of the student's features the teacher's channels.
        student_layers: names.
        teacher_layers: names, as many.
        tokens: whether features ``[..., B, S, D]`` are tokens of a transformer.

    Returns:
        ``[..., B]`` in [0, 2].
    """
    own = projected(features_of(student, student_layers, tokens=tokens), projection)
    wanted = features_of(teacher, teacher_layers, tokens=tokens)
    cosines = [mean_cosine(*maps(*pair)) for pair in zip(own, wanted, strict=True)]
    return 1 - torch.stack(cosines).mean(0)
