"""Bring what lies on disk to the server, and see for ourselves that it arrived.

``wandb sync`` ends with exit code 0 where the key was refused, the server was gone or files were lost. So it only moves
the data here; what counts is what the public API shows afterwards. A run that was seen whole is noted as such and not
asked for again until something about it changes (a tag gained, a record measured again).
"""

import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from kdlab.errors import WorkFailedError
from kdlab.records.atomic import write_text
from kdlab.tracking.wandb.connection import clipped, first_line, wandb_errors
from kdlab.tracking.wandb.note import Note, files_of, read_note, run_folders, write_note
from kdlab.tracking.wandb.run import defined
from kdlab.tracking.wandb.server import Remote, Server, lacking, lacking_beside

AT_ONCE = 200
"""Runs handed to one process of wandb's."""
Advance = Callable[[str, int, int], object]
Rename = Callable[[str, str], Mapping[str, str]]
_PARALLEL = 8
_MAX_SUFFIXES = 20


@dataclass(frozen=True)
class Wanted:
    """A run as its record tells it now.

    Args:
        run_id: the run.
        tracker_id: its id in W&B.
        tags: tags that its memberships give it.
        metrics: its numbers.
        failed: whether it failed.
        files: name -> text of the files that travel with it.
    """

    run_id: str
    tracker_id: str
    tags: tuple[str, ...]
    metrics: Mapping[str, float | None]
    failed: bool
    files: Mapping[str, str]


@dataclass
class Mirrored:
    """A run whose files lie here: what it was told, and what its files are."""

    folder: Path
    note: Note
    files: Mapping[str, str]
    problems: list[str] = field(default_factory=list)

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
) -> Outcome:
    """Send what the server lacks of these runs, then look whether it is there.

    Args:
        directory: where the W&B files of the store lie.
        wanted: the runs.
        project: where runs go that were mirrored before notes were kept.
        entity: the same, the user or team.
        open_server: connects; called only where there is something to ask.
        stall_seconds: how long an upload may go on without a run being finished.
        advance: hears what is done (``comparing``, ``sending``), how many of how many runs.
        rename: hears that a run gets another W&B id, and gives its travelling files anew.

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
    outcome = _send(todo, open_server(), stall_seconds=stall_seconds, advance=advance, rename=rename)
    return replace(outcome, before=len(mirrored) - len(todo), absent=tuple(absent))


def _send(todo: list[Mirrored], server: Server, *, stall_seconds: float, advance: Advance, rename: Rename) -> Outcome:
    remotes = _remotes(todo, server, lambda done: advance("comparing", done, len(todo)))
    renamed = {}
    for run in todo:
        remote = remotes.get(run.note.id)
        if remote is not None and _is_another(run.note, remote):
            run.note = replace(run.note, id=_free_id(run.note, server))
            write_note(run.folder, run.note)
            renamed[run.note.run_id] = run.note.id
            _write_files(run.folder, rename(run.note.run_id, run.note.id))
            run.files = files_of(run.folder)
    sent = [run for run in todo if _must_be_sent(run, remotes.get(run.note.id))]
    why = _upload(sent, renamed, stall_seconds=stall_seconds, advance=advance)
    remotes |= _remotes(sent, server, lambda done: advance("comparing", done, len(sent)))
    mended = 0
    for run in todo:
        mended += _settled(run, remotes.get(run.note.id), server, why=why)
    return Outcome(
        before=0,
        sent=sum(not run.problems for run in sent),
        mended=mended,
        renamed=renamed,
        absent=(),
        problems={run.note.run_id: run.problems for run in todo if run.problems},
    )


def _refreshed(folder: Path, wanted: Wanted, *, project: str, entity: str | None) -> Mirrored:
    """The run in ``folder``, its note and its travelling files as its record tells them now."""
    before = read_note(folder) or Note(wanted.tracker_id, wanted.run_id, project, entity)
    tags = clipped([*before.tags, *wanted.tags])
    note = replace(before, tags=tags, summary=defined(wanted.metrics), failed=wanted.failed)
    _write_files(folder, wanted.files)
    if note != before:
        write_note(folder, note)
    return Mirrored(folder, note, files_of(folder))


def _write_files(folder: Path, files: Mapping[str, str]) -> None:
    for name, text in files.items():
        path = folder / "files" / name
        if not path.is_file() or path.read_text(encoding="utf-8") != text:
            path.parent.mkdir(parents=True, exist_ok=True)
            write_text(path, text)


def _remotes(runs: Sequence[Mirrored], server: Server, advance: Callable[[int], object]) -> dict[str, Remote]:
    by_path: dict[str, list[str]] = {}
    for run in runs:
        by_path.setdefault(server.path(run.note.project, run.note.entity), []).append(run.note.id)
    found = {run_id: shown for path, ids in by_path.items() for run_id, shown in server.by_id(path, ids).items()}
    looked = {}
    for done, (run_id, shown) in enumerate(found.items(), start=1):
        try:
            looked[run_id] = server.look(shown)
        except wandb_errors() as error:
            raise WorkFailedError(f"W&B did not list the files of run {run_id}: {first_line(error)}") from error
        advance(done)
    return looked


def _is_another(note: Note, remote: Remote) -> bool:
    """Whether the server's run of this id was begun elsewhere: one identity trained on two machines is two runs."""
    begun = remote.config.get("begun")
    return begun is not None and note.config.get("begun") not in (None, begun)


