"""Probabilistic knowledge transfer (Passalis & Tefas 2018, PKT, arXiv:1803.10837): who is a neighbour of an example is
as probable to the student as to the teacher.
"""

from torch import Tensor

from kdlab.objectives.features.shapes import feature_of, products, unit
from kdlab.objectives.marks import term
from kdlab.outputs import Batch, ModelOutput, TeacherOutput

SMALLEST = 1e-7
"""Added to probabilities inside the logarithm, in the authors' code."""


def neighbour_probs(rows: Tensor) -> Tensor:
    """``p(j | i)``, in proportion to ``(cosine + 1) / 2``, ``[..., B, B]``."""
    affinities = (products(unit(rows), unit(rows)) + 1) / 2
    return affinities / affinities.sum(-1, keepdim=True)


@term(needs=("features.{teacher_layer}",), student_needs=("features.{student_layer}",), reduction="sum")
def probabilistic_transfer(
    student: ModelOutput,
    teacher: TeacherOutput | None,
    batch: Batch,
    step: int,
    *,
    student_layer: str = "penultimate",
    teacher_layer: str = "penultimate",
) -> Tensor:
    """``sum_ij p_teacher(j | i) log (p_teacher(j | i) / p_student(j | i)) / B^2``, each example with its neighbours.

    As the authors' code: divided by B^2, where the paper sums, and with each example among its own
    neighbours.

    Args:
        student: its feature ``student_layer`` is read.
        teacher: its feature ``teacher_layer`` is read.
        batch: not read: the student's rows are the batch.
        step: not read.
        student_layer: name; any shape.
        teacher_layer: name; any shape.

    Returns:
        ``[..., B]`` nats, shares of the value of the batch.
    """
    own = neighbour_probs(feature_of(student, student_layer).rows)
    wanted = neighbour_probs(feature_of(teacher, teacher_layer).rows)
    apart = wanted * ((wanted + SMALLEST) / (own + SMALLEST)).log()
    return apart.sum(-1) / own.shape[-1] ** 2
