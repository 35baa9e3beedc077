"""A sweep, whole: grid x arms expanded, every point composed, checked and de-duplicated before the first one trains.

What a point does not read (a dose of another preset, T where nothing is distilled) is dropped from it, so points that
become equal are one run that belongs to all of them. A key that no point reads is an error.
"""

import itertools
import shlex
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from hydra.core.config_loader import ConfigLoader
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.core.utils import JobStatus
from hydra.plugins.launcher import Launcher
from hydra.types import TaskFunction
from omegaconf import DictConfig, OmegaConf

from kdlab.commands.composing import Composer, resolved, unread
from kdlab.errors import UserError, nearest
from kdlab.experiments.lab import say
from kdlab.experiments.plan import Plan, PlannedRun, plan, plan_teacher
from kdlab.records import studies
from kdlab.schema import RunConfig, read_config

BOOKKEEPING = ("study", "store", "report", "tracker", "trainer", "sweeps", "force", "allow_targets", "evaluation")
TEACHER_KEYS = ("teacher", "data", "seed")
TWIN_KEYS = ("student", "training", "data", "seed")


class SweepFailedError(UserError):
    """Some points of a sweep failed; the others are finished and recorded."""


@dataclass(frozen=True)
class Axis:
    """One key of the grid and its values, as overrides ``key=value``."""

    key: str
    choices: tuple[str, ...]
    swept: bool


@dataclass(frozen=True)
class Point:
    """One point of a sweep: what it was asked for with, and what it means."""

    overrides: tuple[str, ...]
    arm: str | None
    config: RunConfig
    plan: Plan
    launch: tuple[str, ...] = ()


@dataclass
class Planning:
    """What planning a sweep gathers."""

    points: list[Point] = field(default_factory=list)
    problems: dict[str, int] = field(default_factory=dict)
    read: set[str] = field(default_factory=set)
    dropped: dict[str, int] = field(default_factory=dict)


def run_sweep(
    arguments: Sequence[str],
    *,
    grid: dict[str, str],
    config: DictConfig,
    loader: ConfigLoader,
    launcher: Launcher,
    job: TaskFunction,
) -> list[Any]:
    """Plan, check, write down, launch and sum up a sweep.

    Raises:
        UserError: before anything trains, with every mistake.
        SweepFailedError: after the last point, when some failed.
    """
    from kdlab.commands.jobs import open_lab
    from kdlab.experiments.preflight import measure_latencies, preflight

    kind = getattr(job, "kind", "run")
    name, sweep = study_of(config)
    composer = Composer(loader)
    axes, fixed = expand(arguments, grid=grid)
    points = plan_points(axes, fixed, composer=composer, config=config, name=name, sweep=sweep, kind=kind)
    lab = open_lab(points[0].config)
    plans = [point.plan for point in points]
    preflight([point.config for point in points], lab)
    header = study_header(name, sweep, config=config, points=points, axes=axes, arguments=arguments)
    studies.plan(lab.store.root, name, header, [member for point in points for member in members_of(point, kind)])
    todo = _unfinished(points, lab)
    _announce(name, points, todo, lab)
    if todo and kind == "run":
        measure_latencies([point.config for point in todo], lab)
    results = _launch(todo, launcher)
    _sum_up(name, todo, results, total=len({p.run.run_id for p in plans}))
    return results


def study_of(config: DictConfig) -> tuple[str, str | None]:
    """The name of the study and of its sweep file."""
    sweep = config.hydra.runtime.choices.get("sweeps")
    sweep = None if sweep in (None, "null") else str(sweep)
    return studies.check_study_name(config.study.name or sweep or "multirun"), sweep


def expand(arguments: Sequence[str], *, grid: dict[str, str]) -> tuple[list[Axis], list[str]]:
    """The axes of a sweep, in order, and the overrides that every point has.

    A value on the command line replaces the file's grid for that key, however it is written (``+``, ``++``).

    Raises:
        UserError: several sweeps at once, an empty axis, or nothing to sweep over.
    """
    parser = OverridesParser.create()
    given = parser.parse_overrides(list(arguments))
    for override in given:
        if override.key_or_group == "sweeps" and override.is_sweep_override():
            raise UserError(
                f"{override.input_line}: one sweep at a time (each has its own grid); run them one after the other"
            )
    keys = {override.key_or_group for override in given}
    from_file = parser.parse_overrides([f"{key}={value}" for key, value in grid.items() if key not in keys])
    overrides = [override for override in [*from_file, *given] if not override.is_hydra_override()]
    axes = [_axis(override) for override in overrides if override in from_file or override.is_sweep_override()]
    fixed = [o.input_line for o in given if not o.is_hydra_override() and not o.is_sweep_override()]
    return axes, [line for line in fixed if line is not None]


