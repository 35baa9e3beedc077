"""What may stand at the cursor, by the command it stands in. Names are read from folders alone."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from kdlab.commands.completion.overrides import FOLDER, VALUE, Line
from kdlab.commands.completion.typed import split
from kdlab.commands.help import COMMANDS
from kdlab.commands.shells import SCRIPTS

OPTIONS = {
    "run": ("-m", "--cfg", "--config-dir", "--dry-run", "--help"),
    "sweep": ("--cfg", "--config-dir", "--dry-run", "--help"),
    "teacher": ("-m", "--cfg", "--config-dir", "--dry-run", "--help"),
    "evaluate": ("--help",),
    "diagnose": ("--probe", "--deploy", "--json", "--help"),
    "report": ("--prune", "--help"),
    "list": ("--csv", "--help"),
    "sync": ("--help",),
    "pull": ("--help",),
    "board": ("--port", "--host", "--open", "--help"),
    "view": ("--output", "--help"),
    "completion": ("--help",),
}
#: The keys that the commands which read a store take, sections ending in a dot.
READS = {
    "evaluate": ("evaluation.", "store.root", "allow_targets", "trainer.", "tracker."),
    "diagnose": ("store.root", "report.root", "allow_targets", "stack.", "tracker."),
    "report": ("store.root", "report.root"),
    "sync": ("store.root", "tracker."),
    "pull": ("store.root", "tracker."),
    "board": ("store.root", "report.root"),
    "view": ("store.root", "report.root", "tracker."),
}
#: What ``kdlab list`` knows of a run beside keys of its config, with the values that are words of kdlab's.
FILTERS: Mapping[str, Sequence[str]] = {
    "role": ("student", "scratch", "teacher"),
    "status": ("finished", "failed", "missing"),
    "phase": ("confirm", "tune"),
    **dict.fromkeys(("data", "arm", "quality", "seed", "study", "sort", "columns"), ()),
}
VIEW_ACTIONS = ("push", "dump")
PATHS = ("store.root", "report.root", "data.path", "data.root", "data.cache_dir", "teacher.checkpoint")


def shown(line: str, *, breaks: str = "") -> list[str]:
    """What the shell may put in place of the word under the cursor; a candidate that ends a word ends in a space."""
    typed = split(line, breaks=breaks)
    found = dict.fromkeys(candidates(typed.words, typed.current))
    return [name[typed.kept :] for name in found if name.startswith(typed.current)]


def candidates(words: Sequence[str], current: str) -> list[str]:
    """Everything that may stand at the cursor, whole words; those that do not begin with ``current`` among them."""
    if len(words) < 2:
        return _ended([*COMMANDS, *(("--help", "--version") if current.startswith("-") else ())])
    command, rest = words[1], list(words[2:])
    if command not in COMMANDS:
        return []
    if rest and rest[-1] in (*FOLDER, "--output"):
        return _paths(current)
    if rest and rest[-1] in VALUE:
        return _ended(("job", "hydra", "all"))
    if current.startswith("-"):
        return _ended(OPTIONS[command])
    key, equals, value = current.partition("=")
    if equals and key.lstrip("+") in PATHS:
        return [f"{key}={path}" for path in _paths(value)]
    return _of_command(command, rest, current)


def _of_command(command: str, rest: Sequence[str], current: str) -> list[str]:
    line = Line.read(rest, command=command)
    names = [word for word in rest if "=" not in word and not word.startswith("-")]
    if command == "completion":
        return [] if names else _ended(SCRIPTS)
    if command in ("run", "teacher"):
        return line.overrides(current)
    if command == "sweep":
        known = _ended(line.options("sweeps")) if not line.named else []
        return known if known and "=" not in current and _any(known, current) else line.overrides(current)
    if command == "list":
        return ([] if names else _ended(_studies(line.store))) + _filters(line, current)
    if command == "view":
        if not names:
            return _ended(VIEW_ACTIONS)
        names = names[1:]
    named = _run_ids(line.store) if command in ("evaluate", "diagnose") else _studies(line.store, line.reports)
    keys = (
        [name for name in line.overrides(current) if name.startswith(READS[command])]
        if _any(READS[command], current) or "=" in current or "." in current
        else []
    )
    return ([] if names else _ended(named)) + keys


def _any(names: Iterable[str], current: str) -> bool:
    return any(name.startswith(current) for name in names)


def _ended(names: Iterable[str]) -> list[str]:
    return [f"{name} " for name in names]


def _paths(current: str) -> list[str]:
    """Files and folders that begin with what is typed; a folder ends in ``/`` and may go on."""
    head, slash, _ = current.rpartition("/")
    folder = Path(head + slash).expanduser() if head or slash else Path()
    if not folder.is_dir():
        return []
    found = sorted(path for path in folder.iterdir() if not path.name.startswith("."))
    return [f"{head}{slash}{path.name}" + ("/" if path.is_dir() else " ") for path in found]


def _studies(store: Path, reports: Path | None = None) -> list[str]:
    from kdlab.records.studies import studies

    known = set(studies(store)) if store.is_dir() else set()
    if reports is not None and reports.is_dir():
        known |= {path.parent.relative_to(reports).as_posix() for path in reports.rglob("records.jsonl")}
    return sorted(known - {"."})


def _run_ids(store: Path) -> list[str]:
    return sorted(path.parent.name for path in store.glob("*/record.json"))


def _filters(line: Line, current: str) -> list[str]:
    key, equals, _ = current.partition("=")
    if equals and key in FILTERS:
        choices = {"data": "data", "quality": "teacher/quality"}
        values = _studies(line.store) if key == "study" else line.groups().get(choices.get(key, ""), FILTERS[key])
        return [f"{key}={value}" for value in values]
    keys = [name for name in line.overrides(current) if "/" not in name]  # a group is chosen, a run has keys
    return [*(f"{name}=" for name in FILTERS), *keys]
