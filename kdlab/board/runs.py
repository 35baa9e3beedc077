"""How runs stand, told from their folders alone: looked at every few seconds, read only where something changed.

A run is *finished* or *failed* when its record says so. Without a record it is *waiting* (nobody began it), *running*,
or *stopped*: begun, and whoever made it is gone. Whoever makes a run holds its lock, and a process that is killed lets
go of it, so the lock tells running from stopped at once: for a run by itself, for the members of a stack (all their
locks are held until the last of them is measured), for the worker processes of joblib, and for other machines where the
file system of the store carries locks between machines. Where it does not, the lock of a run that goes on elsewhere
looks free; such a run betrays itself by growing while nobody holds it, and is then running until it has been quiet for
``QUIET_SECONDS``. Nothing is ever written. A lock is held for the microseconds of asking, and only that of a run that
was begun and has no record.
"""

import os
import re
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple

import yaml

from kdlab.errors import UserError
from kdlab.records.ongoing import Signature, last_values, signature
from kdlab.records.store import CONFIG, HISTORY, PULLED, RECORD, is_held, read_record

State = Literal["waiting", "running", "stopped", "failed", "finished"]
STATES: tuple[State, ...] = ("finished", "running", "waiting", "stopped", "failed")
QUIET_SECONDS = 120.0
_HEAD_BYTES = 1024
_STATUS = re.compile(rb'\A\{\s*"run_id": "[0-9a-f]+",\s*"identity": "[0-9a-f]+",\s*"status": "(finished|failed)",')


class Run(NamedTuple):
    """How a run stands.

    Args:
        state: one of ``STATES``.
        begun: when it was begun, in seconds since 1970; None where it was not, or elsewhere.
        ended: when its record was written.
        active: when it last wrote something.
        step: the last step that its history tells, while it has no record.
        steps: the optimizer steps of its training; 0 where nothing is trained.
        accuracy: the last validation accuracy of its history, while it has no record.
        pulled: whether its record came from another machine.
        problem: what is wrong with its record, where that cannot be read.
    """

    state: State
    begun: float | None = None
    ended: float | None = None
    active: float | None = None
    step: int = 0
    steps: int = 0
    accuracy: float | None = None
    pulled: bool = False
    problem: str | None = None


WAITING = Run("waiting")


@dataclass
class _Seen:
    """What the last look found: the stamps it was read from, and how often in a row they were the same."""

    run: Run
    stamp: int
    again: bool = False
    written: tuple[Signature, Signature] = (None, None)
    steps: int = 0
    free: bool = False
    grew: float | None = None


