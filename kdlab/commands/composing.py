"""From overrides to composed configs, with Hydra and without its global state.

The rooms below ``commands`` see neither Hydra nor OmegaConf.
"""

import functools
import pickle
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra._internal.utils import create_config_search_path
from hydra.core.config_loader import ConfigLoader
from hydra.core.config_search_path import SearchPathQuery
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override, OverrideType
from hydra.types import RunMode
from omegaconf import DictConfig, ListConfig, flag_override

from kdlab.commands.knobs import section_of
from kdlab.commands.places import resource
from kdlab.commands.raw import Raw, raw_config, value_at, with_value
from kdlab.errors import UserError

CONFIG_NAME = "config"
CONVENTION, OURS = "objective/convention", "kdlab"
_ABSENT = object()


def make_loader(config_dir: str | Path | None = None) -> ConfigLoader:
    """A config loader of our own: no global Hydra state is touched.

    Args:
        config_dir: a folder of the user's configs, searched as well (``--config-dir``).

    Raises:
        UserError: the folder is not there.
    """
    path = create_config_search_path(str(resource("conf")))
    if config_dir is not None:
        folder = Path(config_dir).expanduser().absolute()
        if not folder.is_dir():
            raise UserError(f"--config-dir {config_dir}: no such folder")
        path.prepend("command-line", f"file://{folder}", SearchPathQuery(provider="schema"))
    return ConfigLoaderImpl(path)


def config_dir_of(hydra: Any) -> Path | None:
    """The folder given as ``--config-dir``, from Hydra's part of a config."""
    found = [source.path for source in hydra.runtime.config_sources if source.provider == "command-line"]
    return Path(found[0]) if found else None


def parse_overrides(lines: Sequence[str]) -> list[Override]:
    """Overrides in Hydra's grammar.

    Raises:
        OverrideParseException: one of them cannot be read.
    """
    return [_parsed(line) for line in lines]


@functools.lru_cache(maxsize=4096)
def _parsed(line: str) -> Override:
    """One override; a sweep has the same few lines in all its points, and the grammar is slow."""
    return OverridesParser.create().parse_overrides([line])[0]


class Composer:
    """Composes many points: once per distinct choice of groups, then values set on a copy.

    Same result as composing each point whole, at a tenth of the cost.
    """

    def __init__(self, loader: ConfigLoader) -> None:
        self.loader = loader
        self._bases: dict[tuple[tuple[str, ...], bool], bytes] = {}
        self._raw: dict[tuple[str, ...], Raw] = {}
        self._is_group: dict[str, bool] = {}

    def is_group(self, name: str) -> bool:
        """Whether ``name`` is a group of configs."""
        if name not in self._is_group:  # a look at the disk
            self._is_group[name] = bool(self.loader.repository.group_exists(name))  # type: ignore[attr-defined]
        return self._is_group[name]

    def options(self, group: str) -> list[str]:
        """The configs of a group."""
        return sorted(self.loader.get_group_options(group))

    def alone(self, group: str, option: str) -> Raw | None:
        """What a config of a group says by itself; None where it brings other configs along, or says where it goes."""
        loaded = self.loader.repository.load_config(f"{group}/{option}")  # type: ignore[attr-defined]
        if loaded is None or loaded.defaults_list or loaded.header.get("package"):
            return None
        return raw_config(loaded.config)

    def content(self, group: str, option: str) -> Raw:
        """What a config of a group says, from the place where it is put; empty where there is no such config."""
        loaded = self.loader.repository.load_config(f"{group}/{option}")  # type: ignore[attr-defined]
        return {} if loaded is None else raw_config(loaded.config)

    def mentions(self, group: str, option: str, word: str) -> bool:
        """Whether a config of a group, or one of those that it brings along, says a word, as a key or in a value."""
        loaded = self.loader.repository.load_config(f"{group}/{option}")  # type: ignore[attr-defined]
        if loaded is None:
            return False
        if word in str(raw_config(loaded.config)):
            return True
        inner = [default for default in loaded.defaults_list or () if getattr(default, "group", None)]
        brought = [(f"{group}/{default.group}", name) for default in inner for name in _names_of(default)]
        return any(self.mentions(path, name, word) for path, name in brought if self.is_group(path))

    def compose(self, overrides: Sequence[str], *, with_hydra: bool = True) -> tuple[DictConfig, list[str]]:
        """The unresolved config of a point, and the overrides whose key this point does not have (left out of it).

        Without Hydra's own part, which is as large as kdlab's, a copy costs half. A key absent under this choice of
        groups may belong to another point of the grid (a dose of another preset).
        """
        values, rest = self._values_and_rest(overrides)
        if (rest, with_hydra) not in self._bases:
            base = self.loader.load_configuration(CONFIG_NAME, list(rest), run_mode=RunMode.RUN)
            self._refuse_lost_stages(base.hydra.runtime.choices)
            self._bases[rest, True] = pickle.dumps(base)
            with flag_override(base, ["struct", "readonly"], [False, False]):
                base.pop("hydra")
            self._bases[rest, False] = pickle.dumps(base)
        cfg: DictConfig = pickle.loads(self._bases[rest, with_hydra])
        present = [override for override in values if has_key(cfg, override.key_or_group)]
        absent = [str(override.input_line) for override in values if not has_key(cfg, override.key_or_group)]
        ConfigLoaderImpl._apply_overrides_to_config(present, cfg)
        return cfg, absent

    def compose_raw(self, overrides: Sequence[str]) -> tuple[Raw, list[str]]:
        """As ``compose``, in plain Python and without Hydra's part; parts that no override touches are shared."""
        values, rest = self._values_and_rest(overrides)
        if rest not in self._raw:
            self._raw[rest] = raw_config(self.compose(rest, with_hydra=False)[0])
        raw = base = self._raw[rest]
        present = [override for override in values if value_at(base, override.key_or_group, _ABSENT) is not _ABSENT]
        for override in present:
            if not _is_simple(raw, override):
                cfg, absent = self.compose(overrides, with_hydra=False)
                return raw_config(cfg), absent
            raw = with_value(raw, override.key_or_group, override.value())
        return raw, [str(override.input_line) for override in values if override not in present]

    def _values_and_rest(self, overrides: Sequence[str]) -> tuple[list[Override], tuple[str, ...]]:
        """The overrides that set a value in what the others compose, and those others."""
        parsed = parse_overrides(overrides)
        self._refuse_wrong_choices(parsed)
        values = [override for override in parsed if self._is_value(override)]
        return values, tuple(str(override.input_line) for override in parsed if not self._is_value(override))

    def _refuse_wrong_choices(self, parsed: Sequence[Override]) -> None:
        """A group is chosen by name; Hydra's own words for that name neither the group nor its configs."""
        problems = []
        for override in parsed:
            key, value = override.key_or_group, override.value()
            if not key:
                problems.append(f"'{override.input_line}': an override is written key=value")
            elif (
                self.is_group(key)
                and override.type is not OverrideType.DEL
                and not isinstance(value, str | list | dict)
            ):
                options = ", ".join(self.options(key))
                problems.append(
                    f"{key} = {override.get_value_element_as_str()}: the name of a config; allowed: {options}"
                )
        if problems:
            raise UserError("\n".join(problems))

    def _refuse_lost_stages(self, choices: Mapping[str, Any]) -> None:
        """A convention sets two weights for the whole run; where they belong to stages, these would be lost."""
        convention, objective = choices.get(CONVENTION), choices.get("objective")
        if convention in (None, OURS) or not isinstance(objective, str):
            return
        terms = self.content("objective", objective).get("terms") or {}
        own = self.content(CONVENTION, str(convention)).get("terms") or {}
        staged = [name for name in own if isinstance(value_at(terms, f"{name}.weight"), dict)]
        if staged and set(own) <= set(terms):
            told = f"it sets weights that objective={objective} changes during the run ({', '.join(sorted(staged))})"
            raise UserError(f"{CONVENTION} = {convention}: {told}; {OURS} is allowed")

    def _is_value(self, override: Override) -> bool:
        plain = override.type is OverrideType.CHANGE and override.package is None
        return plain and not isinstance(override.value(), dict) and not self.is_group(override.key_or_group)


