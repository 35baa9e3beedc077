"""The terms: pure, unreduced functions of (student, teacher, batch, step), each reading like its equation.

Shapes: logits ``[..., B, C]``, labels ``[..., B]``, result ``[..., B]``. A knob may be a number, or a tensor with one
value per leading index (``[K]`` for a stack of K students). Probabilities stay in log space.
"""

from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable

from kdlab.objectives.marks import boolean, fraction, positive, reduction_of_classes, term
from kdlab.outputs import NO_LABEL, Batch, ModelOutput, TeacherOutput

FEW_CLASSES = 16
"""Over fewer classes than a vector holds torch's CPU softmax of a last axis is four to eight times as slow as with the
classes in front; over more it is faster."""


def over_leading(knob: float | Tensor, *, like: Tensor) -> float | Tensor:
    """A knob with one value per leading index, in the dtype of logits and with two axes of length 1 for B and C.

    >>> over_leading(torch.ones(5), like=torch.zeros(5, 3, 10)).shape
    torch.Size([5, 1, 1])
    """
    return knob.to(like).reshape(*knob.shape, 1, 1) if isinstance(knob, Tensor) else knob


def without_classes(knob: float | Tensor) -> float | Tensor:
    """A knob of ``over_leading`` for each row, without the axis of classes."""
    return knob.squeeze(-1) if isinstance(knob, Tensor) else knob


def taught_logits(teacher: TeacherOutput | None, *, term: str) -> Tensor:
    """The teacher's logits.

    Raises:
        ValueError: nobody teaches.
    """
    if teacher is None:
        raise ValueError(f"the term {term} needs a teacher")
    return teacher.logits


def at_least_single(logits: Tensor) -> Tensor:
    """Logits in float32 or better: half precision loses small probabilities."""
    if logits.dtype in (torch.float32, torch.float64):
        return logits
    return logits.to(torch.promote_types(logits.dtype, torch.float32))


def log_probs(logits: Tensor, *, temperature: float | Tensor) -> Tensor:
    """``log softmax(logits / T)`` over classes."""
    logits = at_least_single(logits)
    tempered = logits / over_leading(temperature, like=logits)
    if logits.shape[-1] >= FEW_CLASSES:
        return torch.log_softmax(tempered, dim=-1)
    return torch.log_softmax(tempered.mT.contiguous(), dim=-2).mT


@term(reduction="mean_labelled", knobs={"label_smoothing": fraction})
def hard_labels(
    student: ModelOutput, teacher: TeacherOutput | None, batch: Batch, step: int, *, label_smoothing: float = 0.0
) -> Tensor:
    """Cross-entropy with the labels: ``-(1 - e) log p_y - e / C sum_c log p_c``, 0 on unlabelled rows.

    On mixed rows (Zhang et al. 2018) it is ``m CE(y) + (1 - m) CE(y')``: y the row's label with share m, y' the other.

    Args:
        student: the student's output.
        teacher: not read.
        batch: labels, and the mask of the rows that have one; the label of another row is not read.
        step: not read.
        label_smoothing: e, the share of the target spread evenly over all classes (Szegedy et al. 2016).

    Returns:
        ``[..., B]`` nats.
    """
    logits = at_least_single(student.logits)

    def cross_entropy(labels: Tensor) -> Tensor:
        rows = logits.shape[:-1]
        known = (labels if batch.all_labelled else torch.where(batch.labelled, labels, NO_LABEL)).expand(rows)
        stacked = logits.ndim > 2 and logits.shape[-1] < FEW_CLASSES
        arranged = logits.flatten(0, -3).mT.contiguous() if stacked else logits.flatten(0, -2)
        values = F.cross_entropy(
            arranged,
            known.reshape(arranged.shape[0], *arranged.shape[2:]),
            reduction="none",
            ignore_index=NO_LABEL,
            label_smoothing=label_smoothing,
        )
        return values.reshape(rows)

    own = cross_entropy(batch.labels)
    if batch.mixing is None or batch.other_labels is None:
        return own
    return torch.lerp(cross_entropy(batch.other_labels), own, batch.mixing.to(own).expand_as(own))


