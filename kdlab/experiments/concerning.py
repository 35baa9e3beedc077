"""Which of the overrides that a user asked for concern which run: a teacher has nothing of its student."""

import re
from collections.abc import Sequence

from kdlab.experiments.several import ON_TOP
from kdlab.teachers import Quality

#: The sections of a config that concern a scratch twin, and those that concern a teacher.
TWIN_SECTIONS = ("student", "training", "data", "seed")
TEACHER_SECTIONS = ("teacher", "data", "seed")
#: Those that concern a teacher that was taught itself: it learns as the student does.
CHAIN_SECTIONS = (*TEACHER_SECTIONS, "student", "objective", "training")
CHAIN_KEYS = ("teacher.chain", "teacher.assistants", "teacher.generations")
#: What of the section ``data`` concerns the student alone.
OF_THE_STUDENT = ("data.shown", "data.transfer")


def concerning(sections: Sequence[str], overrides: Sequence[str]) -> tuple[str, ...]:
    """Those overrides whose key lies in one of these sections of the config."""
    return tuple(line for line in overrides if re.split(r"[=./@]", line.lstrip("+~"))[0] in sections)


def without(keys: Sequence[str], overrides: Sequence[str]) -> tuple[str, ...]:
    """Those overrides that set nothing at or below these dotted keys."""
    names = [(line, re.split(r"[=@]", line.lstrip("+~"))[0].replace("/", ".")) for line in overrides]
    return tuple(line for line, name in names if not any(f"{name}.".startswith(f"{key}.") for key in keys))


def without_scaling(overrides: Sequence[str]) -> tuple[str, ...]:
    """Those overrides that do not multiply the logits."""
    return without([f"teacher.{name}" for name in ON_TOP], overrides)


def temperature_in(overrides: Sequence[str]) -> tuple[str, ...]:
    """The override of T."""
    return tuple(line for line in overrides if line.lstrip("+").startswith("objective.temperature="))


def what_shows_targets(overrides: Sequence[str]) -> tuple[str, ...]:
    """The overrides that say at which temperature the terms show targets: which terms, and their temperatures."""
    keys = [(line, re.split(r"[=@]", line.lstrip("+~"))[0]) for line in concerning(("objective",), overrides)]
    return tuple(line for line, key in keys if key in ("objective", "objective/term") or key.endswith(".temperature"))


def of_parent(asked: Sequence[str], quality: Quality) -> tuple[str, ...]:
    """The overrides of the trained network behind a transformed teacher: without what transforms it."""
    dropped = ["teacher.logit_scale", "teacher.match_entropy", "objective."]
    if not quality.own_weights:
        dropped += ["teacher/quality", "teacher.quality"]
    asked = without(OF_THE_STUDENT, asked)
    return tuple(line for line in asked if not line.lstrip("+").startswith(tuple(dropped)))
