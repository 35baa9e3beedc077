"""A search, whole: the space checked, each trial run as points of a study, the best one told with its command.

The loop is that of Hydra's Optuna plugin. It is handed a launcher of ours in place of Hydra's, which plans a trial as a
sweep plans its points: found by identity, joined to the study, one run for each seed, scored by their mean.
"""

import logging
import math
import os
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hydra.core.config_loader import ConfigLoader
from hydra.core.utils import JobReturn, JobStatus
from hydra.plugins.launcher import Launcher
from hydra.types import TaskFunction
from omegaconf import DictConfig, OmegaConf, open_dict

from kdlab.commands.composing import Composer, config_dir_of, parse_overrides
from kdlab.commands.grid import Axis, key_of
from kdlab.commands.knobs import section_of
from kdlab.commands.launching import BASIC_LAUNCHER, SHOWN_FAILURES, SweepFailedError, launches_points
from kdlab.commands.membership import joined_header, members_of, study_header
from kdlab.commands.planning import Point, Sweep
from kdlab.commands.search_space import Space, optuna_direction, probe, space_of
from kdlab.commands.wording import counted, first_line
from kdlab.errors import UserError
from kdlab.experiments.lab import Lab, say
from kdlab.records import studies

DEFAULT_STUDY = "optuna"
#: What makes a trial part of a search, and no part of what it found.
OF_THE_SEARCH = ("study", "evaluation", "seed")


@dataclass(frozen=True)
class Trial:
    """What was proposed, and what it scored: the mean over its seeds, or why there is none."""

    lines: tuple[str, ...]
    value: float | None
    error: str | None = None


def run_search(
    arguments: Sequence[str],
    *,
    config: DictConfig,
    loader: ConfigLoader,
    launcher: Launcher,
    job: TaskFunction,
    settings: Mapping[str, Any],
) -> list[Trial]:
    """Check the space, search it, and tell the best trial.

    Args:
        arguments: the overrides of the command line, the space among them.
        config: the composed config of the search, with Hydra's part.
        loader: composes the trials.
        launcher: runs them.
        job: makes one of their runs.
        settings: of the sweeper (``conf/hydra/sweeper/optuna.yaml``).

    Raises:
        UserError: before anything trains, with every mistake.
        SweepFailedError: after the last trial, when some failed.
    """
    from kdlab.commands.jobs import open_lab
    from kdlab.experiments.preflight import preflight

    aim = aim_of(str(config.optimized_metric), settings)
    space = space_of(arguments, config, told=[str(line) for line in settings.get("trial") or ()])
    sweep = search_of(config, kind=getattr(job, "kind", "run"))
    composer = Composer(loader)
    ends = probe(space, sweep=sweep, composer=composer).points
    lab = open_lab(ends[0].config)
    preflight([point.config for point in ends], lab)
    desk = SearchDesk(space, sweep, composer, lab, launcher, arguments, config, aim=aim, total=settings["n_trials"])
    say(
        f"study {sweep.name}: a search of {counted(settings['n_trials'], 'trial')} over {', '.join(sorted(space.keys))}"
        f" that {aim}s {config.optimized_metric}"
        + (f", mean of {counted(len(space.seeds), 'seed')}" if len(space.seeds) > 1 else "")
    )
    _search(desk, settings, together=_together(settings, config))
    desk.sum_up()
    return desk.trials


def search_of(config: DictConfig, *, kind: str = "run") -> Sweep:
    """The study that a search makes: ``study.name``, else the name of its file, else ``optuna``."""
    file = config.hydra.runtime.choices.get("sweeps")
    file = None if file in (None, "null") else str(file)
    return Sweep(studies.check_study_name(config.study.name or file or DEFAULT_STUDY), file, kind)


def aim_of(metric: str, settings: Mapping[str, Any]) -> str:
    """What a search is to do with its metric: ``maximize`` or ``minimize``.

    Raises:
        UserError: the metric is none to choose by, the direction is not its own, or no trial is asked for.
    """
    trials = settings.get("n_trials")
    if not isinstance(trials, int) or trials < 1:
        raise UserError(f"hydra.sweeper.n_trials = {trials!r}: a whole number from 1 up is needed")
    aim = optuna_direction(metric)
    asked = settings.get("direction")
    if asked is not None and str(getattr(asked, "name", asked)) != aim:
        raise UserError(f"hydra.sweeper.direction = {asked}: better {metric} is to {aim}; leave it null")
    return aim


