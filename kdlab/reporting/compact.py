"""The compact record: what ``records.jsonl`` holds of a run, and all that tables and figures ever read.

At most 12 kB a record (and .45 kB for each slice after the sixteenth), six significant digits, no absolute path, and
nothing that names a machine or a person, so a clone without runs rebuilds the same bytes as the store did.
"""

import functools
import json
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from kdlab.records.parsing import parse_json
from kdlab.records.record import RunRecord

Line = dict[str, Any]


class WrittenLine(Line):
    """A line that knows its text, so that it is dumped once; to change it make a plain copy, ``{**line, ...}``."""

    __slots__ = ("text",)
    text: str

    @classmethod
    def of(cls, line: Line, text: str) -> "WrittenLine":
        """``line`` with the text that :func:`dump_line` gives of it."""
        made = cls(line)
        made.text = text
        return made

    def __setitem__(self, key: str, value: Any) -> None:
        raise TypeError(f"{key}: a line that is written is changed in a copy of it")

    def __reduce_ex__(self, protocol: Any) -> Any:
        """Copies, also deep ones and those of another process, are plain."""
        return dict, (dict(self),)


MOST_BYTES = 12_000
SLICES_WITHIN = 16
BYTES_A_SLICE = 450  # of every further slice: its metrics and its facts
MOST_POINTS = 40
MOST_ERROR_CHARACTERS = 300
SIZED_SETS = ("train", "validation", "test")

# Overrides that say where and by whom, not what: they differ between machines and train nothing.
PRIVATE_PREFIXES = ("store.", "tracker.", "hydra.", "hydra/", "report.root", "paths.")

_NAME = r"[^\s,;:'\"\])}=/\\]+"
_ABSOLUTE = re.compile(
    rf"(?<![\w./\\*-])(?:file:/+|(?:~[\w-]*|[A-Za-z]:)?[/\\](?![/\\]))(?:{_NAME}[/\\])*({_NAME})[/\\]?"
)


@functools.lru_cache(maxsize=4096)  # the same few hundred names stand in every record
def without_paths(text: str) -> str:
    """The text with every absolute path cut down to its last component.

    >>> without_paths("teacher.checkpoint=/home/someone/kd/teacher.pt")
    'teacher.checkpoint=teacher.pt'
    >>> without_paths("reports/digits and 3/4")
    'reports/digits and 3/4'
    """
    return _ABSOLUTE.sub(lambda match: match.group(1), text)


def significant(value: float, *, digits: int = 6) -> float:
    """A float at so many significant digits."""
    return float(f"{value:.{digits}g}")


def plain(value: Any) -> Any:
    """Plain Python for JSON: floats at 6 significant digits, non-finite ones None, strings without absolute paths."""
    kind = type(value)  # those of JSON come first: they make all of a record, and a report may read ten thousand
    if kind is float:
        return _six(value)
    if kind is int or kind is bool or value is None:
        return value
    if kind is str:
        return without_paths(value)
    if kind is dict:
        items = ((without_paths(str(key)), value[key]) for key in sorted(value, key=str))
        return {key: _six(item) if type(item) is float else plain(item) for key, item in items}
    if kind is list:
        return [_six(item) if type(item) is float else plain(item) for item in value]
    if isinstance(value, bool | int):
        return value
    if isinstance(value, float | np.floating):
        return significant(float(value)) if math.isfinite(value) else None
    if isinstance(value, np.integer):
        return int(value)
    if isinstance(value, Mapping):
        return {without_paths(str(key)): plain(value[key]) for key in sorted(value, key=str)}
    if isinstance(value, Iterable) and not isinstance(value, str):
        return [plain(item) for item in value]
    return without_paths(str(value))


def _six(value: float) -> float | None:
    return float(f"{value:.6g}") if math.isfinite(value) else None


def override_key(override: str) -> str:
    """``+student.width=16`` -> ``student.width``."""
    return override.split("=", 1)[0].lstrip("+~")


def public_overrides(overrides: Iterable[str]) -> list[str]:
    """Overrides without those that say where and by whom, absolute paths cut down."""
    return [without_paths(text) for text in overrides if not override_key(text).startswith(PRIVATE_PREFIXES)]


def decimate(points: Sequence[Sequence[float]], *, most: int = MOST_POINTS) -> list[list[float]]:
    """At most so many points of a curve, evenly spread, first and last kept."""
    if len(points) <= most:
        return [list(point) for point in points]
    return [list(points[i]) for i in _spread(len(points), most)]


@functools.lru_cache(maxsize=1024)
def _spread(num_points: int, most: int) -> tuple[int, ...]:
    """At most so many positions, evenly spread, first and last among them."""
    return tuple(np.unique(np.linspace(0, num_points - 1, most).round().astype(int)).tolist())


