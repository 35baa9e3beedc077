"""What the launcher ``stacked`` does: points composed, run together by store and tracker, told to Hydra one by one."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

from hydra.core.config_loader import ConfigLoader
from hydra.core.utils import JobReturn, JobStatus, configure_log, env_override
from omegaconf import DictConfig, OmegaConf

from kdlab.commands.checking import typed
from kdlab.commands.composing import Composer
from kdlab.commands.grid import key_of
from kdlab.commands.knobs import section_of
from kdlab.commands.planning import Point
from kdlab.errors import UserError
from kdlab.experiments.plan import plan, plan_teacher
from kdlab.experiments.planned import Plan

Ended = Callable[[int, float | Exception | None], object]


def composed(job_overrides: Sequence[Sequence[str]], *, loader: ConfigLoader, kind: str) -> list[Point]:
    """The points of a sweeper that composes nothing itself, every one before the first runs.

    Raises:
        UserError: a point that cannot be composed or is no config of kdlab's.
    """
    composer = Composer(loader)
    return [_point(list(lines), composer, kind=kind) for lines in job_overrides]


def _point(lines: list[str], composer: Composer, *, kind: str) -> Point:
    ours = [line for line in lines if section_of(key_of(line)) != "hydra"]
    cfg, absent = composer.compose(ours, with_hydra=False)
    if absent:
        raise UserError("\n".join(f"no key {key_of(line)} ({line})" for line in absent))
    config = typed(cfg)
    if kind == "teacher":
        taught = plan_teacher(config)
        return Point(tuple(ours), config.study.arm, config, Plan(taught, taught, taught), tuple(lines))
    asked = [line for line in ours if section_of(key_of(line)) != "study"]
    return Point(tuple(ours), config.study.arm, config, plan(config, asked), tuple(lines))


def run_stacked(points: Sequence[Point], *, config: DictConfig, ended: Ended | None, first: int) -> list[JobReturn]:
    """Run points, those of one store and tracker together.

    Args:
        points: in the order in which they are told.
        config: of the sweep, with Hydra's part.
        ended: hears of each point as soon as it is done: its ``optimized_metric`` or its error.
        first: the number of the first of them.

    Returns:
        One for each point. Its ``cfg`` is left out: nothing of kdlab's reads it, and a copy for each point costs.
    """
    from kdlab.commands.jobs import open_lab
    from kdlab.experiments.stacks import run_points

    configure_log(config.hydra.job_logging, config.hydra.verbose)
    returned: list[JobReturn | None] = [None] * len(points)

    def tell(at: int, outcome: Any) -> None:
        returned[at] = _returned(points[at], outcome, number=first + at)
        if ended is not None:
            ended(at, returned[at]._return_value)  # type: ignore[union-attr]

    labs: dict[tuple[str, str], list[int]] = {}
    for at, point in enumerate(points):
        labs.setdefault((point.config.store.root, point.config.tracker.model_dump_json()), []).append(at)
    with env_override(_environment(config)):
        for mine in labs.values():
            lab = open_lab(points[mine[0]].config)
            run_points([points[at].plan for at in mine], lab, tell=partial(_tell_of, mine, tell))
    assert all(one is not None for one in returned)
    return [one for one in returned if one is not None]


def _tell_of(places: Sequence[int], tell: Callable[[int, Any], object], at: int, outcome: Any) -> None:
    """Tell of the point at a place among those of one lab."""
    tell(places[at], outcome)


def _environment(config: DictConfig) -> dict[str, str]:
    """What ``hydra.job.env_set`` sets while jobs run."""
    found = OmegaConf.to_container(config.hydra.job.env_set, resolve=True)
    return {str(name): str(value) for name, value in found.items()} if isinstance(found, Mapping) else {}


def _returned(point: Point, outcome: Any, *, number: int) -> JobReturn:
    told = JobReturn()
    told.overrides, told.task_name = list(point.launch), str(number)
    if isinstance(outcome, Exception):
        told.status, told.return_value = JobStatus.FAILED, outcome
    else:
        told.status, told.return_value = JobStatus.COMPLETED, outcome.metrics.get(point.config.optimized_metric)
    return told