def _together(settings: Mapping[str, Any], config: DictConfig) -> int:
    """How many trials are proposed before their scores are waited for."""
    if settings.get("n_jobs") is not None:
        return int(settings["n_jobs"])
    side_by_side = config.hydra.launcher.get("n_jobs")
    if config.hydra.launcher["_target_"] == BASIC_LAUNCHER or not isinstance(side_by_side, int):
        return 1
    return side_by_side if side_by_side > 0 else len(os.sched_getaffinity(0))


def _search(desk: "SearchDesk", settings: Mapping[str, Any], *, together: int) -> None:
    """Optuna's loop, with our launcher, our direction, and its summary beside the study's other files."""
    import optuna
    from hydra_plugins.hydra_optuna_sweeper._impl import OptunaSweeperImpl

    optuna.logging.set_verbosity(logging.ERROR)
    loop: Any = OptunaSweeperImpl(
        sampler=_sampler(settings),
        direction=desk.aim,
        storage=settings.get("storage"),
        study_name=settings.get("study_name"),
        n_trials=desk.total,
        n_jobs=together,
        max_failure_rate=1.0,
        search_space=None,
        custom_search_space=settings.get("custom_search_space"),
        params=None,
    )
    folder = desk.lab.store.root / "hydra" / desk.sweep.name
    folder.mkdir(parents=True, exist_ok=True)
    loop.config = desk.config.copy()
    with open_dict(loop.config):
        loop.config.hydra.sweep.dir = str(folder)
    loop.hydra_context, loop.launcher, loop.job_idx = object(), desk, 0  # the loop asks of them that they are there
    logging.getLogger("hydra_plugins.hydra_optuna_sweeper").setLevel(logging.ERROR)  # failed trials are told by us
    try:
        loop.sweep(list(desk.space.lines))
    except ValueError:
        if desk.best is not None:
            raise  # else: Optuna has no best trial to write down, and the summary says that all failed
    except RuntimeError as error:
        if "`Study.stop`" not in str(error):
            raise  # else: the plugin's grid is at its end, and the last trial of it failed
        _write_best(desk, folder)


def _write_best(desk: "SearchDesk", folder: Path) -> None:
    """What the plugin writes at the end of a search."""
    if desk.best is not None:
        params = {one.key_or_group: one.value() for one in parse_overrides(desk.best.lines)}
        found = {"name": "optuna", "best_params": params, "best_value": desk.best.value}
        OmegaConf.save(OmegaConf.create(found), folder / "optimization_results.yaml")


def _sampler(settings: Mapping[str, Any]) -> Any:
    from hydra.utils import instantiate

    sampler = OmegaConf.to_container(settings["sampler"], resolve=True)
    assert isinstance(sampler, dict)
    if sampler.get("seed", 0) is None:
        sampler["seed"] = settings.get("seed")
    return instantiate(sampler)


