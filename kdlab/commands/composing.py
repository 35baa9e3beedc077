"""From overrides to configs, with Hydra: where the configs lie, composing without global state, and which knobs are read.

With ``schema.py`` and ``hydra_plugins`` the only place that knows Hydra and OmegaConf.
"""

import copy
import pickle
import re
from collections.abc import Iterable, Sequence
from typing import Any

from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra._internal.utils import create_config_search_path
from hydra.core.config_loader import ConfigLoader
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override, OverrideType
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf, flag_override
from omegaconf.errors import OmegaConfBaseException

from kdlab.commands.places import resource
from kdlab.errors import UserError, nearest
from kdlab.schema import needs_teacher

CONFIG_NAME = "config"
_REFERENCE = re.compile(r"\$\{([^{}]*)\}")
_KEY = re.compile(r"[A-Za-z_.][\w./-]*")


def register_resolvers() -> None:
    """Make ``${one_minus:x}`` known to OmegaConf."""
    from kdlab.objectives import one_minus

    OmegaConf.register_new_resolver("one_minus", one_minus, replace=True)


def make_loader() -> ConfigLoader:
    """A config loader of our own: no global Hydra state is touched."""
    return ConfigLoaderImpl(create_config_search_path(str(resource("conf"))))


def compose(overrides: Sequence[str], *, loader: ConfigLoader | None = None) -> DictConfig:
    """One unresolved config, as ``kdlab run`` composes it."""
    register_resolvers()
    return (loader or make_loader()).load_configuration(CONFIG_NAME, list(overrides), run_mode=RunMode.RUN)


def resolved(cfg: DictConfig) -> dict[str, Any]:
    """The plain, resolved mapping of a config, without Hydra's own part.

    Raises:
        UserError: an interpolation that leads nowhere, a missing value, a resolver that fails.
    """
    bare = copy.copy(cfg)
    with flag_override(bare, ["struct", "readonly"], [False, False]):
        bare.pop("hydra", None)
    try:
        plain = OmegaConf.to_container(bare, resolve=True, throw_on_missing=True)
    except OmegaConfBaseException as error:
        key = getattr(error, "full_key", None)
        raise UserError(f"{key or 'config'}: {str(error).splitlines()[0]}") from error
    assert isinstance(plain, dict)
    return {str(name): value for name, value in plain.items()}


class Composer:
    """Composes many points: once per distinct choice of groups, then values set on a copy.

    Same result as composing each point whole, at a tenth of the cost.
    """

    def __init__(self, loader: ConfigLoader) -> None:
        register_resolvers()
        self.loader = loader
        self._bases: dict[tuple[str, ...], bytes] = {}

    def is_group(self, override: Override) -> bool:
        """Whether an override chooses a config of a group."""
        repository = self.loader.repository  # type: ignore[attr-defined]
        return bool(repository.group_exists(override.key_or_group))

    def compose(self, overrides: Sequence[str]) -> tuple[DictConfig, list[str]]:
        """The config of a point, and the overrides whose key this point does not have (they were left out).

        A key absent under this choice of groups belongs to another point of the grid (a dose of another preset).
        """
        parsed = OverridesParser.create().parse_overrides(list(overrides))
        values = [override for override in parsed if self._is_value(override)]
        rest = tuple(override.input_line for override in parsed if not self._is_value(override))
        if rest not in self._bases:
            base = self.loader.load_configuration(CONFIG_NAME, list(rest), run_mode=RunMode.RUN)
            self._bases[rest] = pickle.dumps(base)
        cfg: DictConfig = pickle.loads(self._bases[rest])
        present = [override for override in values if has_key(cfg, override.key_or_group)]
        absent = [override.input_line for override in values if not has_key(cfg, override.key_or_group)]
        ConfigLoaderImpl._apply_overrides_to_config(present, cfg)
        return cfg, absent

    def _is_value(self, override: Override) -> bool:
        plain = override.type is OverrideType.CHANGE and override.package is None
        return plain and not isinstance(override.value(), dict) and not self.is_group(override)