@functools.lru_cache(maxsize=1024)  # the records of a study have few ways to lack a metric
def _undefined(metrics: tuple[str, ...], reasons: tuple[tuple[str, str], ...]) -> dict[str, list[str]]:
    """Reason -> keys; ``*/agreement`` stands for every key of the record that ends so."""
    ends: dict[str, set[str]] = {}
    for key in metrics:
        ends.setdefault(key.rsplit("/", 1)[-1], set()).add(key)
    by_reason: dict[str, set[str]] = {}
    for key, reason in reasons:
        by_reason.setdefault(without_paths(reason), set()).add(key)
    grouped = {}
    for reason, keys in by_reason.items():
        whole = {end for end, members in ends.items() if len(members) > 1 and members <= keys}
        rest = {key for key in keys if key.rsplit("/", 1)[-1] not in whole}
        grouped[reason] = sorted({f"*/{end}" for end in whole} | rest)
    return dict(sorted(grouped.items()))


def _teacher(teacher: Mapping[str, Any] | None) -> dict[str, Any] | None:
    """The teacher by id; of its targets only the sets every report reads (its own line carries its metrics)."""
    if teacher is None:
        return None
    targets = teacher.get("targets") or {}
    kept = {key: value for key, value in targets.items() if key.split("/", 1)[0] in (*SIZED_SETS, "transfer")}
    return {"id": teacher.get("id"), "quality": plain(teacher.get("quality")), "targets": plain(kept)}


def _dark_knowledge(found: Mapping[str, Any]) -> dict[str, Any]:
    """What a figure needs of it: shares with four decimals; no key for a run without (all but teachers)."""
    if not found.get("probabilities"):
        return {}
    shares = [[None if one is None else round(one, 4) for one in row] for row in found["probabilities"]]
    return {"dark_knowledge": {**plain(found), "probabilities": shares}}


def compact(record: RunRecord, members: Iterable[Mapping[str, Any]]) -> WrittenLine:
    """The line of one run.

    Args:
        record: the full record.
        members: ``{"arm", "phase", "overrides"}`` for every point of the study this run answers; empty for a teacher
            or twin that the study only refers to.

    Raises:
        ValueError: the record cannot be brought under 12 kB.
    """
    provenance = record.provenance
    error = None
    if record.error is not None:
        error = {key: without_paths(str(text))[:MOST_ERROR_CHARACTERS] for key, text in sorted(record.error.items())}
    line: Line = {
        "kind": "run",
        "run_id": record.run_id,
        "role": record.role,
        "status": record.status,
        "data": record.data,
        "seeds": dict(sorted(record.seeds.items())),
        "members": _sorted_members(_member(member) for member in members),
        "identity": plain(record.identity_config),
        "metrics": plain(record.metrics),
        "undefined": _undefined(tuple(record.metrics), tuple(record.metrics_undefined.items())),
        "sizes": {name: int(sum(record.bins[name]["count"])) for name in SIZED_SETS if name in record.bins},
        "bins": {"test": plain(record.bins["test"])} if "test" in record.bins else {},
        "slices": plain(record.slices),
        **_dark_knowledge(record.dark_knowledge),
        "curves": {},
        "teacher": _teacher(record.teacher),
        "parent": record.parent,
        **({"ensemble": list(record.members)} if record.members else {}),
        "twin": record.twin,
        "commit": provenance.get("commit"),
        "dirty": provenance.get("dirty"),
        "versions": plain(provenance.get("versions") or {}),
        "error": error,
    }
    return _within_size(line, record.curves)


def most_bytes(num_slices: int) -> int:
    """The most that a compact record of so many slices may have.

    >>> most_bytes(15), most_bytes(20)
    (12000, 13800)
    """
    return MOST_BYTES + BYTES_A_SLICE * max(0, num_slices - SLICES_WITHIN)


def _within_size(line: Line, curves: Mapping[str, list[list[float]]]) -> WrittenLine:
    """The line with as many curve points as fit: first fewer points, then fewer curves, then no null metrics."""
    allowed = most_bytes(len(line["slices"]))
    names = list(line)
    place = names.index("curves")
    before, after = ({name: line[name] for name in part} for part in (names[:place], names[place + 1 :]))
    around = [_dump(part)[1:-1] for part in (before, after)]
    known = {key: plain(curves[key]) for key in sorted(curves)}
    longest = max(map(len, known.values()), default=0)
    for most in (MOST_POINTS, *(fewer for fewer in (30, 20, 10) if fewer < longest)):
        line["curves"] = {key: decimate(points, most=most) for key, points in known.items()}
        curves_here = f'"curves":{_dump(line["curves"])}'
        text = "{" + ",".join(part for part in (around[0], curves_here, around[1]) if part) + "}"
        if num_bytes(text) <= allowed:
            return WrittenLine.of(line, text)
    line["curves"] = {key: points for key, points in line["curves"].items() if key == "validation/accuracy"}
    if size_of(line) > allowed:
        line["metrics"] = {key: value for key, value in line["metrics"].items() if value is not None}
    if size_of(line) > allowed:
        raise ValueError(f"the compact record of run {line['run_id']} has {size_of(line)} bytes, allowed: {allowed}")
    return WrittenLine.of(line, dump_line(line))


