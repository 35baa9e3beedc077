"""The space of a search: what is searched, which seeds a trial averages over, and what all trials share.

Checked before any work: every axis is tried at its ends (a choice at all its values), two axes at a time.
"""

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from hydra.core.override_parser.types import IntervalSweep, Override, RangeSweep
from omegaconf import DictConfig

from kdlab.commands.composing import Composer, parse_overrides
from kdlab.commands.grid import Axis, slot_of
from kdlab.commands.knobs import BOOKKEEPING, section_of
from kdlab.commands.planning import Planning, Sweep, arms_of, plan_points
from kdlab.errors import UserError
from kdlab.keys import CATALOGUE, direction
from kdlab.keys import key_of as measured_key

TARGET = "hydra_plugins.kdlab_study.search.SearchSweeper"


@dataclass(frozen=True)
class Space:
    """What a search is over.

    Args:
        lines: the searched keys as Hydra writes them, ``objective.temperature=interval(1,32)``.
        probes: the same keys with the values that are tried beforehand.
        seeds: the seeds of a trial, as overrides; empty where one seed is among ``fixed``.
        fixed: the overrides of every trial.
        arms: the one arm it follows, or none.
    """

    lines: tuple[str, ...]
    probes: tuple[Axis, ...]
    seeds: tuple[str, ...]
    fixed: tuple[str, ...]
    arms: dict[str, list[str]]

    @property
    def keys(self) -> set[str]:
        """The searched keys; a trial in which another choice leaves one of them unread is no mistake."""
        return {axis.key for axis in self.probes}

    def points_of(self, lines: Sequence[str], *, sweep: Sweep, composer: Composer) -> Planning:
        """The runs of one trial, one for each seed.

        Raises:
            UserError: its values do not go together.
        """
        axes = [Axis("seed", self.seeds)] if self.seeds else []
        return plan_points(
            axes, [*self.fixed, *lines], arms=self.arms, sweep=sweep, composer=composer, may_rest=self.keys
        )


def is_search(config: DictConfig) -> bool:
    """Whether a composed config has the sweeper that searches."""
    return bool(config.hydra.sweeper.get("_target_") == TARGET)


def optuna_direction(metric: str) -> Literal["maximize", "minimize"]:
    """What Optuna is told to do with a metric, from what better is for its key.

    Raises:
        UserError: a metric that is not of validation, or of which neither more nor less is better.

    >>> optuna_direction("validation/accuracy"), optuna_direction("validation/ece")
    ('maximize', 'minimize')
    """
    allowed = [key.pattern.replace("<set>", "validation") for key in CATALOGUE if key.pattern.startswith("<set>/")]
    if measured_key(metric) is None or not metric.startswith("validation/") or direction(metric) == "none":
        why = (
            "neither more nor less of it is better"
            if metric.startswith("validation/")
            else "a search is a choice, and choices are made on validation"
        )
        raise UserError(f"optimized_metric = '{metric}': {why}; allowed: {', '.join(allowed)}")
    return "maximize" if direction(metric) == "higher" else "minimize"


