"""Attention transfer (Zagoruyko & Komodakis 2017, AT, arXiv:1612.03928): the student looks where the teacher looks.

How many channels a network has does not matter: attention is a map of positions.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from kdlab.objectives.features.shapes import check_positions, features_of, maps, unit
from kdlab.objectives.marks import at_least_one, boolean, term
from kdlab.outputs import Batch, ModelOutput, TeacherOutput


def attention(features: Tensor, *, power: float) -> Tensor:
    """``sum_channels |f|^p`` at length 1: ``[..., P]`` of ``[..., C, P]``."""
    return unit(features.abs().pow(power).sum(-2))


@term(
    needs=("features.{teacher_layers}",),
    student_needs=("features.{student_layers}",),
    knobs={"power": at_least_one, "tokens": boolean},
)
def attention_transfer(
    student: ModelOutput,
    teacher: TeacherOutput | None,
    batch: Batch,
    step: int,
    *,
    student_layers: Sequence[str] = "all",
    teacher_layers: Sequence[str] = "all",
    power: float = 2.0,
    tokens: bool = False,
) -> Tensor:
    """``sum_layers mean_positions (A_teacher / ||A_teacher|| - A_student / ||A_student||)^2``.

    As the authors' code: squared and averaged, where equation 2 has the length of the difference. Features are pooled
    to the positions of the one that has fewer.

    Args:
        student: its features ``student_layers`` are read.
        teacher: its features ``teacher_layers`` are read.
        batch: not read.
        step: not read.
        student_layers: names, of maps of two positions or more.
        teacher_layers: names, as many.
        power: p >= 1; larger ones look at the strongest positions alone.
        tokens: whether features ``[..., B, S, D]`` are tokens of a transformer.

    Returns:
        ``[..., B]``.
    """
    own_layers = features_of(student, student_layers, tokens=tokens)
    wanted_layers = features_of(teacher, teacher_layers, tokens=tokens)
    values = []
    for pair in zip(own_layers, wanted_layers, strict=True):
        check_positions(*pair, term="attention_transfer")
        own, wanted = (attention(features, power=power) for features in maps(*pair))
        values.append((wanted - own).square().mean(-1))
    return torch.stack(values).sum(0)
