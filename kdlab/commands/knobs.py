"""Which knobs a config reads. A value that nothing reads would change nothing: it is refused, or dropped from a point.

A knob (``objective.alpha``, ``teacher.quality.scale``) is read by interpolation alone. What concerns the teacher is not
read where no term learns from one, where it is a control without a network, or where a checkpoint or the quality preset
takes the place of it; ``data.shift`` is read by a quality that asks for it, ``data.transfer`` by a term that needs no
labels. Works on the raw config: interpolations must still be there.
"""

import re
from collections.abc import Collection, Iterable, Mapping
from typing import TYPE_CHECKING, Any

from kdlab.commands.raw import references
from kdlab.errors import UserError
from kdlab.schema.learning import needs_teacher, reads_unlabelled

if TYPE_CHECKING:
    from kdlab.teachers import Quality

#: Sections that say where, how often and for whom; they train nothing, so every run reads them.
BOOKKEEPING = ("study", "store", "report", "tracker", "trainer", "sweeps", "force", "allow_targets", "evaluation")
OBJECTIVE = "objective"
_OF_STUDENTS = ("student", "objective", "training")
#: What a preset of a teacher's quality is made of; its other keys are doses.
QUALITY_PARTS = ("name", "trained", "training", "terms", "data", "weights", "outputs", "control")


def section_of(key: str) -> str:
    """The first part of a key, dotted or of a group."""
    return re.split(r"[./@]", key, maxsplit=1)[0]


def unread(
    raw: Mapping[str, Any], keys: Iterable[str], *, kind: str = "run", named: Collection[str] | None = None
) -> list[str]:
    """Those of ``keys`` (of overrides, dotted or of groups) that nothing in this config reads.

    Args:
        raw: the config with its interpolations.
        keys: what was set.
        kind: ``run`` for a student, ``teacher`` for a teacher alone.
        named: the keys that its interpolations name, where that is known already.
    """
    named = set(references(raw)) if named is None else named
    return [key for key in keys if not _is_read(key.replace("/", "."), raw, named, kind=kind)]


def _is_read(key: str, raw: Mapping[str, Any], named: Collection[str], *, kind: str) -> bool:
    section, _, rest = key.partition(".")
    if section not in ("data", "teacher", *_OF_STUDENTS):
        return True  # said first: whether a term needs a teacher is asked of the term, and that loads torch
    teaches = kind == "teacher" or _learns_from_teacher(raw)
    if key == "objective.temperature" and teaches and _teacher_reads_temperature(raw):
        return True
    if kind == "teacher" and section in _sections_unread_by_teacher(raw):
        return _combines_tempered(raw) and _says_temperature(key, named)
    if section == "data" and rest.split(".")[0] == "shift":
        return teaches and _takes(raw, "shift", parts=("data",))
    if section == "data" and rest.split(".")[0] in ("shown", "transfer"):
        of_student = kind != "teacher" or _teacher_reads_rows(raw) or _is_taught(raw)
        return of_student and (rest.startswith("shown") or _transfer_set_is_read(rest, raw))
    if key == "objective.convention":  # what alpha and gamma mean of these two terms
        terms = _terms(raw)
        return all("_target_" in terms.get(name, {}) for name in ("hard_labels", "soft_targets"))
    if section == "objective" and rest and not rest.startswith("term"):
        return _is_named(key, named)
    if section == "teacher":
        return teaches and _teacher_reads(rest, raw, named)
    return True


def _learns_from_teacher(raw: Mapping[str, Any]) -> bool:
    return any(needs_teacher(term) for term in _terms(raw).values())


