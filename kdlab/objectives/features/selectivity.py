"""Neuron selectivity transfer (Huang & Wang 2017, NST, arXiv:1707.01219): the channels of the student, as samples of
where a network responds, are distributed as those of the teacher. There may be more or fewer of them.
"""

from torch import Tensor

from kdlab.objectives.features.shapes import check_positions, feature_of, maps, products, unit
from kdlab.objectives.marks import boolean, term
from kdlab.outputs import Batch, ModelOutput, TeacherOutput


def mean_kernel(first: Tensor, second: Tensor) -> Tensor:
    """``mean_ij (x_i . y_j)^2`` of channels ``[..., C, P]``: the polynomial kernel of degree 2 without a constant."""
    return products(first, second).square().mean((-2, -1))


@term(
    needs=("features.{teacher_layer}",),
    student_needs=("features.{student_layer}",),
    knobs={"tokens": boolean},
)
def neuron_selectivity(
    student: ModelOutput,
    teacher: TeacherOutput | None,
    batch: Batch,
    step: int,
    *,
    student_layer: str = "last",
    teacher_layer: str = "last",
    tokens: bool = False,
) -> Tensor:
    """The squared maximum mean discrepancy of channels at length 1, with a polynomial kernel.

    ``mean k(teacher, teacher) + mean k(student, student) - 2 mean k(teacher, student)``. Features are pooled to the
    positions of the one that has fewer.

    Args:
        student: its feature ``student_layer`` is read.
        teacher: its feature ``teacher_layer`` is read.
        batch: not read.
        step: not read.
        student_layer: name, of a map of two positions or more.
        teacher_layer: the same of the teacher.
        tokens: whether features ``[..., B, S, D]`` are tokens of a transformer.

    Returns:
        ``[..., B]``.
    """
    pair = feature_of(student, student_layer, tokens=tokens), feature_of(teacher, teacher_layer, tokens=tokens)
    check_positions(*pair, term="neuron_selectivity")
    own, wanted = (unit(features) for features in maps(*pair))
    return mean_kernel(wanted, wanted) + mean_kernel(own, own) - 2 * mean_kernel(wanted, own)
