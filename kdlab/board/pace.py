"""When a study will be through, from the times of its files: nobody tells the board when a sweep began."""

import math
from collections.abc import Sequence
from typing import NamedTuple

from kdlab.board.runs import Run
from kdlab.records.ongoing import seconds_left

PAUSE_SECONDS = 60.0
"""A sweep that did nothing for longer was ended and started again: what it did before tells nothing of its pace."""


class Sitting(NamedTuple):
    """What goes on without a pause until now.

    Args:
        began: when the first of its runs was begun.
        ends: when its runs ended, in order.
    """

    began: float
    ends: list[float]


def sitting(runs: Sequence[Run]) -> Sitting | None:
    """The runs that ended since the last pause, and those that go on; None where none goes on."""
    began = min((run.begun for run in runs if run.state == "running" and run.begun is not None), default=None)
    if began is None:
        return None
    spans = [(run.ended, run.begun) for run in runs if run.ended is not None and run.begun is not None]
    ends = []
    for ended, begun in sorted(spans, reverse=True):
        if ended < began - PAUSE_SECONDS:
            break
        began = min(began, begun)
        ends.append(ended)
    return Sitting(began, ends[::-1])


def expected_end(runs: Sequence[Run], now: float) -> float | None:
    """When the last of these runs will have ended at the pace of this sitting, in seconds since 1970.

    Every run counts alike, one that trains by the share of its steps that is done. What stopped or failed before this
    sitting counts as still to do: the command that goes on runs it again.
    """
    found = sitting(runs)
    if found is None:
        return None
    running = [run for run in runs if run.state == "running"]
    before = sum(run.state in ("finished", "failed") for run in runs) - len(found.ends)
    failed = sum(run.state == "failed" and (run.ended is None or run.ended < found.began) for run in runs)
    total = len(runs) - before + failed
    parts = sum(min(run.step / run.steps, 1.0) for run in running if run.steps)
    left = seconds_left(
        passed=max(now - found.began, 0.0),
        trained=(len(found.ends) + parts) / total,
        ended=len(found.ends),
        total=total,
        ends=found.ends,
    )
    return now + left if math.isfinite(left) else None
