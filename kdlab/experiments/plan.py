"""What one config asks for: the run itself, its scratch twin, its teacher, each with the identity that names it.

An identity holds what trains the network and nothing else. Seeds stand under keys
named ``seeds`` at every depth, so reports can strip them and group what differs only in seeds.
"""

import copy
import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

from kdlab.data.loading import data_identity
from kdlab.errors import UserError
from kdlab.experiments.concerning import (
    CHAIN_KEYS,
    CHAIN_SECTIONS,
    OF_THE_STUDENT,
    TEACHER_SECTIONS,
    TWIN_SECTIONS,
    concerning,
    of_parent,
    temperature_in,
    what_shows_targets,
    without,
    without_scaling,
)
from kdlab.experiments.objectives import terms_of
from kdlab.experiments.planned import Plan, PlannedRun
from kdlab.experiments.several import (
    ON_TOP,
    Member,
    Read,
    as_student,
    chain_before,
    first_generation,
    is_several,
    members,
    of_chain,
    quality_of,
    teaching_model,
    told_as,
)
from kdlab.experiments.transfer import rows_identity, shown_identity, transfer_identity
from kdlab.objectives import effective_terms
from kdlab.records.identity import TRAINING_VERSION, identity, without_neutral
from kdlab.schema.config import RunConfig
from kdlab.schema.learning import HARD_LABELS_ALONE, DataConfig, TeacherConfig, TrainingConfig, needs_teacher
from kdlab.schema.reading import read_config
from kdlab.schema.section import identity_view
from kdlab.teachers import Quality
from kdlab.teachers.ensemble import RANDOM

HARD_LABELS = HARD_LABELS_ALONE


def plan(config: RunConfig, overrides: Sequence[str] = (), *, read: Read = read_config) -> Plan:
    """The plan of a student's config; ``overrides`` are what the user asked for it with."""
    twin = _network(scratch_config(config, read=read), role="scratch", teacher=None)
    views = tuple(line for line in overrides if line.lstrip("+").startswith("teacher.cache.views="))
    twin = replace(twin, overrides=(*without(("data.transfer",), concerning(TWIN_SECTIONS, overrides)), *views))
    terms = terms_of(config)
    if not terms:
        told = "at least one term with a weight above 0 in some step is needed"
        raise UserError(f"objective.terms = {sorted(config.objective.terms)}: {told}")
    uses_teacher = any(needs_teacher(term) for term in terms.values())
    teacher = plan_teacher(config, overrides, read=read) if uses_teacher else None
    student = _network(config, role="student", teacher=teacher)
    asked = twin if student.identity == twin.identity else student
    return Plan(replace(asked, overrides=tuple(overrides)), twin, teacher, teaching_model(config))


def plan_teacher(config: RunConfig, overrides: Sequence[str] = (), *, read: Read = read_config) -> PlannedRun:
    """The teacher of a config.

    It is trained, loaded from a checkpoint, a transformation of one of these, a control; or an ensemble of such, or the
    last network of a chain that begins with one.
    """
    if config.teacher is None:
        raise UserError("teacher = None: this config names no teacher")
    if is_several(config):
        return _plan_several(config, overrides, read=read)
    if config.teacher.generations == 1:
        first = plan_teacher(first_generation(config, read=read), overrides, read=read)
        return replace(first, overrides=concerning((*TEACHER_SECTIONS, "student", "training"), overrides))
    quality = Quality.from_spec(config.teacher.quality)
    transformation = {**quality.transformation, **scaling(config), **_fitted_rows(config, quality)}
    asked = concerning(TEACHER_SECTIONS, overrides)
    if "rows" not in transformation:
        asked = without(OF_THE_STUDENT, asked)
    seeds = {"teacher": config.teacher.seed} if quality.takes("seed", parts=("weights", "outputs", "control")) else {}
    if any(quality.takes(examples, parts=("control",)) for examples in ("train", "validation")):
        seeds["data"] = config.data.seed  # a transformed teacher has it from its parent
    if seeds:
        transformation["seeds"] = seeds
    if _reads_temperature(transformation):
        asked += temperature_in(overrides)
    if not quality.needs_network:
        control = _planned("teacher", config, {**transformation, "data": _data(config.data)})
        return replace(control, overrides=tuple(line for line in asked if not line.startswith("seed=")))
    described = _teacher_weights(config, config.teacher, quality)
    if not transformation:
        return replace(_planned("teacher", config, described), overrides=asked)
    parent = _planned("teacher", _untransformed(config, quality, read=read), described)
    parent = replace(parent, overrides=of_parent(asked, quality))
    transformed = {"parent": parent.identity_config, **transformation}
    return replace(_planned("teacher", config, transformed, parent=parent), overrides=asked)