def _axis(override: Override) -> Axis:
    key = override.get_key_element()
    if not override.is_sweep_override():
        return Axis(override.key_or_group, (f"{key}={override.get_value_element_as_str()}",), swept=False)
    if not override.is_discrete_sweep():
        raise UserError(f"{override.input_line}: a grid needs values like 1,2,4 or range(0,4); intervals need a sweeper "
                        "that searches (hydra/sweeper=...)")
    choices = tuple(f"{key}={value}" for value in override.sweep_string_iterator())
    if not choices:
        raise UserError(f"{override.input_line}: this axis has no value, so the sweep is empty")
    return Axis(override.key_or_group, choices, swept=True)


def plan_points(
    axes: list[Axis],
    fixed: list[str],
    *,
    composer: Composer,
    config: DictConfig,
    name: str,
    sweep: str | None,
    kind: str = "run",
) -> list[Point]:
    """Every point, composed and checked.

    Raises:
        UserError: all mistakes of all points, each once.
    """
    arms = OmegaConf.to_container(config.study.arms, resolve=True)
    assert isinstance(arms, dict)
    asked_for = [line for line in fixed if _key(line).split(".")[0] not in BOOKKEEPING]
    if not axes and not arms and not asked_for:
        what = f"sweep '{sweep}' has no grid (hydra.sweeper.params) and no arms" if sweep else "no key has values"
        raise UserError(f"the sweep is empty: {what}; for example: objective.temperature=1,2,4")
    planning = Planning()
    for arm, choice in itertools.product(arms.items() if arms else [(None, [])], itertools.product(*_choices(axes))):
        arm_name, arm_overrides = arm
        _plan_point(choice, fixed, arm_name, arm_overrides, planning, composer=composer, name=name, sweep=sweep, kind=kind)
    never = [a.key for a in axes if a.key not in planning.read] + [
        _key(line) for line in asked_for if _key(line) not in planning.read
    ]
    if not planning.problems:
        for key in dict.fromkeys(never):
            planning.problems[f"no point of this sweep reads {key}; {nearest(key, planning.read)}"] = 1
    if planning.problems:
        raise UserError("\n".join(planning.problems))
    for key, count in planning.dropped.items():
        say(f"note: {key} is not read by {count} of the points and was dropped there")
    return planning.points


def _choices(axes: list[Axis]) -> list[tuple[str, ...]]:
    return [axis.choices for axis in axes]


def _plan_point(
    choice: Sequence[str],
    fixed: list[str],
    arm: str | None,
    arm_overrides: list[str],
    planning: Planning,
    *,
    composer: Composer,
    name: str,
    sweep: str | None,
    kind: str,
) -> None:
    of_arm = {_key(line) for line in arm_overrides}
    asked = [line for line in [*fixed, *choice] if _key(line) not in of_arm] + list(arm_overrides)
    marks = [f"study.name={name}"] + ([f"study.sweep={sweep}"] if sweep else []) + ([f"study.arm={arm}"] if arm else [])
    try:
        kept = _kept(asked, planning, composer=composer, teacher_only=kind == "teacher")
        cfg, _ = composer.compose([*kept, *marks])
        if cfg.evaluation.keep_predictions is None:
            marks.append("evaluation.keep_predictions=test")
            cfg, _ = composer.compose([*kept, *marks])
        config = read_config(resolved(cfg))
        visible = tuple(line for line in kept if _key(line).split(".")[0] not in BOOKKEEPING)
        planned = plan(config, visible) if kind == "run" else _teacher_plan(config)
        planning.points.append(Point(visible, arm, config, planned, tuple([*kept, *marks])))
    except UserError as error:
        for line in str(error).splitlines():
            planning.problems[line] = planning.problems.get(line, 0) + 1


def _teacher_plan(config: RunConfig) -> Plan:
    teacher = plan_teacher(config)
    return Plan(teacher, teacher, teacher)


def _kept(asked: list[str], planning: Planning, *, composer: Composer, teacher_only: bool) -> list[str]:
    """The overrides of a point that it reads; the others are counted as dropped."""
    kept = list(asked)
    while True:
        cfg, absent = composer.compose(kept)
        ignored = set() if teacher_only else set(unread(cfg, [_key(line) for line in kept]))
        out = [line for line in kept if line in absent or _key(line) in ignored]
        if not out:
            break
        for line in out:
            planning.dropped[_key(line)] = planning.dropped.get(_key(line), 0) + 1
        kept = [line for line in kept if line not in out]
    planning.read |= {_key(line) for line in kept}
    return kept


def _key(line: str) -> str:
    """The key of an override, without ``+`` / ``~`` and without its package."""
    return line.split("=", 1)[0].lstrip("+~").split("@")[0]


