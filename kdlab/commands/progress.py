"""The progress of a sweep, whatever launches its points: a thread that looks at the store and draws what it finds.

Points may run in this process, in worker processes or on other machines; what they share is the store. A run has ended
when its ``record.json`` was written since the sweep began, it goes on when its folder was begun or its
``history.jsonl`` grew since then. On a terminal that is drawn below the lines of the ended points: one line for the
sweep, one for each running network. Elsewhere there are the lines of the ended points alone.
"""

import math
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kdlab.commands.planning import Point
from kdlab.commands.wording import duration, first_line
from kdlab.errors import UserError
from kdlab.experiments.planned import PlannedRun
from kdlab.records.ongoing import Signature, last_values, seconds_left, signature
from kdlab.records.store import CONFIG, HISTORY, RECORD, Store, read_record
from kdlab.saying import say

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.live import Live

LOOK_EVERY_SECONDS = 0.5
MOST_RUNNING = 8


@dataclass
class Watched:
    """One network that the sweep needs.

    Args:
        planned: what it is.
        steps: optimizer steps of its training; 0 for one that is not trained.
        label: what it is called.
        before: its record, config and history as they were when the sweep began.
        step: the last step that its history tells.
        accuracy: the last validation accuracy that its history tells.
    """

    planned: PlannedRun
    steps: int
    label: str
    before: dict[str, Signature]
    step: int = 0
    accuracy: float | None = None
    running: bool = False
    ended: bool = False
    done_before: bool = False


@dataclass
class Progress:
    """What is known of a sweep while it goes on.

    Args:
        name: the study.
        todo: its points that run.
        labels: what they are called.
        store: where they leave what they do.
        tells_ends: whether the ends of points are told from the store; False where the launcher's caller tells them.
    """

    name: str
    todo: Sequence[Point]
    labels: Sequence[str]
    store: Store
    tells_ends: bool
    started: float = field(default_factory=time.monotonic)
    told: dict[int, bool] = field(default_factory=dict)
    ends: list[float] = field(default_factory=list)
    looked: float = 0.0
    watched: dict[str, Watched] = field(default_factory=dict)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def __post_init__(self) -> None:
        for point, label in zip(self.todo, self.labels, strict=True):
            for planned in point.plan.runs():
                if planned.run_id not in self.watched:
                    mine = f" {label}" if planned is point.plan.run else f" seed={planned.seeds.get('teacher')}"
                    self.watched[planned.run_id] = self._watched(planned, f"{planned.role}{mine}")

    def _watched(self, planned: PlannedRun, label: str) -> Watched:
        folder = self.store.folder(planned.run_id)
        before = {name: signature(folder / name) for name in (RECORD, CONFIG, HISTORY)}
        found = Watched(planned, steps_of(planned), label, before)
        found.ended = found.done_before = before[RECORD] is not None and _finished(folder)
        return found

    # --- what the store tells -----------------------------------------------------------------------------------------

    def look(self) -> None:
        """Look at the store once."""
        self.looked = time.monotonic()
        for watched in self.watched.values():
            if not watched.ended or watched.running or watched.planned.config.force:
                self._look_at(watched)
        if self.tells_ends:
            for at, point in enumerate(self.todo):
                if at not in self.told and self._was_written(point.plan.run):
                    self._tell_from_record(at, point)

    def _look_at(self, watched: Watched) -> None:
        folder = self.store.folder(watched.planned.run_id)
        if signature(folder / RECORD) is not None:
            watched.running = False
            watched.ended = self._was_written(watched.planned) or watched.ended
            return
        now = {name: signature(folder / name) for name in (CONFIG, HISTORY)}
        watched.running = any(found is not None and found != watched.before[name] for name, found in now.items())
        if watched.running:
            watched.ended = False
            watched.step, watched.accuracy = last_values(folder / HISTORY, watched.step, watched.accuracy)

    def _was_written(self, planned: PlannedRun) -> bool:
        found = signature(self.store.folder(planned.run_id) / RECORD)
        return found is not None and found != self.watched[planned.run_id].before[RECORD]

    def _tell_from_record(self, at: int, point: Point) -> None:
        record = read_record(self.store.folder(point.plan.run.run_id))
        if record is None:  # begun again meanwhile
            return
        if record.status == "finished":
            self.tell(at, record.metrics.get(point.config.optimized_metric))
            return
        error = record.error or {}
        message = (str(error.get("message", "")).splitlines() or [""])[0]
        kind = str(error.get("type"))
        self.tell(at, UserError(message if kind in _OURS else f"{kind}: {message}"))

    # --- what is said -------------------------------------------------------------------------------------------------

    def tell(self, at: int, value: float | BaseException | None) -> None:
        """Say how a point ended, once: its ``optimized_metric``, or what went wrong."""
        with self.lock:
            if at in self.told:
                return
            failed = isinstance(value, BaseException)
            self.told[at] = not failed
            self.ends.append(time.monotonic())
            if not self.tells_ends and time.monotonic() - self.looked > LOOK_EVERY_SECONDS:
                self.look()  # without a display nobody else does, and a stack trains long before its first point ends
            left = len(self.todo) - len(self.told)
            if isinstance(value, BaseException):
                outcome = f"FAILED: {first_line(value)}"
            else:
                outcome = "done" if value is None else f"{self.todo[at].config.optimized_metric} {value:.4f}"
            seconds = self.seconds_left()
            ending = f", about {duration(seconds)} left" if left and math.isfinite(seconds) else ""
            say(f"[{len(self.told)}/{len(self.todo)}] {self.labels[at]}: {outcome}{ending}")

    def seconds_left(self) -> float:
        """How long the rest takes at the pace so far."""
        ours = [watched for watched in self.watched.values() if not watched.done_before]
        total = sum(watched.steps for watched in ours)
        done = sum(watched.steps if watched.ended else watched.step for watched in ours)
        return seconds_left(
            passed=time.monotonic() - self.started,
            trained=done / total if total else 0.0,
            ended=len(self.told),
            total=len(self.todo),
            ends=self.ends,
        )

    def render(self) -> "RenderableType":
        """One line for the sweep, one for each running network."""
        from rich.console import Group
        from rich.table import Table
        from rich.text import Text

        failed = sum(not fine for fine in self.told.values())
        left = self.seconds_left()
        clock = time.strftime("%H:%M", time.localtime(time.time() + left)) if left < 360_000 else "..."
        parts = [f"{len(self.told) - failed} of {len(self.todo)} done", f"{failed} failed", f"ends about {clock}"]
        grid = Table.grid(padding=(0, 1))
        for _ in range(4):
            grid.add_column(no_wrap=True, overflow="ellipsis")
        running = [watched for watched in self.watched.values() if watched.running]
        for watched in running[:MOST_RUNNING]:
            grid.add_row(*_running_row(watched))
        lines: list[Any] = [Text(f"study {self.name}: {', '.join(parts)}", style="bold", no_wrap=True), grid]
        if len(running) > MOST_RUNNING:
            lines.append(Text(f"  ... and {len(running) - MOST_RUNNING} more"))
        return Group(*lines)


