"""Several teachers of one student, as configs: the members of an ensemble, and the networks of a chain.

Each of them is a teacher like any other, found by its own identity or trained once, so each has a config of its own. A
member has the section ``teacher`` without the ensemble; who is taught in a chain stands, for its own teacher, where the
student stands for the last of them.
"""

import json
import re
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from kdlab.errors import UserError
from kdlab.mappings import laid_over
from kdlab.schema.config import RunConfig
from kdlab.schema.learning import MemberConfig, TeacherConfig, TrainingConfig
from kdlab.schema.reading import read_config
from kdlab.schema.section import Spec
from kdlab.schema.several_checks import MEMBER_SEEDS
from kdlab.streams import stream_seed
from kdlab.teachers import Quality
from kdlab.teachers.ensemble import side_by_side_spec
from kdlab.teachers.quality import PARTS

#: Reads a resolved mapping; a sweep brings one that remembers what its points share.
Read = Callable[[Mapping[str, Any]], RunConfig]
SEVERAL = ("ensemble", "assistants", "generations")
ON_TOP = ("logit_scale", "match_entropy")
"""What is done to the logits of what teaches the student, and of nothing before it."""


def is_several(config: RunConfig) -> bool:
    """Whether more than one network is behind the teacher of a config."""
    return config.teacher is not None and (config.teacher.ensemble.is_one or config.teacher.is_taught)


def quality_of(config: RunConfig) -> Quality:
    """What is made of the network that teaches; of several teachers it is made of each that learns from labels."""
    assert config.teacher is not None
    return Quality(name="standard") if is_several(config) else Quality.from_spec(config.teacher.quality)


def teaching_model(config: RunConfig) -> Spec | None:
    """The model spec of what teaches the student: of an ensemble all of its networks side by side."""
    teacher = config.teacher
    if teacher is None:
        return None
    if teacher.ensemble.is_one:
        return side_by_side_spec([_with(teacher.model, entry.model) for _, _, entry in _entries(teacher)])
    if teacher.assistants:
        return _with(teacher.model, list(teacher.assistants.values())[-1])
    return config.student if teacher.generations else teacher.model


def of_chain(teacher: TeacherConfig) -> str:
    """The key and the value that make a chain of a teacher."""
    return f"assistants = {list(teacher.assistants)}" if teacher.assistants else f"generations = {teacher.generations}"


def last_assistant(teacher: TeacherConfig) -> str:
    """The name of the assistant that teaches the student; empty where there is none."""
    return list(teacher.assistants)[-1] if teacher.assistants else ""


def teacher_recipe(config: RunConfig) -> TrainingConfig:
    """The recipe by which the network that teaches is trained: its own, or the student's where it is taught."""
    assert config.teacher is not None
    return config.shown_training() if config.teacher.is_taught else config.teacher.effective_training()


def word_of(teacher: TeacherConfig) -> str:
    """What a teacher is called: its quality, and what it is where there are several."""
    name, ensemble = str(teacher.quality["name"]), teacher.ensemble
    if ensemble.is_one:
        return f"{name}, ensemble of {len(ensemble.members) or ensemble.count}"
    if teacher.assistants:
        return f"{name}, assistant {last_assistant(teacher)}"
    return f"{name}, generation {teacher.generations - 1}" if teacher.generations else name


# --- an ensemble ------------------------------------------------------------------------------------------------------


def member_seed(seed: int, number: int) -> int:
    """The seed of a member: its number times a million above the teacher's, so that no two units share a member.

    Number 0 is the teacher itself, as it is without an ensemble, and member 2 of four is member 2 of eight.

    >>> [member_seed(3, number) for number in range(3)]
    [3, 1000003, 2000003]
    """
    return seed + number * MEMBER_SEEDS


class Member(NamedTuple):
    """A member of an ensemble: its config, the overrides that make it of the teacher's, and where it is told apart."""

    config: RunConfig
    overrides: tuple[str, ...]
    key: str


def members(config: RunConfig, *, read: Read = read_config) -> list[Member]:
    """The members of an ensemble.

    Raises:
        UserError: what a member has of its own is wrong, by its key.
    """
    assert config.teacher is not None
    found = []
    for name, seed, entry in _entries(config.teacher):
        key = f"teacher.ensemble.members.{name}." if name else "teacher."
        _refuse_doses(entry.quality, key=key)
        own = {key: value for key, value in entry.model_dump().items() if value}
        teacher = _with(_alone(config), {**own, "seed": seed})
        if "name" in entry.quality:  # another preset, not another dose of this one
            teacher["quality"] = entry.quality
        told = (*_lines("teacher", {key: value for key, value in own.items() if key != "seed"}), f"teacher.seed={seed}")
        member = _read(config, {"teacher": teacher}, read, named={"teacher.": key})
        if not (quality := quality_of(member)).is_network:
            raise UserError(f"{key}quality.name = '{quality.name}': the control is no network that could be a member")
        found.append(Member(member, told, key))
    return found


def _refuse_doses(quality: Spec, *, key: str) -> None:
    """Refuse a dose without its preset: what the teacher's own preset makes of its doses stands there by now."""
    doses = [] if "name" in quality else [name for name in quality if name not in (*PARTS, "trained")]
    if doses:
        told = "a dose is read by the preset that stands beside it; set name and parts of a quality, or the part alone"
        raise UserError(f"{key}quality.{doses[0]} = {quality[doses[0]]}: {told}")