def space_of(arguments: Sequence[str], config: DictConfig, *, told: Sequence[str] = ()) -> Space:
    """The space of a search from the command line and the sweep file.

    Args:
        arguments: the overrides of the command line.
        config: the composed config of the search; a sweep file's grid is in it.
        told: what every trial is told unless ``arguments`` say otherwise.

    Raises:
        UserError: nothing to search, several arms, or values that are no space.
    """
    arms = arms_of(config)
    if len(arms) > 1:
        raise UserError(f"a search follows one arm, and there are {', '.join(arms)}: 'study.only=[{next(iter(arms))}]'")
    given = {slot_of(str(one.input_line)): one for one in parse_overrides(arguments)}
    params = config.hydra.sweeper.get("params") or {}
    grid = parse_overrides([f"{key}={value}" for key, value in params.items() if slot_of(str(key)) not in given])
    pinned = {slot_of(line) for lines in arms.values() for line in lines}
    ours = [
        one
        for one in [*grid, *given.values()]
        if not one.is_hydra_override() and slot_of(str(one.input_line)) not in pinned
    ]
    seeds = [one for one in ours if one.key_or_group == "seed" and one.is_sweep_override()]
    axes = [one for one in ours if one.is_sweep_override() and one not in seeds]
    fixed = [str(one.input_line) for one in ours if not one.is_sweep_override()]
    slots = {slot_of(str(one.input_line)) for one in ours} | pinned
    fixed = [*(line for line in told if slot_of(line) not in slots), *fixed]
    if not axes:
        raise UserError("a search needs a key with several values, for example: 'objective.temperature=interval(1,32)'")
    return Space(
        tuple(str(one.input_line) for one in axes),
        tuple(Axis(one.key_or_group, _probes(one)) for one in axes),
        tuple(value for one in seeds for value in _seeds(one)),
        tuple(fixed),
        arms,
    )


def _seeds(override: Override) -> tuple[str, ...]:
    if not override.is_discrete_sweep():
        raise UserError(f"{override.input_line}: a seed is no choice; a trial scores the mean over seed=1000,1001")
    return tuple(f"seed={value}" for value in override.sweep_string_iterator())


def _probes(override: Override) -> tuple[str, ...]:
    """The ends of a range or an interval, every value of a choice."""
    line, key, value = str(override.input_line), override.get_key_element(), override.value()
    if section_of(override.key_or_group) in BOOKKEEPING or section_of(override.key_or_group) == "seed":
        raise UserError(f"{line}: a search is over what trains the network; this has one value")
    if override.is_interval_sweep():
        assert isinstance(value, IntervalSweep)
        low, high = value.start, value.end
        if low is None or high is None or low >= high:
            raise UserError(f"{line}: an interval has two numbers, the smaller first")
        return f"{key}={low}", f"{key}={high}"
    if not override.is_discrete_sweep():
        raise UserError(f"{line}: values like 1,2,4, range(1,9) or interval(1,32) are needed")
    found = [f"{key}={one}" for one in override.sweep_string_iterator()]
    if not found:
        raise UserError(f"{line} has no value")
    return (found[0], found[-1]) if isinstance(value, RangeSweep) and len(found) > 1 else tuple(found)


def probe(space: Space, *, sweep: Sweep, composer: Composer) -> Planning:
    """Compose and check the space at its ends, two axes at a time, the others at their first value.

    Raises:
        UserError: every mistake: an unknown key, a value out of range, a knob that nothing reads anywhere.
    """
    seen = Planning()
    problems: dict[str, None] = {}
    for pair in _pairs(space.probes):
        rest = [axis.choices[0] for axis in space.probes if axis not in pair]
        fixed = [*space.fixed, *space.seeds[:1], *rest]
        try:
            found = plan_points(pair, fixed, arms=space.arms, sweep=sweep, composer=composer, may_rest=space.keys)
        except UserError as error:
            problems.update(dict.fromkeys(str(error).splitlines()))
            continue
        seen.points += found.points
        seen.read |= found.read
    if problems:
        raise UserError("\n".join(problems))
    never = [axis for axis in space.probes if axis.key not in seen.read]
    if never:  # planned alone, its own message says what would read it
        plan_points(never, [*space.fixed, *space.seeds[:1]], arms=space.arms, sweep=sweep, composer=composer)
    return seen


def _pairs(axes: Sequence[Axis]) -> Iterator[tuple[Axis, ...]]:
    yield from itertools.combinations(axes, 2) if len(axes) > 1 else [tuple(axes)]


def first_trial(space: Space) -> list[str]:
    """The overrides of the first corner of a space, for ``--cfg job``."""
    return [*space.fixed, *space.seeds[:1], *(axis.choices[0] for axis in space.probes)]
