"""Teachers: frozen providers of ``TeacherOutput``, and the qualities a teacher may have."""

from kdlab.teachers.by_index import PermutedTeacher, VirtualTeacher, virtual
from kdlab.teachers.cached import CachedTeacher, cached
from kdlab.teachers.combining import COMBINATIONS
from kdlab.teachers.ensemble import EnsembleTeacher, RandomMember, SideBySide, answers_by_batch, side_by_side
from kdlab.teachers.low_bit import low_bit
from kdlab.teachers.providers import (
    OnlineTeacher,
    ScaledTeacher,
    Teacher,
    UniformTeacher,
    answers_by_index,
    facts_of,
    refuses_augmentation,
    scaled,
    stages_of,
    tap_teacher,
)
from kdlab.teachers.quality import UNFITTED, Quality, make_teacher, quality_errors
from kdlab.teachers.scaling import calibrated, check_entropy, matched
from kdlab.teachers.silenced import SilencedTeacher, without_classes
from kdlab.teachers.training_data import no_shift, noisy_labels, shifted

__all__ = [
    "COMBINATIONS",
    "UNFITTED",
    "CachedTeacher",
    "EnsembleTeacher",
    "OnlineTeacher",
    "PermutedTeacher",
    "Quality",
    "RandomMember",
    "ScaledTeacher",
    "SideBySide",
    "SilencedTeacher",
    "Teacher",
    "UniformTeacher",
    "VirtualTeacher",
    "answers_by_batch",
    "answers_by_index",
    "cached",
    "calibrated",
    "check_entropy",
    "facts_of",
    "low_bit",
    "make_teacher",
    "matched",
    "no_shift",
    "noisy_labels",
    "quality_errors",
    "refuses_augmentation",
    "scaled",
    "shifted",
    "side_by_side",
    "stages_of",
    "tap_teacher",
    "virtual",
    "without_classes",
]
