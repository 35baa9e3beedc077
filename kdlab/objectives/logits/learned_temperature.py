"""Curriculum temperature (Li et al. 2023, CTKD, arXiv:2211.16231): T is learned, against the student.

The student descends the distillation loss, the temperature climbs it: its gradient is reversed. How strongly rises
along half a cosine at the beginning of a run, from easy to hard.
"""

import torch
from torch import Tensor, nn

from kdlab.objectives.marks import boolean, non_negative, positive, term
from kdlab.objectives.setting import Setting
from kdlab.objectives.terms import soft_targets
from kdlab.outputs import Batch, ModelOutput, TeacherOutput

START = 1.0
"""Of the paper's global version: one number that is learned, and begins at 1 (T = 15.6 between 1 and 21)."""


class LearnedTemperature(nn.Module):
    """``T = lowest + span * sigmoid(theta)``, called without inputs.

    Args:
        lowest: of T.
        span: how far T may rise above it.
    """

    def __init__(self, *, lowest: float, span: float) -> None:
        super().__init__()
        self.lowest, self.span = lowest, span
        self.theta = nn.Parameter(torch.tensor(START))

    def forward(self) -> Tensor:
        """T, without axes."""
        return self.lowest + self.span * self.theta.sigmoid()

    def told(self) -> dict[str, Tensor]:
        """T for the curves; ``[K]`` of a stack."""
        return {"temperature": self().detach()}


def make_temperature(setting: Setting, *, lowest: float = 1.0, span: float = 20.0, **knobs: object) -> nn.Module:
    """What learns T for one student."""
    return LearnedTemperature(lowest=lowest, span=span)


def reversed_gradient(value: Tensor, *, strength: float) -> Tensor:
    """The value itself, with ``-strength`` times its gradient (Ganin & Lempitsky 2015, arXiv:1409.7495).

    >>> value = torch.tensor(3.0, requires_grad=True)
    >>> torch.autograd.grad(reversed_gradient(value, strength=0.5) ** 2, value)
    (tensor(-3.),)
    """
    fixed = value.detach()
    return fixed - strength * (value - fixed)


@term(
    needs=("logits",),
    knobs={"strength": non_negative, "lowest": positive, "span": positive, "t2_scaling": boolean},
    modules={"temperature": make_temperature},
)
def learned_temperature(
    student: ModelOutput,
    teacher: TeacherOutput | None,
    batch: Batch,
    step: int,
    *,
    temperature: LearnedTemperature,
    strength: float = 1.0,
    lowest: float = 1.0,
    span: float = 20.0,
    t2_scaling: bool = True,
) -> Tensor:
    """``T^2 KL(teacher_T || student_T)`` with a learned T, whose gradient is multiplied by ``-strength``.

    Args:
        student: the student's output.
        teacher: the teacher's output; its logits are read.
        batch: not read.
        step: not read.
        temperature: gives T, ``[...]``.
        strength: lambda >= 0; the paper's rises from 0 to 1 over the first 10 of 240 epochs (a schedule).
        lowest: of T.
        span: how far T may rise above it.
        t2_scaling: whether to multiply by T^2, which T's own gradient goes through too, as in the authors' code.

    Returns:
        ``[..., B]`` nats (times T^2).
    """
    chosen = reversed_gradient(temperature(), strength=strength)
    return soft_targets(student, teacher, batch, step, temperature=chosen, t2_scaling=t2_scaling)
