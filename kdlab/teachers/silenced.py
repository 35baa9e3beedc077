"""A teacher that never names some classes: the control of what a student learns about a class it never saw.

Reference: Hinton, Vinyals & Dean, "Distilling the knowledge in a neural network", arXiv:1503.02531, section 3.
"""

from collections.abc import Sequence

import torch

from kdlab.errors import UserError
from kdlab.outputs import TeacherOutput
from kdlab.teachers.providers import Teacher, facts_of

BELOW = 1e4
"""How far below the others the logit of a silenced class lies: a probability of 0 in single precision up to T = 90."""


class SilencedTeacher:
    """A teacher whose probabilities of some classes are zero, those of the others renormalised.

    ``p'_k = 0`` for these, ``p_k / (1 - sum of theirs)`` for the others, at every temperature.

    Args:
        teacher: the teacher it transforms.
        classes: those it never names, some and not all.

    Raises:
        UserError: no class, all of them, or one that there is not.
    """

    def __init__(self, teacher: Teacher, *, classes: Sequence[int]) -> None:
        known = range(teacher.num_classes)
        if not classes or not set(classes) < set(known):
            raise UserError(f"teacher.quality.classes = {list(classes)}: some of 0 to {known[-1]} are needed, not all")
        self.teacher, self.classes = teacher, torch.tensor(sorted(set(classes)))
        self.num_classes, self.provides, self.facts = teacher.num_classes, teacher.provides, facts_of(teacher)

    def __call__(self, inputs: torch.Tensor, index: torch.Tensor) -> TeacherOutput:
        """``[B, C]`` logits, those of the silenced classes far below all others."""
        output = self.teacher(inputs, index)
        logits = output.logits.clone()
        logits[..., self.classes] = logits.amin(dim=-1, keepdim=True) - BELOW
        return TeacherOutput(logits, output.features)

    def to(self, device: torch.device | str, dtype: torch.dtype | None = None) -> "SilencedTeacher":
        """Move the teacher it transforms."""
        self.teacher = self.teacher.to(device, dtype)
        self.classes = self.classes.to(device)
        return self


def without_classes(teacher: Teacher, *, classes: Sequence[int]) -> SilencedTeacher:
    """The output transformation of ``teacher/quality=without_classes``."""
    return SilencedTeacher(teacher, classes=classes)
