"""What a study's file predicts, as its header keeps it: fixed as soon as its first student has finished."""

from collections.abc import Mapping, Sequence
from typing import Any

from kdlab.commands.grid import key_of
from kdlab.commands.planning import Point
from kdlab.errors import UserError
from kdlab.references import parse_reference
from kdlab.reporting.groups import is_seed
from kdlab.schema.bookkeeping import ReportConfig, StudyConfig
from kdlab.schema.predictions import Prediction, primary_of

LATE = "added_later"
"""Marks a prediction that joined a study whose first student had finished."""


def predicted(study: StudyConfig, report: ReportConfig) -> dict[str, Any]:
    """The header's part on predictions; empty for a study that predicts nothing, whose header stays what it was."""
    found: dict[str, Any] = {}
    found |= {"reference": study.reference} if study.reference else {}
    found |= {"caveats": study.caveats} if study.caveats else {}
    primary = primary_of(study.predictions)
    if study.predictions:
        found["predictions"] = {
            name: {**_plain(one), "sesoi": one.smallest(report.sesoi), "primary": name == primary}
            for name, one in study.predictions.items()
        }
    if study.doses is not None:
        usual = "test/accuracy" if study.doses.slices is None else "accuracy"
        found |= {"doses": study.doses.model_dump(exclude_none=True), "responses": study.responses or [usual]}
    found |= {"matrix": study.matrix.model_dump()} if study.matrix is not None else {}
    return found


def _plain(one: Prediction) -> dict[str, Any]:
    said = one.model_dump(by_alias=True)
    return {**said, "effect": one.effect.model_dump(mode="json", by_alias=True, exclude_none=True)}


def kept_predictions(header: Mapping[str, Any], before: Mapping[str, Any]) -> dict[str, Any]:
    """The predictions of a study that has begun and is planned again: those it had stay.

    A new one is marked as added later. Only the wording of a claim follows the file.
    """
    said, old = header.get("predictions") or {}, before.get("predictions") or {}
    if not said and not old:
        return {}
    claims = {name: {"claim": one["claim"]} for name, one in said.items()}
    kept = {name: {**one, **claims.get(name, {})} for name, one in old.items()}
    new = {name: {**one, LATE: True} for name, one in said.items() if name not in old}
    if old:
        new = {name: {**one, "primary": False} for name, one in new.items()}
    return {"predictions": {**kept, **new}}


def changed_predictions(header: Mapping[str, Any], asked: Mapping[str, Any]) -> list[str]:
    """The names of predictions that the file says otherwise than the header keeps them, or no longer says."""
    kept = header.get("predictions") or {}
    said = asked.get("predictions") or {}

    def content(one: Mapping[str, Any]) -> dict[str, Any]:
        return {key: value for key, value in one.items() if key not in ("claim", LATE, "primary")}

    return [name for name, one in kept.items() if name not in said or content(said[name]) != content(one)]


def refuse_grids(points: Sequence[Point]) -> None:
    """Refuse an arm in a prediction, or with a dose, that stands at several points of the grid beside its seeds.

    Raises:
        UserError: naming the arm, its points and what reads it.
    """
    if not points:
        return
    readers = _readers(points[0].config.study)
    places: dict[str, dict[str, None]] = {}
    for point in points:
        places.setdefault(point.arm or "", {})[_beside_seeds(point)] = None
    problems = []
    for arm, keys in readers.items():
        several = list(places.get(arm, {}))
        if len(several) > 1:
            shown = "; ".join([*several[:2], *(["..."] if len(several) > 2 else [])])
            told = f"stands at {len(several)} points of the grid ({shown}); make each an arm of its own"
            problems.append(f"{' and '.join(keys)}: '{arm}' {told}")
    if problems:
        raise UserError("\n".join(problems))


def _readers(study: StudyConfig) -> dict[str, list[str]]:
    """Arm -> the keys of the predictions, and of the doses, that name it."""
    asked = {f"study.predictions.{name}": one.effect.statistic.references() for name, one in study.predictions.items()}
    if study.doses is not None:  # those of slices are shown for every arm
        asked["study.doses"] = list(study.arms if study.doses.values is None else study.doses.values)
    readers: dict[str, list[str]] = {}
    for key, references in asked.items():
        for arm in dict.fromkeys(parse_reference(text).arm for text in references):
            readers.setdefault(arm, []).append(key)
    return readers


def _beside_seeds(point: Point) -> str:
    """What a point was asked for with beside its seeds, its data set and what makes it its arm."""
    of_arm = set(point.config.study.arms.get(point.arm or "", ()))
    lines = [line for line in point.overrides if line not in of_arm]
    return " ".join(line for line in lines if not is_seed(key_of(line)) and key_of(line) != "data")
