"""Correlation congruence (Peng et al. 2019, CC, arXiv:1904.01802): examples correlate alike in an embedding of each
network, under a Gaussian kernel.
"""

import math

import torch
from torch import Tensor, nn

from kdlab.objectives.features.contrastive import Embedding, make_student_embedding
from kdlab.objectives.features.shapes import feature_of, products, unit
from kdlab.objectives.marks import Rule, count, positive, term
from kdlab.objectives.setting import Setting
from kdlab.objectives.terms import at_least_single
from kdlab.outputs import Batch, ModelOutput, TeacherOutput


def make_teacher_embedding(
    setting: Setting, *, teacher_layer: str = "penultimate", dimension: int = 128, **knobs: object
) -> nn.Module:
    """A random embedding of the teacher's features, which keeps cosines about as they are.

    It does not learn: learned with the student's, both mapped every example to one point within 125 steps.
    """
    return Embedding(setting.teacher[teacher_layer], dimension=dimension).requires_grad_(False)


up_to_100 = Rule(lambda value: count.holds(value) and value <= 100, "an integer from 1 to 100", may_change=False)
"""Orders of the series whose factorials a float can hold."""


def correlations(rows: Tensor, *, gamma: float, order: int) -> Tensor:
    """``sum_p exp(-2 gamma) (2 gamma)^p / p! (x . y)^p`` of rows at length 1, ``[..., B, B]``.

    The Taylor series of the Gaussian ``exp(-gamma ||x - y||^2)`` up to an order.
    """
    cosines = products(unit(rows), unit(rows))
    factors = [math.exp(-2 * gamma) * (2 * gamma) ** power / math.factorial(power) for power in range(order + 1)]
    return torch.stack([factor * cosines**power for power, factor in enumerate(factors)]).sum(0)


@term(
    needs=("features.{teacher_layer}",),
    student_needs=("features.{student_layer}",),
    reduction="sum",
    knobs={"dimension": count, "gamma": positive, "order": up_to_100},
    modules={"student_embedding": make_student_embedding, "teacher_embedding": make_teacher_embedding},
)
def correlation_congruence(
    student: ModelOutput,
    teacher: TeacherOutput | None,
    batch: Batch,
    step: int,
    *,
    student_embedding: nn.Module,
    teacher_embedding: nn.Module,
    student_layer: str = "penultimate",
    teacher_layer: str = "penultimate",
    dimension: int = 128,
    gamma: float = 0.4,
    order: int = 2,
) -> Tensor:
    """``||K_teacher - K_student||^2 / B^2`` with the kernel's matrices K, each example with its row of them.

    This is the paper's. What RepDistiller runs under the same name multiplies the differences of the embeddings of
    neighbours in the batch, and its weight .02 means nothing here.

    Args:
        student: its feature ``student_layer`` is read.
        teacher: its feature ``teacher_layer`` is read.
        batch: not read: the student's rows are the batch.
        step: not read.
        student_embedding: ``[..., B, *shape]`` to ``[..., B, D]``.
        teacher_embedding: the same for the teacher's feature.
        student_layer: name; any shape.
        teacher_layer: name; any shape.
        dimension: D.
        gamma: of the kernel, .4 in the paper.
        order: of the series, 2 in the paper.

    Returns:
        ``[..., B]``, shares of the value of the batch.
    """
    embedded = (
        student_embedding(feature_of(student, student_layer).values),
        teacher_embedding(feature_of(teacher, teacher_layer).values),
    )
    own, wanted = (correlations(at_least_single(rows), gamma=gamma, order=order) for rows in embedded)
    return (wanted - own).square().sum(-1) / own.shape[-1] ** 2
