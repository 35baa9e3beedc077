"""The members of a study as the board names them, and what is told of one of them when somebody looks."""

import functools
import re
from collections.abc import Collection, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

from kdlab.board.runs import Run
from kdlab.errors import UserError
from kdlab.records.ongoing import Signature, signature
from kdlab.records.record import RunRecord
from kdlab.records.store import PULLED, RECORD, read_record
from kdlab.records.studies import Member, Study
from kdlab.reporting.groups import SHORT_NAMES

BOOKKEEPING = ("study", "store", "report", "tracker", "trainer", "force", "evaluation", "hydra")
"""Sections of overrides that do not tell one point of a study from another."""
MOST_LOG_BYTES = 8192
Row = dict[str, Any]


class Listed(NamedTuple):
    """A member as it is listed: which run, in which role, under which arm, and what it is called there."""

    run_id: str
    role: str
    arm: str
    label: str


def listed(study: Study) -> list[Listed]:
    """The members of a study in the order they were planned; a run once for every arm it belongs to."""
    arms = study.header.get("arms") or {}
    students = [set(member.overrides) for member in study.members if member.role == "student"]
    shared = set.intersection(*students) if len(students) > 1 else set()
    found: dict[tuple[str, str], Listed] = {}
    for member in study.members:
        arm = member.arm or member.role
        told = shared.union(arms.get(arm) or ())
        found.setdefault((member.run_id, arm), Listed(member.run_id, member.role, arm, _label(member, told)))
    return list(found.values())


def _label(member: Member, told: Collection[str]) -> str:
    """Its overrides without those that its arm brings and those that all students have: ``T=4, seed=0``."""
    return ", ".join(short(line) for line in member.overrides if line not in told and not _is_bookkeeping(line))


def short(override: str) -> str:
    """An override as people say it.

    >>> short("objective.temperature=4")
    'T=4'
    """
    key, _, value = override.lstrip("+~").partition("=")
    return f"{SHORT_NAMES.get(key, key)}={value}"


def _is_bookkeeping(override: str) -> bool:
    return re.split(r"[./@=]", override.lstrip("+~"), maxsplit=1)[0] in BOOKKEEPING


def arms_in_order(study: Study, members: Sequence[Listed]) -> list[str]:
    """The arms as the sweep file has them, then the twins, then the teachers."""
    known = dict.fromkeys([*(study.header.get("arms") or {}), *(one.arm for one in members if one.role == "student")])
    return list(dict.fromkeys([*known, *(one.arm for one in members)]))


def row_of(member: Listed, run: Run, root: Path) -> Row:
    """A member on a line: how it stands, and what it measured."""
    row: Row = {
        "id": member.run_id,
        "role": member.role,
        "arm": member.arm,
        "label": member.label,
        "state": run.state,
        "begun": _whole(run.begun),
        "ended": _whole(run.ended),
        "pulled": run.pulled,
    }
    if run.ended is None:
        return {**row, "step": run.step, "steps": run.steps, "accuracy": run.accuracy, "set": "validation"}
    record = record_of(root, member.run_id, run)
    if record is None:
        return {**row, "error": {"type": "", "message": run.problem or ""}}
    name = next((name for name in ("test", "validation") if record.metrics.get(f"{name}/accuracy") is not None), None)
    return {
        **row,
        "accuracy": record.metrics.get(f"{name}/accuracy"),
        "set": name,
        "seconds": record.provenance.get("seconds"),
        "error": record.error,
    }


def record_of(root: Path, run_id: str, run: Run) -> RunRecord | None:
    """The record of an ended run; None where it cannot be read any more."""
    path = (root / PULLED if run.pulled else root) / run_id
    try:
        return _record(path, signature(path / RECORD))
    except UserError:
        return None


@functools.lru_cache(maxsize=512)
def _record(folder: Path, _: Signature) -> RunRecord | None:
    """The record without the half of it that is shown nowhere here."""
    record = read_record(folder)
    return None if record is None else replace(record, bins={}, identity_config={}, slices={}, curves={})


def facts_of(run_id: str, run: Run, root: Path) -> dict[str, Any]:
    """What is told of one run: who it is, what it measured, what went wrong, where its files are."""
    folder = (root / PULLED if run.pulled else root) / run_id
    facts: dict[str, Any] = {"id": run_id, **run._asdict(), "log": _tail(folder / "log.txt"), "files": _files(folder)}
    record = record_of(root, run_id, run) if run.ended is not None else None
    if record is None:
        return facts
    tracker = record.config.get("tracker") or {}
    place = "/".join(filter(None, [tracker.get("entity"), tracker.get("project"), record.tracker_id]))
    return {
        **facts,
        "role": record.role,
        "data": record.data,
        "seeds": record.seeds,
        "overrides": record.overrides,
        "metrics": {key: value for key, value in record.metrics.items() if value is not None},
        "error": record.error,
        "twin": record.twin,
        "teacher": (record.teacher or {}).get("id"),
        "quality": (record.teacher or {}).get("quality"),
        "tracker": place if record.tracker_id else None,
        "provenance": {
            key: record.provenance.get(key)
            for key in ("started", "seconds", "attempt", "commit", "device", "stack_size", "resumed_from")
        },
    }


FILES = ("record.json", "config.yaml", "history.jsonl", "log.txt")
"""The files of a run that the board hands out: texts that kdlab wrote, no weights, no checkpoints, no predictions."""


def _files(folder: Path) -> list[str]:
    return [name for name in FILES if (folder / name).is_file()]


def _tail(path: Path) -> str:
    try:
        with path.open("rb") as file:
            file.seek(0, 2)
            file.seek(max(0, file.tell() - MOST_LOG_BYTES))
            return file.read().decode("utf-8", errors="replace")
    except (FileNotFoundError, NotADirectoryError):
        return ""


def _whole(seconds: float | None) -> int | None:
    return None if seconds is None else round(seconds)


def matching(members: Sequence[Listed], text: str) -> Iterator[Listed]:
    """The members whose id, role, arm or label has every word of a text."""
    words = text.lower().split()
    for one in members:
        whole = " ".join(one).lower()
        if all(word in whole for word in words):
            yield one
