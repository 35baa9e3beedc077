"""Teachers: frozen providers of ``TeacherOutput``, and the qualities a teacher may have."""

from kdlab.teachers.providers import OnlineTeacher, ScaledTeacher, Teacher, UniformTeacher, scaled, tap_teacher
from kdlab.teachers.quality import Quality, make_teacher, quality_errors

__all__ = [
    "OnlineTeacher",
    "Quality",
    "ScaledTeacher",
    "Teacher",
    "UniformTeacher",
    "make_teacher",
    "quality_errors",
    "scaled",
    "tap_teacher",
]
