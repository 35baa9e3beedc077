"""Runs of which the server holds a part: the rest is logged to the run there, and nothing a second time.

``wandb sync`` would send the whole history again, behind the rows that are there. So such a run is resumed, as wandb
means it, and gets the rows that it lacks from its ``.wandb`` file, which wandb's own reader reads.
"""

import json
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from pathlib import Path
from typing import Any

from kdlab.tracking.base import Table
from kdlab.tracking.wandb.connection import quiet_settings
from kdlab.tracking.wandb.note import Note
from kdlab.tracking.wandb.run import WandbRun

_READ_SECONDS = 60.0


def curves_of(folder: Path) -> list[dict[str, Any]]:
    """The rows of history that a run's ``.wandb`` file holds, in order, without the last one, which shows its tables.

    Raises:
        OSError: wandb's reader does not read it.
    """
    command = [sys.executable, "-m", "wandb", "leet", "inspect", "--json", str(folder)]
    here = folder.parent.parent
    try:
        done = subprocess.run(command, cwd=here, capture_output=True, text=True, timeout=_READ_SECONDS, check=False)
    except subprocess.TimeoutExpired as error:
        raise OSError(f"{folder.name} was not read within {_READ_SECONDS:g} s") from error
    if done.returncode != 0:
        raise OSError(f"{folder.name} cannot be read: {(done.stderr.strip().splitlines() or ['no reason given'])[-1]}")
    records = (json.loads(line) for line in done.stdout.splitlines())
    rows = [dict(record["history"]["item"]) for record in records if record["type"] == "history"]
    return [row for row in rows if not any(key.endswith("._type") for key in row)]


def send_rest(
    note: Note,
    folder: Path,
    *,
    path: str,
    rows_there: int,
    tables: Mapping[str, Table],
    timeout_seconds: float,
    say: Callable[[str], object],
) -> None:
    """Resume a run at the server, log what it lacks, and end it as it ended here.

    Args:
        note: what it should be.
        folder: where its files lie.
        path: ``entity/project``.
        rows_there: how many rows of its history arrived.
        tables: its tables, for a run whose last row, which shows them, did not arrive or was never written.
        timeout_seconds: how long its beginning and its end may take.
        say: hears what goes wrong.

    Raises:
        OSError: its ``.wandb`` file cannot be read.
        wandb.errors.Error: the server does not take it.
    """
    import wandb

    rest = curves_of(folder)[rows_there:]
    lacks_tables = rows_there + len(rest) < (note.rows or 0)
    entity, project = path.split("/", 1)
    with tempfile.TemporaryDirectory() as scratch:
        directory = Path(scratch) / "wandb"  # wandb insists on the name
        directory.mkdir()
        begun = Future[wandb.Run]()
        begun.set_result(
            wandb.init(
                id=note.id,
                entity=entity,
                project=project,
                mode="online",
                resume="must",
                reinit="create_new",
                dir=scratch,
                settings=quiet_settings(init_seconds=timeout_seconds, finish_seconds=timeout_seconds),
            )
        )
        run = WandbRun(begun, name=note.run_id, directory=directory, say=say, kept_in=folder.parent)
        run.replay(rest, config=note.config)
        run.finish(note.summary or {}, tables=tables if lacks_tables else {}, files={}, failed=note.failed)
