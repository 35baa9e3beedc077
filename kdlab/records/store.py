"""The run store: one folder per identity, found, locked, begun and finished, never seen half-written.

``<root>/<run_id>/`` holds what one run left, ``<root>/locks/`` one lock file per run, ``<root>/studies/`` the lists of
members, ``<root>/wandb/`` the mirror, ``<root>/pulled/`` the records of runs that were made elsewhere. A run is
finished when its ``record.json`` says so: that file is written last and atomically, so a process killed at any moment
leaves a run that is either finished or trained again.
"""

import dataclasses
import errno
import json
import math
import os
import re
import shutil
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

import yaml
from filelock import FileLock, Timeout

from kdlab.errors import UserError, nearest
from kdlab.records.atomic import write_text
from kdlab.records.identity import RUN_ID_LENGTH
from kdlab.records.parsing import parse_json
from kdlab.records.record import RunRecord

RECORD, CONFIG, CHECKPOINT, HISTORY = "record.json", "config.yaml", "checkpoint.ckpt", "history.jsonl"
PULLED = "pulled"
_RUN_ID = re.compile(rf"[0-9a-f]{{{RUN_ID_LENGTH}}}")


def read_record(folder: Path) -> RunRecord | None:
    """The record in a run folder, None where there is none (planned, running or killed).

    Raises:
        UserError: a ``record.json`` is there and is not a record that this kdlab reads.
    """
    path = folder / RECORD
    try:
        return RunRecord.from_json(parse_json(path.read_bytes()))
    except FileNotFoundError:
        return None
    except (ValueError, AttributeError, NotADirectoryError) as error:
        raise UserError(f"{path} is not a record: {error}; move the folder away and run it again") from error


@contextmanager
def locked(root: Path, name: str, *, say: Callable[[str], object] = print) -> Iterator[None]:
    """Hold the lock ``name`` of the store at ``root``: one process at a time; a killed one lets go.

    Args:
        root: the store.
        name: what is locked, a run id or ``studies/NAME``.
        say: gets one line when another process holds the lock.
    """
    path = _lock_path(root, name)
    path.parent.mkdir(parents=True, exist_ok=True)
    lock = FileLock(path)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        say(f"waiting for another process that holds {name}")
        lock.acquire(timeout=-1, poll_interval=0.1)
    try:
        yield
    finally:
        lock.release()


def is_held(root: Path, name: str) -> bool | None:
    """Whether some process holds the lock ``name``; None where that cannot be asked (a system without ``flock``).

    The lock is asked for shared, for reading: those who ask do not take each other for a holder, and a store that may
    only be read can be asked too.
    """
    try:
        import fcntl
    except ImportError:
        return None
    try:
        lock = os.open(_lock_path(root, name), os.O_RDONLY)
    except FileNotFoundError:
        return False
    except OSError:
        return None
    try:
        fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError as error:
        return True if error.errno in (errno.EAGAIN, errno.EACCES) else None
    finally:
        os.close(lock)
    return False


def _lock_path(root: Path, name: str) -> Path:
    return root / "locks" / f"{quote(name, safe='')}.lock"


