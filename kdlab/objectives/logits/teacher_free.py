"""Distillation without a teacher (Yuan et al. 2020, Tf-KD_reg, arXiv:1909.11723): a virtual one, written down by hand.

It is right with probability a and knows nothing else. A student that gains as much from it as from a trained teacher
was regularised, not taught.
"""

import torch
from torch import Tensor

from kdlab.objectives.logits.divergences import divergence, scaled
from kdlab.objectives.marks import boolean, inside, positive, term
from kdlab.objectives.terms import at_least_single, log_probs
from kdlab.outputs import Batch, ModelOutput, TeacherOutput


def virtual_log_probs(labels: Tensor, *, like: Tensor, correct: float, temperature: float | Tensor) -> Tensor:
    """``log softmax(p / T)`` ``[..., B, C]``, p: ``correct`` on the label, the rest spread evenly over the others.

    Softened as the published code does it, the probabilities in the place of logits.
    """
    others = (1 - correct) / max(like.shape[-1] - 1, 1)
    designed = torch.full_like(at_least_single(like), others)
    return log_probs(designed.scatter(-1, labels.unsqueeze(-1), correct), temperature=temperature)


@term(
    reduction="mean_labelled",
    knobs={"correct": inside, "temperature": positive, "t2_scaling": boolean},
    per_student=("temperature",),
)
def teacher_free(
    student: ModelOutput,
    teacher: TeacherOutput | None,
    batch: Batch,
    step: int,
    *,
    correct: float = 0.99,
    temperature: float | Tensor = 20.0,
    t2_scaling: bool = True,
) -> Tensor:
    """``T^2 KL(virtual_T || student_T)``, 0 on rows without a label. The paper has no T^2.

    Args:
        student: the student's output.
        teacher: not read.
        batch: labels; of mixed rows the one with the larger share.
        step: not read.
        correct: a, the probability of the label; the paper takes 0.9 and more.
        temperature: T > 0, of both softmaxes.
        t2_scaling: whether to multiply by T^2.

    Returns:
        ``[..., B]`` nats (times T^2).
    """
    labels = torch.where(batch.labelled, batch.main_labels, 0).expand(student.logits.shape[:-1])
    virtual = virtual_log_probs(labels, like=student.logits, correct=correct, temperature=temperature)
    value = divergence(virtual, log_probs(student.logits, temperature=temperature))
    return torch.where(batch.labelled, scaled(value, temperature=temperature, t2_scaling=t2_scaling), 0)
