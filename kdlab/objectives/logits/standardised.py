"""Logit standardisation (Sun et al. 2024, arXiv:2403.01427): for each example each network has its own temperature.

Both rows of logits are moved to mean 0 and standard deviation 1 before the soft targets: what is compared is how the
classes lie to each other, and a small student need not reach its teacher's scale.
"""

import torch
from torch import Tensor

from kdlab.objectives.marks import boolean, positive, term
from kdlab.objectives.terms import at_least_single, soft_targets, taught_logits
from kdlab.outputs import Batch, ModelOutput, TeacherOutput


def standardise(logits: Tensor) -> Tensor:
    """``(z - mean z) / sqrt(mean (z - mean z)^2)`` over classes; zeros where all are equal."""
    logits = at_least_single(logits)
    centred = logits - logits.mean(-1, keepdim=True)
    centred = centred / centred.detach().abs().amax(-1, keepdim=True).clamp(min=torch.finfo(centred.dtype).tiny)
    mean_square = centred.square().mean(-1, keepdim=True)
    return centred / torch.where(mean_square > 0, mean_square, 1).sqrt()


@term(
    needs=("logits",),
    knobs={"temperature": positive, "t2_scaling": boolean},
    per_student=("temperature",),
)
def standardised_targets(
    student: ModelOutput,
    teacher: TeacherOutput | None,
    batch: Batch,
    step: int,
    *,
    temperature: float | Tensor = 2.0,
    t2_scaling: bool = True,
) -> Tensor:
    """``T^2 KL`` of the standardised logits at the base temperature T.

    The paper's deviation, with 1 / C; the published code has 1 / (C - 1) and 1e-7, which is T sqrt(C / (C - 1)) here.

    Args:
        student: the student's output.
        teacher: the teacher's output; its logits are read.
        batch: not read.
        step: not read.
        temperature: T > 0, of both softmaxes.
        t2_scaling: whether to multiply by T^2.

    Returns:
        ``[..., B]`` nats (times T^2).
    """
    own = student._replace(logits=standardise(student.logits))
    other = TeacherOutput(standardise(taught_logits(teacher, term="standardised_targets")), {})
    return soft_targets(own, other, batch, step, temperature=temperature, t2_scaling=t2_scaling)
