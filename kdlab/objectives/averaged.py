"""Self-distillation from the student's own past: the average of its weights as the teacher of its next step.

Mean teacher (Tarvainen & Valpola 2017, arXiv:1703.01780), with Hinton's KL in the place of their squared difference of
probabilities. Nobody else teaches, so a run needs no teacher; unlabelled rows are learned from too.
"""

import copy
from typing import Any

import torch
from torch import Tensor, nn

from kdlab.objectives.marks import boolean, fraction, positive, term
from kdlab.objectives.setting import Setting
from kdlab.objectives.terms import soft_targets
from kdlab.outputs import Batch, ModelOutput, TeacherOutput


class WeightAverage(nn.Module):
    """``average = d average + (1 - d) student`` after every optimizer step, called as the student is.

    ``d = min(decay, 1 - 1 / (t + 1))`` at step t, as in the authors' code: a plain mean at first, so that the initial
    weights are soon forgotten. It is always in eval mode, with the student's running statistics; theirs is in train
    mode, where a second draw of noise is part of the method.

    Args:
        student: is copied.
        decay: d in the long run.
    """

    def __init__(self, student: nn.Module, *, decay: float) -> None:
        super().__init__()
        self.decay = decay
        self.network = copy.deepcopy(student).requires_grad_(False).eval()
        self.register_buffer("steps", torch.zeros((), dtype=torch.int64))

    steps: Tensor

    def train(self, mode: bool = True) -> "WeightAverage":
        """Its network stays in eval mode."""
        super().train(mode)
        self.network.eval()
        return self

    @torch.no_grad()
    def forward(self, inputs: Tensor) -> Tensor:
        """Logits ``[B, C]`` of the average."""
        output: Any = self.network(inputs)
        logits: Tensor = output if isinstance(output, Tensor) else output.logits
        return logits

    @torch.no_grad()
    def after_step(self, student: nn.Module) -> None:
        """Follow the student; of a stack all students at once, each tensor with an axis of K in front."""
        self.steps.add_(1)
        share = (1 / (self.steps.double() + 1)).clamp(min=1 - self.decay)
        for average, weight in zip(self.network.parameters(), student.parameters(), strict=True):
            average.lerp_(weight, share.to(average).view(*share.shape, *[1] * (weight.ndim - share.ndim)))
        for kept, buffer in zip(self.network.buffers(), student.buffers(), strict=True):
            kept.copy_(buffer)


def make_average(setting: Setting, *, decay: float = 0.999, **knobs: object) -> nn.Module:
    """The average of one student's weights, at its first step the student itself."""
    return WeightAverage(setting.student_network, decay=decay)


@term(
    reduction="mean",
    knobs={"temperature": positive, "decay": fraction, "t2_scaling": boolean},
    per_student=("temperature",),
    modules={"average": make_average},
)
def averaged_teacher(
    student: ModelOutput,
    teacher: TeacherOutput | None,
    batch: Batch,
    step: int,
    *,
    average: WeightAverage,
    temperature: float | Tensor,
    decay: float = 0.999,
    t2_scaling: bool = True,
) -> Tensor:
    """``T^2 KL(average_T || student_T)``: the soft targets of the student's own averaged weights.

    Args:
        student: the student's output.
        teacher: not read.
        batch: its inputs are shown to the average.
        step: not read.
        average: gives logits ``[..., B, C]``.
        temperature: T > 0, of both softmaxes.
        decay: of the average, in [0, 1).
        t2_scaling: whether to multiply by T^2.

    Returns:
        ``[..., B]`` nats (times T^2).
    """
    said = TeacherOutput(average(batch.inputs), {})
    return soft_targets(student, said, batch, step, temperature=temperature, t2_scaling=t2_scaling)
