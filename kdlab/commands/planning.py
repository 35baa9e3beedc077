"""Planning a sweep: grid x arms, every point composed, checked and de-duplicated before the first one trains.

What a point does not read (a dose of another preset, T where nothing is distilled) is dropped from it, so points that
become equal are one run that belongs to all of them. A key that no point reads is an error. Where an arm sets a key of
the grid, or one that was set for all, the arm's value holds: it is what makes it that arm.
"""

import itertools
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType

from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from kdlab.commands.checking import PointReader, unread_problem
from kdlab.commands.composing import Composer, parse_overrides
from kdlab.commands.grid import Axis, key_of, slot_of
from kdlab.commands.hydra_errors import explain_hydra
from kdlab.commands.knobs import BOOKKEEPING, section_of, unread
from kdlab.commands.raw import Raw, value_at, with_value
from kdlab.errors import UserError, nearest
from kdlab.experiments.plan import plan, plan_teacher
from kdlab.experiments.planned import Plan
from kdlab.schema.config import RunConfig


@dataclass(frozen=True)
class Point:
    """One point of a sweep: what it was asked for with, and what it means.

    Args:
        overrides: what it was asked for with and reads, without bookkeeping.
        arm: the arm it belongs to, None where the sweep has none.
        config: its typed config.
        plan: the runs it needs.
        launch: the overrides that make exactly this config.
    """

    overrides: tuple[str, ...]
    arm: str | None
    config: RunConfig
    plan: Plan
    launch: tuple[str, ...]


@dataclass(frozen=True)
class Sweep:
    """What is planned: the name of the study, its sweep file, and what its jobs make (``run`` or ``teacher``)."""

    name: str
    file: str | None
    kind: str = "run"

    def marks(self, arm: str | None) -> list[str]:
        """The overrides that tell a run where it belongs."""
        said = {"study.name": self.name, "study.sweep": self.file, "study.arm": arm}
        return [f"{key}={value}" for key, value in said.items() if value is not None]


@dataclass
class Planning:
    """What planning gathers on its way; ``reader`` remembers what the points share."""

    points: list[Point] = field(default_factory=list)
    problems: dict[str, int] = field(default_factory=dict)
    asked: dict[str, list[str]] = field(default_factory=dict)
    read: set[str] = field(default_factory=set)
    dropped: dict[str, int] = field(default_factory=dict)
    reader: PointReader = field(default_factory=PointReader, repr=False)


def plan_points(
    axes: Sequence[Axis],
    fixed: Sequence[str],
    *,
    arms: Mapping[str, Sequence[str]],
    sweep: Sweep,
    composer: Composer,
    may_rest: Collection[str] = (),
    own_axes: Mapping[str, Sequence[Axis]] = MappingProxyType({}),
) -> Planning:
    """Every point, composed and checked.

    Args:
        axes: the grid.
        fixed: the overrides that every point has.
        arms: name -> overrides, crossed with the grid; empty for none.
        sweep: the study.
        composer: composes the points.
        may_rest: keys that no point has to read: of the file's grid, where ``study.only`` leaves some arms alone.
        own_axes: arm -> what its points are crossed with besides the grid.

    Raises:
        UserError: an empty sweep, or all mistakes of all points, each once.
    """
    _refuse_empty(axes, fixed, arms, sweep)
    planning = Planning()
    for arm, of_arm, choice in _crossed(axes, arms, own_axes):
        pinned = {slot_of(line) for line in of_arm}
        asked = [line for line in [*fixed, *choice] if slot_of(line) not in pinned] + list(of_arm)
        try:
            planning.points.append(_point(asked, arm, planning, sweep=sweep, composer=composer))
        except UserError as error:
            _note(planning, str(error).splitlines())
        except (HydraException, OmegaConfBaseException) as error:
            _note(planning, explain_hydra(error))
            planning.read |= {key_of(line) for line in asked}  # not composed: who knows what it would read
    excused = {*planning.read, *may_rest}
    never = [key for key in planning.asked if key not in excused and section_of(key) not in BOOKKEEPING]
    first = [*fixed, *(axis.choices[0] for axis in axes)]
    _note(planning, [_never_read(key, planning, first, composer=composer, kind=sweep.kind) for key in never])
    if planning.problems:
        raise UserError("\n".join(planning.problems))
    return planning


def joined(plannings: Sequence[Planning]) -> Planning:
    """The points of several phases as one planning, to show them."""
    first, *others = plannings
    if not others:
        return first
    dropped = sum((Counter(planning.dropped) for planning in plannings), Counter[str]())
    points = [point for planning in plannings for point in planning.points]
    return Planning(points=points, dropped=dropped, reader=first.reader)


def _crossed(
    axes: Sequence[Axis], arms: Mapping[str, Sequence[str]], own_axes: Mapping[str, Sequence[Axis]]
) -> Iterator[tuple[str | None, Sequence[str], tuple[str, ...]]]:
    """Every arm with every choice of the grid and of its own axes."""
    every: list[tuple[str | None, Sequence[str]]] = [*arms.items()] or [(None, ())]
    for arm, of_arm in every:
        mine = [*axes, *own_axes.get(arm or "", ())]
        for choice in itertools.product(*(axis.choices for axis in mine)):
            yield arm, of_arm, choice


