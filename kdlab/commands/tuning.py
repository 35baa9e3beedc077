"""The tuning phase of a study: every arm's knobs are chosen on validation, with seeds of their own, then confirmed.

Each arm gets the same number of trials (all combinations of its space), so that no method and no baseline is favoured
by having been looked after. What was chosen stands in ``<report.root>/<study>/tuned.yaml`` with every trial; a study
that finds its choices there does not tune again.
"""

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from omegaconf import DictConfig, OmegaConf

from kdlab.commands.grid import Axis, expand, key_of, slot_of
from kdlab.commands.knobs import BOOKKEEPING, section_of
from kdlab.commands.planning import Planning, Point
from kdlab.errors import UserError, WorkFailedError, nearest
from kdlab.keys import direction, expected_keys
from kdlab.records.atomic import write_text
from kdlab.records.identity import canonical_json
from kdlab.records.store import Store
from kdlab.schema.bookkeeping import EVERY_ARM

FILE = "tuned.yaml"
FIXED = (
    "study.phase=tune",
    "evaluation.sets=[train,validation]",
    "evaluation.keep_predictions=none",
    "evaluation.latency.enabled=false",
)
"""What every point of the phase has: it looks at no test set, keeps no predictions and measures no time."""
_HEAD = "# What validation chose for each arm, and every trial. Without this file the study tunes again.\n"


@dataclass(frozen=True)
class Tuning:
    """The phase as a sweep file asks for it.

    Args:
        axes: arm -> the axes of its space.
        seeds: the axis of its seeds.
        metric: what is compared, on average over the seeds.
    """

    axes: Mapping[str, Sequence[Axis]]
    seeds: Axis
    metric: str

    def described(self, arm: str, overrides: Sequence[str], fixed: Sequence[str]) -> str:
        """What a choice depends on: a choice made for another space, recipe or seeds is not read."""
        space = {axis.key: list(axis.choices) for axis in self.axes[arm]}
        recipe = sorted(line for line in fixed if section_of(key_of(line)) not in BOOKKEEPING)
        return canonical_json([list(overrides), recipe, space, list(self.seeds.choices), self.metric])

    def first(self) -> dict[str, tuple[str, ...]]:
        """The first value of every key: what the confirming points are checked with before anything is tuned."""
        return {arm: tuple(axis.choices[0] for axis in axes) for arm, axes in self.axes.items()}


def tuning_of(config: DictConfig, arms: Mapping[str, Sequence[str]]) -> Tuning | None:
    """The tuning phase of a composed sweep; None where it has none.

    Raises:
        UserError: a space of an arm that is not there, or arms with different numbers of trials.
    """
    asked = OmegaConf.to_container(config.study.tune, resolve=True)
    assert isinstance(asked, dict)
    spaces: Any = asked["space"] or {}
    if not spaces:
        return None
    known = {str(arm) for arm in config.study.arms}
    for name in spaces:
        if name != EVERY_ARM and name not in known:
            raise UserError(f"study.tune.space.{name}: no arm of this sweep; {nearest(str(name), known)}")
    axes = {arm: _axes(spaces.get(arm, spaces.get(EVERY_ARM, {}))) for arm in arms if arm in known}
    if not axes:  # study.only=[scratch]: the twins of tuned arms, whose recipe the command names
        return None
    _check_trials(axes)
    (seeds,), _ = expand([], grid={"seed": str(asked["seeds"])})
    return Tuning(axes, seeds, _checked_metric(str(asked["metric"])))


def _checked_metric(metric: str) -> str:
    """A metric that a choice may be made by: of the validation set, and better in one direction."""
    keys = [key for key in expected_keys("student", ("validation",), ()) if key.startswith("validation/")]
    known = [key for key in keys if direction(key) != "none"]
    if metric not in known:
        raise UserError(f"study.tune.metric = '{metric}': choices are made on validation; {nearest(metric, known)}")
    return metric


def _axes(space: Mapping[str, Sequence[Any]]) -> list[Axis]:
    return [Axis(key, tuple(f"{key}={_text(value)}" for value in values)) for key, values in space.items()]


def _text(value: Any) -> str:
    return "null" if value is None else str(value).lower() if isinstance(value, bool) else str(value)


def _check_trials(axes: Mapping[str, Sequence[Axis]]) -> None:
    counts = {arm: math.prod(len(axis.choices) for axis in of_arm) for arm, of_arm in axes.items()}
    if len(set(counts.values())) > 1:
        told = ", ".join(f"{arm} {count}" for arm, count in counts.items())
        raise UserError(f"study.tune.space: every arm needs the same number of trials, got {told}")


