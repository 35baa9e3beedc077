"""``--dry-run``: what a command would do, checked as the command checks it. Nothing is trained, nothing is stored.

The data cache may be filled: a data set that cannot be made is a mistake like any other.
"""

import statistics
import uuid
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from kdlab.commands.checking import checked, refuse_axes
from kdlab.commands.composing import Composer, make_loader
from kdlab.commands.estimates import Estimate, Estimator
from kdlab.commands.planning import Planning, Point, Sweep
from kdlab.commands.progress import steps_of
from kdlab.commands.table import Column, show
from kdlab.commands.wording import DRY_RUN as OPTION
from kdlab.commands.wording import MOST_POINTS, counted, duration, size
from kdlab.errors import UserError
from kdlab.experiments.lab import Lab, say
from kdlab.experiments.plan import plan, plan_teacher
from kdlab.experiments.planned import Plan, PlannedRun
from kdlab.experiments.several import teaching_model
from kdlab.records.store import Store

COLUMNS = (
    Column("what", yields=True),
    *(Column(title, "right") for title in ("to train", "to measure", "finished", "failed before", "s each", "total")),
)


MOST_STACKS = 8


class Launched(NamedTuple):
    """How points are launched: so many side by side (None: it does not say), or what fits together as stacks."""

    side_by_side: int | None = 1
    together: bool = False


@dataclass(frozen=True)
class Need:
    """A network that a command needs, and what there is to do about it: ``train``, ``measure`` or ``nothing``."""

    planned: PlannedRun
    todo: str
    failed: bool


def dry_run(overrides: Sequence[str], *, config_dir: str | None, many: bool, kind: str, every: bool = False) -> int:
    """Check everything and print what would be done.

    Args:
        overrides: of the command line.
        config_dir: ``--config-dir``.
        many: a sweep, not a single run.
        kind: ``run`` or ``teacher``.
        every: print all points, not the first twenty.

    Raises:
        UserError: every mistake, as the command itself tells them.
    """
    from kdlab.commands.jobs import apply_threads, lab_of
    from kdlab.experiments.preflight import preflight

    sweep, planning, launched, searched = _planned(overrides, config_dir=config_dir, many=many, kind=kind)
    points = planning.points
    config = points[0].config
    refuse_unwritable(Path(config.store.root))
    lab = lab_of(config)
    lab.tracker.check()
    preflight([point.config for point in points], lab)
    apply_threads(config)
    needs = needed(points, lab, kind=kind)
    for key, count in planning.dropped.items():
        say(f"note: {counted(count, 'point')} of {len(points)} do not read {key}; it would be dropped there")
    name = f"study {sweep.name}: {counted(len(points), 'point')}" if many else f"{kind}: {_words(points[0])}"
    if searched is not None:
        made = counted(searched, "run")
        name = f"study {sweep.name}: a search makes {made} and chooses them as it goes; here its ends"
    say(f"{name}; this is a dry run, nothing is trained\n")
    each = _say_times(points, needs, Estimator(lab), launched=launched, kind=kind)
    if searched is not None and each is not None:
        total = duration(searched * each / (launched.side_by_side or 1))
        say(f"search: {counted(searched, 'run')} like these take about {total}")
    if many:
        _say_points(points, needs, planning, every=every)
    return 0


def _planned(
    overrides: Sequence[str], *, config_dir: str | None, many: bool, kind: str
) -> tuple[Sweep, Planning, Launched, int | None]:
    """The study, its points, how they are launched, and of a search, whose points are the ends of its space, how many
    runs it makes.
    """
    from kdlab.commands import sweeping
    from kdlab.commands.search_space import is_search, probe
    from kdlab.commands.searching import aim_of, search_of

    composer = Composer(make_loader(config_dir))
    if not many:
        refuse_axes(overrides)
        cfg, absent = composer.compose(overrides)
        config = checked(cfg, overrides, composer=composer, absent=absent, kind=kind)
        taught = plan_teacher(config) if kind == "teacher" else None
        alone = plan(config, overrides) if taught is None else Plan(taught, taught, taught)
        point = Point(tuple(overrides), None, config, alone, ())
        return Sweep("", None, kind), Planning(points=[point]), Launched(), None
    cfg = sweeping.of_all_points(overrides, composer)
    sweep = sweeping.sweep_of(cfg, kind=kind)
    if is_search(cfg):
        aim_of(str(cfg.optimized_metric), cfg.hydra.sweeper)
        space = sweeping.search_space_of(overrides, cfg)
        planning = probe(space, sweep=sweep, composer=composer)
        runs = int(cfg.hydra.sweeper.n_trials) * max(len(space.seeds), 1)
        return search_of(cfg, kind=kind), planning, _launched(cfg.hydra.launcher), runs
    _, planning = sweeping.planned(overrides, config=cfg, composer=composer, sweep=sweep)
    return sweep, planning, _launched(cfg.hydra.launcher), None


