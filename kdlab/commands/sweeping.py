"""A sweep, whole: planned and checked, written down, launched, summed up.

The study lists every planned run before the first one trains, so that what is missing can be told at any time.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
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
from kdlab.commands.planning import Planning, Point, Sweep, arms_of, joined, plan_points
from kdlab.commands.predicting import changed_predictions, kept_predictions, refuse_grids
from kdlab.commands.search_space import Space, first_trial, is_search, probe, space_of
from kdlab.commands.sync import kept_up
from kdlab.commands.tuning import FIXED as TUNING_POINTS
from kdlab.commands.tuning import Choice, Tuning, choices_in, choose, save_choices, trials_of, tuning_of, with_choices
from kdlab.commands.wording import counted
from kdlab.experiments.lab import Lab, say
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
    from kdlab.experiments.preflight import preflight

    sweep = sweep_of(config, kind=getattr(job, "kind", "run"))
    composer = Composer(loader)
    asked = asked_of(arguments, config=config, composer=composer, sweep=sweep)
    plannings = asked.every_phase()
    lab = open_lab(plannings[0].points[0].config)
    preflight([point.config for planning in plannings for point in planning.points], lab)
    told = Told(sweep, arguments, config_dir_of(config.hydra), launcher)
    if asked.tuning is None:
        return _confirmed(plannings[0], asked, told, lab, arms={})
    chosen = _tuned(plannings[-1], asked, told, lab)
    if asked.tunes_alone:
        return []
    planning = plannings[0] if chosen == asked.first else asked.confirming(chosen)
    return _confirmed(planning, asked, told, lab, arms=with_choices(asked.arms, chosen))


@dataclass(frozen=True)
class Told:
    """How a sweep is told of, and launched: the study, its command line, the user's configs."""

    sweep: Sweep
    arguments: Sequence[str]
    config_dir: Path | None
    launcher: Launcher


def _tuned(every: Planning, asked: "Asked", told: Told, lab: Lab) -> dict[str, tuple[str, ...]]:
    """What the tuning phase chose for each arm, after running what is missing of it; ``every``: all of its points."""
    assert asked.tuning is not None
    metric, trials = asked.tuning.metric, trials_of(every, asked.tuning)
    known = {} if asked.tunes_alone else choices_in(asked.report_folder, trials, metric=metric)
    missing = {arm: of_arm for arm, of_arm in trials.items() if arm not in known}
    if missing:
        planning = replace(every, points=[point for point in every.points if point.arm in missing])
        settled = {arm: choice.overrides for arm, choice in known.items()}
        todo = _written_down(planning, asked, told, lab, arms=with_choices(asked.arms, settled))
        launch(todo, told.launcher, name=told.sweep.name, planning=planning, store=lab.store)
        made = choose(missing, metric=metric, store=lab.store)
        save_choices(asked.report_folder, made)
        known |= made
    say(f"study {told.sweep.name}: chosen on validation, {len(missing)} of {counted(len(trials), 'arm')} just now:")
    for arm in trials:
        say(f"  {arm}: {' '.join(known[arm].overrides)}{_unsettled(known[arm])}")
    if fixed := len(asked.arms) - len(trials):
        say(f"  {counted(fixed, 'arm')} without a space: the recipe as the sweep file has it")
    return {arm: known[arm].overrides for arm in trials}


def _unsettled(choice: Choice) -> str:
    """A word on trials that failed for another reason than their loss: the same command tries them again."""
    lost = [" ".join(trial.overrides) for trial in choice.trials if not trial.is_settled]
    return f" (without {'; '.join(lost)}, which failed and will be tried again)" if lost else ""


def _written_down(
    planning: Planning, asked: "Asked", told: Told, lab: Lab, *, arms: Mapping[str, Sequence[str]]
) -> list[Point]:
    """Write a phase's planned runs into the study, say how much there is, and give what is to run.

    ``arms``: those of a study that tunes, with what was chosen for them so far.
    """
    points, sweep = planning.points, told.sweep
    header = study_header(sweep, points=points, axes=asked.axes, arguments=told.arguments, config_dir=told.config_dir)
    before = studies.read_study(lab.store.root, sweep.name)
    if asked.tuning is not None:
        known = {} if before is None else before.header.get("arms") or {}
        others = {name: lines for name, lines in known.items() if name not in arms}
        header["arms"] = {**header["arms"], **others, **{name: list(lines) for name, lines in arms.items()}}
        header["tune"] = {arm: [axis.key for axis in axes] for arm, axes in asked.tuning.axes.items()}
    members = [member for point in points for member in members_of(point, kind=sweep.kind)]
    kept = joined_header(header, before, members)
    if before is not None and _has_begun(before, lab.store):
        kept |= kept_predictions(header, before.header)
    studies.plan(lab.store.root, sweep.name, kept, members)
    if changed := changed_predictions(kept, header):
        stay = f"predictions stay as they were before its first run ({', '.join(changed)})"
        say(f"study {sweep.name}: {stay}; another study.name asks anew")
    todo = unfinished(points, lab)
    announce(sweep.name, planning, todo)
    return todo


