"""``kdlab list``: the runs of a store, or of a study with what is missing, as a table with filters.

``kdlab list STUDY role=student objective.temperature=4 'test/accuracy>0.6' sort=-test/accuracy``. A filter names any
key of a record: its role, status, arm, study, data, seed and quality, a measured key, or a dotted key of its config.
"""

import csv
import json
import operator
import re
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from kdlab.commands.knobs import BOOKKEEPING, section_of
from kdlab.commands.reading import settings
from kdlab.commands.table import Column, on_terminal, show
from kdlab.errors import UserError, nearest
from kdlab.records import studies
from kdlab.records.record import RunRecord
from kdlab.records.store import Store
from kdlab.saying import say

NAMES = ("run", "role", "status", "data", "arm", "quality", "seed", "study", "phase", "error")
FLAGS = ("--csv",)
_OPTIONS = ("sort", "columns")
_WORD = re.compile(r"([^=<>!\s]+?)\s*(!=|>=|<=|=|>|<)\s*(.*)", re.DOTALL)
_COMPARE: Mapping[str, Callable[[Any, Any], bool]] = {
    ">": operator.gt, "<": operator.lt, ">=": operator.ge, "<=": operator.le,
}  # fmt: skip
#: Sections of its config that say nothing of a teacher: they are those of the student it was first made for.
_NOT_OF_TEACHERS = ("student", "objective", "training", "optimized_metric")
_ABSENT = object()


@dataclass(frozen=True)
class Filter:
    """``key=value,value``, ``key!=value`` or ``key>value``."""

    key: str
    compare: str
    value: str

    def keeps(self, found: Any) -> bool:
        """Whether a run with this value (``_ABSENT`` for none; a tuple for any of several) is shown."""
        values = found if isinstance(found, tuple) else (found,)
        if self.compare in _COMPARE:
            return any(self._ordered(value) for value in values)
        wanted = self.value.split(",")
        same = any(_same(value, one) for value in values if value is not _ABSENT for one in wanted)
        return same is (self.compare == "=")

    def _ordered(self, value: Any) -> bool:
        number, limit = _number(value), _number(self.value)
        return number is not None and limit is not None and _COMPARE[self.compare](number, limit)


@dataclass
class Asked:
    """What ``kdlab list`` was asked for."""

    study: str | None = None
    filters: list[Filter] = field(default_factory=list)
    settings: list[str] = field(default_factory=list)
    sort: str | None = None
    columns: list[str] | None = None
    csv: bool = False


@dataclass(frozen=True)
class Listed:
    """One run as it is listed.

    Args:
        run_id: which.
        status: of its record, else ``running``, ``killed`` (begun, and nobody holds it) or ``missing`` (not begun).
        role: student, scratch or teacher; empty where nothing says.
        record: its record, None without one.
        overrides: what it was asked for with, key -> value.
        arms: the arms it belongs to.
        studies: the studies it belongs to.
        phases: the phases of those.
    """

    run_id: str
    status: str
    role: str
    record: RunRecord | None
    overrides: Mapping[str, str]
    arms: tuple[str, ...] = ()
    studies: tuple[str, ...] = ()
    phases: tuple[str, ...] = ()

    def value(self, key: str) -> Any:
        """What this run has at a key: a plain value, a tuple of several, or ``_ABSENT``."""
        if key in NAMES:
            return self._named(key)
        if self.record is not None:
            if key in self.record.metrics:
                return self.record.metrics[key]
            if (found := self._told(key)) is not _ABSENT:
                return found
        return self.overrides.get(key, _ABSENT)

    def _named(self, key: str) -> Any:
        record = self.record
        several = {"arm": self.arms, "study": self.studies, "phase": self.phases}
        if key in several:
            return several[key] or _ABSENT
        if key in ("run", "role", "status"):
            return {"run": self.run_id, "role": self.role, "status": self.status}[key]
        if record is None:
            return self.overrides.get("teacher/quality" if key == "quality" else key, _ABSENT)
        if key == "data":
            return record.data
        if key == "error":
            return _ABSENT if record.error is None else record.error.get("message", "")
        if key == "seed":
            return record.seeds.get("teacher" if record.role == "teacher" else "student")
        if record.role == "teacher":
            return ((record.config.get("teacher") or {}).get("quality") or {}).get("name", _ABSENT)
        return _ABSENT if record.teacher is None else record.teacher.get("quality", _ABSENT)

    def _told(self, key: str) -> Any:
        """A dotted key of its config, or of what else its record tells (``provenance.seconds``)."""
        assert self.record is not None
        parts = key.split(".")
        of_student = self.role == "teacher" and parts[0] in _NOT_OF_TEACHERS
        found = _ABSENT if of_student else _at(self.record.config, parts)
        if found is _ABSENT and len(parts) > 1 and parts[0] in ("provenance", "seeds", "latency", "weights"):
            found = _at(getattr(self.record, parts[0]), parts[1:])
        return _ABSENT if isinstance(found, Mapping) else found

    def keys(self) -> Iterator[str]:
        """Every key that it may be filtered by."""
        yield from self.overrides
        if self.record is not None:
            yield from self.record.metrics
            yield from (
                key
                for key in _leaves(self.record.config)
                if self.role != "teacher" or key.split(".")[0] not in _NOT_OF_TEACHERS
            )


