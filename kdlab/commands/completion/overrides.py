"""The overrides that may stand at the cursor: groups, keys and their values, with what the line already decides."""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple, get_args

from kdlab.commands.completion.config_keys import config_keys, quick_loader
from kdlab.commands.places import names_under, resource

VALUE = ("--cfg", "-c")
FOLDER = ("--config-dir", "-cd")
#: Configs that nobody chooses here: sweeps lie elsewhere too, sizes follow from other choices.
_UNCHOSEN = ("sweeps/", "size/")


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
            if before in FOLDER:
                config_dir = Path(word).expanduser()
            elif key in FOLDER and equals:
                config_dir = Path(value).expanduser()
            elif key.lstrip("+") in places and equals:
                places[key.lstrip("+")] = value
            elif equals and value:
                first = value if value.startswith("[") else value.split(",")[0]
                chosen.append(f"{key}={first}")
            elif command == "sweep" and not word.startswith("-") and before not in VALUE and not named:
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
            found = sorted({*found, *quick_loader(self.config_dir).get_group_options(group)} - {"default"})
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
        return config_keys(chosen, self.config_dir, folders=[*self.folders(), *self._of_sweeps()])


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