def _member(member: Mapping[str, Any]) -> dict[str, Any]:
    overrides = public_overrides(member.get("overrides") or [])
    return {"arm": member.get("arm"), "phase": member.get("phase"), "overrides": overrides}


def _sorted_members(members: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    members = list(members)
    if len(members) < 2:
        return members
    unique = {json.dumps(member, sort_keys=True): member for member in members}
    return [unique[key] for key in sorted(unique)]


def header_line(header: Mapping[str, Any]) -> Line:
    """The first line of a study: its header without private overrides and absolute paths, in the order given."""

    def clean(value: Any) -> Any:
        if isinstance(value, Mapping):
            return {str(key): clean(item) for key, item in value.items()}
        if isinstance(value, list | tuple):
            return [clean(item) for item in value if not (isinstance(item, str) and _private(item))]
        return without_paths(value) if isinstance(value, str) else plain(value)

    line = {"kind": "study", **{key: clean(value) for key, value in header.items() if key != "kind"}}
    if isinstance(line.get("command"), str):
        line["command"] = " ".join(word for word in line["command"].split() if not _private(word))
    return line


def _private(word: str) -> bool:
    return "=" in word and override_key(word.strip("'\"")).startswith(PRIVATE_PREFIXES)


def merge(
    existing_lines: Iterable[Line],
    header: Mapping[str, Any] | None,
    compacts: Iterable[Line],
    prune: bool = False,
) -> list[Line]:
    """The lines of ``records.jsonl``: what it held and what the store holds, merged by run id and sorted.

    The store wins, but a finished run is never replaced by a failed one, and memberships add up. Nothing is dropped
    unless ``prune``: then only the runs and memberships of ``compacts`` stay.

    Raises:
        ValueError: neither side has a header.
    """
    old_header, old_runs = split_lines(existing_lines)
    chosen = header_line(header) if header is not None else old_header
    if chosen is None:
        raise ValueError("records.jsonl needs a first line of kind 'study'")
    runs = {} if prune else {run["run_id"]: run for run in old_runs}
    for new in compacts:
        old = runs.get(new["run_id"])
        if old is None:
            runs[new["run_id"]] = new
            continue
        base = old if old["status"] == "finished" and new["status"] != "finished" else new
        members = _sorted_members([*old["members"], *new["members"]])
        runs[new["run_id"]] = base if members == base["members"] else {**base, "members": members}
    return [chosen, *(runs[run_id] for run_id in sorted(runs))]


def split_lines(lines: Iterable[Line]) -> tuple[Line | None, list[Line]]:
    """The header (None where there is none) and the runs."""
    header, runs = None, []
    for line in lines:
        if line.get("kind") == "study":
            header = line
        else:
            runs.append(line)
    return header, runs


def dump_line(line: Line) -> str:
    """One line of ``records.jsonl``: the keys in the order they have, no spaces, never NaN."""
    return line.text if isinstance(line, WrittenLine) else _dump(line)


_dump = json.JSONEncoder(separators=(",", ":"), ensure_ascii=False, allow_nan=False).encode


def as_read(line: Line) -> Line:
    """The line as it will be read: one that knows its text is that already, all others go through theirs."""
    return line if isinstance(line, WrittenLine) else parse_line(dump_line(line))


def size_of(line: Line) -> int:
    """Bytes of the line."""
    return num_bytes(dump_line(line))


def num_bytes(text: str) -> int:
    """Bytes of a text in UTF-8."""
    return len(text) if text.isascii() else len(text.encode())


def dump_lines(lines: Iterable[Line]) -> str:
    """The text of ``records.jsonl``."""
    return "".join(dump_line(line) + "\n" for line in lines)


def read_lines(path: Path) -> list[Line]:
    """The lines of a ``records.jsonl``.

    Raises:
        ValueError: a line is not JSON (the message names file and line).
    """
    lines: list[Line] = []
    for number, text in enumerate(path.read_text(encoding="utf-8").split("\n"), start=1):
        if not text.strip():
            continue
        try:
            lines.append(parse_line(text))
        except json.JSONDecodeError as error:
            raise ValueError(f"{path.name} line {number} is not JSON: {error.msg}") from error
    return lines


def parse_line(text: str) -> Line:
    """A line of ``records.jsonl``, with its text where that is as :func:`dump_line` writes it.

    A text with spaces between its parts, or with a NaN, was not written by it: its line is dumped anew.
    """
    line: Line = parse_json(text)
    ours = text.startswith('{"kind":"run",') and text.endswith("}") and "NaN" not in text and "Infinity" not in text
    return WrittenLine.of(line, text) if ours else line
