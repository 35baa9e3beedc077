"""Relational distillation (Park et al. 2019, RKD, arXiv:1904.05068): the figure that a batch forms in feature space is
the same, in the distances of its pairs and in the angles of its triplets. It may be turned, moved and scaled.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from kdlab.objectives.features.shapes import feature_of, products, unit
from kdlab.objectives.marks import term
from kdlab.outputs import Batch, ModelOutput, TeacherOutput


def distances(rows: Tensor) -> Tensor:
    """Euclidean distances of all pairs over their mean, ``[..., B, B]``.

    The mean is over pairs of two examples; RepDistiller leaves those at distance 0 out. Equal rows get no gradient.
    """
    # not by inner products: of rows close to each other float32 would leave nothing
    apart = torch.cdist(rows, rows, compute_mode="donot_use_mm_for_euclid_dist")
    num_pairs = max(rows.shape[-2] * (rows.shape[-2] - 1), 1)
    mean = apart.sum((-2, -1), keepdim=True) / num_pairs
    return apart / torch.where(mean > 0, mean, torch.inf)


def angles(rows: Tensor) -> Tensor:
    """Cosines ``[..., B, B, B]`` of the angle at the first example of a triplet between the other two.

    Where two of them coincide there is no angle, and 0 in its place.
    """
    directions = unit(rows.unsqueeze(-3) - rows.unsqueeze(-2))
    return products(directions, directions)


@term(needs=("features.{teacher_layer}",), student_needs=("features.{student_layer}",), reduction="sum")
def relational_distance(
    student: ModelOutput,
    teacher: TeacherOutput | None,
    batch: Batch,
    step: int,
    *,
    student_layer: str = "penultimate",
    teacher_layer: str = "penultimate",
) -> Tensor:
    """``sum_pairs Huber(d_teacher - d_student) / B^2`` with threshold 1, each example with its pairs.

    Divided by B^2, the pairs of an example with itself counted, as in the authors' code.

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
    own = distances(feature_of(student, student_layer).rows)
    wanted = distances(feature_of(teacher, teacher_layer).rows)
    return F.huber_loss(own, wanted.expand_as(own), reduction="none").sum(-1) / own.shape[-1] ** 2


@term(needs=("features.{teacher_layer}",), student_needs=("features.{student_layer}",), reduction="sum")
def relational_angle(
    student: ModelOutput,
    teacher: TeacherOutput | None,
    batch: Batch,
    step: int,
    *,
    student_layer: str = "penultimate",
    teacher_layer: str = "penultimate",
) -> Tensor:
    """``sum_triplets Huber(cos_teacher - cos_student) / B^3`` with threshold 1, each example with its angles.

    Divided by B^3, all triplets counted, as in the authors' code. It takes B^3 numbers: at 100 examples 4 MB.

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
    own = angles(feature_of(student, student_layer).rows)
    wanted = angles(feature_of(teacher, teacher_layer).rows)
    return F.huber_loss(own, wanted.expand_as(own), reduction="none").sum((-2, -1)) / own.shape[-1] ** 3
