"""The keys of a composed config with the values they have: made by Hydra, kept in a cache for the next TAB."""

import contextlib
import json
import os
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from kdlab.collector import collector_off
from kdlab.commands.places import resource

if TYPE_CHECKING:
    from hydra.core.config_loader import ConfigLoader
    from omegaconf import DictConfig


def config_keys(chosen: Sequence[str], config_dir: Path | None, *, folders: Iterable[Path]) -> dict[str, str | None]:
    """Every dotted key: None for a section, "" for a value that is nothing to start from.

    Args:
        chosen: the choices of groups on the line.
        config_dir: the user's folder of configs.
        folders: where configs are: a file that is changed there makes the keys anew.
    """
    import hashlib

    from kdlab import __version__

    folder = _cache_folder()
    name = hashlib.sha256(json.dumps([__version__, list(chosen), _stamps(folders)]).encode()).hexdigest()[:24]
    path = folder / f"{name}.json"
    if path.is_file():
        found: dict[str, str | None] = json.loads(path.read_text(encoding="utf-8"))
        return found
    tree = _composed(chosen, config_dir)
    with contextlib.suppress(OSError):  # a home that cannot be written costs a fifth of a second a TAB, not the answer
        _keep(path, tree)
    return tree


def _stamps(folders: Iterable[Path]) -> list[str]:
    files = sorted(path for folder in folders if folder.is_dir() for path in folder.rglob("*.yaml"))
    return [f"{path} {path.stat().st_mtime_ns}" for path in files]


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

    loader = quick_loader(config_dir)
    try:
        cfg = loader.load_configuration("config", list(chosen), run_mode=RunMode.RUN)
    except (HydraException, OmegaConfBaseException):
        if not chosen:
            raise
        return _composed((), config_dir)
    return dict(_leaves(cfg, ""))


def quick_loader(config_dir: Path | None) -> "ConfigLoader":
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