def _entries(teacher: TeacherConfig) -> list[tuple[str, int, MemberConfig]]:
    """Name, seed and what is its own, of every member."""
    ensemble = teacher.ensemble
    named = list(ensemble.members.items()) or [("", MemberConfig())] * ensemble.count
    seeds = [member_seed(teacher.seed, number) for number in range(len(named))]
    return [
        (name, seed if entry.seed is None else entry.seed, entry)
        for seed, (name, entry) in zip(seeds, named, strict=True)
    ]


# --- a chain ----------------------------------------------------------------------------------------------------------


OF_GENERATION_0 = {"teacher.model": "student", "teacher.training": "training"}


def configs_behind(config: RunConfig) -> list[tuple[RunConfig, Mapping[str, str]]]:
    """The configs of the networks behind a teacher that is no single network, and what their keys are called.

    Of a chain it is that in which its last network is the student, whose own teacher may have a chain behind it.
    """
    teacher = config.teacher
    if teacher is None:
        return []
    if teacher.ensemble.is_one:
        return [(member.config, {"teacher.": member.key}) for member in members(config)]
    if teacher.generations == 1:
        return [(first_generation(config), OF_GENERATION_0)]
    return [(as_student(config), _of_last(teacher))] if teacher.is_taught else []


def as_student(config: RunConfig, *, read: Read = read_config) -> RunConfig:
    """The config in which the last network of a chain, which teaches the student, is the student itself.

    Raises:
        UserError: what an assistant has of its own is wrong, by its key.
    """
    assert config.teacher is not None
    teacher = {**config.plain["teacher"], **dict.fromkeys(ON_TOP)}
    *earlier, _ = config.teacher.assistants or [""]
    if config.teacher.assistants:
        teacher["assistants"] = {name: config.teacher.assistants[name] for name in earlier}
    else:
        teacher["generations"] = config.teacher.generations - 1
    changes = {"student": teaching_model(config), "teacher": teacher, **_uncorrected(config)}
    return _read(config, changes, read, named=_of_last(config.teacher))


def _uncorrected(config: RunConfig) -> dict[str, Any]:
    """The section ``data`` where biases would be corrected, which is done to students and twins alone."""
    if not config.data.shown.bias_correction:
        return {}
    data = config.plain["data"]
    return {"data": {**data, "shown": {**data["shown"], "bias_correction": False}}}


def _of_last(teacher: TeacherConfig) -> dict[str, str]:
    """What the keys of the last network of a chain are called, which stands where the student stands."""
    return {"student": f"teacher.assistants.{last}"} if (last := last_assistant(teacher)) else {}


def first_generation(config: RunConfig, *, read: Read = read_config) -> RunConfig:
    """The config of generation 0 as a plain teacher: the student's architecture and recipe, on labels."""
    recipe = {**config.plain["training"], "views": 0}
    teacher = {**_without_several(config.plain["teacher"]), "model": config.student, "training": recipe}
    return _read(config, {"teacher": teacher}, read, named=OF_GENERATION_0)


def chain_before(config: RunConfig) -> tuple[str, ...]:
    """The overrides that say which chain is behind the teacher of the last network of a chain."""
    assert config.teacher is not None
    if not config.teacher.assistants:
        return (f"teacher.generations={config.teacher.generations - 1}",)
    kept = {name: config.teacher.assistants[name] for name in list(config.teacher.assistants)[:-1]}
    return _lines("++teacher.assistants", kept)


def generation_seed(config: RunConfig) -> int:
    """What the streams of a network that was taught begin with: (teacher, init, seed, generation), hashed.

    It stands for the seed in all of its streams, so that it shares none with its teacher, of the same architecture and
    seed, nor with the student.
    """
    assert config.teacher is not None
    generation = len(config.teacher.assistants) or config.teacher.generations - 1
    return stream_seed("teacher", "init", config.teacher.seed, generation=generation)


# --- both -------------------------------------------------------------------------------------------------------------


def _with(base: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """A spec, or a section, with changes; a spec in them that names its own ``_target_`` replaces the other."""
    return laid_over(base, changes, replacing="_target_")


def _alone(config: RunConfig) -> dict[str, Any]:
    """The section ``teacher`` of a teacher by itself, of whom nothing is made on top."""
    return {**_without_several(config.plain["teacher"]), **dict.fromkeys(ON_TOP)}


def _without_several(teacher: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in teacher.items() if name not in SEVERAL}


def _read(config: RunConfig, changes: Mapping[str, Any], read: Read, *, named: Mapping[str, str]) -> RunConfig:
    """The config with other sections; keys in messages are those that the user knows."""
    try:
        return read({**config.plain, **changes})
    except UserError as error:
        raise told_as(error, named) from error


def told_as(error: UserError, named: Mapping[str, str]) -> UserError:
    """An error of a config that kdlab made of the user's, whose keys are those that the user knows."""
    lines = str(error).splitlines()
    for inside, known in named.items():
        lines = [
            re.sub(rf"^((?:unknown key |missing key )?){re.escape(inside)}", rf"\g<1>{known}", line) for line in lines
        ]
    return UserError("\n".join(lines))


def _lines(key: str, value: Any) -> tuple[str, ...]:
    """A nested value as overrides, one for each leaf."""
    if isinstance(value, Mapping):
        return tuple(line for name, item in value.items() for line in _lines(f"{key}.{name}", item))
    return (f"{key}={value if isinstance(value, str) else json.dumps(value)}",)
