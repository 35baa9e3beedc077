"""The tuning phase of a study: every arm's knobs are chosen on validation, with seeds of their own, then confirmed.

Each arm that has a space gets the same number of trials (all combinations of it), so that no method and no baseline is
favoured by having been looked after; an arm without one keeps its recipe, and says what a fixed recipe gives. What was
chosen stands in ``<report.root>/<study>/tuned.yaml`` with every trial and the ids of its runs. A choice holds for
exactly these runs: whatever changes what they train (the space, the recipe, the data, the seeds, in the file or on the
command line) makes it anew.
"""

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import yaml
from omegaconf import DictConfig, OmegaConf

from kdlab.commands.grid import Axis, expand, key_of, slot_of
from kdlab.commands.planning import Planning
from kdlab.errors import NonFiniteLossError, UserError, WorkFailedError, nearest
from kdlab.keys import direction, expected_keys
from kdlab.records.atomic import write_text
from kdlab.records.store import Store
from kdlab.schema.bookkeeping import EVERY_ARM
from kdlab.schema.reading import read_tuning

FILE = "tuned.yaml"
FIXED = (
    "study.phase=tune",
    "evaluation.sets=[train,validation]",
    "evaluation.keep_predictions=none",
    "evaluation.latency.enabled=false",
)
"""What every point of the phase has: it looks at no test set, keeps no predictions and measures no time."""
_HEAD = "# What validation chose for each arm, and every trial. Without this file the study tunes again.\n"
_DIVERGED, _UNDEFINED, _MISSING = NonFiniteLossError.__name__, "undefined", "missing"


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

    def combinations(self, arm: str) -> list[tuple[str, ...]]:
        """The trials of an arm, each by its overrides."""
        return list(itertools.product(*(axis.choices for axis in self.axes[arm])))

    def first(self) -> dict[str, tuple[str, ...]]:
        """The first trial of every arm: what the confirming points are checked with before anything is tuned."""
        return {arm: self.combinations(arm)[0] for arm in self.axes}

    def refuse_chosen(self, lines: Sequence[str]) -> None:
        """Refuse overrides of all points that set what the phase chooses.

        Raises:
            UserError: naming the override and the arms.
        """
        for line in lines:
            arms = [arm for arm, axes in self.axes.items() if _set_by(line, axes)]
            if arms:
                told = ", ".join(arms[:4]) + (", ..." if len(arms) > 4 else "")
                raise UserError(
                    f"{line}: study.tune.space chooses {key_of(line)} for {told}; change its values there, or leave "
                    "the tuning phase out with ~study.tune"
                )


def tuning_of(config: DictConfig, arms: Mapping[str, Sequence[str]]) -> Tuning | None:
    """The tuning phase of a composed sweep; None where it has none.

    Raises:
        UserError: a space that is none, or of an arm that is not there or sets a key of it, or arms with different
            numbers of trials.
    """
    asked = read_tuning(OmegaConf.to_container(config.study, resolve=True))
    if not asked.space:
        return None
    known = {str(arm) for arm in config.study.arms}
    for name in asked.space:
        if name != EVERY_ARM and name not in known:
            raise UserError(f"study.tune.space.{name}: no arm of this sweep; {nearest(name, known)}")
    spaces = {arm: asked.space.get(arm, asked.space.get(EVERY_ARM)) for arm in arms if arm in known}
    axes = {arm: _axes(space) for arm, space in spaces.items() if space is not None}
    if not axes:  # study.only=[scratch], or arms of a fixed recipe alone
        return None
    _refuse_keys_of_arms(axes, arms)
    _check_trials(axes)
    (seeds,), _ = expand([], grid={"seed": asked.seeds_text})
    return Tuning(axes, seeds, _checked_metric(asked.metric))


def _refuse_keys_of_arms(axes: Mapping[str, Sequence[Axis]], arms: Mapping[str, Sequence[str]]) -> None:
    """What an arm sets itself comes after its trials, so all of them would be the same."""
    for arm, of_arm in axes.items():
        for line in arms[arm]:
            if tuned := _set_by(line, of_arm):
                raise UserError(
                    f"study.tune.space, arm {arm}: {tuned[0].key} is to be tuned and the arm sets it ({line}); "
                    f"take it out of study.arms.{arm} or of the space"
                )


def _set_by(line: str, axes: Sequence[Axis]) -> list[Axis]:
    """The axes whose key an override sets; the key of a schedule is the value that it stands for."""
    return [axis for axis in axes if slot_of(axis.key) in (slot_of(line), key_of(line))]


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
        raise UserError(f"study.tune.space: every arm that is tuned needs the same number of trials, got {told}")


@dataclass(frozen=True)
class Trial:
    """A trial: its overrides and runs, and what they came to once they have run.

    Args:
        overrides: a combination of the arm's space.
        runs: the ids of its runs, one a seed.
        mean: of the metric over the seeds; None where a run is not finished.
        failed: why there is no mean: the kinds of failure of its runs, ``missing`` for one without a record,
            ``undefined`` for a metric that has no value.
    """

    overrides: tuple[str, ...]
    runs: tuple[str, ...]
    mean: float | None = None
    failed: tuple[str, ...] = ()

    @property
    def is_settled(self) -> bool:
        """Whether it need not run again: it has its mean, or it diverges."""
        return set(self.failed) <= {_DIVERGED, _UNDEFINED}


