"""Bring what lies on disk to the server, and see for ourselves that it arrived.

``wandb sync`` ends with exit code 0 where the key was refused, the server was gone or files were lost. So it only moves
the data here; what counts is what the public API shows afterwards. A run that was seen whole is noted as such and not
asked for again until something about it changes (a tag gained, a record measured again).
"""

import functools
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path

from kdlab.errors import WorkFailedError
from kdlab.records.atomic import write_text
from kdlab.tracking.base import Table
from kdlab.tracking.wandb.connection import clipped, first_line, is_taken, wandb_errors
from kdlab.tracking.wandb.note import Note, files_of, read_note, run_folders, unreadable, write_note
from kdlab.tracking.wandb.resume import curves_of
from kdlab.tracking.wandb.run import defined
from kdlab.tracking.wandb.server import Remote, Server, lacking, lacking_beside
from kdlab.tracking.wandb.upload import Parcel, upload

Advance = Callable[[str, int, int], object]
Rename = Callable[[str, str], Mapping[str, str]]
_MAX_SUFFIXES = 20
_AT_ONCE = 8
"""Requests to the server beside each other: one waits for its answer fifty times as long as it costs."""
_SETTLE_SECONDS = 10.0
"""How long a server may take to count what it was sent."""


@dataclass(frozen=True)
class Wanted:
    """A run as its record tells it now.

    Args:
        run_id: the run.
        tracker_id: its id in W&B.
        tags: tags that its memberships give it.
        metrics: its numbers.
        failed: whether it failed.
        begun: when it began, which tells it from one of the same id that another machine made.
        tables: name -> the tables that it shows.
        files: name -> text of the files that travel with it.
    """

    run_id: str
    tracker_id: str
    tags: tuple[str, ...]
    metrics: Mapping[str, float | None]
    failed: bool
    begun: str | None
    tables: Mapping[str, Table]
    files: Mapping[str, str]


@dataclass(eq=False)
class Mirrored:
    """A run whose files lie here: what it was told, what its files are, and what of it is at the server."""

    folder: Path
    note: Note
    files: Mapping[str, str]
    tables: Mapping[str, Table]
    begun: str | None
    is_renamed: bool = False
    remote: Remote | None = None
    why: list[str] = field(default_factory=list)

    @property
    def problems(self) -> list[str]:
        """What of it is not at the server, in words."""
        return lacking(self.note, self.remote, self.files)

    @property
    def is_there(self) -> bool:
        """Whether all of it was seen at the server, and nothing changed since."""
        return self.note.arrived == self.note.digest(self.files)


@dataclass(frozen=True)
class Outcome:
    """How a sync ended.

    Args:
        before: runs that were there before.
        sent: runs that were uploaded now.
        mended: runs of which tags, numbers or files were set.
        renamed: run id -> the new W&B id of a run whose id another machine's run has.
        absent: runs of which no files lie here.
        problems: run id -> what of it did not arrive.
    """

    before: int
    sent: int
    mended: int
    renamed: Mapping[str, str]
    absent: tuple[str, ...]
    problems: Mapping[str, Sequence[str]]


def sync(
    directory: Path,
    wanted: Iterable[Wanted],
    *,
    project: str,
    entity: str | None,
    open_server: Callable[[], Server],
    stall_seconds: float,
    advance: Advance,
    rename: Rename,
    say: Callable[[str], object],
) -> Outcome:
    """Send what the server lacks of these runs, then look whether it is there.

    Args:
        directory: where the W&B files of the store lie.
        wanted: the runs.
        project: where runs go that were mirrored before notes were kept.
        entity: the same, the user or team.
        open_server: connects; called only where there is something to ask.
        stall_seconds: how long an upload may go on without a run being finished.
        advance: hears what is done (reading, comparing, sending, completing), how many of how many runs.
        rename: hears that a run gets another W&B id, and gives its travelling files anew.
        say: hears what goes wrong with a run that is completed.

    Raises:
        WorkFailedError: the server cannot be asked.
    """
    folders = dict(run_folders(directory))
    mirrored, absent = [], []
    for one in wanted:
        folder = folders.get(one.tracker_id)
        if folder is None:
            absent.append(one.run_id)
        else:
            mirrored.append(_refreshed(folder, one, project=project, entity=entity))
    todo = [run for run in mirrored if not run.is_there]
    if not todo:
        return Outcome(len(mirrored), 0, 0, {}, tuple(absent), {})
    outcome = _send(
        todo,
        open_server(),
        directory=directory,
        stall_seconds=stall_seconds,
        advance=advance,
        rename=rename,
        say=say,
    )
    return replace(outcome, before=len(mirrored) - len(todo), absent=tuple(absent))