def list_runs(words: list[str]) -> int:
    """``kdlab list [STUDY] [FILTER ...] [sort=KEY] [columns=KEY,...] [--csv] [store.root=DIR]``."""
    asked = parse(words)
    here = settings(asked.settings, command="list", reads=("store.root",))
    store = Store(Path(here.store.root), say=say)
    known = studies.studies(store.root) if store.root.is_dir() else []
    if asked.study is not None and asked.study not in known:
        studies.check_study_name(asked.study)
        hint = nearest(asked.study, known) or "the store lists no study"
        raise UserError(f"no study '{asked.study}' in {store.root}; {hint}")
    found = {name: study for name in known if (study := studies.read_study(store.root, name)) is not None}
    listed = _of_study(asked.study, found, store) if asked.study else _of_store(found, store)
    if not listed:
        if not asked.csv:
            say(f"no runs in {here.store.root}; kdlab run makes the first")
        return 0
    _refuse_unknown(asked, listed)
    rows = [run for run in listed if all(one.keeps(run.value(one.key)) for one in asked.filters)]
    rows.sort(key=lambda run: _order(run, asked.sort), reverse=False)
    if asked.sort is not None and asked.sort.startswith("-"):
        rows = _descending(rows, asked.sort[1:])
    if asked.csv:
        _write_csv(rows, asked)
        return 0
    if asked.study is None and not asked.filters:
        _say_studies(found, store)
    _say_table(rows, asked)
    said = "" if len(rows) == len(listed) else f" of {len(listed)}"
    if not rows:
        say(f"none of {len(listed)} runs has {' and '.join(f'{f.key}{f.compare}{f.value}' for f in asked.filters)}")
    elif said:
        say(f"\n{len(rows)}{said} runs")
    if asked.study is not None and not said:
        _say_missing(listed, found[asked.study])
    return 0


def parse(words: Sequence[str]) -> Asked:
    """The words of ``kdlab list``.

    Raises:
        UserError: an unknown option, or two names.
    """
    asked = Asked()
    for word in words:
        match = _WORD.fullmatch(word)
        if word in FLAGS:
            asked.csv = True
        elif word.startswith("-") and match is None:
            raise UserError(f"list: unknown option {word}; {nearest(word, FLAGS)}")
        elif match is None and asked.study is None:
            asked.study = word
        elif match is None:
            raise UserError(f"list: one name is expected, got {asked.study} {word}")
        elif match[2] == "=" and match[1].startswith("store."):
            asked.settings.append(word)
        elif match[2] == "=" and match[1] == "sort":
            asked.sort = match[3]
        elif match[2] == "=" and match[1] == "columns":
            asked.columns = [key for key in match[3].split(",") if key]
        else:
            if match[2] in _COMPARE and _number(match[3]) is None:
                raise UserError(f"list: {word}: {match[2]} compares numbers, '{match[3]}' is none")
            asked.filters.append(Filter(match[1], match[2], match[3]))
    return asked


def _of_study(name: str, found: Mapping[str, studies.Study], store: Store) -> list[Listed]:
    return _listed({member.run_id for member in found[name].members}, {name: found[name]}, store)


def _of_store(found: Mapping[str, studies.Study], store: Store) -> list[Listed]:
    return _listed({path.parent.name for path in store.root.glob("*/config.yaml")} | set(store.ids()), found, store)