def _plan_several(config: RunConfig, overrides: Sequence[str], *, read: Read) -> PlannedRun:
    """An ensemble, or a teacher that was taught itself; where something is made on top, with itself as the parent."""
    assert config.teacher is not None
    transformation = {**scaling(config), **_fitted_rows(config, quality_of(config))}
    if transformation:
        plain = {**config.plain, "teacher": {**config.plain["teacher"], **dict.fromkeys(ON_TOP)}}
        parent = _plan_several(read(plain), without_scaling(overrides), read=read)
        whole = _planned("teacher", config, {"parent": parent.identity_config, **transformation}, parent=parent)
    else:
        whole = (_ensemble if config.teacher.ensemble.is_one else _taught)(config, overrides, read=read)
    asked = concerning(CHAIN_SECTIONS if config.teacher.is_taught else TEACHER_SECTIONS, overrides)
    asked = without(("student",), asked) if config.teacher.assistants else asked
    if not config.teacher.is_taught:
        asked = asked if "rows" in transformation else without(OF_THE_STUDENT, asked)
        asked += temperature_in(overrides) if _reads_temperature(transformation) else ()
        asked += what_shows_targets(overrides) if config.teacher.ensemble.reads_temperature else ()
        asked = tuple(dict.fromkeys(asked))
    return replace(whole, overrides=asked)


def _ensemble(config: RunConfig, overrides: Sequence[str], *, read: Read) -> PlannedRun:
    """Its identity: those of its members without what all of them share, and how they are combined.

    Members that differ in their seeds stand for each other: the first and their number tell all of them.

    Raises:
        UserError: two of its members are the same network, or the temperature is needed and there is no one.
    """
    assert config.teacher is not None
    ensemble, shared = config.teacher.ensemble, ("version", "role", "data")
    asked = without(("teacher.ensemble", "teacher.seed"), without_scaling(overrides))
    found = [_member(one, asked, read=read) for one in members(config, read=read)]
    shown = config.shown_temperature
    if ensemble.reads_temperature and shown is None:
        raise UserError(
            f"teacher.ensemble.combination = '{ensemble.combination}': this objective has no one temperature"
        )
    alike = {member.run_id for member in found}
    if len(alike) < len(found):
        names = list(ensemble.members)
        raise UserError(f"teacher.ensemble.members = {names}: {len(found)} names of {len(alike)} different teachers")
    whole = [without_neutral(one.identity_config) for one in found]  # what is added later stays out of them too
    own = [{name: item for name, item in one.items() if name not in shared} for one in whole]
    told = {"members": own} if ensemble.members else {"member": own[0], "count": ensemble.count}
    at = {"temperature": shown} if ensemble.reads_temperature else {}
    first = next((seed for one in found if (seed := one.seeds["teacher"]) is not None), None)
    seeds = {"data": config.data.seed} | ({} if first is None else {"teacher": first})
    if ensemble.combination == RANDOM and first != config.teacher.seed:  # units share their members, not the draws
        seeds["draws"] = config.teacher.seed
    described = {
        "role": "teacher",
        "data": _data(config.data),
        "ensemble": {"combination": ensemble.combination, **at, **told},
        "seeds": seeds,
    }
    return replace(_planned("teacher", config, described), members=tuple(found))


def _member(member: Member, asked: Sequence[str], *, read: Read) -> PlannedRun:
    """The plan of a member; keys in messages are its own."""
    try:
        return plan_teacher(member.config, (*asked, *member.overrides), read=read)
    except UserError as error:
        raise told_as(error, {"teacher.": member.key}) from error


def _taught(config: RunConfig, overrides: Sequence[str], *, read: Read) -> PlannedRun:
    """The last network of a chain: a student of the one before it, with a teacher's seed.

    Its identity has the teacher that learned from labels, and the models in between: all else of these is its own.

    Raises:
        UserError: the objective learns nothing from a teacher.
    """
    assert config.teacher is not None
    asked = (*without(CHAIN_KEYS, without_scaling(overrides)), *chain_before(config))
    pupil = as_student(config, read=read)
    if not pupil.taught_terms:
        raise UserError(f"teacher.{of_chain(config.teacher)}: no term of the objective learns from a teacher")
    teacher = plan_teacher(pupil, asked, read=read)
    first, between = without_neutral(teacher.identity_config), list[Any]()
    if teacher.taught_by is not None:
        first, between = first["teacher"], [*first["between"], first["model"]]
    seeds = {"teacher": config.teacher.seed, "data": config.data.seed}
    described = {**_learner(pupil, teacher), "role": "teacher", "teacher": first, "between": between, "seeds": seeds}
    return replace(_planned("teacher", config, described), taught_by=teacher)


def scaling(config: RunConfig) -> dict[str, Any]:
    """What multiplies the logits on top of the quality, as it stands in the identity; empty for nothing (or 1).

    Raises:
        UserError: ``teacher.match_entropy`` without the temperature at which the targets are shown.
    """
    teacher = config.teacher
    if teacher is None or not quality_of(config).is_network:
        return {}
    if teacher.match_entropy is not None:
        if config.objective.fixed_temperature is None:
            raise UserError(f"teacher.match_entropy = {teacher.match_entropy}: this objective has no one temperature")
        return {"match_entropy": {"entropy": teacher.match_entropy, "temperature": config.objective.fixed_temperature}}
    return {"logit_scale": teacher.logit_scale} if teacher.logit_scale not in (None, 1.0) else {}


