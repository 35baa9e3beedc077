"""What stands behind a teacher, read from its flat identity: several members, or another network that taught it."""

import json
import re
from collections.abc import Mapping

PARENT, TEACHER = "parent.", "teacher."
_PARENTS = re.compile(rf"^({re.escape(PARENT)})*")
SCALES = ("logit_scale", "match_entropy")
SEVERAL_KEYS = ("ensemble.combination", "between")
"""One of them stands in the identity of an ensemble, or of a teacher that was taught itself."""


def several_word(identity: Mapping[str, str]) -> str:
    """What a teacher of several networks is called; empty for one that learned from labels alone.

    A transformed one is called as its parent.

    >>> several_word({"ensemble.combination": "logits", "ensemble.count": "4"})
    'ensemble of 4, logits'
    >>> several_word({"between": "[]", "model.width": "8", "teacher.model.width": "32"})
    'assistant'
    >>> several_word({"parent.between": "[{}]", "parent.model.width": "8", "parent.teacher.model.width": "8"})
    'generation 2'
    """
    own = {key.removeprefix(PARENT): value for key, value in identity.items()}
    if not set(SEVERAL_KEYS) & set(own):
        return ""
    scaled = any(key.split(".")[0] in SCALES for key in identity)
    return (_ensemble if "ensemble.combination" in own else _link)(own) + (", scaled" if scaled else "")


def _ensemble(identity: Mapping[str, str]) -> str:
    count = identity.get("ensemble.count") or len(json.loads(identity["ensemble.members"]))
    return f"ensemble of {count}, {identity['ensemble.combination']}"


def _link(identity: Mapping[str, str]) -> str:
    number = len(json.loads(identity["between"])) + 1
    if _model(identity, "") == _model(identity, TEACHER):
        return f"generation {number}"
    return "assistant" if number == 1 else f"assistant {number}"


def is_taught(identity: Mapping[str, str]) -> bool:
    """Whether a teacher was taught by another, so that what its student learns from concerns it too."""
    return any(key.removeprefix(PARENT) == "between" for key in identity)


def has_several_teachers(identity: Mapping[str, str]) -> bool:
    """Whether more than one network had to be trained before a student, of this identity, could be."""
    return any(key.removeprefix(PARENT) in SEVERAL_KEYS for key in of_teacher(identity))


def of_teacher(identity: Mapping[str, str]) -> dict[str, str]:
    """The flat identity of the teacher in that of its student; empty for a student without one."""
    return {key.removeprefix(TEACHER): value for key, value in identity.items() if key.startswith(TEACHER)}


def with_parents(identity: Mapping[str, str]) -> dict[str, str]:
    """An identity beside which that of its parents stands as its own: what was transformed has all of its recipe there.

    >>> with_parents({"bits": "3", "parent.model.width": "25", "parent.training.steps": "9"})
    {'model.width': '25', 'training.steps': '9', 'bits': '3'}
    """
    bare = {key: _PARENTS.sub("", key) for key in identity}
    deepest_first = sorted(identity, key=lambda key: len(bare[key]) - len(key))
    return {bare[key]: identity[key] for key in deepest_first}


def _model(identity: Mapping[str, str], prefix: str) -> dict[str, str]:
    start = f"{prefix}model."
    return {key.removeprefix(start): value for key, value in identity.items() if key.startswith(start)}
