"""Listed runs as a table for people or as CSV for programs, and the lines around it."""

import csv
import sys
from collections.abc import Mapping, Sequence
from typing import Any

from kdlab.commands.knobs import BOOKKEEPING, section_of
from kdlab.commands.listing.asking import Asked
from kdlab.commands.listing.runs import NAMES, Listed
from kdlab.commands.listing.values import ABSENT, number_of, text_of
from kdlab.commands.table import Column, on_terminal, show
from kdlab.records import studies
from kdlab.records.store import Store
from kdlab.saying import say


def say_table(rows: Sequence[Listed], asked: Asked) -> None:
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


def write_csv(rows: Sequence[Listed], asked: Asked) -> None:
    """The same as CSV: every column, values unrounded."""
    keys = _columns(rows, asked) if rows else ["run", "role", "status"]
    writer = csv.writer(sys.stdout, lineterminator="\n")
    writer.writerow(keys)
    for run in rows:
        values = [run.value(key) for key in keys]
        writer.writerow(["" if value is None else text_of(value) for value in values])


def say_studies(found: Mapping[str, studies.Study], store: Store) -> None:
    """How many runs each study has, and how many of them are there."""
    for name, study in found.items():
        ids = {member.run_id for member in study.members}
        say(f"study {name}: {len(ids)} runs, {sum(store.finished(run) is not None for run in ids)} finished")
    if found:
        say("")


def say_missing(listed: Sequence[Listed], study: studies.Study) -> None:
    """What of a study is there, and the command that makes the rest."""
    count = {status: sum(run.status == status for run in listed) for status in {run.status for run in listed}}
    parts = [f"{count.get('finished', 0)} finished", f"{count.get('failed', 0)} failed"]
    parts += [f"{count[status]} {status}" for status in ("running", "killed") if status in count]
    say(f"\n{', '.join(parts)}, {count.get('missing', 0)} not run yet")
    if any(status in count for status in ("failed", "killed", "missing")):
        say(f"run what is missing: {study.header.get('command', 'the same command again')}")


def _columns(rows: Sequence[Listed], asked: Asked) -> list[str]:
    """The keys that are shown: who, the knobs that were asked for, what was measured."""
    if asked.columns is not None:
        return ["run", *(key for key in asked.columns if key != "run")]
    place = "test" if any(run.value("test/accuracy") not in (ABSENT, None) for run in rows) else "validation"
    measured = [f"{place}/accuracy", f"{place}/ece", f"{place}/agreement"]
    knobs = dict.fromkeys(key for run in rows for key in run.overrides if section_of(key) not in BOOKKEEPING)
    filtered = [one.key for one in asked.filters] + ([asked.sort.lstrip("-")] if asked.sort else [])
    hidden = {*NAMES, "teacher/quality", "teacher.seed", *measured}
    middle = [key for key in dict.fromkeys([*knobs, *filtered]) if key not in hidden]
    also = [key for key in ("study", "error") if key in filtered]
    return ["run", "role", "status", "data", "arm", "quality", "seed", *middle, *also, *measured]


def _cell(run: Listed, key: str) -> str:
    value = run.value(key)
    if value is ABSENT or value is None:
        return ""
    return f"{value:.4f}" if isinstance(value, float) and ("/" in key or not value.is_integer()) else text_of(value)


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
    numeric = key != "run" and all(number_of(cell) is not None for cell in cells if cell)
    return "right" if numeric else "left"


def _yields(key: str) -> bool:
    """Whose cells may be cut on a narrow terminal: the knobs, not who it is and not what was measured."""
    return key not in ("run", "role", "status", "seed") and not key.startswith(("test/", "validation/"))
