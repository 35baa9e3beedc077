"""A composed config as plain Python, its interpolations as they are written.

The points of a sweep differ in a few values. Setting those in plain Python, and resolving each section once for what it
says and what it reads, costs a tenth of doing it in OmegaConf, whose every node is an object of its own.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from omegaconf import Container, DictConfig, OmegaConf
from omegaconf.errors import MissingMandatoryValue

Raw = dict[str, Any]
_REFERENCE = re.compile(r"\$\{([^{}]*)\}")
_KEY = re.compile(r"[A-Za-z_.][\w./-]*")
#: Interpolations of which it is known what they read: a key, or one minus the value of a key; 1 where one stood inside.
_CLEAR = re.compile(r"\$\{(\.*[A-Za-z_][\w.]*|one_minus:(\.*[A-Za-z_][\w.]*|1))\}")


def raw_config(cfg: DictConfig) -> Raw:
    """A config as plain Python with its interpolations as they are written, without Hydra's own part."""
    return {str(name): plain(cfg._get_node(name), resolve=False) for name in cfg.keys() if name != "hydra"}  # noqa: SIM118


def plain(node: Any, *, resolve: bool) -> Any:
    """A node of a config as plain Python.

    Part by part, and not the whole config, because Hydra's own part is half of it, and a copy without that part costs
    more than all else that is done for a point of a sweep (``copy.copy`` of a config is a deep copy).
    """
    if isinstance(node, Container) and not (node._is_none() or node._is_missing() or node._is_interpolation()):
        return OmegaConf.to_container(node, resolve=resolve, throw_on_missing=resolve)
    if resolve and node._is_missing():
        raise MissingMandatoryValue(f"Missing mandatory value: {node._key()}")
    return node._dereference_node()._value() if resolve and node._is_interpolation() else node._value()


def value_at(raw: Mapping[str, Any], key: str, default: Any = None) -> Any:
    """What stands at a dotted key of a raw config; ``default`` where there is no such key."""
    found: Any = raw
    for part in key.split("."):
        if not isinstance(found, Mapping) or part not in found:
            return default
        found = found[part]
    return found


def with_value(raw: Mapping[str, Any], key: str, value: Any) -> Raw:
    """A raw config with another value at a dotted key that it has; the parts beside it are shared, not copied."""
    first, _, rest = key.partition(".")
    return {**raw, first: with_value(raw[first], rest, value) if rest else value}


def references(raw: Any, path: tuple[str, ...] = ()) -> Iterator[str]:
    """Every key that an interpolation in ``raw`` names, from the root; ``path`` is where ``raw`` stands."""
    if isinstance(raw, Mapping):
        for name, item in raw.items():
            yield from references(item, (*path, str(name)))
    elif isinstance(raw, list):
        for at, item in enumerate(raw):
            yield from references(item, (*path, str(at)))
    elif isinstance(raw, str) and "${" in raw:
        text = raw
        while match := _REFERENCE.search(text):
            inner = match.group(1)
            words = inner.split(":", 1)[1].split(",") if ":" in inner else [inner]
            yield from (_absolute(word.strip(), path) for word in words if _KEY.fullmatch(word.strip()))
            text = text[: match.start()] + "0" + text[match.end() :]


def _absolute(name: str, path: tuple[str, ...]) -> str:
    """An interpolated key from the root; ``.x`` is a sibling, ``..x`` a sibling of the parent."""
    dots = len(name) - len(name.lstrip("."))
    return ".".join([*path[: len(path) - dots], name[dots:]]) if dots else name


def _is_clear(text: str) -> bool:
    """Whether ``references`` names every section that the interpolations in ``text`` can read.

    >>> [_is_clear(text) for text in ("${one_minus:${a.b}}", "${a.${b}}", "${${b}}", "${oc.env:x}")]
    [True, True, False, False]
    """
    while (shorter := _CLEAR.sub("1", text)) != text:
        text = shorter
    return "${" not in text


class Sections:
    """What is known of the sections of the raw configs of a sweep, by what they say: worked out once for all points."""

    def __init__(self) -> None:
        self._references: dict[tuple[str, str], frozenset[str]] = {}
        self._resolved: dict[tuple[str, ...], Any] = {}

    def references(self, raw: Raw) -> set[str]:
        """Every key that an interpolation of the config names."""
        return set().union(*(self._named(name, section, repr(section)) for name, section in raw.items()))

    def resolved(self, raw: Raw) -> Raw:
        """The config with its interpolations resolved.

        Raises:
            OmegaConfBaseException: one of them leads nowhere, or a value is missing.
        """
        texts = {name: repr(section) for name, section in raw.items()}
        return {name: self._section(name, raw, texts) for name in raw}

    def _named(self, name: str, section: Any, text: str) -> frozenset[str]:
        if "${" not in text:
            return frozenset()
        if (name, text) not in self._references:
            self._references[name, text] = frozenset(references(section, (name,)))
        return self._references[name, text]

    def _section(self, name: str, raw: Raw, texts: Mapping[str, str]) -> Any:
        if "${" not in texts[name] and "???" not in texts[name]:
            return raw[name]
        needed = self._needed(name, raw, texts)
        found = (name, *(texts[other] for other in needed))
        if found not in self._resolved:
            some = OmegaConf.create({other: raw[other] for other in needed})
            self._resolved[found] = plain(some._get_node(name), resolve=True)
        return self._resolved[found]

    def _needed(self, name: str, raw: Raw, texts: Mapping[str, str]) -> Sequence[str]:
        """The sections that one reads, itself and what those read included; all where an interpolation is unclear."""
        needed, new = [name], [name]
        while new:
            section = new.pop()
            if not _is_clear(texts[section]):
                return list(raw)
            read = {key.split(".")[0] for key in self._named(section, raw[section], texts[section])}
            new += [other for other in raw if other in read and other not in needed]
            needed += [other for other in new if other not in needed]
        return needed