def _has_begun(study: studies.Study, store: Store) -> bool:
    """Whether a student of the study has finished: what it predicts is fixed from then on."""
    return any(member.role == "student" and store.finished(member.run_id) is not None for member in study.members)


def _confirmed(
    planning: Planning, asked: "Asked", told: Told, lab: Lab, *, arms: Mapping[str, Sequence[str]]
) -> list[Any]:
    """Run the points of a study, or of the phase that confirms, and sum up."""
    from kdlab.experiments.preflight import measure_latencies
    from kdlab.experiments.runs import answer

    points, sweep = planning.points, told.sweep
    todo = _written_down(planning, asked, told, lab, arms=arms)
    if todo and sweep.kind == "run":
        measure_latencies([point.config for point in todo], lab)
    alone = points[0].plan.run if len(points) == 1 else None
    lab.tracker.expect(None if alone is None else alone.run_id)
    wanted = {member.run_id for point in points for member in members_of(point, kind=sweep.kind)}
    with kept_up(lab, wanted, points[0].config.tracker):
        results = launch(todo, told.launcher, name=sweep.name, planning=planning, store=lab.store)
    if alone is not None and (record := lab.store.finished(alone.run_id)) is not None:
        answer(alone, record, lab)
    close(sweep.name, store_root=lab.store.root)
    sum_up(sweep.name, planning, todo, results, lab=lab)
    return results


@dataclass(frozen=True)
class Asked:
    """A sweep as it was asked for: its grid, its arms, and how the arms are tuned; it plans the points of each phase.

    Args:
        axes: of the grid.
        fixed: the overrides that every point has.
        arms: name -> overrides.
        may_rest: keys that no point has to read.
        tuning: the phase before; None for none.
        report_folder: where choices stand.
        sweep: the study.
        composer: composes the points.
        tunes_alone: whether the command asks for the tuning phase alone (``study.phase=tune``).
    """

    axes: list[Axis]
    fixed: list[str]
    arms: Mapping[str, Sequence[str]]
    may_rest: Collection[str]
    tuning: Tuning | None
    report_folder: Path
    sweep: Sweep
    composer: Composer
    tunes_alone: bool = False

    @property
    def first(self) -> dict[str, tuple[str, ...]]:
        """What stands for the choices before there are any."""
        return {} if self.tuning is None else self.tuning.first()

    def confirming(self, chosen: Mapping[str, Sequence[str]]) -> Planning:
        """The points of the study, with what was chosen for each arm.

        Raises:
            UserError: every mistake of every point.
        """
        arms = with_choices(self.arms, chosen)
        planning = plan_points(
            self.axes, self.fixed, arms=arms, sweep=self.sweep, composer=self.composer, may_rest=self.may_rest
        )
        refuse_grids(planning.points)
        return planning

    def tuning_points(self) -> Planning:
        """The points of the tuning phase.

        Raises:
            UserError: every mistake of every point.
        """
        assert self.tuning is not None
        return plan_points(
            [self.tuning.seeds],
            [*(line for line in self.fixed if key_of(line) != self.tuning.seeds.key), *TUNING_POINTS],
            arms={arm: self.arms[arm] for arm in self.tuning.axes},
            sweep=self.sweep,
            composer=self.composer,
            may_rest={key_of(line) for line in self.fixed},
            own_axes=self.tuning.axes,
        )

    def every_phase(self) -> list[Planning]:
        """The points of the phase that confirms, with the first value of every space, then those of the tuning phase.

        Raises:
            UserError: every mistake of every point.
        """
        found = [] if self.tunes_alone else [self.confirming(self.first)]
        return found if self.tuning is None else [*found, self.tuning_points()]


def asked_of(arguments: Sequence[str], *, config: DictConfig, composer: Composer, sweep: Sweep) -> Asked:
    """What a composed sweep asks for.

    Raises:
        UserError: its grid, arms or spaces are wrong.
    """
    grid = grid_of(config)
    axes, fixed = expand(arguments, grid=grid)
    may_rest = set(grid) - {key_of(line) for line in arguments} if config.study.only else set()
    arms = arms_of(config)
    folder = Path(str(config.report.root)) / sweep.name
    tuning = tuning_of(config, arms)
    if tuning is not None:
        tuning.refuse_chosen([*fixed, *(axis.choices[0] for axis in axes)])
    alone = tuning is not None and str(config.study.phase) == "tune"
    kept = [line for line in fixed if key_of(line) != "study.phase"] if alone else fixed
    return Asked(axes, kept, arms, may_rest, tuning, folder, sweep, composer, alone)


def planned(
    arguments: Sequence[str], *, config: DictConfig, composer: Composer, sweep: Sweep
) -> tuple[list[Axis], Planning]:
    """The axes and the points of a sweep; of one that tunes first, with the first value of every space.

    Raises:
        UserError: every mistake of every point, those of the tuning phase among them.
    """
    asked = asked_of(arguments, config=config, composer=composer, sweep=sweep)
    return asked.axes, joined(asked.every_phase())


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