def _send(
    todo: list[Mirrored],
    server: Server,
    *,
    directory: Path,
    stall_seconds: float,
    advance: Advance,
    rename: Rename,
    say: Callable[[str], object],
) -> Outcome:
    for done, run in enumerate(todo):
        advance("reading", done, len(todo))
        _read(run)
    _look(todo, server, advance)
    taken = [run for run in todo if run.remote is not None and _is_another(run, run.remote)]
    _rename(taken, server, rename)
    absent = [run for run in todo if run.remote is None and not run.why]
    sending = functools.partial(_upload, directory=directory, stall_seconds=stall_seconds, advance=advance)
    sending(absent)
    _look_until_settled(absent, server, advance)
    if deleted := [run for run in absent if run.remote is None and any(map(is_taken, run.why))]:
        _rename(deleted, server, rename)  # W&B takes no id a second time
        sending(deleted)
        _look_until_settled(deleted, server, advance)
    lacking_rest = [run for run in todo if _lacks_rest(run) and not run.why]
    for done, run in enumerate(lacking_rest):
        advance("completing", done, len(lacking_rest))
        _attempt(run, lambda run=run: server.send_rest(run.note, run.folder, _there(run), run.tables, say=say))  # type: ignore[misc]
    _look_until_settled(lacking_rest, server, advance)
    mended = [run for run in todo if _is_to_mend(run)]
    _each(mended, lambda run: _mend(run, server), "setting", advance)
    _look(mended, server, advance)
    sent = [run for run in todo if run in absent or run in lacking_rest]
    for run in todo:
        if not run.problems:
            write_note(run.folder, replace(run.note, arrived=run.note.digest(run.files)))
    return Outcome(
        before=0,
        sent=sum(not run.problems for run in sent),
        mended=sum(not run.problems for run in mended if run not in sent),
        renamed={run.note.run_id: run.note.id for run in todo if run.is_renamed},
        absent=(),
        problems={run.note.run_id: [*run.problems, *run.why] for run in todo if run.problems},
    )


def _refreshed(folder: Path, wanted: Wanted, *, project: str, entity: str | None) -> Mirrored:
    """The run in ``folder``, its note and its travelling files as its record tells them now."""
    before = read_note(folder) or Note(wanted.tracker_id, wanted.run_id, project, entity)
    tags = clipped([*before.tags, *wanted.tags])
    note = replace(before, tags=tags, summary=defined(wanted.metrics), failed=wanted.failed)
    _write_files(folder, wanted.files)
    if note != before:
        write_note(folder, note)
    return Mirrored(folder, note, files_of(folder), wanted.tables, note.config.get("begun") or wanted.begun)


def _write_files(folder: Path, files: Mapping[str, str]) -> None:
    for name, text in files.items():
        path = folder / "files" / name
        if not path.is_file() or path.read_text(encoding="utf-8") != text:
            path.parent.mkdir(parents=True, exist_ok=True)
            write_text(path, text)


def _read(run: Mirrored) -> None:
    """See whether a run can be sent, and count the rows of one that was killed between its record and its end."""
    if trouble := unreadable(run.folder):
        run.why = [trouble]
    elif run.note.rows is None:
        try:
            run.note = replace(run.note, rows=len(curves_of(run.folder)) + bool(run.tables))
        except OSError as error:
            run.why = [first_line(error)]
        else:
            write_note(run.folder, run.note)


