"""Running the points of a planned sweep: what is said before, after each, and at the end."""

import time
from collections.abc import Sequence
from typing import Any

from hydra.core.utils import JobStatus
from hydra.plugins.launcher import Launcher

from kdlab.commands.planning import Planning, Point
from kdlab.errors import UserError
from kdlab.experiments.lab import Lab, say

BASIC_LAUNCHER = "hydra._internal.core_plugins.basic_launcher.BasicLauncher"
SHOWN_FAILURES = 6


class SweepFailedError(UserError):
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


def launch(todo: Sequence[Point], launcher: Launcher, *, planning: Planning) -> list[Any]:
    """Launch the points: one by one where the launcher works one by one, so that each is reported as it ends.

    Under a launcher that works in parallel each job says by itself how it ended (``jobs.py``).
    """
    lists = [list(point.launch) for point in todo]
    kind = type(launcher)
    if f"{kind.__module__}.{kind.__name__}" != BASIC_LAUNCHER:
        return list(launcher.launch(lists, initial_job_idx=0)) if lists else []
    results: list[Any] = []
    labels = _labels(todo, planning)
    started = time.monotonic()
    for at, overrides in enumerate(lists):
        results += launcher.launch([overrides], initial_job_idx=at)
        seconds = (time.monotonic() - started) / (at + 1) * (len(lists) - at - 1)
        left = f", about {duration(seconds)} left" if at + 1 < len(lists) else ""
        say(f"[{at + 1}/{len(lists)}] {labels[at]}: {_outcome(todo[at], results[-1])}{left}")
    return results


def sum_up(name: str, planning: Planning, todo: Sequence[Point], results: Sequence[Any], *, lab: Lab) -> None:
    """Say how it ended.

    Raises:
        SweepFailedError: with the first failures, when points failed.
    """
    ended = zip(_labels(todo, planning), todo, results, strict=True)
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


def _labels(todo: Sequence[Point], planning: Planning) -> list[str]:
    """What tells points apart: the arm, and the overrides that not all points of that arm share."""
    of_arm: dict[str | None, list[set[str]]] = {}
    for point in planning.points:
        of_arm.setdefault(point.arm, []).append(set(point.overrides))
    alone = len(planning.points) == 1
    shared = {arm: set() if alone else set.intersection(*points) for arm, points in of_arm.items()}
    words = [[point.arm, *(line for line in point.overrides if line not in shared[point.arm])] for point in todo]
    return [" ".join(word for word in of_point if word) or "defaults" for of_point in words]


def _outcome(point: Point, result: Any) -> str:
    if result.status is not JobStatus.COMPLETED:
        return f"FAILED: {first_line(result._return_value)}"
    value = result._return_value
    return f"{point.config.optimized_metric} {value:.4f}" if isinstance(value, float) else "done"


def first_line(error: BaseException) -> str:
    """An error in one line."""
    lines = str(error).splitlines() or [""]
    return lines[0] if isinstance(error, UserError) else f"{type(error).__name__}: {lines[0]}"


def counted(number: int, word: str) -> str:
    """``1 point``, ``2 points``."""
    return f"{number} {word}" + ("" if number == 1 else "s")


def duration(seconds: float) -> str:
    """Seconds as people say them."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