def _free_id(note: Note, server: Server) -> str:
    path = server.path(note.project, note.entity)
    ids = [f"{note.run_id}-{number}" for number in range(2, _MAX_SUFFIXES + 2)]
    taken = server.by_id(path, ids)
    free = next((one for one in ids if one not in taken), None)
    if free is None:
        raise WorkFailedError(f"W&B holds the first {_MAX_SUFFIXES} ids of run {note.run_id} already")
    return free


def _must_be_sent(run: Mirrored, remote: Remote | None) -> bool:
    """Whether something is lacking that only the ``.wandb`` file holds."""
    if remote is None:
        return True
    return lacking(run.note, remote, run.files) != lacking_beside(run.note, remote, run.files)


def _settled(run: Mirrored, remote: Remote | None, server: Server, *, why: str) -> bool:
    """Set what can be set, look once more, and note a run that is whole; whether anything had to be set."""
    mended = False
    problems = lacking(run.note, remote, run.files)
    if remote is not None and problems and problems == lacking_beside(run.note, remote, run.files):
        try:
            server.mend(remote, run.note, folder=run.folder, files=run.files)
            path = server.path(run.note.project, run.note.entity)
            again = server.by_id(path, [run.note.id]).get(run.note.id)
            problems = lacking(run.note, None if again is None else server.look(again), run.files)
            mended = not problems
        except wandb_errors() as error:
            problems = [*problems, first_line(error)]
    run.problems = [*problems, why] if problems and why else problems
    if not problems:
        write_note(run.folder, replace(run.note, arrived=run.note.digest(run.files)))
    return mended


# --- the upload itself ------------------------------------------------------------------------------------------------


def _upload(
    runs: Sequence[Mirrored],
    renamed: Mapping[str, str],
    *,
    stall_seconds: float,
    advance: Advance,
) -> str:
    """Hand the folders to ``wandb sync``; what went wrong there in one line, empty where nothing did."""
    plain = [run for run in runs if run.note.run_id not in renamed]
    batches: list[tuple[Sequence[Mirrored], list[str]]] = [
        (plain[at : at + AT_ONCE], []) for at in range(0, len(plain), AT_ONCE)
    ]
    batches += [([run], ["--id", run.note.id]) for run in runs if run.note.run_id in renamed]
    done, trouble = 0, ""
    for batch, options in batches:
        advance("sending", done, len(runs))
        before = done
        told = _upload_batch(
            [run.folder for run in batch],
            options,
            stall_seconds=stall_seconds,
            advance=lambda finished, before=before: advance("sending", before + finished, len(runs)),  # type: ignore[misc]
        )
        done += len(batch)
        trouble = trouble or told
        if told.startswith(_STALLED):
            break  # the server is gone: the rest would wait as long
    return trouble


_STALLED = "nothing arrived"


def _upload_batch(
    folders: Sequence[Path], options: Sequence[str], *, stall_seconds: float, advance: Callable[[int], object]
) -> str:
    command = [sys.executable, "-m", "wandb", "sync", "--include-online", "--include-synced", "-n", str(_PARALLEL)]
    with tempfile.TemporaryFile() as output:
        process = subprocess.Popen(
            [*command, *options, *map(str, folders)],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        try:
            return _watched(process, output.fileno(), stall_seconds=stall_seconds, advance=advance)
        finally:
            _end(process)


def _watched(
    process: "subprocess.Popen[bytes]", output: int, *, stall_seconds: float, advance: Callable[[int], object]
) -> str:
    """Wait for an upload while it gets on."""
    finished, moved = 0, time.monotonic()
    while process.poll() is None:
        time.sleep(0.1)
        now = _text(output).count("Finished syncing")
        if now != finished:
            finished, moved = now, time.monotonic()
            advance(finished)
        elif time.monotonic() - moved > stall_seconds:
            return f"{_STALLED} for {stall_seconds:g} s"
    lines = [line.removeprefix("wandb: ").strip() for line in _text(output).splitlines()]
    told = [line.removeprefix("ERROR ") for line in lines if line.startswith("ERROR") or "rror" in line]
    if told:
        return f"wandb sync says: {told[0][:200]}"
    return "" if process.returncode == 0 else f"wandb sync ended with {process.returncode}: {lines[-1:]}"


def _text(output: int) -> str:
    return os.pread(output, os.fstat(output).st_size, 0).decode(errors="replace")


def _end(process: "subprocess.Popen[bytes]") -> None:
    """End the process and the service it started, where they still go on."""
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGTERM)
        try:
            process.wait(5)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