def _launched(launcher: Any) -> Launched:
    import os

    from kdlab.commands.launching import BASIC_LAUNCHER, STACKED_LAUNCHER

    if launcher["_target_"] in (BASIC_LAUNCHER, STACKED_LAUNCHER):
        return Launched(together=launcher["_target_"] == STACKED_LAUNCHER)
    jobs = launcher.get("n_jobs")
    return Launched(None if jobs is None else int(jobs) if int(jobs) > 0 else os.cpu_count() or 1)


def refuse_unwritable(root: Path) -> None:
    """Refuse a store that could not be written, without making it.

    Raises:
        UserError: as the store itself says it.
    """
    root = root.expanduser().absolute()
    if root.is_dir():
        Store(root).check_writable()
        return
    above = next(folder for folder in root.parents if folder.exists())
    probe = above / f".writable.{uuid.uuid4().hex}"
    try:
        probe.write_bytes(b"kdlab")
        probe.unlink()
        if root.exists():
            raise NotADirectoryError(20, "Not a directory")
    except OSError as error:
        raise UserError(
            f"store.root = {root} cannot be written ({error.strerror or error}); set it to a folder that can"
        ) from error


def needed(points: Sequence[Point], lab: Lab, *, kind: str = "run") -> dict[str, Need]:
    """Every network that the points need, once: run id -> what there is to do about it."""
    from kdlab.experiments.again import is_up_to_date

    forced = {point.plan.run.run_id for point in points if point.config.force}
    if kind == "teacher":
        forced |= {run.run_id for point in points if point.config.force for run in point.plan.runs()}
    found: dict[str, Need] = {}
    for point in points:
        for planned in point.plan.runs():
            if planned.run_id in found:
                continue
            record = lab.store.find(planned.run_id)
            if lab.store.finished(planned.run_id) is not None and planned.run_id not in forced:
                todo = "nothing" if is_up_to_date(planned, lab) else "measure"
            else:
                todo = "train" if steps_of(planned) else "measure"
            found[planned.run_id] = Need(planned, todo, record is not None and record.status == "failed")
    return found


def _what(need: Need) -> str:
    """What a row of the table calls a network: its part in the study, its model, its data set."""
    planned = need.planned
    config = planned.config
    data = config.data.name
    if planned.role != "teacher" or config.teacher is None:
        noun = "scratch twins" if planned.role == "scratch" else "students"
        return f"{noun} ({_model(config.student)}, {data})"
    quality, teacher = str(config.teacher.quality.get("name", "")), config.teacher
    words = "" if quality in ("", "standard") else f"{quality} "
    if teacher.ensemble.is_one:
        return f"{words}ensembles of {len(teacher.ensemble.members) or teacher.ensemble.count} ({data})"
    has_network = planned.parent is not None or "model" in planned.identity_config
    noun = "assistants" if teacher.assistants else "later generations" if teacher.is_taught else "teachers"
    return f"{words}{noun} ({f'{_model(teaching_model(config))}, ' if has_network else ''}{data})"


def _model(spec: Any) -> str:
    knobs = [str(spec[name]) for name in ("width", "name", "model_name") if name in spec]
    return " ".join([str(spec["_target_"]).rsplit(".", 1)[-1], *knobs[:1]])


def _say_times(
    points: Sequence[Point], needs: dict[str, Need], estimator: Estimator, *, launched: Launched, kind: str
) -> float | None:
    """The table, where its times come from, and the disk.

    Returns:
        The seconds that one point takes alone, where that is known.
    """
    rows: dict[str, list[Need]] = {}
    for need in needs.values():
        rows.setdefault(_what(need), []).append(need)
    from kdlab.experiments.stacks import stacks_of

    training = [need.planned for need in needs.values() if need.todo == "train"]
    stacks = stacks_of(training, estimator.lab) if launched.together else [[planned] for planned in training]
    size_of = {planned.run_id: len(stack) for stack in stacks for planned in stack}
    estimates = {
        run_id: estimator.of(need.planned, trained=need.todo == "train", together=size_of.get(run_id, 1))
        for run_id, need in needs.items()
        if need.todo != "nothing"
    }
    lines = [_row(what, mine, estimates) for what, mine in rows.items()]
    todo = [point for point in points if any(needs[run.run_id].todo != "nothing" for run in point.plan.runs())]
    count, first = estimator.latency_seconds([point.plan for point in todo]) if kind == "run" else (0, 0.0)
    if count:
        lines.append(["latency and price of a step", "", str(count), "", "", f"{first / count:.1f}", duration(first)])
    total = sum((found.train or 0.0) + (found.measure or 0.0) for found in estimates.values())
    alike = launched.side_by_side or 1
    lines.append(_sum(needs, count, first + total / alike))
    show(COLUMNS, lines)
    _say_sources(estimates, side_by_side=launched.side_by_side)
    if launched.together and stacks:
        say(_stacks_told(stacks))
    asked = {point.plan.run.run_id for point in points}
    alone = [(one.train or 0) + (one.measure or 0) for run, one in estimates.items() if run in asked and one.size]
    known = [found.size for found in estimates.values() if found.size is not None]
    mirror = "" if points[0].config.tracker.mode == "disabled" else ", without the W&B mirror"
    if estimates:
        of = {"records": "finished folders of the same kind", "timed": "parameters and predictions"}
        how = " and ".join(of[source] for source in of if any(found.source == source for found in estimates.values()))
        say(f"disk: about {size(sum(known))} (from {how or 'nothing known'}){mirror}")
    return statistics.median(alone) if alone else None