def arms_of(config: DictConfig) -> dict[str, list[str]]:
    """The arms of a composed sweep, or those of them that ``study.only`` names.

    ``scratch`` may stand in ``study.only`` for the scratch twins, which otherwise come along with their students.

    Raises:
        UserError: an arm that is not a list of overrides, or a name in ``study.only`` that is no arm.
    """
    arms = {**_every_arm(config)}
    only = [str(name) for name in config.study.only]
    known = {**arms, "scratch": ["objective=hard_labels"]}
    for name in only:
        if name not in known:
            raise UserError(f"study.only names '{name}', which is no arm of this sweep; {nearest(name, known)}")
    return {name: known[name] for name in only} or arms


def _every_arm(config: DictConfig) -> dict[str, list[str]]:
    arms = OmegaConf.to_container(config.study.arms, resolve=True)
    if not isinstance(arms, dict):
        raise UserError(f"study.arms = {arms!r}: a mapping is needed, name: [overrides]")
    found: dict[str, list[str]] = {}
    for name, lines in arms.items():
        if not isinstance(lines, list) or not all(isinstance(line, str) for line in lines):
            raise UserError(
                f"study.arms.{name!s} = {lines!r}: a list of overrides is needed, like [objective.alpha=0.5]"
            )
        found[str(name)] = [str(line) for line in lines]
        axes = [str(one.input_line) for one in parse_overrides(found[str(name)]) if one.is_sweep_override()]
        if axes:
            raise UserError(
                f"study.arms.{name!s} = {axes}: an arm has one value of a key; a grid is hydra.sweeper.params"
            )
    return found


def _refuse_empty(axes: Sequence[Axis], fixed: Sequence[str], arms: Mapping[str, object], sweep: Sweep) -> None:
    if axes or arms or any(section_of(key_of(line)) not in BOOKKEEPING for line in fixed):
        return
    file = f"sweep '{sweep.file}' has no grid (hydra.sweeper.params) and no arms"
    raise UserError(
        f"the sweep is empty: {file if sweep.file else 'no key has values'}; for example: objective.alpha=0.5,1"
    )


def _note(planning: Planning, problems: Sequence[str]) -> None:
    for problem in problems:
        planning.problems[problem] = planning.problems.get(problem, 0) + 1


def _point(asked: list[str], arm: str | None, planning: Planning, *, sweep: Sweep, composer: Composer) -> Point:
    for line in asked:
        planning.asked.setdefault(key_of(line), []).append(line)
    marks = sweep.marks(arm)
    kept, raw = _kept(asked, marks, planning, kind=sweep.kind, composer=composer)
    if value_at(raw, "evaluation.keep_predictions", "") is None:
        marks.append("evaluation.keep_predictions=test")
        raw = with_value(raw, "evaluation.keep_predictions", "test")
    config = planning.reader.typed(raw)
    visible = tuple(_plainly(line, raw) for line in kept if section_of(key_of(line)) not in BOOKKEEPING)
    if sweep.kind == "teacher":
        taught = plan_teacher(config, read=planning.reader.read)
        return Point(visible, arm, config, Plan(taught, taught, taught), (*kept, *marks))
    return Point(visible, arm, config, plan(config, visible, read=planning.reader.read), (*kept, *marks))


def _plainly(line: str, raw: Raw) -> str:
    """``++key=value`` of a key that is there as ``key=value``: the same point, the same membership."""
    is_there = value_at(raw, slot_of(line), Ellipsis) is not Ellipsis
    return line.lstrip("+") if is_there else line


def _kept(
    asked: list[str], marks: list[str], planning: Planning, *, kind: str, composer: Composer
) -> tuple[list[str], Raw]:
    """The overrides of a point that it reads, and its config; the other overrides are counted as dropped.

    Again until nothing is dropped: without one override another may have no reader.
    """
    kept = list(asked)
    while True:
        raw, absent = composer.compose_raw([*kept, *marks])
        named = planning.reader.sections.references(raw)
        ignored = set(unread(raw, [key_of(line) for line in kept], kind=kind, named=named))
        out = [line for line in kept if line in absent or key_of(line) in ignored]
        if not out:
            break
        for line in out:
            planning.dropped[key_of(line)] = planning.dropped.get(key_of(line), 0) + 1
        kept = [line for line in kept if line not in out]
    planning.read |= {key_of(line) for line in kept}
    return kept, raw


def _never_read(key: str, planning: Planning, beside: Sequence[str], *, composer: Composer, kind: str) -> str:
    """The problem of a key that no point reads, with all the values it was given."""
    values = dict.fromkeys(line.partition("=")[2] for line in planning.asked[key])
    kept = [line for line in beside if key_of(line) != key]
    return unread_problem(
        key, ",".join(values), beside=kept, composer=composer, kind=kind, where="no point of this sweep"
    )
