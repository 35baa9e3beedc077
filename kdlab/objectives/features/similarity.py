"""Similarity preserving (Tung & Mori 2019, SP, arXiv:1907.09682): examples that are alike to the teacher are alike to
the student. Networks of any shapes can be compared, for only the similarities are.
"""

from torch import Tensor

from kdlab.objectives.features.shapes import feature_of, products, unit
from kdlab.objectives.marks import term
from kdlab.outputs import Batch, ModelOutput, TeacherOutput


def similarities(rows: Tensor) -> Tensor:
    """``G = Q Q^T`` with rows of length 1, ``[..., B, B]``."""
    return unit(products(rows, rows))


@term(needs=("features.{teacher_layer}",), student_needs=("features.{student_layer}",), reduction="sum")
def similarity_preserving(
    student: ModelOutput,
    teacher: TeacherOutput | None,
    batch: Batch,
    step: int,
    *,
    student_layer: str = "last",
    teacher_layer: str = "last",
) -> Tensor:
    """``||G_teacher - G_student||^2 / B^2``, each example with its row of the matrices.

    Args:
        student: its feature ``student_layer`` is read.
        teacher: its feature ``teacher_layer`` is read.
        batch: not read: the student's rows are the batch.
        step: not read.
        student_layer: name; any shape.
        teacher_layer: name; any shape.

    Returns:
        ``[..., B]``, shares of the value of the batch.
    """
    own = similarities(feature_of(student, student_layer).rows)
    wanted = similarities(feature_of(teacher, teacher_layer).rows)
    return (wanted - own).square().sum(-1) / own.shape[-1] ** 2
