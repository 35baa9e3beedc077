"""``kdlab evaluate``, and how commands that only read the store are told what to do."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kdlab.errors import UserError, nearest
from kdlab.records.store import Store
from kdlab.saying import say
from kdlab.schema.config import RunConfig


@dataclass(frozen=True)
class Words:
    """The words of a reading command: names, ``--flags`` and ``key=value`` overrides."""

    names: list[str]
    flags: set[str]
    overrides: list[str]


def parse(words: Sequence[str], *, command: str, flags: Sequence[str] = (), names: int = 1) -> Words:
    """Sort the words of a command.

    Raises:
        UserError: an unknown option, or too many names.
    """
    found = Words(
        [word for word in words if "=" not in word and not word.startswith("-")],
        {word for word in words if word.startswith("-")},
        [word for word in words if "=" in word and not word.startswith("-")],
    )
    for flag in found.flags:
        if flag not in flags:
            raise UserError(f"{command}: unknown option {flag}; {nearest(flag, flags) or 'it has none'}")
    if len(found.names) > names:
        raise UserError(f"{command}: one name is expected, got {' '.join(found.names)}")
    return found


def settings(overrides: Sequence[str], *, command: str, reads: Sequence[str]) -> RunConfig:
    """The typed config that gives the roots and what else a reading command is told by ``key=value``.

    Args:
        overrides: what it was told.
        command: its name, for messages.
        reads: the keys, or sections ending in a dot, that it reads.

    Raises:
        UserError: a key that it does not read, or a mistake in the others.
    """
    from kdlab.commands.checking import read

    keys = [line.split("=", 1)[0] for line in overrides]
    outside = [key for key in keys if not any(key == name or key.startswith(name) for name in reads)]
    if outside:
        why = ": the network is trained" if command == "evaluate" else ""
        raise UserError(f"{command}: {', '.join(outside)} cannot be set here, only {', '.join(reads)}{why}")
    return read(overrides, targets=command == "evaluate")


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