def _listed(run_ids: set[str], found: Mapping[str, studies.Study], store: Store) -> list[Listed]:
    members: dict[str, list[tuple[str, studies.Member]]] = {}
    for name, study in found.items():
        for member in study.members:
            members.setdefault(member.run_id, []).append((name, member))
    listed = []
    for run_id in sorted(run_ids):
        record, mine = store.find(run_id), members.get(run_id, [])
        first = mine[0][1] if mine else None
        asked = list(first.overrides) if first else (record.overrides if record else [])
        listed.append(
            Listed(
                run_id,
                record.status if record else _status_of(run_id, store),
                first.role if first else (record.role if record else ""),
                record,
                dict(_split(line) for line in asked),
                tuple(sorted({member.arm for _, member in mine if member.arm})),
                tuple(sorted({name for name, _ in mine})),
                tuple(sorted({member.phase for _, member in mine if member.phase})),
            )
        )
    return listed


def _split(line: str) -> tuple[str, str]:
    key, _, value = line.lstrip("+~").partition("=")
    return key, value


def _status_of(run_id: str, store: Store) -> str:
    """Of a run without a record: nobody began it, somebody holds it, or whoever held it is gone."""
    if not store.folder(run_id).is_dir():
        return "missing"
    path = store.root / "locks" / f"{run_id}.lock"
    if not path.exists():
        return "killed"
    try:
        with FileLock(path, timeout=0):
            return "killed"
    except Timeout:
        return "running"


def _refuse_unknown(asked: Asked, listed: Sequence[Listed]) -> None:
    """Refuse a key that no run has and that kdlab does not know, naming the nearest.

    Raises:
        UserError: with all of them.
    """
    wanted = [one.key for one in asked.filters] + (asked.columns or [])
    wanted += [asked.sort.lstrip("-")] if asked.sort else []
    unknown = [
        key for key in dict.fromkeys(wanted) if key not in NAMES and all(run.value(key) is _ABSENT for run in listed)
    ]
    if not unknown:
        return
    known = {*NAMES, *(key for run in listed for key in run.keys())}  # noqa: SIM118 - a method of ours
    from kdlab.commands.composing import Composer, dotted_keys, make_loader

    known |= set(dotted_keys(Composer(make_loader()).compose([])[0]))  # what no run has yet may still be a key
    problems = [f"list: {key}: no run has such a key; {_hint(key, known)}" for key in unknown if key not in known]
    if problems:
        raise UserError("\n".join(problems))


def _hint(key: str, known: set[str]) -> str:
    """The nearest keys, by the whole key or, where only its last part was written, by that."""
    last: dict[str, list[str]] = {}
    for name in sorted(known):
        last.setdefault(re.split(r"[./]", name)[-1], []).append(name)
    close = [] if re.search(r"[./]", key) else get_close_matches(key, last, n=1, cutoff=0.75)
    if close and key not in NAMES and not get_close_matches(key, NAMES, n=1, cutoff=0.75):
        return f"did you mean {', '.join(last[close[0]][:3])}?"
    return nearest(key, known)


def _order(run: Listed, sort: str | None) -> tuple[Any, ...]:
    usual = (run.role, run.arms, sorted((key, _natural(value)) for key, value in run.overrides.items()))
    return usual if sort is None or sort.startswith("-") else (_natural(run.value(sort)), *usual)


def _descending(rows: Sequence[Listed], key: str) -> list[Listed]:
    """Highest first; runs without the value stay last."""
    there = [run for run in rows if run.value(key) not in (_ABSENT, None)]
    return [
        *sorted(there, key=lambda run: _natural(run.value(key)), reverse=True),
        *(r for r in rows if r not in there),
    ]


def _natural(value: Any) -> tuple[int, float, str]:
    number = _number(value)
    if value is _ABSENT or value is None:
        return 2, 0.0, ""
    return (0, number, "") if number is not None else (1, 0.0, _text(value))


def _number(value: Any) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    try:
        return float(value)
    except ValueError:
        return None


def _same(value: Any, word: str) -> bool:
    number, other = _number(value), _number(word)
    return number == other if number is not None and other is not None else _text(value) == word.strip()


def _text(value: Any) -> str:
    """A value as it is written in a config."""
    if value is _ABSENT:
        return ""
    if isinstance(value, tuple):
        return ",".join(value)
    if isinstance(value, bool) or value is None:
        return json.dumps(value)
    if isinstance(value, float) and value.is_integer() and abs(value) < 1e15:
        return str(int(value))
    return json.dumps(value, separators=(",", ":")) if isinstance(value, list | dict) else str(value)


def _at(node: Any, parts: Sequence[str]) -> Any:
    for part in parts:
        if not isinstance(node, Mapping) or part not in node:
            return _ABSENT
        node = node[part]
    return node


