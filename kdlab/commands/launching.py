"""Running the points of a planned sweep: what is said before, after each, and at the end."""

from collections.abc import Callable, Sequence
from typing import Any

from hydra.core.utils import JobReturn, JobStatus
from hydra.plugins.launcher import Launcher

from kdlab.commands.planning import Planning, Point
from kdlab.commands.progress import Progress, watching
from kdlab.commands.wording import counted, first_line
from kdlab.errors import WorkFailedError
from kdlab.experiments.lab import Lab, say
from kdlab.records.store import Store

BASIC_LAUNCHER = "hydra._internal.core_plugins.basic_launcher.BasicLauncher"
STACKED_LAUNCHER = "hydra_plugins.kdlab_study.stacked.StackedLauncher"
SHOWN_FAILURES = 6


class SweepFailedError(WorkFailedError):
    """Some points of a sweep failed; the others are finished and recorded."""


def announce(name: str, planning: Planning, todo: Sequence[Point]) -> None:
    """Say what was dropped, how much there is and how much is left to do."""
    for key, count in planning.dropped.items():
        say(f"note: {counted(count, 'point')} of {len(planning.points)} do not read {key}; it was dropped there")
    runs = {planned.run_id: planned for point in planning.points for planned in point.plan.runs()}

    def of(role: str, word: str) -> str:
        return counted(sum(planned.role == role for planned in runs.values()), word)

    parts = [of("student", "student"), of("scratch", "scratch twin"), of("teacher", "teacher")]
    done = len({point.plan.run.run_id for point in planning.points}) - len(todo)
    say(
        f"study {name}: {counted(len(planning.points), 'point')} = {', '.join(parts)}; "
        f"{len(todo)} to run, {done} finished before"
    )


def launch(
    todo: Sequence[Point], launcher: Launcher, *, name: str, planning: Planning, store: Store
) -> list[JobReturn]:
    """Launch the points, and tell how each ended: from what it returned where the launcher works in this process, from
    the store where it works in others.
    """
    if not todo:
        return []
    one_by_one = is_basic(launcher)
    together = launches_points(launcher)
    tells_ends = not one_by_one and together is None
    progress = Progress(name, todo, labels_of(todo, planning), store, tells_ends=tells_ends)
    results: list[JobReturn] = []
    with watching(progress, wanted=todo[0].config.trainer.progress):
        if together is not None:
            results += together(todo, initial_job_idx=0, ended=progress.tell)
        elif one_by_one:
            for at, point in enumerate(todo):
                results += launcher.launch([list(point.launch)], initial_job_idx=at)
                progress.tell(at, outcome_of(results[-1]))
        else:
            results += launcher.launch([list(point.launch) for point in todo], initial_job_idx=0)
    for at, result in enumerate(results):  # what no record told: points that failed before their own run began
        progress.tell(at, outcome_of(result))
    return results


def is_basic(launcher: Launcher) -> bool:
    """Whether a launcher runs its jobs here, one after the other."""
    kind = type(launcher)
    return f"{kind.__module__}.{kind.__name__}" == BASIC_LAUNCHER


def launches_points(launcher: Launcher) -> Callable[..., Sequence[JobReturn]] | None:
    """How a launcher of ours takes points that are composed already; None for any other."""
    found: Callable[..., Sequence[JobReturn]] | None = getattr(launcher, "launch_points", None)
    return found


def outcome_of(result: JobReturn) -> float | BaseException | None:
    """What a job returned or raised."""
    value = result._return_value
    return value if isinstance(value, float | BaseException) else None


def sum_up(name: str, planning: Planning, todo: Sequence[Point], results: Sequence[Any], *, lab: Lab) -> None:
    """Say how it ended.

    Raises:
        SweepFailedError: with the first failures, when points failed.
    """
    ended = zip(labels_of(todo, planning), todo, results, strict=True)
    failed = [
        f"  {label}: {first_line(result._return_value)} ({lab.store.root.name}/{point.plan.run.run_id}/log.txt)"
        for label, point, result in ended
        if result.status is not JobStatus.COMPLETED
    ]
    if not failed:
        total = len({point.plan.run.run_id for point in planning.points})
        finished = f"all {total} runs are finished" if total > 1 else "the run is finished"
        say(f"study {name}: {finished}; kdlab report {name} makes its tables and figures")
        return
    rest = "; the others are finished and recorded" if len(failed) < len(todo) else ""
    lines = [f"{len(failed)} of {counted(len(todo), 'point')} failed{rest}", *failed[:SHOWN_FAILURES]]
    lines += [f"  ... and {len(failed) - SHOWN_FAILURES} more"] if len(failed) > SHOWN_FAILURES else []
    raise SweepFailedError("\n".join([*lines, "the same command runs what is missing"]))


def labels_of(todo: Sequence[Point], planning: Planning) -> list[str]:
    """What tells points apart: the arm, and the overrides that not all points of that arm share."""
    of_arm: dict[str | None, list[set[str]]] = {}
    for point in planning.points:
        of_arm.setdefault(point.arm, []).append(set(point.overrides))
    alone = len(planning.points) == 1
    shared = {arm: set() if alone else set.intersection(*points) for arm, points in of_arm.items()}
    words = [[point.arm, *(line for line in point.overrides if line not in shared[point.arm])] for point in todo]
    return [" ".join(word for word in of_point if word) or "defaults" for of_point in words]