class Runs:
    """The runs of a store, as they stood at the last look.

    Args:
        root: the store.
        clock: seconds that never go back.
    """

    def __init__(self, root: Path, *, clock: Callable[[], float] = time.monotonic) -> None:
        self.root = root
        self._clock = clock
        self._seen: dict[str, _Seen] = {}
        self._pulled: frozenset[str] = frozenset()

    def __getitem__(self, run_id: str) -> Run:
        """How a run stood; one nobody has seen is waiting."""
        seen = self._seen.get(run_id)
        return WAITING if seen is None else seen.run

    def look(self, roles: Mapping[str, str]) -> set[str]:
        """Look at these runs (run id -> role), and at no others.

        The folder of a run tells whether anything in it was made anew; that is all that is asked of an ended run. Its
        time may be as coarse as ten milliseconds, so a folder counts as unchanged from the second look on.

        Returns:
            The names of everything that lies in the store.
        """
        present = _names(self.root)
        self._pulled = frozenset(_names(self.root / PULLED)) if PULLED in present else frozenset()
        for run_id, role in roles.items():
            if run_id not in present and run_id not in self._pulled:
                self._seen.pop(run_id, None)
                continue
            self._look_at(run_id, role)
        for gone in self._seen.keys() - roles.keys():
            del self._seen[gone]
        return present

    def _look_at(self, run_id: str, role: str) -> None:
        stamp = self._stamp(run_id)
        seen = self._seen.get(run_id)
        if seen is not None and seen.stamp == stamp and seen.run.ended is not None:
            if seen.again:
                return
            again = True
        else:
            again = False
        found = self._ended(run_id)
        if found is not None:
            self._seen[run_id] = _Seen(found, stamp, again)
        elif (self.root / run_id / CONFIG).exists():
            self._seen[run_id] = self._open(run_id, role, seen, stamp)
        else:  # a folder that is being made
            self._seen[run_id] = _Seen(WAITING, stamp)

    def _stamp(self, run_id: str) -> int:
        for folder in (f"{self.root}/{run_id}", f"{self.root}/{PULLED}/{run_id}"):
            try:
                return os.stat(folder).st_mtime_ns  # noqa: PTH116 - ten thousand of them every two seconds
            except OSError:
                continue
        return 0

    def _ended(self, run_id: str) -> Run | None:
        """A run with a record, its own or one that was pulled."""
        for folder in (self.root / run_id, self.root / PULLED / run_id):
            written = signature(folder / RECORD)
            if written is None:
                if (folder / CONFIG).exists():
                    return None  # it goes on here, whatever was pulled
                continue
            begun, ended = signature(folder / CONFIG), written[0] / 1e9
            state, problem = _status(folder)
            pulled = folder.parent.name == PULLED
            return Run(state, begun and begun[0] / 1e9, ended, ended, pulled=pulled, problem=problem)
        return None

    def _open(self, run_id: str, role: str, seen: _Seen | None, stamp: int) -> _Seen:
        """A run that was begun and has no record."""
        folder = self.root / run_id
        written = signature(folder / CONFIG), signature(folder / HISTORY)
        before = seen if seen is not None and seen.written[0] == written[0] else None
        steps = before.steps if before is not None else steps_of(folder / CONFIG, role)
        step, accuracy = (before.run.step, before.run.accuracy) if before is not None else (0, None)
        if before is None or before.written != written:
            step, accuracy = last_values(folder / HISTORY, step, accuracy)
        active = max((found[0] / 1e9 for found in written if found is not None), default=None)
        held = is_held(self.root, run_id)
        grew = before.grew if before is not None else None
        if held:
            grew = None
        elif before is not None and before.free and before.written != written:
            grew = self._clock()
        if held is None:  # the store cannot be asked (it may be read only): what was written lately is going on
            running = active is not None and time.time() - active < QUIET_SECONDS
        else:
            running = held or (grew is not None and self._clock() - grew < QUIET_SECONDS)
        begun = written[0] and written[0][0] / 1e9
        run = Run("running" if running else "stopped", begun, None, active, step, steps, accuracy)
        return _Seen(run, stamp, written=written, steps=steps, free=not held, grew=grew)


def _names(folder: Path) -> set[str]:
    try:
        with os.scandir(folder) as entries:
            return {entry.name for entry in entries}
    except (FileNotFoundError, NotADirectoryError):
        return set()


def _status(folder: Path) -> tuple[State, str | None]:
    """The status of a record and what is wrong with it; from its first lines where these tell.

    ``Store.write`` puts the status third, so the thirty thousand bytes behind it are read when somebody asks for them.
    """
    try:
        with (folder / RECORD).open("rb") as file:
            found = _STATUS.match(file.read(_HEAD_BYTES))
        if found is not None:
            return ("finished" if found[1] == b"finished" else "failed"), None
        record = read_record(folder)
    except (UserError, OSError) as error:
        return "failed", str(error)
    return ("waiting" if record is None else record.status), None


def steps_of(path: Path, role: str) -> int:
    """The optimizer steps of a run, from its config; 0 where that does not tell, or where nothing is trained."""
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    try:
        config = yaml.load(path.read_bytes(), Loader=loader)
    except (OSError, yaml.YAMLError):
        return 0
    teacher = _part(config, "teacher")
    learns_as_student = role != "teacher" or teacher.get("assistants") or (teacher.get("generations") or 0) > 1
    steps = _part(config, "training").get("steps") if learns_as_student else _teacher_steps(teacher)
    return steps if isinstance(steps, int) else 0


def _teacher_steps(teacher: Mapping[str, Any]) -> Any:
    quality = _part(teacher, "quality")
    ensemble = _part(teacher, "ensemble")
    changed = (
        (ensemble.get("count") or 1) > 1
        or ensemble.get("members")
        or any(quality.get(part) for part in ("weights", "outputs", "control"))
    )
    if changed or quality.get("trained") is False or teacher.get("checkpoint"):
        return 0
    return _part(quality, "training").get("steps", _part(teacher, "training").get("steps"))


def _part(node: Any, name: str) -> Mapping[str, Any]:
    found = node.get(name) if isinstance(node, Mapping) else None
    return found if isinstance(found, Mapping) else {}


def counted(runs: Iterable[Run]) -> dict[str, int]:
    """How many there are in each state."""
    counts: dict[str, int] = dict.fromkeys(STATES, 0)
    for run in runs:
        counts[run.state] += 1
    return counts
