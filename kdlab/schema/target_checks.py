"""What a config constructs, against the signatures of its targets: data, networks, optimizers, terms, qualities."""

from collections.abc import Iterator, Mapping
from typing import Any

from kdlab.keys import RESERVED_NAMES
from kdlab.schema.learning import HARD_LABELS_ALONE, needs_teacher
from kdlab.targets import spec_errors

SCHEDULES = "kdlab.objectives.schedules."


def misplaced_schedules(plain: Mapping[str, Any]) -> dict[str, str]:
    """Where a schedule stands in the place of a value that does not change during a run: key -> what to do instead."""
    found = [one for name, part in plain.items() for one in _schedules(part, name)]
    misplaced = {key: path for key, path in found if not key.startswith("objective.") or key == "objective.terms"}
    return {key: f"{key}._target_ = '{path}': {_instead(key)}" for key, path in misplaced.items()}


def _schedules(value: Any, key: str) -> Iterator[tuple[str, str]]:
    if not isinstance(value, Mapping):
        return
    path = value.get("_target_")
    if isinstance(path, str) and path.startswith(SCHEDULES):
        yield key, path
        return
    for name, item in value.items():
        yield from _schedules(item, f"{key}.{name}")


def _instead(key: str) -> str:
    part, _, knob = key.rpartition(".optimizer.")
    if knob == "lr":
        return f"one number is needed, which {part}.schedule changes (kdlab run {part}/schedule=cosine)"
    return "no schedule may stand here, but for a weight or a knob of the objective (+schedule@objective.alpha=warm_up)"


def target_problems(plain: Mapping[str, Any]) -> list[str]:
    """Every ``_target_`` of the config against its signature, with the keyword arguments that kdlab passes itself."""
    problems: list[str] = []

    def check(key: str, *, provided: tuple[str, ...], without: tuple[str, ...] = ()) -> None:
        spec = _at(plain, key)
        if isinstance(spec, Mapping):
            kept = {name: value for name, value in spec.items() if name not in without}
            problems.extend(spec_errors(kept, key=key, provided=provided))

    shapes = ("input_shape", "num_classes", "in_chans")
    check("student", provided=shapes)
    check("teacher.model", provided=shapes)
    problems += _data_problems(plain)
    for part in ("training", "teacher.training"):
        check(f"{part}.optimizer", provided=("params",))
        check(f"{part}.schedule", provided=("optimizer", "T_max", "total_steps", "total_iters"))
        problems += _augmentation_problems(_at(plain, f"{part}.augmentation"), key=f"{part}.augmentation")
    terms = _at(plain, "objective.terms")
    if isinstance(terms, Mapping) and all(isinstance(term, Mapping) for term in terms.values()):
        from kdlab.objectives import objective_errors

        problems += objective_errors(terms)
    quality = _at(plain, "teacher.quality")
    if isinstance(quality, Mapping):
        problems += _quality_problems(quality)
    return problems


def _quality_problems(spec: Mapping[str, Any]) -> list[str]:
    """The preset of a teacher's quality, and the terms that it makes a teacher learn from."""
    from kdlab.objectives import objective_errors
    from kdlab.teachers import Quality, quality_errors

    if problems := quality_errors(spec):
        return problems
    quality = Quality.from_spec(spec)
    terms = quality.merged_terms({"hard_labels": HARD_LABELS_ALONE})
    if not all(isinstance(term, Mapping) for term in terms.values()):
        return [f"teacher.quality.terms = {dict(quality.terms)!r}: mappings of knobs are needed, by the name of a term"]
    problems = [line.replace("objective.terms.", "teacher.quality.terms.") for line in objective_errors(terms)]
    taught = [name for name, term in terms.items() if needs_teacher(term)]
    return problems + [f"teacher.quality.terms.{name}: a teacher learns from no other teacher" for name in taught]


def _augmentation_problems(steps: Any, *, key: str) -> list[str]:
    from kdlab.data.augmentation import augmentation_errors

    return augmentation_errors(steps, key=key) if isinstance(steps, Mapping) else []


def _data_problems(plain: Mapping[str, Any]) -> list[str]:
    """The data set and its slices: targets, knobs with their types, and names that keys of a record need."""
    from kdlab.data.loading import dataset_errors, shift_errors, slice_errors, transfer_errors

    data, slices = _at(plain, "data"), _at(plain, "data.slices")
    problems: list[str] = []
    if isinstance(data, Mapping):
        ours = ("slices", "shift", "cache_dir", "shown", "transfer")
        problems += dataset_errors({name: value for name, value in data.items() if name not in ours})
        problems += shift_errors(data.get("shift"))
        problems += transfer_errors(data.get("transfer"))
    if isinstance(slices, Mapping):
        problems += slice_errors(slices)
        taken = sorted(set(slices) & set(RESERVED_NAMES) - {"train", "validation", "test"})
        problems += [f"data.slices.{name}: this name is reserved: {', '.join(RESERVED_NAMES)}" for name in taken]
    return problems


def _at(plain: Mapping[str, Any], key: str) -> Any:
    found: Any = plain
    for part in key.split("."):
        if not isinstance(found, Mapping):
            return None
        found = found.get(part)
    return found