@dataclass(frozen=True)
class Choice:
    """What was chosen for an arm, by which metric, and the trials it was chosen from."""

    overrides: tuple[str, ...]
    metric: str
    trials: tuple[Trial, ...]

    def holds_for(self, trials: Sequence[Trial], metric: str) -> bool:
        """Whether these trials are the ones it was chosen from, and none of them is worth another try."""
        mine = [(trial.overrides, trial.runs) for trial in self.trials]
        same = self.metric == metric and mine == [(trial.overrides, trial.runs) for trial in trials]
        return same and all(trial.is_settled for trial in self.trials)


def trials_of(planning: Planning, tuning: Tuning) -> dict[str, list[Trial]]:
    """Arm -> the trials of the phase, from its planned points.

    Raises:
        UserError: two trials of an arm are the same runs.
    """
    found = {}
    for arm in tuning.axes:
        runs = [point.plan.run.run_id for point in planning.points if point.arm == arm]
        combinations = tuning.combinations(arm)  # the points of an arm: all of them with the first seed, and so on
        found[arm] = [Trial(lines, tuple(runs[at :: len(combinations)])) for at, lines in enumerate(combinations)]
        _refuse_equal(arm, found[arm])
    return found


def _refuse_equal(arm: str, trials: Sequence[Trial]) -> None:
    first: dict[tuple[str, ...], Trial] = {}
    for trial in trials:
        other = first.setdefault(trial.runs, trial)
        if other is not trial:
            raise UserError(
                f"study.tune.space, arm {arm}: '{' '.join(trial.overrides)}' trains the same networks as "
                f"'{' '.join(other.overrides)}', so it is no trial of its own"
            )


def choices_in(folder: Path, wanted: Mapping[str, Sequence[Trial]], *, metric: str) -> dict[str, Choice]:
    """The choices in a report folder that were made from these trials by this metric.

    Raises:
        UserError: the file is damaged.
    """
    read = _saved(folder / FILE)
    return {arm: read[arm] for arm, trials in wanted.items() if arm in read and read[arm].holds_for(trials, metric)}


def _saved(path: Path) -> dict[str, Choice]:
    """All choices of a file; none where it is not there."""
    if not path.is_file():
        return {}
    try:
        saved = yaml.safe_load(path.read_text())["arms"]
        return {arm: _read_choice(one) for arm, one in saved.items()}
    except (yaml.YAMLError, KeyError, TypeError, AttributeError) as error:
        raise UserError(f"{path}: no file of choices ({type(error).__name__}); remove it to tune again") from error


def _read_choice(saved: Mapping[str, Any]) -> Choice:
    trials = [
        Trial(tuple(one["overrides"]), tuple(one["runs"]), one["mean"], tuple(one.get("failed", ())))
        for one in saved["trials"]
    ]
    return Choice(tuple(saved["chosen"]), saved["metric"], tuple(trials))


def save_choices(folder: Path, choices: Mapping[str, Choice]) -> None:
    """Write the choices of all arms, those that stand in the file for other arms kept."""
    path = folder / FILE
    arms = {arm: _written(choice) for arm, choice in {**_saved(path), **choices}.items()}
    folder.mkdir(parents=True, exist_ok=True)
    text = yaml.safe_dump({"arms": arms}, sort_keys=False, allow_unicode=True, width=1000, default_flow_style=None)
    write_text(path, _HEAD + text)


def _written(choice: Choice) -> dict[str, Any]:
    trials = [
        {"overrides": list(trial.overrides), "mean": trial.mean, "runs": list(trial.runs)}
        | ({"failed": list(trial.failed)} if trial.failed else {})
        for trial in choice.trials
    ]
    return {"chosen": list(choice.overrides), "metric": choice.metric, "trials": trials}


def choose(trials: Mapping[str, Sequence[Trial]], *, metric: str, store: Store) -> dict[str, Choice]:
    """The best trial of each arm, on average over the seeds; of equals the one that stands first in the space.

    A trial of which a seed failed (its loss diverged) is not chosen.

    Raises:
        WorkFailedError: no trial of an arm is finished.
    """
    sign = 1 if direction(metric) == "higher" else -1
    found, lost = {}, []
    for arm, planned in trials.items():
        measured = [_measured(trial, metric, store) for trial in planned]
        whole = [(sign * trial.mean, trial) for trial in measured if trial.mean is not None]
        if whole:
            _, best = max(whole, key=lambda pair: pair[0])
            found[arm] = Choice(best.overrides, metric, tuple(measured))
        else:
            lost.append(arm)
    if lost:
        raise WorkFailedError(f"no trial of {', '.join(lost)} is finished: nothing can be chosen for it")
    return found


def _measured(trial: Trial, metric: str, store: Store) -> Trial:
    """A trial with the mean of its seeds, or with why it has none."""
    records = [store.own(run_id) for run_id in trial.runs]
    values = [r.metrics.get(metric) for r in records if r is not None and r.status == "finished"]
    known = [value for value in values if value is not None]
    if len(known) == len(records):
        return replace(trial, mean=round(math.fsum(known) / len(known), 6))
    kinds = [_MISSING if record is None else (record.error or {}).get("type") for record in records]
    return replace(trial, failed=tuple(dict.fromkeys(kind for kind in kinds if kind)) or (_UNDEFINED,))


def with_choices(arms: Mapping[str, Sequence[str]], chosen: Mapping[str, Sequence[str]]) -> dict[str, list[str]]:
    """The arms with what was chosen for each, in the place of what it said of the same keys."""
    found = {}
    for arm, lines in arms.items():
        added = chosen.get(arm, ())
        taken = {slot_of(line) for line in added}
        found[arm] = [*(line for line in lines if slot_of(line) not in taken), *added]
    return found