def _each(runs: Sequence[Mirrored], action: Callable[[Mirrored], object], what: str, advance: Advance) -> None:
    """Do the same to many runs, some at once; the first error ends it."""
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        try:
            for done, _ in enumerate(pool.map(action, runs), start=1):
                advance(what, done, len(runs))
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def _look(runs: Sequence[Mirrored], server: Server, advance: Advance) -> None:
    """Ask the server what it holds of these runs."""
    by_path: dict[str, list[Mirrored]] = {}
    for run in runs:
        by_path.setdefault(server.path(run.note.project, run.note.entity), []).append(run)
    found = {
        (path, wandb_id): run
        for path, here in by_path.items()
        for wandb_id, run in server.by_id(path, [run.note.id for run in here]).items()
    }

    def look(run: Mirrored) -> None:
        shown = found.get((server.path(run.note.project, run.note.entity), run.note.id))
        try:
            run.remote = None if shown is None else server.look(shown)
        except wandb_errors() as error:
            raise WorkFailedError(f"W&B did not list the files of run {run.note.id}: {first_line(error)}") from error

    _each(runs, look, "comparing", advance)


def _look_until_settled(runs: Sequence[Mirrored], server: Server, advance: Advance) -> None:
    """Ask what arrived of runs that were just sent, again while it may still be counted.

    What looks as if it were lacking would be sent again, behind itself.
    """
    _look(runs, server, advance)
    deadline = time.monotonic() + _SETTLE_SECONDS
    while (late := [run for run in runs if _is_late(run)]) and time.monotonic() < deadline:
        time.sleep(1.0)
        _look(late, server, advance)


def _is_late(run: Mirrored) -> bool:
    """Whether nothing went wrong that was told, and yet a part is not there."""
    if run.why:
        return False
    return run.remote is None or run.remote.num_rows < (run.note.rows or 0) or run.remote.run.state == "running"


def _is_another(run: Mirrored, remote: Remote) -> bool:
    """Whether the server's run of this id was begun elsewhere: one identity trained on two machines is two runs."""
    begun = remote.config.get("begun")
    return begun is not None and run.begun not in (None, begun)


def _rename(runs: Sequence[Mirrored], server: Server, rename: Rename) -> None:
    """Give runs ids that the server never held."""
    for run in runs:
        run.note = replace(run.note, id=_free_id(run.note, server))
        run.is_renamed, run.remote = True, None
        write_note(run.folder, run.note)
        _write_files(run.folder, rename(run.note.run_id, run.note.id))
        run.files = files_of(run.folder)


def _free_id(note: Note, server: Server) -> str:
    path = server.path(note.project, note.entity)
    ids = [f"{note.run_id}-{number}" for number in range(2, _MAX_SUFFIXES + 2)]
    taken = server.by_id(path, ids)
    free = next((one for one in ids if one not in taken and one != note.id), None)
    if free is None:
        raise WorkFailedError(f"W&B holds the first {_MAX_SUFFIXES} ids of run {note.run_id} already")
    return free


def _upload(runs: Sequence[Mirrored], *, directory: Path, stall_seconds: float, advance: Advance) -> None:
    """Send runs of which the server holds nothing; what wandb tells is kept with each run."""
    parcels = [Parcel(run.folder, run.note.id, run.is_renamed) for run in runs]
    told = upload(
        parcels,
        directory=directory,
        stall_seconds=stall_seconds,
        advance=lambda done: advance("sending", done, len(runs)),
    )
    for run in runs:
        run.why = [line for line in told if run.note.id in line] or told[:1]


def _lacks_rest(run: Mirrored) -> bool:
    """Whether the server holds a part, and something is lacking that only the ``.wandb`` file holds."""
    return run.remote is not None and run.problems != lacking_beside(run.note, run.remote, run.files)


def _there(run: Mirrored) -> int:
    assert run.remote is not None
    return run.remote.num_rows


def _is_to_mend(run: Mirrored) -> bool:
    """Whether all that it lacks can be set without an upload."""
    return run.remote is not None and bool(run.problems) and not _lacks_rest(run)


def _mend(run: Mirrored, server: Server) -> None:
    remote = run.remote
    assert remote is not None
    _attempt(run, lambda: server.mend(remote, run.note, folder=run.folder, files=run.files))


def _attempt(run: Mirrored, action: Callable[[], object]) -> None:
    try:
        action()
    except wandb_errors() as error:
        run.why.append(first_line(error))