@dataclass
class SearchDesk:
    """In the place of Hydra's launcher: runs the trials that Optuna proposes and hands back what they scored."""

    space: Space
    sweep: Sweep
    composer: Composer
    lab: Lab
    launcher: Launcher
    arguments: Sequence[str]
    config: DictConfig
    aim: str
    total: int
    trials: list[Trial] = field(default_factory=list)

    @property
    def metric(self) -> str:
        """What is searched for."""
        return str(self.config.optimized_metric)

    @property
    def best(self) -> Trial | None:
        """The best trial so far, the first of equals."""
        scored = [trial for trial in self.trials if trial.value is not None]
        sign = 1 if self.aim == "maximize" else -1
        return max(scored, key=lambda trial: sign * (trial.value or 0.0), default=None)

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> list[JobReturn]:
        """Called by Optuna's loop with the trials of a batch."""
        proposed = [tuple(_as_null(line) for line in lines) for lines in job_overrides]
        planned = [self._planned(lines) for lines in proposed]
        points = [point for found in planned if not isinstance(found, str) for point in found]
        failures = self._run(points, initial_job_idx) if points else {}
        returned = []
        for lines, found in zip(proposed, planned, strict=True):
            trial = self._scored(lines, found, failures)
            self.trials.append(trial)
            self._tell(trial)
            returned.append(_returned(trial))
        return returned

    def _planned(self, lines: Sequence[str]) -> list[Point] | str:
        try:
            return self.space.points_of(lines, sweep=self.sweep, composer=self.composer).points
        except UserError as error:
            return first_line(error)

    def _run(self, points: list[Point], first: int) -> dict[str, str]:
        """Join the points to the study and run those that are not finished; run id -> why it failed."""
        from kdlab.commands.sweeping import unfinished
        from kdlab.experiments.preflight import measure_latencies

        members = [member for point in points for member in members_of(point, kind=self.sweep.kind)]
        axes = [Axis(key_of(line), (line,)) for line in self.space.lines]
        header = study_header(
            self.sweep,
            points=points,
            axes=axes,
            arguments=[*self.arguments, *self._of_hydra()],
            config_dir=config_dir_of(self.config.hydra),
        )
        before = studies.read_study(self.lab.store.root, self.sweep.name)
        studies.plan(self.lab.store.root, self.sweep.name, joined_header(header, before, members), members)
        todo = unfinished(points, self.lab)
        if not todo:
            return {}
        if self.sweep.kind == "run":
            measure_latencies([point.config for point in todo], self.lab)
        together = launches_points(self.launcher)
        if together is not None:
            results = together(todo, initial_job_idx=first)
        else:
            results = self.launcher.launch([list(point.launch) for point in todo], initial_job_idx=first)
        ended = zip(todo, results, strict=True)
        return {
            point.plan.run.run_id: first_line(result._return_value)
            for point, result in ended
            if result.status is not JobStatus.COMPLETED
        }

    def _of_hydra(self) -> list[str]:
        """What the command line told Hydra: without it the command would be a grid."""
        return [str(line) for line in self.config.hydra.overrides.hydra if not str(line).startswith("hydra.mode")]

    def _scored(self, lines: tuple[str, ...], found: list[Point] | str, failures: Mapping[str, str]) -> Trial:
        if isinstance(found, str):
            return Trial(lines, None, found)
        values = []
        for run_id in (point.plan.run.run_id for point in found):
            record = None if run_id in failures else self.lab.store.finished(run_id)
            value = None if record is None else record.metrics.get(self.metric)
            if value is None:
                log = f"{self.lab.store.root.name}/{run_id}/log.txt"
                silent = "no finished record" if record is None else f"{self.metric} is undefined"
                return Trial(lines, None, f"{failures.get(run_id, silent)} ({log})")
            values.append(value)
        return Trial(lines, math.fsum(values) / len(values))

    def _tell(self, trial: Trial) -> None:
        said = f"FAILED: {trial.error}" if trial.value is None else f"{self.metric} {trial.value:.4f}"
        mark = " (best so far)" if trial is self.best else ""
        say(f"[{len(self.trials)}/{self.total}] {' '.join(trial.lines)}: {said}{mark}")

    def sum_up(self) -> None:
        """Say which trial is best and what to do with it.

        Raises:
            SweepFailedError: with the first failures, when trials failed.
        """
        if self.best is not None and self.best.value is not None:
            told = [line for line in self.space.fixed if section_of(key_of(line)) not in OF_THE_SEARCH]
            values = [*told, *(line for lines in self.space.arms.values() for line in lines), *self.best.lines]
            folder = config_dir_of(self.config.hydra)
            own = ["--config-dir", os.path.relpath(folder)] if folder is not None else []
            every = [line for line in self.space.fixed if line not in told]
            fresh = shlex.join(["-m", *own, *values, "seed=range(0,16)"])
            again = ["-m", *own, *values, *every, *self._seeds(), f"study.name={self.sweep.name}"]
            say(
                f"study {self.sweep.name}: best of {counted(len(self.trials), 'trial')}: {self.metric} "
                f"{self.best.value:.4f} with {' '.join(self.best.lines)}"
            )
            say(f"  again:                    kdlab {self._command} {shlex.join(again)}")
            say(f"  confirm with fresh seeds: kdlab {self._command} {fresh}")
            say(f"  every trial:              kdlab report {self.sweep.name}")
        failed = [f"  {' '.join(trial.lines)}: {trial.error}" for trial in self.trials if trial.value is None]
        if failed:
            more = [f"  ... and {len(failed) - SHOWN_FAILURES} more"] if len(failed) > SHOWN_FAILURES else []
            head = f"{len(failed)} of {counted(len(self.trials), 'trial')} failed"
            raise SweepFailedError(
                "\n".join([head, *failed[:SHOWN_FAILURES], *more, "the same command tries them again"])
            )

    @property
    def _command(self) -> str:
        return "teacher" if self.sweep.kind == "teacher" else "run"

    def _seeds(self) -> list[str]:
        return [f"seed={','.join(line.partition('=')[2] for line in self.space.seeds)}"] if self.space.seeds else []


def _as_null(line: str) -> str:
    """The plugin writes Python's None where Hydra reads null."""
    key, _, value = line.partition("=")
    return f"{key}=null" if value == "None" else line


def _returned(trial: Trial) -> JobReturn:
    """What Optuna's loop is told; no number means a failed trial to it (a failed job it would print once more)."""
    found = JobReturn()
    found.status, found.return_value = JobStatus.COMPLETED, trial.value
    return found