def has_key(cfg: DictConfig, key: str) -> bool:
    """Whether a dotted key exists in a config (its value may be null or missing)."""
    node: Any = cfg
    for part in key.split("."):
        if not isinstance(node, DictConfig) or part not in node.keys():  # noqa: SIM118 - `in` hides missing values
            return False
        node = node._get_node(part)
    return True


def unread(cfg: DictConfig, keys: Iterable[str]) -> list[str]:
    """Those of ``keys`` (of overrides, dotted or of groups) that nothing in this config reads.

    A knob (``objective.alpha``, ``teacher.quality.scale``) is read by interpolation alone. What concerns the teacher is
    not read where no term learns from one, where it is a control without a network, or where a checkpoint or the
    quality preset takes the place of it.
    """
    raw = OmegaConf.to_container(cfg, resolve=False)
    assert isinstance(raw, dict)
    references = _references(raw)
    return [key for key in keys if not _is_read(key.replace("/", "."), raw, references)]


def _is_read(key: str, raw: dict[Any, Any], references: set[str]) -> bool:
    section, _, rest = key.partition(".")
    if section == "objective" and rest and not rest.startswith("term"):
        return _referenced(key, references)
    if section == "teacher":
        return _teacher_reads(rest, raw, references)
    return True


def _teacher_reads(rest: str, raw: dict[Any, Any], references: set[str]) -> bool:
    teacher = raw.get("teacher")
    terms = (raw.get("objective") or {}).get("terms") or {}
    if not any(needs_teacher(term) for term in terms.values() if isinstance(term, dict)):
        return False
    if not rest or not isinstance(teacher, dict):
        return True
    quality = teacher.get("quality") or {}
    head, _, tail = rest.partition(".")
    if head == "quality":
        dose = tail and tail.split(".")[0] not in ("name", "training", "weights", "outputs", "control")
        return _referenced(f"teacher.{rest}", references) if dose else True
    if quality.get("control"):
        return False
    if head in ("training", "seed") and teacher.get("checkpoint") is not None:
        return False
    return not (head == "training" and tail in (quality.get("training") or {}))


def _referenced(key: str, references: set[str]) -> bool:
    return any(name == key or name.startswith(key + ".") or key.startswith(name + ".") for name in references)


def _references(raw: Any, path: tuple[str, ...] = ()) -> set[str]:
    """Every key that an interpolation of a config names, absolute."""
    if isinstance(raw, dict):
        return {found for name, item in raw.items() for found in _references(item, (*path, str(name)))}
    if isinstance(raw, list):
        return {found for at, item in enumerate(raw) for found in _references(item, (*path, str(at)))}
    if not isinstance(raw, str) or "${" not in raw:
        return set()
    names: set[str] = set()
    text = raw
    while match := _REFERENCE.search(text):
        inner = match.group(1)
        words = inner.split(":", 1)[1].split(",") if ":" in inner else [inner]
        names |= {_absolute(word.strip(), path) for word in words if _KEY.fullmatch(word.strip())}
        text = text[: match.start()] + "0" + text[match.end() :]
    return names


def _absolute(name: str, path: tuple[str, ...]) -> str:
    """An interpolated key from the root; ``.x`` is a sibling, ``..x`` a sibling of the parent."""
    dots = len(name) - len(name.lstrip("."))
    if dots == 0:
        return name
    return ".".join([*path[: len(path) - dots], name[dots:]])


def refuse_unread(cfg: DictConfig, overrides: Sequence[str]) -> None:
    """Refuse what a single run sets and nothing reads.

    Raises:
        UserError: naming each such key and what is read instead.
    """
    parsed = OverridesParser.create().parse_overrides(list(overrides))
    keys = [override.key_or_group for override in parsed if not override.is_hydra_override()]
    problems = [unread_message(key, cfg) for key in unread(cfg, keys)]
    if problems:
        raise UserError("\n".join(problems))


def unread_message(key: str, cfg: DictConfig) -> str:
    """Why a key is refused, and the nearest keys that are read."""
    raw = OmegaConf.to_container(cfg, resolve=False)
    assert isinstance(raw, dict)
    section = key.replace("/", ".").split(".")[0]
    read = [name for name in _references(raw) if name.startswith(f"{section}.")]
    hint = nearest(key, read)
    return f"nothing in this config reads {key}{'; ' + hint if hint else ''}"
