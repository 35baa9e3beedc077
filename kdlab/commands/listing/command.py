"""The command: find the runs, filter, sort, show."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from kdlab.commands.listing.asking import parse
from kdlab.commands.listing.runs import Listed, of_store, of_study
from kdlab.commands.listing.showing import say_missing, say_studies, say_table, write_csv
from kdlab.commands.listing.unknown_keys import refuse_unknown
from kdlab.commands.listing.values import ABSENT, sort_key
from kdlab.commands.reading import settings
from kdlab.errors import UserError, nearest
from kdlab.records import studies
from kdlab.records.store import Store
from kdlab.saying import say


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
    listed = of_study(asked.study, found, store) if asked.study else of_store(found, store)
    if not listed:
        if not asked.csv:
            say(f"no runs in {here.store.root}; kdlab run makes the first")
        return 0
    refuse_unknown(asked, listed)
    rows = [run for run in listed if all(one.keeps(run.value(one.key)) for one in asked.filters)]
    rows.sort(key=lambda run: _order(run, asked.sort), reverse=False)
    if asked.sort is not None and asked.sort.startswith("-"):
        rows = _descending(rows, asked.sort[1:])
    if asked.csv:
        write_csv(rows, asked)
        return 0
    if asked.study is None and not asked.filters:
        say_studies(found, store)
    say_table(rows, asked)
    said = "" if len(rows) == len(listed) else f" of {len(listed)}"
    if not rows:
        say(f"none of {len(listed)} runs has {' and '.join(f'{f.key}{f.compare}{f.value}' for f in asked.filters)}")
    elif said:
        say(f"\n{len(rows)}{said} runs")
    if asked.study is not None and not said:
        say_missing(listed, found[asked.study])
    return 0


def _order(run: Listed, sort: str | None) -> tuple[Any, ...]:
    usual = (run.role, run.arms, sorted((key, sort_key(value)) for key, value in run.overrides.items()))
    return usual if sort is None or sort.startswith("-") else (sort_key(run.value(sort)), *usual)


def _descending(rows: Sequence[Listed], key: str) -> list[Listed]:
    """Highest first; runs without the value stay last."""
    there = [run for run in rows if run.value(key) not in (ABSENT, None)]
    return [
        *sorted(there, key=lambda run: sort_key(run.value(key)), reverse=True),
        *(r for r in rows if r not in there),
    ]