def _terms(raw: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    """The terms of the objective; what is none stays out, the schema tells of it."""
    terms = _section(raw.get("objective")).get("terms")
    return {name: term for name, term in _section(terms).items() if isinstance(term, Mapping)}


def _section(value: Any) -> Mapping[str, Any]:
    """A section of a raw config; an empty one where something else stands in its place, which the schema tells."""
    return value if isinstance(value, Mapping) else {}


def _transfer_set_is_read(rest: str, raw: Mapping[str, Any]) -> bool:
    """Whether something is learned from the rows of a transfer set: from their teacher, or the labels of the oracle.

    Without one its knobs are not read; that there is none (``data/transfer=none``) always is.
    """
    transfer = _section(_section(raw.get("data")).get("transfer"))
    if "_target_" not in transfer:
        return rest == "transfer"
    if transfer.get("labels") is True:
        return True
    try:
        return any(reads_unlabelled(term) for term in _terms(raw).values())
    except UserError:
        return True  # reported by the check of the targets


def _teacher_reads_rows(raw: Mapping[str, Any]) -> bool:
    """Whether something of the teacher is fitted to the rows that its student is shown."""
    matches = _section(raw.get("teacher")).get("match_entropy") is not None
    return matches or _takes(raw, "train", parts=("weights", "outputs", "control"))


def _teacher_reads(rest: str, raw: Mapping[str, Any], named: Collection[str]) -> bool:
    teacher = raw.get("teacher")
    if not rest or not isinstance(teacher, Mapping):
        return True
    quality = teacher.get("quality") or {}
    if not isinstance(quality, Mapping):
        return True  # teacher.quality=weak in the place of teacher/quality=weak: the schema tells
    head, _, tail = rest.partition(".")
    if head == "ensemble" and tail == "combination":
        return _is_ensemble(teacher)
    if head in ("model", "training") and teacher.get("generations"):
        return False
    if head == "quality":
        is_dose = tail and tail.split(".")[0] not in QUALITY_PARTS
        return _is_named(f"teacher.{rest}", named) if is_dose else True
    if head == "seed" and _takes(raw, "seed", parts=("weights", "outputs", "control")):
        return True
    if quality.get("control"):
        return False
    if head in ("logit_scale", "match_entropy"):
        preset = _preset(raw)
        return preset is None or preset.is_network
    if head in ("training", "seed") and teacher.get("checkpoint") is not None:
        return False
    if head == "training" and quality.get("trained") is False:
        return False
    return not (head == "training" and tail in _section(quality.get("training")))


def _preset(raw: Mapping[str, Any]) -> "Quality | None":
    """The quality of a raw config (its doses are of no matter here); None where it is wrong, which others report."""
    from kdlab.teachers import Quality

    teacher = raw.get("teacher")
    try:
        return Quality.from_spec(teacher["quality"]) if isinstance(teacher, Mapping) else None
    except (UserError, KeyError):
        return None


def _takes(raw: Mapping[str, Any], offered: str, *, parts: tuple[str, ...]) -> bool:
    """Whether a target of the quality takes by name what kdlab offers from elsewhere in the config."""
    preset = _preset(raw)
    return preset is not None and preset.takes(offered, parts=parts)


def _teacher_reads_temperature(raw: Mapping[str, Any]) -> bool:
    """Whether the teacher depends on the temperature it is seen at: by interpolation, or to match an entropy there."""
    teacher = raw.get("teacher")
    if not isinstance(teacher, Mapping):
        return False
    named = "objective.temperature" in references(teacher, ("teacher",))
    return teacher.get("match_entropy") is not None or named


def _says_temperature(key: str, named: Collection[str]) -> bool:
    """Whether a key says at which temperature the terms show targets: which terms there are, or their temperatures."""
    of_terms = key.startswith("objective.terms.") or _is_named(key, named)
    return key in (OBJECTIVE, "objective.term") or (key.endswith(".temperature") and of_terms)


def _combines_tempered(raw: Mapping[str, Any]) -> bool:
    """Whether the teacher is an ensemble of what its members say at the temperature of the student's targets."""
    from kdlab.teachers.combining import COMBINATIONS

    teacher = raw.get("teacher") or {}
    combination = COMBINATIONS.get(str((teacher.get("ensemble") or {}).get("combination")))
    return _is_ensemble(teacher) and combination is not None and combination.reads_temperature


def _is_ensemble(teacher: Mapping[str, Any]) -> bool:
    ensemble = teacher.get("ensemble") or {}
    return bool(ensemble.get("members")) or ensemble.get("count") not in (None, 1)


def _is_taught(raw: Mapping[str, Any]) -> bool:
    """Whether the teacher was taught by another network, as the student is."""
    teacher = raw.get("teacher") or {}
    return bool(teacher.get("assistants")) or teacher.get("generations") not in (None, 0, 1)


def _sections_unread_by_teacher(raw: Mapping[str, Any]) -> tuple[str, ...]:
    """What of a config says nothing about a teacher by itself; one that was taught learned as the student does."""
    teacher = raw.get("teacher") or {}
    if teacher.get("assistants"):
        return ("student",)
    if _is_taught(raw):
        return ()
    return (OBJECTIVE,) if teacher.get("generations") == 1 else _OF_STUDENTS


def _is_named(key: str, named: Collection[str]) -> bool:
    return any(name == key or name.startswith(key + ".") or key.startswith(name + ".") for name in named)
