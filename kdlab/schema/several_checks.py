"""What contradicts itself where a student has several teachers: an ensemble, assistants, generations."""

from collections.abc import Mapping
from typing import Any

from kdlab.errors import UserError
from kdlab.schema.config import RunConfig
from kdlab.schema.learning import TeacherConfig, teacher_needs

MEMBER_SEEDS = 1_000_000
"""How far the seeds of two members of an ensemble are apart: no unit has a seed as large."""


def several_problems(config: RunConfig, teacher: TeacherConfig) -> list[str]:
    """Every contradiction, one a line."""
    problems = _kinds_problems(teacher)
    if teacher.ensemble.is_one:
        problems += _members_problems(teacher) + _combination_problems(config, teacher)
    return problems


def _kinds_problems(teacher: TeacherConfig) -> list[str]:
    """Several kinds of several teachers, and a quality that cannot stand among them."""
    from kdlab.teachers import Quality

    ensemble = teacher.ensemble
    given = {
        f"teacher.ensemble.count = {ensemble.count}": ensemble.count > 1,
        f"teacher.ensemble.members = {list(ensemble.members)}": bool(ensemble.members),
        f"teacher.assistants = {list(teacher.assistants)}": bool(teacher.assistants),
        f"teacher.generations = {teacher.generations}": teacher.generations > 0,
    }
    told = [line for line, is_given in given.items() if is_given]
    problems = []
    if len(told) > 1:
        problems.append(f"{told[0]} beside {told[1]}: a teacher is one or the other; set one of them")
    quality = Quality.from_spec(teacher.quality)
    if told and not quality.is_network:
        allowed = "the control is no network that could be one of several teachers; leave one of them out"
        problems.append(f"{told[0]} beside teacher.quality.name = '{quality.name}': {allowed}")
    return problems


def _members_problems(teacher: TeacherConfig) -> list[str]:
    """Members that would be alike, or shared between units that are told to be independent."""
    ensemble, key, problems = teacher.ensemble, "teacher.ensemble.members", []
    if len(ensemble.members) == 1:
        problems.append(f"{key} = {list(ensemble.members)}: two members or more are needed")
    if ensemble.count > 1 and teacher.checkpoint is not None:
        told = "members that differ in their seeds would all have these weights; set teacher.ensemble.members"
        problems.append(f"teacher.checkpoint = '{teacher.checkpoint}': {told}")
    drawn = [member for member in ensemble.members.values() if (member.checkpoint or teacher.checkpoint) is None]
    pinned = [member for member in drawn if member.seed is not None]
    if 0 < len(pinned) < len(drawn):
        told = "units would share these members and not the others; give all of them a seed, or none"
        problems.append(f"{key}: {len(pinned)} of {len(drawn)} have a seed: {told}")
    if teacher.seed >= MEMBER_SEEDS and len(pinned) < max(len(drawn), ensemble.count - 1):
        told = f"below {MEMBER_SEEDS} is allowed beside an ensemble, whose members have seeds {MEMBER_SEEDS} apart"
        problems.append(f"teacher.seed = {teacher.seed}: {told}")
    return problems


def _combination_problems(config: RunConfig, teacher: TeacherConfig) -> list[str]:
    """A combination without the temperature it needs, or one that answers anew for each batch where that cannot be."""
    combination = teacher.ensemble.combination
    key = f"teacher.ensemble.combination = '{combination}'"
    try:
        taught = config.taught_terms
    except (UserError, KeyError):
        return []  # reported by the check of the targets
    deeper = [name for name, term in taught.items() if set(teacher_needs(term)) - {"logits"}]
    if deeper:
        told = "an ensemble gives logits alone, and this term reads layers of its teacher; one teacher is needed"
        return [f"objective.terms.{name} beside teacher.ensemble: {told}" for name in deeper]
    if taught and teacher.ensemble.reads_temperature and config.shown_temperature is None:
        told = "the terms of the objective have no one temperature at which the student sees the targets"
        return [f"{key}: {told}; probabilities_then_temper, logits and random need none"]
    if combination != "random":
        return []
    found = {f"teacher.{name} = {value}": value is not None for name, value in _scales(teacher).items()}
    cache = teacher.cache
    found |= {
        "teacher.cache.mode = 'always'": cache.mode == "always",
        f"teacher.cache.dtype = '{cache.dtype}'": cache.dtype != "float32",
        f"teacher.cache.views = {cache.views}": cache.views > 0,
        "teacher.cache.fixed_targets = True": cache.fixed_targets,
    }
    told = "another member answers in each batch, so that nothing can be fitted to its answers or stored of them"
    return [f"{line} beside {key}: {told}" for line, is_given in found.items() if is_given]


def _scales(teacher: TeacherConfig) -> Mapping[str, Any]:
    return {"logit_scale": teacher.logit_scale, "match_entropy": teacher.match_entropy}
