"""What runs of other machines carry in W&B: each has its record and its memberships as files.

Nothing of a file is believed before it is looked at: a record's name must be the hash of what it says it trained, and
what it holds is data, never code.
"""

import math
import tempfile
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kdlab.records.identity import identity, run_id
from kdlab.records.parsing import parse_json
from kdlab.records.record import RunRecord
from kdlab.records.store import RECORD, is_run_id
from kdlab.records.studies import read_memberships
from kdlab.tracking.travel import STUDIES
from kdlab.tracking.wandb.connection import clipped, first_line, wandb_errors
from kdlab.tracking.wandb.server import Server

MOST_BYTES = 20_000_000
CARRIED = (RECORD, STUDIES)
Has = Callable[[str, str, str], bool]
_AT_ONCE = 8
"""Runs that are asked for beside each other: each is five requests, and all of them wait."""


@dataclass(frozen=True)
class Carried:
    """What a W&B run carries that is not here yet.

    Args:
        tracker_id: the W&B run.
        run_id: the run.
        files: name -> text.
        problem: why there is nothing to take, where there should be.
        is_unfinished: whether it carries no record because it has none yet: it goes on, or was killed.
    """

    tracker_id: str
    run_id: str
    files: Mapping[str, str]
    problem: str = ""
    is_unfinished: bool = False


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
    runs = server.runs(path, {"tags": clipped([study])[0]} if study else {})
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        try:
            for done, one in enumerate(pool.map(lambda run: _carried_by(run, server, has), runs), start=1):
                advance(done, len(runs))
                yield one
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def _carried_by(run: Any, server: Server, has: Has) -> Carried:
    mine = str(run.config.get("run_id"))
    if not is_run_id(mine):
        return Carried(run.id, mine, {}, f"its config names no run of kdlab's, but {mine[:40]!r}")
    try:
        found = server.look(run).files
        if RECORD not in found:
            is_over = run.state in ("finished", "failed")
            return Carried(run.id, mine, {}, "it carries no record" if is_over else "", is_unfinished=not is_over)
        wanted = [name for name in CARRIED if name in found and not has(mine, name, found[name])]
        files = {name: _download(run, name) for name in wanted}
    except wandb_errors() as error:
        return Carried(run.id, mine, {}, first_line(error))
    return Carried(run.id, mine, files, _problem(mine, files))


def _download(run: Any, name: str) -> str:
    file = run.file(name)
    if file.size > MOST_BYTES:
        raise OSError(f"{name} has {file.size} bytes, more than such a file has")
    with tempfile.TemporaryDirectory() as folder:
        file.download(root=folder, replace=True).close()
        try:
            return (Path(folder) / name).read_text(encoding="utf-8")
        except UnicodeDecodeError as error:
            raise OSError(f"{name} is no text: {error}") from error


def _problem(mine: str, files: Mapping[str, str]) -> str:
    try:
        if RECORD in files:
            record = RunRecord.from_json(parse_json(files[RECORD]))
            if record.identity != identity(record.identity_config) or run_id(record.identity) != record.run_id:
                raise ValueError("its name is not the hash of what it says it trained")
            if record.run_id != mine:
                raise ValueError(f"it is that of run {record.run_id}")
            for key, value in record.metrics.items():
                if value is not None and not math.isfinite(value):
                    raise ValueError(f"its {key} is {value}")
        if STUDIES in files:
            members = [member for study in read_memberships(files[STUDIES]).values() for member in study.members]
            if others := [member.run_id for member in members if member.run_id != mine]:
                raise ValueError(f"it tells the studies of another run, {others[0][:40]!r}")
    except (ValueError, TypeError, AttributeError, RecursionError) as error:
        return f"what it carries cannot be taken: {first_line(error)}"
    return ""
