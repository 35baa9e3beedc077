"""Decoupled distillation (Zhao et al. 2022, DKD, arXiv:2203.08679): how sure of the label, and what of the others.

Hinton's KL is the first plus ``1 - p_label`` of the teacher times the second, so a sure teacher hides its dark
knowledge; here both have a weight of their own.
"""

import torch
from torch import Tensor

from kdlab.objectives.logits.divergences import divergence, scaled
from kdlab.objectives.marks import boolean, non_negative, positive, term
from kdlab.objectives.terms import log_probs, taught_logits
from kdlab.outputs import Batch, ModelOutput, TeacherOutput


def split(logits: Tensor, labels: Tensor, *, temperature: float | Tensor) -> tuple[Tensor, Tensor]:
    """Log-probabilities of the label and of all others together ``[..., B, 2]``, and among the others ``[..., B, C]``.

    Among the others the label's own place holds the lowest number, whose probability is 0.
    """
    every = log_probs(logits, temperature=temperature)
    lowest = torch.finfo(every.dtype).min
    at = labels.expand(every.shape[:-1]).unsqueeze(-1)
    others = every.scatter(-1, at, lowest)
    together = others.logsumexp(-1, keepdim=True)
    label_or_not = torch.cat([every.gather(-1, at), together.clamp(min=lowest)], -1)
    return label_or_not, (others - together.clamp(min=lowest)).scatter(-1, at, lowest)


@term(
    needs=("logits",),
    reduction="mean_labelled",
    knobs={
        "temperature": positive,
        "target_weight": non_negative,
        "non_target_weight": non_negative,
        "t2_scaling": boolean,
    },
    per_student=("temperature",),
)
def decoupled(
    student: ModelOutput,
    teacher: TeacherOutput | None,
    batch: Batch,
    step: int,
    *,
    temperature: float | Tensor,
    target_weight: float = 1.0,
    non_target_weight: float = 8.0,
    t2_scaling: bool = True,
) -> Tensor:
    """``T^2 (a KL(b_teacher || b_student) + c KL(n_teacher || n_student))``, 0 on rows without a label.

    b: the probabilities (label, all others); n: the probabilities among the others alone. The paper's equations have no
    T^2, its code does.

    Args:
        student: the student's output.
        teacher: the teacher's output; its logits are read.
        batch: labels; of mixed rows the one with the larger share.
        step: not read.
        temperature: T > 0, of both softmaxes.
        target_weight: a, the paper's alpha.
        non_target_weight: c, the paper's beta.
        t2_scaling: whether to multiply by T^2.

    Returns:
        ``[..., B]`` nats (times T^2).
    """
    logits = taught_logits(teacher, term="decoupled")
    labels = torch.where(batch.labelled, batch.main_labels, 0)
    own, own_others = split(student.logits, labels, temperature=temperature)
    other, other_others = split(logits, labels, temperature=temperature)
    value = target_weight * divergence(other, own) + non_target_weight * divergence(other_others, own_others)
    value = scaled(value, temperature=temperature, t2_scaling=t2_scaling)
    return torch.where(batch.labelled, value, 0)
