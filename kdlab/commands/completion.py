"""Shell completion: ``kdlab completion bash|zsh|fish`` prints a script, ``-sc query=SHELL`` answers a TAB.

The script hands over the line and the cursor (``COMP_LINE``, ``COMP_POINT``: Hydra's own protocol, so that a shell with
Hydra's script installed gets answers too). Names are read from folders alone; only keys need a composed config, which
Hydra makes and a cache keeps, because a TAB has to feel instant. Nothing here imports torch.
"""

import contextlib
import json
import os
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, get_args

from kdlab.collector import collector_off
from kdlab.commands.help import COMMANDS
from kdlab.commands.places import names_under, resource
from kdlab.commands.shells import SCRIPTS
from kdlab.errors import UserError

if TYPE_CHECKING:
    from hydra.core.config_loader import ConfigLoader
    from omegaconf import DictConfig

FLAGS = ("-sc", "--shell-completion")
OPTIONS = {
    "run": ("-m", "--cfg", "--config-dir", "--dry-run", "--help"),
    "sweep": ("--cfg", "--config-dir", "--dry-run", "--help"),
    "teacher": ("-m", "--cfg", "--config-dir", "--dry-run", "--help"),
    "evaluate": ("--help",),
    "report": ("--prune", "--help"),
    "list": ("--csv", "--help"),
    "completion": ("--help",),
}
#: The keys that the commands which read a store take, sections ending in a dot.
READS = {
    "evaluate": ("evaluation.", "store.root", "allow_targets", "trainer.", "tracker."),
    "report": ("store.root", "report.root"),
}
#: What ``kdlab list`` knows of a run beside keys of its config, with the values that are words of kdlab's.
FILTERS: Mapping[str, Sequence[str]] = {
    "role": ("student", "scratch", "teacher"),
    "status": ("finished", "failed", "missing"),
    "phase": ("confirm", "tune"),
    **dict.fromkeys(("data", "arm", "quality", "seed", "study", "sort", "columns"), ()),
}
PATHS = ("store.root", "report.root", "data.path", "data.root", "data.cache_dir", "teacher.checkpoint")
_VALUE = ("--cfg", "-c")
_FOLDER = ("--config-dir", "-cd")


def completion(words: list[str]) -> int:
    """``kdlab completion SHELL``: the script to evaluate."""
    allowed = ", ".join(SCRIPTS)
    if len(words) != 1 or words[0] not in SCRIPTS:
        given = f"'{' '.join(words)}'" if words else "none"
        raise UserError(f"completion: the name of one shell is needed, got {given}; allowed: {allowed}")
    print(SCRIPTS[words[0]], end="")
    return 0


def hydra_protocol(words: Sequence[str]) -> int:
    """Answer ``[COMMAND] -sc query=SHELL`` and ``-sc install=SHELL`` in place of Hydra."""
    at = next(at for at, word in enumerate(words) if word in FLAGS)
    what, _, shell = (words[at + 1] if len(words) > at + 1 else "").partition("=")
    if what not in ("query", "install") or shell not in SCRIPTS:
        raise UserError(f"{words[at]}: query=SHELL or install=SHELL is needed, SHELL one of {', '.join(SCRIPTS)}")
    if what == "install":
        print(SCRIPTS[shell], end="")
        return 0
    line = os.environ.get("COMP_LINE", "").encode()
    point = int(os.environ.get("COMP_POINT") or len(line))
    found = shown(line[:point].decode(errors="ignore"), breaks=os.environ.get("KDLAB_WORDBREAKS", ""))
    print("\n".join(found), end="\n" if found else "")
    return 0


# --- the line -------------------------------------------------------------------------------------------------------


class Typed(NamedTuple):
    """A line up to the cursor.

    Args:
        words: the finished words, without their quotes.
        current: the word under the cursor, without its quotes.
        kept: how much of it the shell does not ask to replace (bash breaks words at ``=`` and ``:``).
    """

    words: list[str]
    current: str
    kept: int


