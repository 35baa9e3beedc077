"""``kdlab evaluate``: a finished run measured again from its weights."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from kdlab.commands.reading import parse, settings
from kdlab.errors import UserError
from kdlab.records.store import Store
from kdlab.saying import say


def evaluate(words: list[str]) -> int:
    """``kdlab evaluate RUN [key=value ...]``."""
    from kdlab.commands.jobs import apply_threads, open_lab, show_path, summary
    from kdlab.commands.sync import bring_up
    from kdlab.experiments.again import config_of, evaluate_again
    from kdlab.records.store import read_record
    from kdlab.schema.reading import read_config

    asked = parse(words, command="evaluate")
    if not asked.names:
        raise UserError("evaluate: a path, a run id or a unique prefix of one is needed")
    here = settings(
        asked.overrides,
        command="evaluate",
        reads=("evaluation.", "store.root", "allow_targets", "trainer.", "tracker."),
    )
    store = Store(Path(here.store.root), say=say)
    folder = store.resolve(asked.names[0])
    record = read_record(folder)
    if record is None:
        raise UserError(f"{folder} has no record yet: the run is going on or was killed; run it again")
    if folder.name != record.run_id:
        raise UserError(f"{folder} holds run {record.run_id}: give the folder that name, a run is found by it")
    saved = config_of(record, allow=here.allow_targets).plain
    config = read_config(
        {
            **saved,
            **{
                part: _changed(part, saved[part], here.plain[part], asked.overrides)
                for part in ("evaluation", "trainer")
            },
            "store": {"root": str(folder.absolute().parent)},
            "tracker": here.plain["tracker"],  # this process's own: an old record may have been told to go online
            "allow_targets": here.allow_targets,
        }
    )
    apply_threads(config)
    lab = open_lab(config)
    again = evaluate_again(folder.absolute(), lab, config)
    if lab.tracker.is_online:
        bring_up(lab.store, [again], config.tracker)
    say(summary(again, lab))
    say(show_path(folder.absolute()))
    return 0


def _changed(path: str, saved: Mapping[str, Any], asked: Mapping[str, Any], overrides: Sequence[str]) -> dict[str, Any]:
    """A section of the record's config with what the command line sets in it."""
    keys = [line.split("=", 1)[0] for line in overrides]
    found = dict(saved)
    for name, value in asked.items():
        key = f"{path}.{name}"
        if isinstance(value, Mapping):
            found[name] = _changed(key, saved.get(name, {}), value, overrides)
        elif key in keys:
            found[name] = value
    return found