def _row(what: str, needs: Sequence[Need], estimates: dict[str, Estimate]) -> list[str]:
    found = [estimates[need.planned.run_id] for need in needs if need.todo != "nothing"]
    seconds = [(one.train or 0.0) + (one.measure or 0.0) for one in found if one.train is not None]
    each = f"{statistics.median(seconds):.1f}" if seconds else ("?" if found else "")
    total = duration(sum(seconds)) if seconds else each
    return [what, *_counts(needs), each, total]


def _counts(needs: Iterable[Need]) -> list[str]:
    needs = list(needs)
    todo = [sum(need.todo == kind for need in needs) for kind in ("train", "measure", "nothing")]
    return [*(str(number) for number in todo), str(sum(need.failed for need in needs))]


def _sum(needs: dict[str, Need], measured: int, seconds: float) -> list[str]:
    counts = _counts(needs.values())
    return ["all", counts[0], str(int(counts[1]) + measured), *counts[2:], "", duration(seconds)]


def _stacks_told(stacks: Sequence[Sequence[PlannedRun]]) -> str:
    """How the networks are grouped: ``trained together: 25 + 25 + 3 networks; 2 by themselves``."""
    sizes = sorted((len(stack) for stack in stacks if len(stack) > 1), reverse=True)
    alone = sum(len(stack) == 1 for stack in stacks)
    shown = " + ".join(map(str, sizes[:MOST_STACKS])) + (" + ..." if len(sizes) > MOST_STACKS else "")
    parts = [f"{shown} networks in {counted(len(sizes), 'stack')}"] if sizes else []
    parts += [f"{alone} by {'itself' if alone == 1 else 'themselves'}"] if alone else []
    return f"trained together: {'; '.join(parts)}" if sizes else f"nothing fits together: {', '.join(parts)}"


def _say_sources(estimates: dict[str, Estimate], *, side_by_side: int | None) -> None:
    """Where the times come from."""
    if not estimates:
        say("\neverything is finished already")
        return
    count = {source: sum(found.source == source for found in estimates.values()) for source in ("records", "timed")}
    parts = [f"{count['records']} from records of the same kind"] if count["records"] else []
    parts += [f"{count['timed']} from a few steps timed here"] if count["timed"] else []
    say(f"\ntime: {', '.join(parts) or 'unknown'}; measuring included")
    for reason in dict.fromkeys(f.source for f in estimates.values() if f.source not in count):
        say(f"  not timed: {reason}")
    if side_by_side is None:
        say("  as if one after the other: this launcher does not say how many it runs side by side")
    elif side_by_side > 1:
        say(f"  all: divided by hydra.launcher.n_jobs = {side_by_side}")


def _say_points(points: Sequence[Point], needs: dict[str, Need], planning: Planning, *, every: bool) -> None:
    from kdlab.commands.launching import labels_of

    labels = labels_of(points, planning)
    unique = {point.plan.run.run_id: (point, label) for point, label in zip(points[::-1], labels[::-1], strict=True)}
    listed = list(unique.values())[::-1]
    equal = f" (of {len(points)}; equal ones are one run)" if len(listed) < len(points) else ""
    say(f"\n{counted(len(listed), 'point')}{equal}:")
    for point, label in listed[: None if every else MOST_POINTS]:
        say(f"  {_state(point, needs):<10} {label}")
    if len(listed) > MOST_POINTS and not every:
        say(f"  ... and {len(listed) - MOST_POINTS} more ({OPTION}=all shows them)")
    if every:
        others = [need for need in needs.values() if need.planned.run_id not in {p.plan.run.run_id for p in points}]
        say("\nthat they need:" if others else "")
        for need in others:
            seeds = {name: seed for name, seed in need.planned.seeds.items() if seed is not None}
            words = " ".join(need.planned.overrides) or " ".join(f"{name}.seed={seed}" for name, seed in seeds.items())
            say(f"  {_word(need):<10} {need.planned.role} {need.planned.run_id} {words}")


def _state(point: Point, needs: dict[str, Need]) -> str:
    return _word(needs[point.plan.run.run_id])


def _word(need: Need) -> str:
    word = {"nothing": "finished", "measure": "to measure", "train": "to train"}[need.todo]
    return "again" if need.failed else word


def _words(point: Point) -> str:
    return " ".join(point.overrides) or "defaults"
