"""The upload of whole runs, by ``wandb sync`` in a process of its own that is ended when nothing arrives any more.

Its exit code says nothing (0 where the key was refused, the server was gone, files were lost), so nobody believes it:
whoever calls this looks afterwards what is there. It must not be given a run that the server holds a part of: it sends
the history from its first row again, behind what is there. So it ends with us, however we end: the next sync would find
such a part while it still grows.
"""

import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

AT_ONCE = 200
"""Runs handed to one process of wandb's."""
_PARALLEL = 8
_STALLED = "nothing arrived"
#: ``wandb sync`` that ends, with the service it started, when its input does: when the process that gave it is gone.
_WANDB = """
import os, signal, threading

def end_with_the_other():
    os.read(0, 1)  # not sys.stdin: Python aborts where a thread waits for that when it ends
    os.killpg(0, signal.SIGTERM)

threading.Thread(target=end_with_the_other, daemon=True).start()
from wandb.cli.cli import cli
cli()
"""


@dataclass(frozen=True)
class Parcel:
    """A run to be sent.

    Args:
        folder: where its files lie.
        id: the id it gets in W&B.
        is_renamed: whether that is another id than its files say.
    """

    folder: Path
    id: str
    is_renamed: bool


def upload(
    parcels: Sequence[Parcel], *, directory: Path, stall_seconds: float, advance: Callable[[int], object]
) -> list[str]:
    """Send runs that the server does not hold.

    Args:
        parcels: the runs.
        directory: where wandb keeps its logs, else it makes a folder where the user stands.
        stall_seconds: how long it may go on without a run being finished.
        advance: hears how many are done.

    Returns:
        What went wrong, a line each; empty where nothing did that wandb tells.
    """
    plain = [parcel for parcel in parcels if not parcel.is_renamed]
    batches = [plain[at : at + AT_ONCE] for at in range(0, len(plain), AT_ONCE)]
    batches += [[parcel] for parcel in parcels if parcel.is_renamed]
    done, trouble = 0, list[str]()
    for batch in batches:
        advance(done)
        options = ["--id", batch[0].id] if batch[0].is_renamed else []
        told = _upload_batch(
            [parcel.folder for parcel in batch],
            options,
            directory=directory,
            stall_seconds=stall_seconds,
            advance=lambda finished, before=done: advance(before + finished),  # type: ignore[misc]
        )
        done += len(batch)
        trouble += told
        if any(line.startswith(_STALLED) for line in told):
            break  # the server is gone: the rest would wait as long
    return trouble


def _upload_batch(
    folders: Sequence[Path],
    options: Sequence[str],
    *,
    directory: Path,
    stall_seconds: float,
    advance: Callable[[int], object],
) -> list[str]:
    command = [sys.executable, "-c", _WANDB, "sync", "--include-online", "--include-synced", "-n", str(_PARALLEL)]
    with tempfile.TemporaryFile() as output:
        process = subprocess.Popen(
            [*command, *options, *map(str, folders)],
            stdin=subprocess.PIPE,
            stdout=output,
            stderr=subprocess.STDOUT,
            cwd=directory.parent,
            start_new_session=True,
        )
        try:
            return _watched(process, output.fileno(), stall_seconds=stall_seconds, advance=advance)
        finally:
            _end(process)


def _watched(
    process: "subprocess.Popen[bytes]", output: int, *, stall_seconds: float, advance: Callable[[int], object]
) -> list[str]:
    """Wait for an upload while it gets on."""
    finished, moved = 0, time.monotonic()
    while process.poll() is None:
        time.sleep(0.1)
        now = _text(output).count("Finished syncing")
        if now != finished:
            finished, moved = now, time.monotonic()
            advance(finished)
        elif time.monotonic() - moved > stall_seconds:
            return [f"{_STALLED} for {stall_seconds:g} s"]
    lines = [line.removeprefix("wandb: ").strip() for line in _text(output).splitlines()]
    told = [line.removeprefix("ERROR").strip() for line in lines if line.startswith(("ERROR", "Error"))]
    if process.returncode != 0 and not told:
        told = [f"ended with {process.returncode}: {lines[-1] if lines else 'it says nothing'}"]
    return [f"wandb sync says: {line[:200]}" for line in told if line]


def _text(output: int) -> str:
    return os.pread(output, os.fstat(output).st_size, 0).decode(errors="replace")


def _end(process: "subprocess.Popen[bytes]") -> None:
    """End the process and the service it started, where they still go on."""
    assert process.stdin is not None
    try:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGTERM)
            process.wait(5)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    finally:
        process.stdin.close()
