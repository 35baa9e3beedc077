"""A sweep, whole: planned and checked, written down, launched, summed up.

The study lists every planned run before the first one trains, so that what is missing can be told at any time.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from hydra.core.config_loader import ConfigLoader
from hydra.plugins.launcher import Launcher
from hydra.types import TaskFunction
from omegaconf import DictConfig, OmegaConf

from kdlab.commands.checking import checked, refuse_axes
from kdlab.commands.closing import close
from kdlab.commands.composing import Composer, config_dir_of, make_loader, parse_overrides
from kdlab.commands.grid import Axis, expand, key_of
from kdlab.commands.knobs import section_of
from kdlab.commands.launching import announce, launch, sum_up
from kdlab.commands.membership import joined_header, members_of, study_header
from kdlab.commands.planning import Planning, Point, Sweep, arms_of, plan_points
from kdlab.commands.search_space import Space, first_trial, is_search, probe, space_of
from kdlab.commands.sync import kept_up
from kdlab.experiments.lab import Lab
from kdlab.records import studies
from kdlab.records.store import Store


def run_sweep(
    arguments: Sequence[str],
    *,
    config: DictConfig,
    loader: ConfigLoader,
    launcher: Launcher,
    job: TaskFunction,
) -> list[Any]:
    """Plan, check, write down, launch and sum up a sweep.

    Args:
        arguments: the overrides of the command line, axes of the grid among them.
        config: the composed config of the sweep, with Hydra's part.
        loader: composes the points.
        launcher: runs them.
        job: makes one of them.

    Returns:
        What the launcher returned for each point that ran.

    Raises:
        UserError: before anything trains, with every mistake.
        SweepFailedError: after the last point, when some failed.
    """
    from kdlab.commands.jobs import open_lab
    from kdlab.experiments.preflight import measure_latencies, preflight
    from kdlab.experiments.runs import answer

    sweep = sweep_of(config, kind=getattr(job, "kind", "run"))
    axes, planning = planned(arguments, config=config, composer=Composer(loader), sweep=sweep)
    points = planning.points
    lab = open_lab(points[0].config)
    preflight([point.config for point in points], lab)
    header = study_header(sweep, points=points, axes=axes, arguments=arguments, config_dir=config_dir_of(config.hydra))
    members = [member for point in points for member in members_of(point, kind=sweep.kind)]
    before = studies.read_study(lab.store.root, sweep.name)
    studies.plan(lab.store.root, sweep.name, joined_header(header, before, members), members)
    todo = unfinished(points, lab)
    announce(sweep.name, planning, todo)
    if todo and sweep.kind == "run":
        measure_latencies([point.config for point in todo], lab)
    alone = points[0].plan.run if len(points) == 1 else None
    lab.tracker.expect(None if alone is None else alone.run_id)
    with kept_up(lab, {member.run_id for member in members}, points[0].config.tracker):
        results = launch(todo, launcher, name=sweep.name, planning=planning, store=lab.store)
    if alone is not None and (record := lab.store.finished(alone.run_id)) is not None:
        answer(alone, record, lab)
    close(sweep.name, store_root=lab.store.root)
    sum_up(sweep.name, planning, todo, results, lab=lab)
    return results


def planned(
    arguments: Sequence[str], *, config: DictConfig, composer: Composer, sweep: Sweep
) -> tuple[list[Axis], Planning]:
    """The axes and the points of a sweep.

    Raises:
        UserError: every mistake of every point.
    """
    grid = grid_of(config)
    axes, fixed = expand(arguments, grid=grid)
    may_rest = set(grid) - {key_of(line) for line in arguments} if config.study.only else set()
    arms = arms_of(config)
    return axes, plan_points(axes, fixed, arms=arms, sweep=sweep, composer=composer, may_rest=may_rest)


def grid_of(config: DictConfig) -> dict[str, str]:
    """The grid of the sweep file: key -> values as Hydra writes them."""
    params = OmegaConf.to_container(config.hydra.sweeper.get("params") or OmegaConf.create({}), resolve=False)
    assert isinstance(params, dict)
    return {str(key): str(value) for key, value in params.items()}


def sweep_of(config: DictConfig, *, kind: str = "run") -> Sweep:
    """The study that a composed sweep makes: ``study.name``, else the name of its file, else ``multirun``."""
    file = config.hydra.runtime.choices.get("sweeps")
    file = None if file in (None, "null") else str(file)
    return Sweep(studies.check_study_name(config.study.name or file or "multirun"), file, kind)


def dry(overrides: Sequence[str], *, config_dir: str | None = None, many: bool, kind: str = "run") -> None:
    """Compose and check without running: what Hydra refuses at its first mistake is told with all the others.

    Raises:
        UserError: every mistake that this finds.
    """
    composer = Composer(make_loader(config_dir))
    if not many:
        refuse_axes(overrides)
        cfg, absent = composer.compose(overrides)
        alone = checked(cfg, overrides, composer=composer, absent=absent, kind=kind)
        Store(Path(alone.store.root)).check_writable()
        return
    config = of_all_points(overrides, composer)
    if is_search(config):
        probe(search_space_of(overrides, config), sweep=sweep_of(config, kind=kind), composer=composer)
        return
    _, planning = planned(overrides, config=config, composer=composer, sweep=sweep_of(config, kind=kind))
    Store(Path(planning.points[0].config.store.root)).check_writable()


def first_point(overrides: Sequence[str], *, config_dir: str | None = None) -> list[str]:
    """The overrides of the first point of a sweep, for ``--cfg job``: one config is shown, not sixty."""
    composer = Composer(make_loader(config_dir))
    config = of_all_points(overrides, composer)
    if is_search(config):
        of_hydra = [line for line in overrides if section_of(key_of(line)) == "hydra"]
        return [*first_trial(search_space_of(overrides, config)), *of_hydra]
    axes, fixed = expand(overrides, grid=grid_of(config))
    arm = next(iter(arms_of(config).values()), [])
    set_by_arm = {key_of(line) for line in arm}
    chosen = [line for line in [*fixed, *(axis.choices[0] for axis in axes)] if key_of(line) not in set_by_arm]
    of_hydra = [line for line in overrides if section_of(key_of(line)) == "hydra"]
    return [*chosen, *arm, *of_hydra]


def search_space_of(overrides: Sequence[str], config: DictConfig) -> Space:
    """The space of a search: the command line's axes and what the sweeper's config tells every trial."""
    return space_of(overrides, config, told=[str(line) for line in config.hydra.sweeper.trial])


def of_all_points(overrides: Sequence[str], composer: Composer) -> DictConfig:
    """What all points of a sweep share, to read its grid and arms from; a wrong key is left for the points to tell."""
    parsed = parse_overrides(overrides)
    config, _ = composer.compose([str(one.input_line) for one in parsed if not one.is_sweep_override()])
    return config


def unfinished(points: Sequence[Point], lab: Lab) -> list[Point]:
    """The points still to run, each run once."""
    from kdlab.experiments.again import is_up_to_date

    once = {point.plan.run.run_id: point for point in reversed(points)}
    unique = [point for point in points if once[point.plan.run.run_id] is point]
    return [
        point for point in unique if point.config.force or not all(is_up_to_date(run, lab) for run in point.plan.runs())
    ]