def split(line: str, *, breaks: str = "") -> Typed:
    """Read a line as a shell does, one that may end inside quotes; only its last command counts.

    >>> split("cd x; kdlab run 'objective.te")
    Typed(words=['kdlab', 'run'], current='objective.te', kept=0)
    >>> split("kdlab run student=ml", breaks="=:")
    Typed(words=['kdlab', 'run'], current='student=ml', kept=8)
    """
    words: list[str] = []
    current, kept, quote, inside = "", 0, "", False
    at = 0
    while at < len(line):
        char = line[at]
        at += 1
        if quote:
            if char == quote:
                quote = ""
            else:
                current += char
        elif char in "'\"":
            quote, inside, kept = char, True, len(current)
        elif char == "\\":
            current, inside = current + line[at : at + 1], True
            at += 1
        elif char.isspace() or char in ";|&":
            words = [*words, current] if current or inside else words
            current, kept, inside = "", 0, False
            words = words if char.isspace() else []
        else:
            current += char
            kept = len(current) if char in breaks else kept
    while words and re.match(r"[A-Za-z_]\w*=", words[0]):  # NAME=value before the command
        words = words[1:]
    return Typed(words, current, kept)


def shown(line: str, *, breaks: str = "") -> list[str]:
    """What the shell may put in place of the word under the cursor; a candidate that ends a word ends in a space."""
    typed = split(line, breaks=breaks)
    found = dict.fromkeys(candidates(typed.words, typed.current))
    return [name[typed.kept :] for name in found if name.startswith(typed.current)]


# --- what may stand there -------------------------------------------------------------------------------------------


def candidates(words: Sequence[str], current: str) -> list[str]:
    """Everything that may stand at the cursor, whole words; those that do not begin with ``current`` among them."""
    if len(words) < 2:
        return _ended([*COMMANDS, *(("--help", "--version") if current.startswith("-") else ())])
    command, rest = words[1], list(words[2:])
    if command not in COMMANDS:
        return []
    if rest and rest[-1] in _FOLDER:
        return _paths(current)
    if rest and rest[-1] in _VALUE:
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
    named = _run_ids(line.store) if command == "evaluate" else _studies(line.store, line.reports)
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


def _filters(line: "Line", current: str) -> list[str]:
    key, equals, _ = current.partition("=")
    if equals and key in FILTERS:
        choices = {"data": "data", "quality": "teacher/quality"}
        values = _studies(line.store) if key == "study" else line.groups().get(choices.get(key, ""), FILTERS[key])
        return [f"{key}={value}" for value in values]
    keys = [name for name in line.overrides(current) if "/" not in name]  # a group is chosen, a run has keys
    return [*(f"{name}=" for name in FILTERS), *keys]


# --- overrides ------------------------------------------------------------------------------------------------------


