"""Other distances between the two distributions than Hinton's forward KL, and between the logits themselves."""

import math

import torch
from torch import Tensor

from kdlab.objectives.marks import boolean, inside, positive, term
from kdlab.objectives.terms import at_least_single, log_probs, over_leading, taught_logits, without_classes
from kdlab.outputs import Batch, ModelOutput, TeacherOutput


def divergence(first: Tensor, second: Tensor) -> Tensor:
    """``KL(first || second)`` ``[...]`` of log-probabilities ``[..., C]``; a class of probability 0 contributes 0."""
    lowest = torch.finfo(first.dtype).min
    return (first.exp() * (first.clamp(min=lowest) - second.clamp(min=lowest))).sum(-1)


def scaled(values: Tensor, *, temperature: float | Tensor, t2_scaling: bool) -> Tensor:
    """Values ``[..., B]`` times T^2, or as they are."""
    if not t2_scaling:
        return values
    return values * without_classes(over_leading(temperature, like=values)) ** 2


@term(
    needs=("logits",),
    knobs={"temperature": positive, "t2_scaling": boolean},
    per_student=("temperature",),
)
def reverse_kl(
    student: ModelOutput,
    teacher: TeacherOutput | None,
    batch: Batch,
    step: int,
    *,
    temperature: float | Tensor,
    t2_scaling: bool = True,
) -> Tensor:
    """``T^2 KL(student_T || teacher_T)``: the student keeps to what the teacher holds possible (arXiv:2306.08543).

    Args:
        student: the student's output.
        teacher: the teacher's output; its logits are read.
        batch: not read.
        step: not read.
        temperature: T > 0, of both softmaxes.
        t2_scaling: whether to multiply by T^2.

    Returns:
        ``[..., B]`` nats (times T^2); infinite where the student believes in a class that the teacher rules out.
    """
    own = log_probs(student.logits, temperature=temperature)
    other = log_probs(taught_logits(teacher, term="reverse_kl"), temperature=temperature)
    return scaled(divergence(own, other), temperature=temperature, t2_scaling=t2_scaling)


@term(
    needs=("logits",),
    knobs={"temperature": positive, "beta": inside, "t2_scaling": boolean},
    per_student=("temperature",),
)
def jensen_shannon(
    student: ModelOutput,
    teacher: TeacherOutput | None,
    batch: Batch,
    step: int,
    *,
    temperature: float | Tensor,
    beta: float = 0.5,
    t2_scaling: bool = True,
) -> Tensor:
    """``T^2 (beta KL(teacher || m) + (1 - beta) KL(student || m))``, ``m = beta teacher + (1 - beta) student``.

    The generalised Jensen-Shannon divergence of GKD (Agarwal et al. 2024, arXiv:2306.13649), all at T; the paper has no
    T^2. Towards beta = 0 it is beta times the forward KL, towards 1 (1 - beta) times the reverse one.

    Args:
        student: the student's output.
        teacher: the teacher's output; its logits are read.
        batch: not read.
        step: not read.
        temperature: T > 0, of both softmaxes.
        beta: share of the teacher in the mixture, between 0 and 1 and neither.
        t2_scaling: whether to multiply by T^2.

    Returns:
        ``[..., B]`` nats (times T^2).
    """
    own = log_probs(student.logits, temperature=temperature)
    other = log_probs(taught_logits(teacher, term="jensen_shannon"), temperature=temperature)
    mixture = torch.logaddexp(other + math.log(beta), own + math.log(1 - beta))
    value = beta * divergence(other, mixture) + (1 - beta) * divergence(own, mixture)
    return scaled(value, temperature=temperature, t2_scaling=t2_scaling)


@term(needs=("logits",), knobs={"centred": boolean, "teacher_scale": positive}, per_student=("teacher_scale",))
def logit_mse(
    student: ModelOutput,
    teacher: TeacherOutput | None,
    batch: Batch,
    step: int,
    *,
    centred: bool = False,
    teacher_scale: float | Tensor = 1.0,
) -> Tensor:
    """``mean_c (z_c - s v_c)^2``: the logits themselves (Ba & Caruana 2014, arXiv:1312.6184; Kim et al. 2021,
    arXiv:2105.08919). Half of it, centred, is what ``soft_targets`` tends to as T grows.

    Args:
        student: the student's output, logits z.
        teacher: the teacher's output, logits v.
        batch: not read.
        step: not read.
        centred: whether each row of logits is first moved to mean 0 over the classes, which softmax does not see.
        teacher_scale: s; Annealing-KD (Jafari et al. 2021, arXiv:2104.07163) lets it rise to 1 in steps.

    Returns:
        ``[..., B]``.
    """
    own, other = at_least_single(student.logits), at_least_single(taught_logits(teacher, term="logit_mse"))
    difference = own - other * over_leading(teacher_scale, like=other)
    if centred:
        difference = difference - difference.mean(-1, keepdim=True)
    return difference.square().mean(-1)