def members_of(point: Point, kind: str = "run") -> list[studies.Member]:
    """Who belongs to the study through this point: the run, its scratch twin, its teacher and that one's parent."""
    phase = point.config.study.phase

    def member(planned: PlannedRun, arm: str | None, keys: tuple[str, ...] | None) -> studies.Member:
        shown = [line for line in point.overrides if keys is None or _key(line).replace("/", ".").split(".")[0] in keys]
        return studies.Member(planned.run_id, planned.role, arm, phase, tuple(shown))

    found = []
    if kind == "run":
        found += [member(point.plan.run, point.arm, None), member(point.plan.twin, "scratch", TWIN_KEYS)]
    if (teacher := point.plan.teacher) is not None:
        found += [member(planned, "teacher", TEACHER_KEYS) for planned in (teacher.parent, teacher) if planned]
    return found


def study_header(
    name: str,
    sweep: str | None,
    *,
    config: DictConfig,
    points: list[Point],
    axes: list[Axis],
    arguments: Sequence[str],
) -> dict[str, Any]:
    """The line a study opens with: its question, arms, comparisons and the command that makes it."""
    first = points[0].config
    words = [line for line in arguments if not line.startswith("sweeps=")]
    command = f"kdlab sweep {sweep}" if sweep else "kdlab run -m"
    asked = first.study
    return {
        "name": name,
        "sweep": sweep,
        "command": " ".join([command, *(shlex.quote(word) for word in words)]),
        "question": asked.question,
        "hypothesis": asked.hypothesis,
        "cost": asked.cost,
        "says": asked.says,
        "arms": asked.arms,
        "compare": asked.compare,
        "sesoi": first.report.sesoi,
        "data": sorted({point.config.data.name for point in points}),
        "grid": {axis.key: [choice.split("=", 1)[1] for choice in axis.choices] for axis in axes},
    }


def _unfinished(points: list[Point], lab: Any) -> list[Point]:
    """The points still to run, each run once."""
    once = {point.plan.run.run_id: point for point in reversed(points)}
    unique = [point for point in points if once[point.plan.run.run_id] is point]
    return [p for p in unique if p.config.force or not _is_done(p, lab)]


def _is_done(point: Point, lab: Any) -> bool:
    from kdlab.experiments.again import is_up_to_date

    return all(is_up_to_date(planned, lab) for planned in point.plan.runs())


def _announce(name: str, points: list[Point], todo: list[Point], lab: Any) -> None:
    runs = {planned.run_id: planned for point in points for planned in point.plan.runs()}
    counts = {role: sum(planned.role == role for planned in runs.values()) for role in ("teacher", "scratch", "student")}
    say(
        f"study {name}: {len(points)} points = {counts['student']} students, {counts['scratch']} scratch twins, "
        f"{counts['teacher']} teachers; {len(todo)} points to run, "
        f"{len({p.plan.run.run_id for p in points}) - len(todo)} finished before"
    )


def _launch(todo: list[Point], launcher: Launcher) -> list[Any]:
    """Launch the points: one by one where the launcher works one by one, so that each is reported as it ends."""
    from hydra._internal.core_plugins.basic_launcher import BasicLauncher

    lists = [list(point.launch) for point in todo]
    if not isinstance(launcher, BasicLauncher):
        return list(launcher.launch(lists, initial_job_idx=0)) if lists else []
    results: list[Any] = []
    started = time.monotonic()
    for at, overrides in enumerate(lists):
        results += launcher.launch([overrides], initial_job_idx=at)
        seconds = (time.monotonic() - started) / (at + 1) * (len(lists) - at - 1)
        _report_point(at + 1, len(lists), todo[at], results[-1], seconds_left=seconds)
    return results


def _report_point(number: int, total: int, point: Point, result: Any, *, seconds_left: float) -> None:
    label = " ".join(filter(None, [point.arm, *point.overrides])) or "defaults"
    left = f", about {_duration(seconds_left)} left" if number < total else ""
    if result.status is JobStatus.COMPLETED:
        value = result.return_value
        shown = f"{point.config.optimized_metric} {value:.4f}" if isinstance(value, float) else "done"
        say(f"[{number}/{total}] {label}: {shown}{left}")
    else:
        say(f"[{number}/{total}] {label}: FAILED: {_first_line(result._return_value)}{left}")


def _duration(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 90 else f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def _first_line(error: BaseException) -> str:
    return f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}"


def _sum_up(name: str, todo: list[Point], results: list[Any], *, total: int) -> None:
    failed = [(p, r._return_value) for p, r in zip(todo, results, strict=True) if r.status is not JobStatus.COMPLETED]
    if not failed:
        say(f"study {name}: all {total} points are finished; kdlab report {name} makes its tables and figures")
        return
    lines = [f"{len(failed)} of {len(todo)} points failed; the others are finished and recorded:"]
    lines += [f"  {' '.join(point.overrides)}: {_first_line(error)}" for point, error in failed[:6]]
    lines += [f"  ... and {len(failed) - 6} more"] if len(failed) > 6 else []
    raise SweepFailedError("\n".join([*lines, "the same command runs what is missing"]))
