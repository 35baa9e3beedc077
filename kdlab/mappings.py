"""Mappings laid over each other."""

from collections.abc import Mapping
from typing import Any


def laid_over(base: Mapping[str, Any], changes: Mapping[str, Any], *, replacing: str | None = None) -> dict[str, Any]:
    """A mapping with changes: mappings inside are laid over too, but one that has the key ``replacing`` replaces.

    >>> laid_over({"a": 1, "b": {"c": 2}}, {"b": {"d": 3}})
    {'a': 1, 'b': {'c': 2, 'd': 3}}
    >>> laid_over({"_target_": "x", "a": 1}, {"_target_": "y"}, replacing="_target_")
    {'_target_': 'y'}
    """
    if replacing in changes:
        return dict(changes)
    laid = dict(base)
    for name, value in changes.items():
        below = laid.get(name)
        if isinstance(below, Mapping) and isinstance(value, Mapping):
            laid[name] = laid_over(below, value, replacing=replacing)
        else:
            laid[name] = value
    return laid