def _names_of(default: Any) -> list[str]:
    """The configs that an entry of a defaults list names."""
    value = default.value
    if value is None:
        return []
    return [str(one) for one in (value if isinstance(value, list | ListConfig) else [value])]


def _is_simple(raw: Raw, override: Override) -> bool:
    """Whether an override puts one value in the place of another, which needs nothing that OmegaConf knows."""
    before, value = value_at(raw, override.key_or_group, _ABSENT), override.value()
    if before is _ABSENT or isinstance(before, dict):
        return False
    if isinstance(before, list):  # a list takes the place of a list whole
        return isinstance(value, list) and all(_is_plain(one) for one in value)
    return _is_plain(value)


def _is_plain(value: Any) -> bool:
    """Whether a value is itself: a number, a text without interpolation, or nothing."""
    return value is None or isinstance(value, bool | int | float) or (isinstance(value, str) and "${" not in value)


def has_key(cfg: DictConfig, key: str) -> bool:
    """Whether a dotted key exists in a config (its value may be null or missing)."""
    node: Any = cfg
    for part in key.split("."):
        if not isinstance(node, DictConfig) or part not in node.keys():  # noqa: SIM118 - `in` hides missing values
            return False
        node = node._get_node(part)
    return True


def dotted_keys(cfg: DictConfig) -> list[str]:
    """All keys of a config, sections and leaves, without Hydra's own."""
    return [key for key, _, _ in nodes(cfg) if section_of(key) != "hydra"]


def nodes(node: Any, path: str = "") -> Iterator[tuple[str, Any, Any]]:
    """Every node below a container as (dotted key, its parent, its name in it)."""
    names: Iterable[Any] = node.keys() if isinstance(node, DictConfig) else range(len(node))
    get: Callable[[Any], Any] = node._get_node
    for name in names:
        key = f"{path}.{name}" if path else str(name)
        yield key, node, name
        child = get(name)
        if isinstance(child, DictConfig | ListConfig) and not child._is_none() and not is_special(child):
            yield from nodes(child, key)


def is_special(node: Any) -> bool:
    """Whether a node is an interpolation or has no value yet."""
    return bool(node._is_missing() or node._is_interpolation())
