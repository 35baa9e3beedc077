"""What runs of other machines carry in W&B: each has its record and its memberships as files.

Nothing of a file is believed before it is looked at: a record's name must be the hash of what it says it trained, and
what it holds is data, never code.
"""

import tempfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kdlab.records.identity import identity, run_id
from kdlab.records.parsing import parse_json
from kdlab.records.record import RunRecord
from kdlab.records.store import RECORD, is_run_id
from kdlab.records.studies import read_memberships
from kdlab.tracking.travel import STUDIES
from kdlab.tracking.wandb.connection import first_line, wandb_errors
from kdlab.tracking.wandb.server import Server

MOST_BYTES = 20_000_000
CARRIED = (RECORD, STUDIES)
Has = Callable[[str, str, str], bool]


@dataclass(frozen=True)
class Carried:
    """What a W&B run carries that is not here yet.

    Args:
        tracker_id: the W&B run.
        run_id: the run.
        files: name -> text.
        problem: why there is nothing to take, where there should be.
    """

    tracker_id: str
    run_id: str
    files: Mapping[str, str]
    problem: str = ""


def carried(
    server: Server, path: str, *, study: str | None, has: Has, advance: Callable[[int, int], object]
) -> Iterator[Carried]:
    """What the runs of a project carry, one after the other, in the order they were begun.

    Args:
        server: where they are.
        path: ``entity/project``.
        study: only runs with this tag; None for all.
        has: hears a run id, the name of a file and its md5, and says whether that is here already.
        advance: hears how many runs of how many were asked.

    Raises:
        WorkFailedError: the server does not list them.
    """
    runs = server.runs(path, {"tags": study} if study else {})
    for done, run in enumerate(runs, start=1):
        advance(done, len(runs))
        mine = str(run.config.get("run_id"))
        if not is_run_id(mine):
            yield Carried(run.id, mine, {}, f"its config names no run of kdlab's, but {mine[:40]!r}")
            continue
        try:
            found = server.look(run).files
            if RECORD not in found:
                yield Carried(run.id, mine, {}, "it carries no record")
                continue
            wanted = [name for name in CARRIED if name in found and not has(mine, name, found[name])]
            files = {name: _download(run, name) for name in wanted}
            yield Carried(run.id, mine, files, _problem(mine, files))
        except wandb_errors() as error:
            yield Carried(run.id, mine, {}, first_line(error))


def _download(run: Any, name: str) -> str:
    file = run.file(name)
    if file.size > MOST_BYTES:
        raise OSError(f"{name} has {file.size} bytes, more than such a file has")
    with tempfile.TemporaryDirectory() as folder:
        file.download(root=folder, replace=True).close()
        return (Path(folder) / name).read_text(encoding="utf-8")


def _problem(mine: str, files: Mapping[str, str]) -> str:
    try:
        if RECORD in files:
            record = RunRecord.from_json(parse_json(files[RECORD]))
            if record.identity != identity(record.identity_config) or run_id(record.identity) != record.run_id:
                raise ValueError("its name is not the hash of what it says it trained")
            if record.run_id != mine:
                raise ValueError(f"it is that of run {record.run_id}")
        if STUDIES in files:
            read_memberships(files[STUDIES])
    except (ValueError, TypeError, AttributeError) as error:
        return f"what it carries cannot be taken: {first_line(error)}"
    return ""
