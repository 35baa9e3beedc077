"""Was anybody else at work? The processor time of this process's tree against that of the whole machine.

A measurement beside other load is discarded and taken again; after ``TRIES`` of them the last one is kept and says so,
and the rest of that figure is taken once.
Where the system does not tell (no ``/proc``), nothing is discarded and the load is unknown, not zero.
"""

import ctypes
import os
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

PROC = Path("/proc")
QUIET = 0.10
"""Cores that others may keep busy while we measure: what an idle system needs, and the grain of the clock."""
TRIES, PAUSE = 4, 5.0
_SUBREAPER = 36  # PR_SET_CHILD_SUBREAPER: a service left behind by a child stays in our tree, and in our account


def tick() -> int:
    """Clock ticks per second of the times in ``/proc``."""
    return os.sysconf("SC_CLK_TCK")


def busy_seconds(text: str) -> float:
    """Processor seconds of the whole machine, from ``/proc/stat``: all but idle and waiting; stolen time is busy.

    >>> busy_seconds("cpu  100 20 30 900 50 1 2 47 0 0") * tick()
    200.0
    """
    user, nice, system, _, _, irq, softirq, steal = (int(word) for word in text.split()[1:9])
    return (user + nice + system + irq + softirq + steal) / tick()


def process_times(text: str) -> tuple[int, float]:
    """Parent and processor seconds of one process and of the children it has waited for, from ``/proc/PID/stat``.

    The name, in brackets, may hold blanks and brackets itself.

    >>> process_times("7 (a) b) S 3 1 1 0 -1 0 0 0 0 0 10 20 30 40 20")[0]
    3
    """
    words = text[text.rindex(")") + 2 :].split()
    return int(words[1]), sum(int(word) for word in words[11:15]) / tick()


def tree_seconds(root: int) -> float:
    """Processor seconds of a process, its living descendants and all that these have waited for."""
    parents: dict[int, int] = {}
    spent: dict[int, float] = {}
    for folder in PROC.iterdir():
        if folder.name.isdigit():
            try:
                parents[int(folder.name)], spent[int(folder.name)] = process_times((folder / "stat").read_text())
            except (FileNotFoundError, ProcessLookupError):  # it has just ended
                continue
    total = 0.0
    for one in spent:
        above = one
        while above != root and above in parents:
            above = parents[above]
        total += spent[one] if above == root else 0.0
    return total


def adopt_orphans() -> None:
    """Keep services that a child leaves behind (the tracker's) in our tree; without this they would be others."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_SUBREAPER, 1, 0, 0, 0)


def others(action: Callable[[], Any]) -> tuple[Any, float | None]:
    """What ``action`` gives, and how many cores others kept busy meanwhile; None where the system does not tell."""
    if not (PROC / "stat").exists():
        return action(), None
    started, busy, ours = time.monotonic(), _busy(), tree_seconds(os.getpid())
    result = action()
    seconds = time.monotonic() - started
    foreign = (_busy() - busy) - (tree_seconds(os.getpid()) - ours)
    grain = 4 / tick()  # each of the four readings is cut to whole ticks
    return result, max(foreign - grain, 0.0) / max(seconds, 1e-9)


def _busy() -> float:
    with (PROC / "stat").open() as file:
        return busy_seconds(file.readline())


@dataclass
class Watch:
    """Measures with an eye on the machine.

    Args:
        quiet: cores that others may keep busy.
        tries: how often a disturbed measurement is taken, the last one kept.
        pause: seconds to wait after a disturbed one.
    """

    quiet: float = QUIET
    tries: int = field(default_factory=lambda: TRIES)
    pause: float = field(default_factory=lambda: PAUSE)
    loads: list[float | None] = field(default_factory=list)
    discarded: int = 0
    loaded: bool = False

    def measure(self, action: Callable[[], Any]) -> Any:
        """What ``action`` gives in the first quiet try; the last one where none was."""
        tries = 1 if self.loaded else self.tries  # one that stayed disturbed says what the machine is like
        for left in reversed(range(tries)):
            result, foreign = others(action)
            if foreign is None or foreign <= self.quiet or left == 0:
                break
            self.discarded += 1
            print(f"    discarded: others kept {foreign:.2f} cores busy", flush=True)
            time.sleep(self.pause)
        self.loads.append(foreign)
        self.loaded = self.loaded or (foreign is not None and foreign > self.quiet)
        return result

    def pairs(self, first: Callable[[], Any], second: Callable[[], Any], *, repeats: int) -> list[tuple[Any, Any]]:
        """Both in turn, ``repeats`` times; a pair is kept or discarded as a whole."""
        return [self.measure(lambda: (first(), second())) for _ in range(repeats)]

    @property
    def load(self) -> float | None:
        """The most that others kept busy during what was kept."""
        known = [one for one in self.loads if one is not None]
        return max(known) if known else None


class Spread(NamedTuple):
    """A median and the least and largest value it is the median of."""

    median: float
    low: float
    high: float
    repeats: int


def spread(values: Sequence[float]) -> Spread:
    """Of at least one finite number."""
    return Spread(statistics.median(values), min(values), max(values), len(values))


def ratios(pairs: Sequence[tuple[float, float]]) -> Spread:
    """First over second, pair by pair."""
    return spread([first / second for first, second in pairs])