@dataclass(frozen=True)
class Store:
    """The runs under one root.

    Args:
        root: the folder of the store (``store.root``), made when first needed.
        say: gets the few lines that the store has to say (waiting for a lock, a record put back).
    """

    root: Path
    say: Callable[[str], object] = print

    def __post_init__(self) -> None:
        object.__setattr__(self, "root", Path(self.root).expanduser().absolute())

    def folder(self, run_id: str) -> Path:
        """Where a run lives."""
        return self.root / run_id

    def check_writable(self) -> None:
        """Write a file and remove it: ``os.access`` says yes to root even where nothing can be written.

        Raises:
            UserError: naming ``store.root`` and why.
        """
        probe = self.root / f".writable.{uuid.uuid4().hex}"
        try:
            self.root.mkdir(parents=True, exist_ok=True)
            probe.write_bytes(b"kdlab")
            probe.unlink()
        except OSError as error:
            raise UserError(
                f"store.root = {self.root} cannot be written ({error.strerror or error}); set it to a folder that can"
            ) from error

    @contextmanager
    def lock(self, run_id: str) -> Iterator[None]:
        """Hold a run: whoever wants to train it waits, then looks whether it is finished."""
        with locked(self.root, run_id, say=self.say):
            self._settle(run_id)
            try:
                yield
            finally:
                self._settle(run_id)

    def is_held(self, run_id: str) -> bool:
        """Whether some process makes, measures or repeats this run now."""
        return is_held(self.root, run_id) is True

    def find(self, run_id: str) -> RunRecord | None:
        """The record of a run, finished or failed; None where there is none.

        A run that was made elsewhere (``pull``) counts where there is none of its own.

        Raises:
            UserError: its ``record.json`` cannot be read.
        """
        return self.own(run_id) or read_record(self.pulled(run_id))

    def own(self, run_id: str) -> RunRecord | None:
        """The record of a run that was made here."""
        return read_record(self.folder(run_id))

    def load(self, run_id: str) -> RunRecord:
        """The record of a run.

        Raises:
            UserError: there is none, or it cannot be read.
        """
        record = self.find(run_id)
        if record is not None:
            return record
        if self.folder(run_id).is_dir():
            raise UserError(f"run {run_id} has no record yet in {self.root}: it is running or was killed; run it again")
        raise UserError(f"no run {run_id} in {self.root}; {nearest(run_id, self.ids()) or 'it holds no run'}")

    def finished(self, run_id: str) -> RunRecord | None:
        """The record of a run that finished here, else None: of a pulled one no weights are here to go on with."""
        record = self.own(run_id)
        return record if record is not None and record.status == "finished" else None

    def ids(self) -> list[str]:
        """The ids of all runs with a record, sorted."""
        return sorted({*self.own_ids(), *_with_record(self.root / PULLED)})

    def own_ids(self) -> list[str]:
        """The ids of all runs with a record that were made here, sorted."""
        return sorted(_with_record(self.root))

    def pulled(self, run_id: str) -> Path:
        """Where the record of a run lies that was made elsewhere."""
        return self.root / PULLED / run_id

    def resolve(self, text: str) -> Path:
        """The folder of a run named by a path, a run id or a unique prefix of one.

        Raises:
            UserError: no run or several are meant; the nearest names or the several ids are listed.
        """
        path = Path(text).expanduser()
        if text and ((path / RECORD).is_file() or (path / CONFIG).is_file()):
            return path
        if not text or len(path.parts) > 1:
            raise UserError(f"RUN = '{text}' is neither a run folder nor a run id or a prefix of one")
        names = self._folders()
        found = [name for name in names if name.startswith(text)]
        if len(found) == 1:
            return self.folder(found[0])
        if found:
            shown = ", ".join(found[:8]) + (", ..." if len(found) > 8 else "")
            raise UserError(f"RUN = '{text}' is a prefix of {len(found)} runs: {shown}")
        raise UserError(f"no run '{text}' in {self.root}; {nearest(text, names) or 'it holds no run'}")

    def begin(self, run_id: str, config: Mapping[str, Any]) -> Path:
        """Make the folder of a run ready: leftovers gone, ``config.yaml`` written. Call it while holding the lock.

        Of a failed or killed run the checkpoint stays, and with it the history it continues
        (``HistoryWriter(resume_step=...)`` cuts that to the checkpoint). A finished run that is repeated is set aside
        whole: it is removed once the new record is finished and put back, when the lock is left, if that never happens.
        """
        folder = self.folder(run_id)
        if self.finished(run_id) is not None:
            _remove(self._aside(run_id))
            self._aside(run_id).parent.mkdir(parents=True, exist_ok=True)
            folder.rename(self._aside(run_id))
        folder.mkdir(parents=True, exist_ok=True)
        (folder / RECORD).unlink(missing_ok=True)  # first: without it nothing below counts
        kept = {CHECKPOINT, HISTORY} if (folder / CHECKPOINT).exists() else set()
        for entry in folder.iterdir():
            if entry.name not in kept:
                _remove(entry)
        write_text(folder / CONFIG, _yaml(config))
        return folder

    def write(self, record: RunRecord) -> None:
        """Write ``record.json`` atomically; after it returns the run is finished (or failed), whatever happens.

        Raises:
            ValueError: a number is NaN or infinite; the message names its key.
        """
        content = {field.name: getattr(record, field.name) for field in dataclasses.fields(record)}  # no deep copy
        try:
            text = _readable_json(content)
        except ValueError as error:
            where = _non_finite(content)
            if where is None:
                raise
            message = f"record of run {record.run_id}: {where} is not a finite number; use None with a reason"
            raise ValueError(message) from error
        folder = self.folder(record.run_id)
        folder.mkdir(parents=True, exist_ok=True)
        write_text(folder / RECORD, text + "\n")

    def _folders(self) -> list[str]:
        return sorted(entry.name for entry in _run_folders(self.root))

    def _aside(self, run_id: str) -> Path:
        return self.root / "repeated" / run_id

    def _settle(self, run_id: str) -> None:
        """End a repetition, under the lock: keep the new run where it finished, else put the earlier one back."""
        aside = self._aside(run_id)
        if not aside.exists():
            return
        folder = self.folder(run_id)
        if self.finished(run_id) is None:
            _remove(folder)
            aside.rename(folder)
            self.say(f"run {run_id} was not finished again: its earlier record is kept")
        else:
            _remove(aside)


def is_run_id(text: str) -> bool:
    """Whether this is the name of a run: 16 hex digits."""
    return _RUN_ID.fullmatch(text) is not None


def _run_folders(root: Path) -> list[Path]:
    if not root.is_dir():
        return []
    return [entry for entry in root.iterdir() if is_run_id(entry.name) and entry.is_dir()]


def _with_record(root: Path) -> list[str]:
    return [folder.name for folder in _run_folders(root) if (folder / RECORD).is_file()]


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def _yaml(config: Mapping[str, Any]) -> str:
    """By libyaml where PyYAML was built with it: the same text in a fifth of the time."""
    dumper = getattr(yaml, "CSafeDumper", yaml.SafeDumper)
    text: str = yaml.dump(dict(config), Dumper=dumper, sort_keys=False, allow_unicode=True, width=120)
    return text


def _readable_json(value: Any, *, depth: int = 2) -> str:
    """JSON with the outer ``depth`` levels of mappings one key a line, so that people and ``diff`` can read it."""
    if depth == 0 or not isinstance(value, Mapping) or not value:
        return json.dumps(value, allow_nan=False)
    indent = " " * (3 - depth)
    lines = [f"{indent}{json.dumps(str(key))}: {_readable_json(item, depth=depth - 1)}" for key, item in value.items()]
    return "{\n" + ",\n".join(lines) + "\n" + indent[1:] + "}"


def _non_finite(value: Any, where: str = "") -> str | None:
    """The dotted path of the first number that JSON cannot hold, or None."""
    if isinstance(value, float):
        return None if math.isfinite(value) else where
    if isinstance(value, Mapping):
        items = [(f"{where}.{key}" if where else str(key), item) for key, item in value.items()]
    elif isinstance(value, (list, tuple)):
        items = [(f"{where}[{at}]", item) for at, item in enumerate(value)]
    else:
        return None
    return next((found for path, item in items if (found := _non_finite(item, path)) is not None), None)
