"""Identity: one name for one way of training a network, whoever asks for it and however the numbers are written.

Two runs with the same identity train the same network, so the second is not trained. The identity is the sha256 of the
canonical JSON of everything that trains the network; ``run_id`` is its first 16 hex digits and the name of the folder.
"""

import hashlib
import json
import math
from collections.abc import Mapping
from typing import Any

#: Raised when a golden training number changes; it stands in every identity config as ``version``.
TRAINING_VERSION = 1

#: Fields added after records existed: dotted path -> the value that trains as if the field were not there. At that
#: value the field stays out of the hash, so old identities stay valid. A whole new section is listed by its own path.
ADDED_LATER: dict[str, Any] = {
    f"{inside}training.{name}": neutral
    for name, neutral in {"augmentation": {}, "views": 0}.items()
    for inside in ("", "teacher.", "parent.", "teacher.parent.")
} | {
    "teacher_cache.dtype": "float32",
    "teacher_cache.fixed_targets": False,
    "teacher_cache": {},  # after its fields: empty where both are neutral
}

RUN_ID_LENGTH = 16


def canonical_json(value: Any) -> str:
    """One text for one value: keys sorted, no spaces, floats at 12 significant digits, ``4`` and ``4.0`` alike.

    Integers are exact, so that two large seeds never share a text. ``True`` is not ``1``, ``-0.0`` is ``0``, tuples are
    lists, an integer key is its digits.

    Raises:
        ValueError: NaN or infinity, two keys with one text, or a value unknown to JSON; the message names where.

    >>> canonical_json({"b": 4.0, "a": [True, 0.1 + 0.2]})
    '{"a":[true,0.3],"b":4}'
    """
    return _text(value, where="")


def identity(config: Mapping[str, Any]) -> str:
    """The sha256 (64 hex digits) of ``config`` as canonical JSON, without fields added later at their neutral value.

    Args:
        config: all that trains the network, ``TRAINING_VERSION`` included; nothing is added here, so that
            ``identity(record.identity_config) == record.identity`` for every record.
    """
    return hashlib.sha256(canonical_json(without_neutral(config)).encode()).hexdigest()


def without_neutral(config: Mapping[str, Any]) -> Mapping[str, Any]:
    """``config`` without fields added later at their neutral value: records before and after read alike."""
    known: Mapping[str, Any] = config
    for path, neutral in ADDED_LATER.items():
        known = _without(known, path.split("."), neutral)
    return known


def run_id(identity: str) -> str:
    """The first 16 hex digits of an identity: the name of the run and of its folder."""
    return identity[:RUN_ID_LENGTH]


def _text(value: Any, *, where: str) -> str:
    if value is None or isinstance(value, (bool, str)):
        return json.dumps(value)
    if isinstance(value, int):
        return str(int(value))
    if isinstance(value, float):
        return _float_text(value, where=where)
    if isinstance(value, Mapping):
        return _mapping_text(value, where=where)
    if isinstance(value, (list, tuple)):
        return "[" + ",".join(_text(item, where=f"{where}[{at}]") for at, item in enumerate(value)) + "]"
    raise ValueError(f"{where or 'value'} = {value!r}: a {type(value).__name__} has no place in an identity")


def _float_text(value: float, *, where: str) -> str:
    if not math.isfinite(value):
        raise ValueError(f"{where or 'value'} = {value}: only finite numbers have a place in an identity")
    text = f"{value:.12g}"
    rounded = float(text)
    return str(int(rounded)) if rounded.is_integer() else text  # int() also turns -0.0 into 0


def _mapping_text(value: Mapping[Any, Any], *, where: str) -> str:
    texts: dict[str, str] = {}
    for key, item in value.items():
        if isinstance(key, bool) or not isinstance(key, (str, int)):
            raise ValueError(f"{where or 'value'}: key {key!r} must be a string or an integer")
        if str(key) in texts:
            raise ValueError(f"{where or 'value'}: key {key!r} stands there twice, as text and as number")
        texts[str(key)] = _text(item, where=f"{where}.{key}" if where else str(key))
    return "{" + ",".join(f"{json.dumps(key)}:{texts[key]}" for key in sorted(texts)) + "}"


def _without(config: Mapping[str, Any], path: list[str], neutral: Any) -> Mapping[str, Any]:
    """``config`` without the field at ``path`` where it has the neutral value; otherwise ``config`` itself."""
    name, rest = path[0], path[1:]
    if name not in config:
        return config
    if rest:
        inner = config[name]
        return {**config, name: _without(inner, rest, neutral)} if isinstance(inner, Mapping) else config
    if canonical_json(config[name]) != canonical_json(neutral):
        return config
    return {key: item for key, item in config.items() if key != name}