class Line(NamedTuple):
    """What the words before the cursor already decide.

    Args:
        chosen: the choices of groups among them, one config each: they decide which keys there are.
        named: whether they name a sweep.
        config_dir: the user's folder of configs.
        store: where runs are.
        reports: where reports are.
    """

    chosen: tuple[str, ...]
    named: bool
    config_dir: Path | None
    store: Path
    reports: Path

    @classmethod
    def read(cls, words: Sequence[str], *, command: str) -> "Line":
        """From the finished words after the command."""
        places = {"store.root": "runs", "report.root": "reports"}
        config_dir = None
        chosen: list[str] = []
        named = False
        for before, word in zip(["", *words], words, strict=False):
            key, equals, value = word.partition("=")
            if before in _FOLDER:
                config_dir = Path(word).expanduser()
            elif key in _FOLDER and equals:
                config_dir = Path(value).expanduser()
            elif key.lstrip("+") in places and equals:
                places[key.lstrip("+")] = value
            elif equals and value:
                first = value if value.startswith("[") else value.split(",")[0]
                chosen.append(f"{key}={first}")
            elif command == "sweep" and not word.startswith("-") and before not in _VALUE and not named:
                named = True
                chosen.append(f"sweeps={word}")
        store, reports = (Path(places[name]).expanduser() for name in ("store.root", "report.root"))
        return cls(tuple(chosen), named, config_dir, store, reports)

    def folders(self) -> list[Path]:
        """Where configs are: kdlab's, and the user's."""
        return [resource("conf"), *([self.config_dir] if self.config_dir and self.config_dir.is_dir() else [])]

    def groups(self) -> dict[str, list[str]]:
        """Every group of kdlab's and the user's configs with its options, from the folders alone.

        Hydra would also offer the folders that stand beside ``sweeps/``, which is on its search path.
        """
        names = {name for folder in self.folders() for name in names_under(folder) if not name.startswith(_UNCHOSEN)}
        sweeps = {"sweeps": sorted({name for folder in self._of_sweeps() for name in names_under(folder)})}
        found: dict[str, list[str]] = {}
        for group, _, option in (name.rpartition("/") for name in sorted(names)):
            if group:
                found.setdefault(group, []).append(option)
        return sweeps | found

    def _of_sweeps(self) -> list[Path]:
        return [resource("sweeps"), *(folder / "sweeps" for folder in self.folders()[1:])]

    def options(self, group: str) -> list[str]:
        """The configs of a group; Hydra's own groups have those of its plugins too."""
        found = self.groups().get(group, [])
        if group.startswith("hydra/"):
            found = sorted({*found, *_loader(self.config_dir).get_group_options(group)} - {"default"})
        return found

    def overrides(self, current: str) -> list[str]:
        """The overrides that may stand at the cursor: groups, keys, and their values."""
        body = current.lstrip("+~")
        sign = current[: len(current) - len(body)]
        key, equals, value = body.partition("=")
        found = self._values(key, value) if equals else self._keys(body, adds="+" in sign)
        return [f"{sign}{name}" for name in found]

    def _values(self, key: str, value: str) -> list[str]:
        lead = value[: max(value.rfind(","), value.rfind("[")) + 1]
        group = key.split("@")[0]
        if group in self.groups() or group.startswith("hydra/"):
            taken = re.split(r"[,\[]", lead)
            return [f"{key}={lead}{name}" for name in self.options(group) if name not in taken]
        return [f"{key}={lead}{name}" for name in _allowed(key) or self._current(key, lead=lead)]

    def _current(self, key: str, *, lead: str) -> list[str]:
        """A switch has two values; of any other key the value it has is a start."""
        value = self.tree().get(key)
        if value in ("true", "false"):
            return ["true", "false"]
        return [value] if value and not lead else []

    def _keys(self, body: str, *, adds: bool) -> list[str]:
        own = body.startswith("hydra")
        groups = [name for name in self.groups() if name.startswith("hydra") == own]
        names = [f"{name}=" for name in [*groups, *(() if own else _slots())]]
        if adds:  # a term comes with its own place: +objective/term@objective.terms.hint=hint
            names += [f"objective/term@objective.terms.{name}={name} " for name in self.options("objective/term")]
        depth = len(body.rpartition(".")[0]) + 1 if "." in body else 0
        for key, value in self.tree().items():
            if key.startswith(body) and key.startswith("hydra.") == own:
                head, dot, _ = key[depth:].partition(".")
                names.append(f"{key[:depth]}{head}." if dot else f"{key}{'.' if value is None else '='}")
        return list(dict.fromkeys(names))

    def tree(self) -> dict[str, str | None]:
        """Every dotted key of the composed config: None for a section, "" for a value that is nothing to start from.

        Composed by Hydra with the choices on the line, or without them where they do not go together.
        """
        known = self.groups()
        chosen = [
            word
            for word in self.chosen
            if word.lstrip("+~").split("=")[0].split("@")[0] in known or word.startswith("hydra/")
        ]
        return _cached(chosen, self.config_dir, stamps=_stamps([*self.folders(), *self._of_sweeps()]))


#: Configs that nobody chooses here: sweeps lie elsewhere too, sizes follow from other choices.
_UNCHOSEN = ("sweeps/", "size/")


def _slots() -> list[str]:
    """The second places of groups, ``training/optimizer@teacher.training.optimizer``, from the root config's text."""
    text = (resource("conf") / "config.yaml").read_text(encoding="utf-8")
    return re.findall(r"^  - ([\w/]+@[\w.]+):", text, re.MULTILINE)