_OURS = ("UserError", "ConfigError")


def _running_row(watched: Watched) -> list[Any]:
    from rich.progress_bar import ProgressBar

    if not watched.steps:
        return [f"  {watched.label[:48]}", "", "measuring", ""]
    accuracy = "" if watched.accuracy is None else f"validation {watched.accuracy:.3f}"
    bar = ProgressBar(total=watched.steps, completed=watched.step, width=20)
    at = "measuring" if watched.step >= watched.steps else f"{watched.step}/{watched.steps}"
    return [f"  {watched.label[:48]}", bar, at, accuracy]


def steps_of(planned: PlannedRun) -> int:
    """The optimizer steps of a planned run; 0 where nothing is trained (a control, a transformation, a checkpoint)."""
    return int((planned.identity_config.get("training") or {}).get("steps", 0))


def _finished(folder: Path) -> bool:
    record = read_record(folder)
    return record is not None and record.status == "finished"


def draws(stream: Any, *, wanted: bool) -> bool:
    """Whether live lines are drawn on a stream: a terminal that can move its cursor, and nobody switched them off."""
    return wanted and bool(stream.isatty()) and os.environ.get("TERM", "") not in ("dumb", "unknown")


@contextmanager
def watching(progress: Progress, *, wanted: bool) -> Iterator[None]:
    """Watch a sweep while its points run inside.

    What goes wrong here never fails the sweep; it is told when the sweep has ended.

    Args:
        progress: the sweep.
        wanted: ``trainer.progress``.
    """
    from kdlab.training.callbacks import WATCHED

    live = _live(progress) if draws(sys.stderr, wanted=wanted) else None
    watcher = _Watcher(progress, live)
    outside = os.environ.get(WATCHED)
    # Workers inherit it: they draw and tell nothing themselves.
    os.environ[WATCHED] = f"{os.getpid()} {'draws' if live is not None else 'tells'}"
    watcher.start()
    try:
        yield
    finally:
        watcher.end()
        if outside is None:
            os.environ.pop(WATCHED, None)
        else:
            os.environ[WATCHED] = outside
        if watcher.error is not None:
            say(f"note: the progress display stopped early ({first_line(watcher.error)}); the sweep was not affected")


def _live(progress: Progress) -> "Live":
    from rich.console import Console
    from rich.live import Live

    console = Console(stderr=True, highlight=False, soft_wrap=False)
    return Live(
        console=console,
        auto_refresh=False,
        transient=True,
        get_renderable=progress.render,
        redirect_stdout=sys.stdout.isatty(),  # into a file or a pipe it goes as it is
        redirect_stderr=True,
    )


class _Watcher(threading.Thread):
    """Looks at the store every half second, and draws where there is something to draw on."""

    def __init__(self, progress: Progress, live: "Live | None") -> None:
        super().__init__(name="kdlab-progress", daemon=True)
        self.progress, self.live = progress, live
        self.error: Exception | None = None
        self._over = threading.Event()

    def start(self) -> None:
        """Begin; the display first, so that what is said from now on is said above it."""
        self._try(lambda: self.live.start() if self.live is not None else None)
        if self.live is not None or self.progress.tells_ends:
            super().start()

    def run(self) -> None:
        """Until the sweep is over, or something goes wrong here."""
        while self.error is None and not self._over.wait(LOOK_EVERY_SECONDS):
            self._try(self._once)

    def _once(self) -> None:
        self.progress.look()
        if self.live is not None:
            self.live.refresh()

    def end(self) -> None:
        """A last look, and the terminal as it was."""
        self._over.set()
        if self.is_alive():
            self.join()
        if self.error is None and self.progress.tells_ends:
            self._try(self.progress.look)
        if self.live is not None:
            self._try(self.live.stop)

    def _try(self, action: Callable[[], object]) -> None:
        try:
            action()
        except Exception as error:  # told at the end: a display must not fail a sweep
            self.error = self.error or error


def is_watched() -> bool:
    """Whether a sweep watches this job and tells its end: then the job itself draws and tells nothing."""
    from kdlab.training.callbacks import WATCHED

    return WATCHED in os.environ


def is_drawn_elsewhere() -> bool:
    """Whether another process draws this job's progress: a line said here would fall into what that one draws."""
    from kdlab.training.callbacks import WATCHED

    pid, _, how = os.environ.get(WATCHED, "").partition(" ")
    return how == "draws" and pid != str(os.getpid())