def _reads_temperature(transformation: Mapping[str, Any]) -> bool:
    return any("temperature" in part for part in transformation.values() if isinstance(part, Mapping))


def _fitted_rows(config: RunConfig, quality: Quality) -> dict[str, Any]:
    """The rows of the student, where something of its teacher is fitted to them and they are not the training set."""
    rows = rows_identity(config) if fitted_to_rows(config, quality) else {}
    return {"rows": rows} if rows else {}


def fitted_to_rows(config: RunConfig, quality: Quality) -> bool:
    """Whether a teacher depends on the rows that its student is shown."""
    return "match_entropy" in scaling(config) or quality.takes("train", parts=("weights", "outputs", "control"))


def _untransformed(config: RunConfig, quality: Quality, *, read: Read) -> RunConfig:
    """The config of the trained teacher behind a transformed one: its record speaks of itself, not of a dose."""
    teacher = copy.deepcopy(config.plain["teacher"])
    trained = {name: value for name, value in teacher["quality"].items() if name not in ("weights", "outputs")}
    teacher["quality"] = trained if quality.own_weights else {"name": "standard"}
    teacher |= {name: None for name in ("logit_scale", "match_entropy") if name in teacher}
    return read({**config.plain, "teacher": teacher})


def scratch_config(config: RunConfig, *, read: Read = read_config) -> RunConfig:
    """The same student on hard labels alone at weight 1, whatever alpha is: no teacher, no knob that is not read."""
    objective = {"terms": {"hard_labels": dict(HARD_LABELS)}}
    views = config.shown_training().views
    training = {"training": {**config.plain["training"], "views": views}} if views else {}
    alone = {"data": {**config.plain["data"], "transfer": {}}} if config.plain["data"].get("transfer") else {}
    return read({**config.plain, **training, **alone, "objective": objective, "teacher": None})


def _network(config: RunConfig, *, role: Literal["student", "scratch"], teacher: PlannedRun | None) -> PlannedRun:
    seeds = {"student": config.seed, "data": config.data.seed}
    return _planned(role, config, {**_learner(config, teacher), "seeds": seeds})


def _learner(config: RunConfig, teacher: PlannedRun | None) -> dict[str, Any]:
    """What trains the student of a config, but for its seeds."""
    return {
        "role": "student",  # a twin shares its student's streams: role scratch is no part of what trains it
        "data": _data(config.data),
        "model": dict(config.student),
        "training": _training(config.shown_training()),
        "terms": terms_of(config),
        **shown_identity(config),
        **transfer_identity(config),
        "teacher": None if teacher is None else teacher.identity_config,
        **_stored_answers(config, teacher),
    }


def _stored_answers(config: RunConfig, teacher: PlannedRun | None) -> dict[str, Any]:
    """What of ``teacher.cache`` changes the targets; views are part of the recipe, which the twin shares."""
    if teacher is None or config.teacher is None:
        return {}
    view = identity_view(config.teacher.cache)
    return {"teacher_cache": {name: value for name, value in view.items() if name != "views"}}


def _teacher_weights(config: RunConfig, teacher: TeacherConfig, quality: Quality) -> dict[str, Any]:
    described = {"role": "teacher", "data": _data(config.data), "model": dict(teacher.model)}
    if teacher.checkpoint is not None:
        return {**described, "checkpoint": file_hash(Path(teacher.checkpoint)), "seeds": {"data": config.data.seed}}
    described["seeds"] = {"teacher": teacher.seed, "data": config.data.seed}
    if not quality.trained:
        return {**described, "training": {"steps": 0}}
    if quality.data:
        shift = {"shift": config.data.shift} if quality.takes("shift", parts=("data",)) else {}
        described["training_set"] = {**quality.data, **shift}
    training = teacher.effective_training()
    return {
        **described,
        "training": _training(training),
        "terms": effective_terms(teacher_terms(quality), num_steps=training.steps),
    }


def teacher_terms(quality: Quality) -> dict[str, Any]:
    """What a teacher learns from: hard labels, with what its quality changes in them."""
    return quality.merged_terms({"hard_labels": HARD_LABELS})


def _planned(
    role: Literal["student", "scratch", "teacher"],
    config: RunConfig,
    described: Mapping[str, Any],
    *,
    parent: PlannedRun | None = None,
) -> PlannedRun:
    versioned = {"version": TRAINING_VERSION, **described}
    return PlannedRun(role, config, versioned, identity(versioned), parent)


def _data(data: DataConfig) -> dict[str, Any]:
    """The data set without its seed, which stands with the other seeds."""
    view = identity_view(data)
    return {"name": view["name"], **data_identity(view["spec"])}


def _training(training: TrainingConfig) -> dict[str, Any]:
    """The recipe; canonical JSON sorts its keys, so the order in which several augmentations apply is told beside."""
    view = identity_view(training)
    order = {"augmentation_order": list(training.augmentation)} if len(training.augmentation) > 1 else {}
    return {**view, **order}


def file_hash(path: Path) -> str:
    """sha256 of a file's content.

    Raises:
        UserError: the file cannot be read.
    """
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise UserError(f"teacher.checkpoint = '{path}': {error.strerror or error}") from error