def _leaves(node: Mapping[str, Any], prefix: str = "") -> Iterator[str]:
    for name, item in node.items():
        if isinstance(item, Mapping) and item:
            yield from _leaves(item, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}"


def _columns(rows: Sequence[Listed], asked: Asked) -> list[str]:
    """The keys that are shown: who, the knobs that were asked for, what was measured."""
    if asked.columns is not None:
        return ["run", *(key for key in asked.columns if key != "run")]
    place = "test" if any(run.value("test/accuracy") not in (_ABSENT, None) for run in rows) else "validation"
    measured = [f"{place}/accuracy", f"{place}/ece", f"{place}/agreement"]
    knobs = dict.fromkeys(key for run in rows for key in run.overrides if section_of(key) not in BOOKKEEPING)
    filtered = [one.key for one in asked.filters] + ([asked.sort.lstrip("-")] if asked.sort else [])
    hidden = {*NAMES, "teacher/quality", "teacher.seed", *measured}
    middle = [key for key in dict.fromkeys([*knobs, *filtered]) if key not in hidden]
    also = [key for key in ("study", "error") if key in filtered]
    return ["run", "role", "status", "data", "arm", "quality", "seed", *middle, *also, *measured]


def _cell(run: Listed, key: str) -> str:
    value = run.value(key)
    if value is _ABSENT or value is None:
        return ""
    return f"{value:.4f}" if isinstance(value, float) and ("/" in key or not value.is_integer()) else _text(value)


def _say_table(rows: Sequence[Listed], asked: Asked) -> None:
    """The table; a column that all runs share is told once above it."""
    if not rows:
        return
    keys = _columns(rows, asked)
    cells = {key: [_cell(run, key) for run in rows] for key in keys}
    shared = [key for key in keys[1:] if len(set(cells[key])) == 1] if len(rows) > 1 and asked.columns is None else []
    told = [f"{key}={cells[key][0]}" for key in shared if cells[key][0]]
    if told:
        say(f"all: {' '.join(told)}")
    shown = [key for key in keys if key not in shared]
    titles = _titles(shown)
    if on_terminal():
        cells["run"] = _short_ids(cells["run"])
    columns = [Column(titles[key], _align(key, cells[key]), yields=_yields(key)) for key in shown]
    show(columns, list(zip(*(cells[key] for key in shown), strict=True)))


def _short_ids(ids: Sequence[str]) -> list[str]:
    """Prefixes that tell the runs apart, as ``kdlab evaluate`` takes them."""
    lengths = range(8, 17)
    length = next((n for n in lengths if len({one[:n] for one in ids}) == len(set(ids))), 16)
    return [one[:length] for one in ids]


def _titles(keys: Sequence[str]) -> dict[str, str]:
    """Short headings on a terminal; whole keys where a program reads them."""
    if not on_terminal():
        return {key: key for key in keys}
    from kdlab.reporting.groups import short_names

    return short_names(keys)


def _align(key: str, cells: Sequence[str]) -> Any:
    numeric = key != "run" and all(_number(cell) is not None for cell in cells if cell)
    return "right" if numeric else "left"


def _yields(key: str) -> bool:
    """Whose cells may be cut on a narrow terminal: the knobs, not who it is and not what was measured."""
    return key not in ("run", "role", "status", "seed") and not key.startswith(("test/", "validation/"))


def _write_csv(rows: Sequence[Listed], asked: Asked) -> None:
    keys = _columns(rows, asked) if rows else ["run", "role", "status"]
    writer = csv.writer(sys.stdout, lineterminator="\n")
    writer.writerow(keys)
    for run in rows:
        values = [run.value(key) for key in keys]
        writer.writerow(["" if value is None else _text(value) for value in values])


def _say_studies(found: Mapping[str, studies.Study], store: Store) -> None:
    for name, study in found.items():
        ids = {member.run_id for member in study.members}
        say(f"study {name}: {len(ids)} runs, {sum(store.finished(run) is not None for run in ids)} finished")
    if found:
        say("")


def _say_missing(listed: Sequence[Listed], study: studies.Study) -> None:
    count = {status: sum(run.status == status for run in listed) for status in {run.status for run in listed}}
    parts = [f"{count.get('finished', 0)} finished", f"{count.get('failed', 0)} failed"]
    parts += [f"{count[status]} {status}" for status in ("running", "killed") if status in count]
    say(f"\n{', '.join(parts)}, {count.get('missing', 0)} not run yet")
    if any(status in count for status in ("failed", "killed", "missing")):
        say(f"run what is missing: {study.header.get('command', 'the same command again')}")
