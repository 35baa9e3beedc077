"""Student and teacher give what the terms read: layers are found, and tapped where a network does not name them."""

from torch import nn

from kdlab.models import feature_names, stages, tap
from kdlab.objectives import Objective
from kdlab.teachers import Teacher, stages_of, tap_teacher


def placed(objective: Objective, *, student: nn.Module, teacher: Teacher | None) -> Objective:
    """The objective with names of layers in the place of words (``middle``, ``all``); the same where it has none.

    Raises:
        UserError: a word stands for a layer of a network that names none, or layers do not pair up.
    """
    if not objective.layers:
        return objective
    return objective.placed(student=stages(student), teacher=stages_of(teacher))


def listen(objective: Objective, *, student: nn.Module, teacher: Teacher | None) -> None:
    """Make both networks give the features that the terms of a placed objective read.

    Raises:
        UserError: one of them cannot give what a term needs.
    """
    given = frozenset(f"features.{name}" for name in feature_names(student))
    objective.check(teacher.provides if teacher is not None else frozenset(), student=given)
    tap(student, objective.student_features)
    if teacher is not None:
        tap_teacher(teacher, objective.teacher_features)