@term(
    needs=("logits",),
    reduction="mean",
    knobs={"temperature": positive, "t2_scaling": boolean, "class_reduction": reduction_of_classes},
    per_student=("temperature",),
    added_later={"class_reduction": "sum"},
)
def soft_targets(
    student: ModelOutput,
    teacher: TeacherOutput | None,
    batch: Batch,
    step: int,
    *,
    temperature: float | Tensor,
    t2_scaling: bool = True,
    class_reduction: Literal["sum", "mean"] = "sum",
) -> Tensor:
    """``T^2 KL(teacher_T || student_T)``, summed over classes (Hinton et al. 2015, arXiv:1503.02531).

    T^2 keeps the size of the gradient about the same for every T: the gradient of the KL alone falls as 1 / T^2.
    A class the teacher gives probability 0 contributes 0.

    Args:
        student: the student's output.
        teacher: the teacher's output; its logits are read.
        batch: not read: soft targets need no labels.
        step: not read.
        temperature: T > 0, of both softmaxes.
        t2_scaling: whether to multiply by T^2.
        class_reduction: ``mean`` divides by the number of classes, which ``KLDivLoss(reduction="mean")`` does without
            saying so; for comparison with what others published.

    Returns:
        ``[..., B]`` nats (times T^2).
    """
    logits, taught = student.logits, taught_logits(teacher, term="soft_targets")
    if class_reduction == "mean":
        whole = soft_targets(student, teacher, batch, step, temperature=temperature, t2_scaling=t2_scaling)
        return whole / logits.shape[-1]
    wants_temperature = isinstance(temperature, Tensor) and temperature.requires_grad
    if logits.shape[-1] < FEW_CLASSES and not wants_temperature:
        values: Tensor = _FewSoftTargets.apply(logits, taught, temperature, t2_scaling)  # type: ignore[no-untyped-call]
        return values
    teacher_log_probs = log_probs(taught, temperature=temperature)
    student_log_probs = log_probs(logits, temperature=temperature)
    # 0 log 0 = 0: a teacher's logit of -inf (a class masked out) must not make 0 * inf
    teacher_log_probs = teacher_log_probs.clamp(min=torch.finfo(teacher_log_probs.dtype).min)
    factor = over_leading(temperature, like=student_log_probs) ** 2 if t2_scaling else 1
    # factor and probabilities carry no gradient: one node less a step than scaling the sum
    return (factor * teacher_log_probs.exp() * (teacher_log_probs - student_log_probs)).sum(-1)


class _FewSoftTargets(torch.autograd.Function):
    """The same with its gradient, ``T (softmax(z / T) - p_teacher)``, written by hand and the classes in front.

    Half the operations, for few classes, where these are what a step of a small student costs. Differentiable once.
    """

    @staticmethod
    def forward(ctx: Any, logits: Tensor, taught: Tensor, temperature: float | Tensor, t2_scaling: bool) -> Tensor:
        scale = over_leading(temperature, like=at_least_single(logits))
        student_log_probs = _classes_in_front(logits, scale).log_softmax(-2)
        teacher_log_probs = _classes_in_front(taught, scale).log_softmax(-2)
        probs = teacher_log_probs.exp()
        ctx.save_for_backward(student_log_probs, probs)
        ctx.rate, ctx.dtype = (scale if t2_scaling else 1 / scale), logits.dtype
        lowest = torch.finfo(teacher_log_probs.dtype).min  # 0 log 0 = 0, as above
        values = (teacher_log_probs.clamp_(min=lowest) - student_log_probs).mul_(probs).sum(-2)
        return values.mul_(without_classes(scale) ** 2) if t2_scaling else values

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None, None]:
        student_log_probs, probs = ctx.saved_tensors
        rows = gradients[0].unsqueeze(-2) * ctx.rate
        return (student_log_probs.exp() - probs).mul_(rows).mT.to(ctx.dtype), None, None, None


def _classes_in_front(logits: Tensor, scale: float | Tensor) -> Tensor:
    """``logits / T`` as ``[..., C, B]``, written there at once; without gradient."""
    turned = at_least_single(logits).mT
    if isinstance(scale, Tensor):
        turned = turned.expand(*scale.shape[:-2], *turned.shape[-2:])  # logits that several students share
    return torch.div(turned, scale, out=torch.empty(turned.shape, dtype=turned.dtype, device=turned.device))
