"""What stands behind a teacher, read from its flat identity: several members, or another network that taught it."""

import json
from collections.abc import Mapping

PARENT, TEACHER = "parent.", "teacher."
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
    if "ensemble.combination" in own:
        count = own.get("ensemble.count") or len(json.loads(own["ensemble.members"]))
        return f"ensemble of {count}, {own['ensemble.combination']}"
    if "between" not in own:
        return ""
    number = len(json.loads(own["between"])) + 1
    if _model(own, "") == _model(own, TEACHER):
        return f"generation {number}"
    return "assistant" if number == 1 else f"assistant {number}"


def is_taught(identity: Mapping[str, str]) -> bool:
    """Whether a teacher was taught by another, so that what its student learns from concerns it too."""
    return any(key.removeprefix(PARENT) == "between" for key in identity)


def has_several_teachers(identity: Mapping[str, str]) -> bool:
    """Whether more than one network had to be trained before a student, of this identity, could be."""
    return any(key.removeprefix(TEACHER).removeprefix(PARENT) in SEVERAL_KEYS for key in identity if TEACHER in key)


def _model(identity: Mapping[str, str], prefix: str) -> dict[str, str]:
    start = f"{prefix}model."
    return {key.removeprefix(start): value for key, value in identity.items() if key.startswith(start)}
