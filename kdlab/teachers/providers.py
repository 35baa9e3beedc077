"""Teachers: frozen providers of ``TeacherOutput``, plain objects and never submodules of the student's module.

So a teacher is in no checkpoint, no optimizer and no ``.train()`` of the training loop, and its parameters and buffers
are bit-identical after a fit.
"""

import copy
import math
from collections.abc import Iterable, Mapping
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from kdlab.errors import UserError
from kdlab.models import as_output, feature_names, stages, tap
from kdlab.outputs import TeacherOutput


class Teacher(Protocol):
    """Answers for the examples of a batch; online from the inputs, cached from the index."""

    @property
    def num_classes(self) -> int:
        """Number of classes of its logits."""
        ...

    @property
    def provides(self) -> frozenset[str]:
        """What it can give to terms: ``logits``, and ``features.<name>`` for each named feature and submodule."""
        ...

    def __call__(self, inputs: Tensor, index: Tensor) -> TeacherOutput:
        """What it says of ``inputs`` ``[B, *shape]`` whose example index is ``index`` ``[B]``; without gradient."""
        ...

    def to(self, device: torch.device | str, dtype: torch.dtype | None = None) -> "Teacher":
        """Move it and return it."""
        ...


def answers_by_index(teacher: Teacher | None) -> bool:
    """Whether what it, or the teacher it transforms, says belongs to the example and not to the inputs shown.

    No random augmentation may stand beside it.
    """
    if teacher is None:
        return False
    return bool(getattr(teacher, "by_index", False)) or answers_by_index(getattr(teacher, "teacher", None))


def refuses_augmentation(teacher: Teacher | None) -> bool:
    """Whether no random augmentation may stand beside it: it answers by index, without ``fixed_targets`` meaning so."""
    return answers_by_index(teacher) and not getattr(teacher, "fixed_targets", False)


def facts_of(teacher: Teacher) -> dict[str, float]:
    """What was fitted or counted when it was made, by name; empty for most."""
    return dict(getattr(teacher, "facts", {}))


def stages_of(teacher: Teacher | None) -> tuple[str, ...]:
    """The features along the depth of the network behind a teacher; empty where there is none, or it names none."""
    behind: Any = teacher
    while not hasattr(behind, "model") and hasattr(behind, "teacher"):
        behind = behind.teacher
    model = getattr(behind, "model", None)
    return stages(model) if isinstance(model, nn.Module) else ()


def tap_teacher(teacher: Teacher, names: Iterable[str]) -> None:
    """Ask a teacher for features by module path: a transformed one hands it on to the ``teacher`` it transforms.

    A provider without a network of its own (a control, a cache) has the features it has.
    """
    behind: Any = teacher
    while not hasattr(behind, "tap") and hasattr(behind, "teacher"):
        behind = behind.teacher
    if hasattr(behind, "tap"):
        behind.tap(names)


class OnlineTeacher:
    """A frozen private copy of a network, in eval mode, run without gradient.

    The copy makes a born-again student that starts from its teacher's module a different object. Eval mode is asserted
    again on every call, whoever called ``.train()`` in between: BatchNorm statistics would drift otherwise.

    Args:
        model: the trained network; it is copied and left as it is.
        num_classes: number of classes; ``model.num_classes`` where left out.
    """

    def __init__(self, model: nn.Module, *, num_classes: int | None = None) -> None:
        known = getattr(model, "num_classes", None) if num_classes is None else num_classes
        if not isinstance(known, int):
            raise UserError("teacher: the model has no num_classes of its own, pass num_classes to OnlineTeacher")
        self.num_classes = known
        self.provides = frozenset({"logits", *(f"features.{name}" for name in feature_names(model))})
        self.facts: dict[str, float] = {}
        self.model = copy.deepcopy(model).requires_grad_(False).eval()
        self._modules = tuple(self.model.modules())

    def tap(self, names: Iterable[str]) -> None:
        """Give these features too from now on: names of the network's own, or the paths of its submodules."""
        tap(self.model, names)

    def __call__(self, inputs: Tensor, index: Tensor) -> TeacherOutput:
        """Run the network; ``no_grad`` and not ``inference_mode``, whose outputs a term cannot save for backward."""
        if any(module.training for module in self._modules):
            self.model.eval()
        with torch.no_grad():
            output = as_output(self.model(inputs))
        return TeacherOutput(output.logits, output.features)

    def to(self, device: torch.device | str, dtype: torch.dtype | None = None) -> "OnlineTeacher":
        """Move the copy in place."""
        self.model.to(device=device, dtype=dtype)
        return self


class UniformTeacher:
    """The control without knowledge: every class has the same probability. It acts as label smoothing does.

    Args:
        num_classes: number of classes.
    """

    provides = frozenset({"logits"})

    def __init__(self, num_classes: int) -> None:
        self.num_classes = num_classes

    def __call__(self, inputs: Tensor, index: Tensor) -> TeacherOutput:
        """Logits of zeros, one row for each value of ``index``."""
        return TeacherOutput(inputs.new_zeros((*index.shape, self.num_classes)), {})

    def to(self, device: torch.device | str, dtype: torch.dtype | None = None) -> "UniformTeacher":
        """Nothing to move: it answers where the inputs are."""
        return self


class ScaledTeacher:
    """A teacher whose logits are multiplied: over-confident above 1, under-confident below; the top class stays.

    Args:
        teacher: the teacher it transforms.
        scale: the factor, finite and > 0; the same as a temperature of 1 / scale.
        facts: what was fitted for it, by name.
    """

    def __init__(self, teacher: Teacher, *, scale: float, facts: Mapping[str, float] | None = None) -> None:
        if isinstance(scale, bool) or not isinstance(scale, int | float) or not (math.isfinite(scale) and scale > 0):
            raise UserError(f"teacher.quality.scale = {scale!r}: a finite number > 0 is needed")
        self.teacher, self.scale = teacher, scale
        self.num_classes, self.provides = teacher.num_classes, teacher.provides
        self.facts = {**facts_of(teacher), **(facts or {})}

    def __call__(self, inputs: Tensor, index: Tensor) -> TeacherOutput:
        """``scale * logits``; features are the parent's."""
        output = self.teacher(inputs, index)
        return TeacherOutput(output.logits * self.scale, output.features)

    def to(self, device: torch.device | str, dtype: torch.dtype | None = None) -> "ScaledTeacher":
        """Move the teacher it transforms."""
        self.teacher = self.teacher.to(device, dtype)
        return self


def scaled(teacher: Teacher, *, scale: float) -> ScaledTeacher:
    """The output transformation of ``teacher/quality=overconfident``."""
    return ScaledTeacher(teacher, scale=scale)