@dataclass(frozen=True)
class Choice:
    """What was chosen for an arm: its overrides, and the trials it was chosen from."""

    overrides: tuple[str, ...]
    described: str
    trials: tuple[Mapping[str, Any], ...] = ()


def choices_in(
    folder: Path, tuning: Tuning, arms: Mapping[str, Sequence[str]], fixed: Sequence[str]
) -> dict[str, Choice]:
    """The choices in a report folder that were made for these arms, space, recipe and seeds.

    Raises:
        UserError: the file is damaged.
    """
    read = _saved(folder / FILE)
    wanted = {arm: tuning.described(arm, overrides, fixed) for arm, overrides in arms.items()}
    return {arm: read[arm] for arm in arms if arm in read and read[arm].described == wanted[arm]}


def _saved(path: Path) -> dict[str, Choice]:
    """All choices of a file; none where it is not there."""
    if not path.is_file():
        return {}
    try:
        saved = yaml.safe_load(path.read_text())["arms"]
        return {arm: Choice(tuple(one["chosen"]), one["made_for"], tuple(one["trials"])) for arm, one in saved.items()}
    except (yaml.YAMLError, KeyError, TypeError, AttributeError) as error:
        raise UserError(f"{path}: no file of choices ({type(error).__name__}); remove it to tune again") from error


def save_choices(folder: Path, choices: Mapping[str, Choice], tuning: Tuning) -> None:
    """Write the choices of all arms, those that stand in the file for other arms kept."""
    path = folder / FILE
    arms = {
        arm: {"chosen": list(choice.overrides), "trials": list(choice.trials), "made_for": choice.described}
        for arm, choice in {**_saved(path), **choices}.items()
    }
    folder.mkdir(parents=True, exist_ok=True)
    saved = {"metric": tuning.metric, "seeds": list(tuning.seeds.choices), "arms": arms}
    write_text(path, _HEAD + yaml.safe_dump(saved, sort_keys=False, allow_unicode=True, width=1000))


def choose(
    planning: Planning, tuning: Tuning, arms: Mapping[str, Sequence[str]], fixed: Sequence[str], store: Store
) -> dict[str, Choice]:
    """The best trial of each arm, on average over the seeds; of equals the one that stands first in the space.

    A trial of which a seed failed (its loss diverged) is not chosen.

    Raises:
        WorkFailedError: no trial of an arm is finished.
    """
    found, lost = {}, []
    sign = 1 if direction(tuning.metric) == "higher" else -1
    for arm, overrides in arms.items():
        combinations = itertools.product(*(axis.choices for axis in tuning.axes[arm]))
        trials = [_trial(lines, arm, planning.points, tuning, store) for lines in combinations]
        whole = [trial for trial in trials if trial["mean"] is not None]
        if not whole:
            lost.append(arm)
            continue
        best = max(whole, key=lambda trial: sign * trial["mean"])
        found[arm] = Choice(tuple(best["overrides"]), tuning.described(arm, overrides, fixed), tuple(trials))
    if lost:
        raise WorkFailedError(f"no trial of {', '.join(lost)} is finished: nothing can be chosen for it")
    return found


def with_choices(arms: Mapping[str, Sequence[str]], chosen: Mapping[str, Sequence[str]]) -> dict[str, list[str]]:
    """The arms with what was chosen for each, in the place of what it said of the same keys."""
    found = {}
    for arm, lines in arms.items():
        added = chosen.get(arm, ())
        taken = {slot_of(line) for line in added}
        found[arm] = [*(line for line in lines if slot_of(line) not in taken), *added]
    return found


def _trial(lines: Sequence[str], arm: str, points: Sequence[Point], tuning: Tuning, store: Store) -> dict[str, Any]:
    """A trial with the mean of its seeds; None where one of them is not finished."""
    mine = [point for point in points if point.arm == arm and set(lines) <= set(point.launch)]
    records = [store.finished(point.plan.run.run_id) for point in mine]
    values = [None if record is None else record.metrics.get(tuning.metric) for record in records]
    known = [value for value in values if value is not None]
    mean = round(math.fsum(known) / len(known), 6) if known and len(known) == len(values) else None
    return {"overrides": list(lines), "mean": mean, "n": len(known)}