def _allowed(key: str) -> list[str]:
    """The values of a key that takes one of a few words (``tracker.mode``), from the schema."""
    if key.count(".") == 0 or key.split(".")[0] not in ("tracker", "evaluation", "training", "teacher", "study"):
        return []
    from kdlab.schema.config import RunConfig

    section: object = RunConfig
    for part in key.split("."):
        model = next((one for one in [section, *get_args(section)] if hasattr(one, "model_fields")), None)
        if model is None or part not in model.model_fields:
            return []
        section = model.model_fields[part].annotation
    words = {word for one in [section, *get_args(section)] for word in get_args(one) or (one,)}
    return sorted(word for word in words if isinstance(word, str))


# --- the composed config, kept --------------------------------------------------------------------------------------


def _stamps(folders: Iterable[Path]) -> list[str]:
    files = sorted(path for folder in folders if folder.is_dir() for path in folder.rglob("*.yaml"))
    return [f"{path} {path.stat().st_mtime_ns}" for path in files]


def _cached(chosen: Sequence[str], config_dir: Path | None, *, stamps: Sequence[str]) -> dict[str, str | None]:
    import hashlib

    from kdlab import __version__

    folder = _cache_folder()
    name = hashlib.sha256(json.dumps([__version__, list(chosen), list(stamps)]).encode()).hexdigest()[:24]
    path = folder / f"{name}.json"
    if path.is_file():
        found: dict[str, str | None] = json.loads(path.read_text(encoding="utf-8"))
        return found
    tree = _composed(chosen, config_dir)
    with contextlib.suppress(OSError):  # a home that cannot be written costs a fifth of a second a TAB, not the answer
        _keep(path, tree)
    return tree


def _cache_folder() -> Path:
    if os.environ.get("KDLAB_CACHE_DIR"):
        return Path(os.environ["KDLAB_CACHE_DIR"]).expanduser() / "completion"
    from platformdirs import user_cache_path

    return user_cache_path("kdlab") / "completion"


def _keep(path: Path, tree: Mapping[str, str | None], *, most: int = 100) -> None:
    from kdlab.records.atomic import write_text

    path.parent.mkdir(parents=True, exist_ok=True)
    write_text(path, json.dumps(tree))
    for old in sorted(path.parent.glob("*.json"), key=lambda one: one.stat().st_mtime_ns)[:-most]:
        old.unlink(missing_ok=True)


def _composed(chosen: Sequence[str], config_dir: Path | None) -> dict[str, str | None]:
    from hydra.errors import HydraException
    from hydra.types import RunMode
    from omegaconf.errors import OmegaConfBaseException

    loader = _loader(config_dir)
    try:
        cfg = loader.load_configuration("config", list(chosen), run_mode=RunMode.RUN)
    except (HydraException, OmegaConfBaseException):
        if not chosen:
            raise
        return _composed((), config_dir)
    return dict(_leaves(cfg, ""))


def _loader(config_dir: Path | None) -> "ConfigLoader":
    """As ``composing.make_loader``, without the schema that comes with it: that costs a tenth of a second."""
    with collector_off(freeze=True):  # a fifth of the time is the collector looking at modules that stay
        from hydra import version
        from hydra._internal.config_loader_impl import ConfigLoaderImpl
        from hydra._internal.utils import create_config_search_path
        from hydra.core.config_search_path import SearchPathQuery

    version.setbase("1.3")
    path = create_config_search_path(str(resource("conf")))
    if config_dir is not None and config_dir.is_dir():
        path.prepend("command-line", f"file://{config_dir.absolute()}", SearchPathQuery(provider="schema"))
    return ConfigLoaderImpl(path)


def _leaves(node: "DictConfig", path: str) -> Iterable[tuple[str, str | None]]:
    from omegaconf import DictConfig

    for name in node.keys():  # noqa: SIM118 - `in` and `items` hide missing values
        key, child = f"{path}.{name!s}" if path else str(name), node._get_node(name)
        if not isinstance(child, DictConfig):
            yield key, _start(getattr(child, "_value", lambda: None)())
        elif child._is_none() or child._is_missing() or child._is_interpolation() or not len(child):
            yield key, ""
        else:
            yield key, None
            yield from _leaves(child, key)


def _start(value: object) -> str:
    """A value as it is typed; nothing for lists, missing values and interpolations."""
    if isinstance(value, bool):
        return str(value).lower()
    plain = isinstance(value, int | float | str) and not re.search(r"[\s${}'\"?,]", str(value))
    return str(value) if plain else ""
