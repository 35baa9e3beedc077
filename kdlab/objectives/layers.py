"""Which layers a term compares: words for places in any network, and how the stages of two networks pair up.

A network's *stages* are the features along its depth, first to last. ``first``, ``middle``, ``last`` name one of them
(the middle one is FitNets' choice, arXiv:1412.6550; of an even number the earlier of the two), ``penultimate`` is what
the classifier reads, and ``all`` is a list: of two networks of different depth each stage of the shallower one has the
stage of the deeper one that ends at the same share of its depth. Any other word is the name of a feature, or a module
path.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from kdlab.errors import UserError
from kdlab.objectives.marks import Rule

ALL, WORDS = "all", ("first", "middle", "last")
SIDES = ("student", "teacher")
ONE, SEVERAL = "_layer", "_layers"
PLACES = f"{', '.join(WORDS)}, penultimate, the name of a feature, or a module path"


def _is_name(value: Any) -> bool:
    return isinstance(value, str) and value not in ("", ALL)


def _are_names(value: Any) -> bool:
    return value == ALL or (isinstance(value, list | tuple) and len(value) > 0 and all(map(_is_name, value)))


RULES = {
    ONE: Rule(_is_name, f"one layer ({PLACES})", may_change=False),
    SEVERAL: Rule(_are_names, f"all, or a list of at least one layer ({PLACES})", may_change=False),
}


def layer_rules(knobs: Iterable[str]) -> dict[str, Rule]:
    """The rules of those of a term's knobs that name layers."""
    return {knob: rule for knob in knobs for ending, rule in RULES.items() if knob in [side + ending for side in SIDES]}


def placed_knobs(knobs: Mapping[str, Any], *, stages: Mapping[str, Sequence[str]], key: str) -> dict[str, Any]:
    """The knobs of a term that name layers, with names in the place of words.

    Args:
        knobs: all of the term's; ``student_layer``, ``teacher_layer``, ``student_layers`` and ``teacher_layers`` count.
        stages: the stages of ``student`` and ``teacher``; of a network without names for them, empty.
        key: the config key of the term, for the messages.

    Raises:
        UserError: a word stands for a place in a network that names no stages, or the two lists differ in length.
    """
    found = {}
    for side in SIDES:
        name = side + ONE
        if name in knobs:
            found[name] = _one(knobs[name], stages[side], side=side, key=f"{key}.{name}")
    return found | _lists(knobs, stages, key=key)


def _one(word: str, stages: Sequence[str], *, side: str, key: str) -> str:
    if word not in WORDS:
        return word
    if not stages:
        raise UserError(_unnamed(word, side=side, key=key))
    return stages[{"first": 0, "middle": (len(stages) - 1) // 2, "last": -1}[word]]


def _lists(knobs: Mapping[str, Any], stages: Mapping[str, Sequence[str]], *, key: str) -> dict[str, list[str]]:
    asked = {side: knobs[side + SEVERAL] for side in SIDES if side + SEVERAL in knobs}
    counts = {side: len(stages[side]) if value == ALL else len(value) for side, value in asked.items()}
    for side, value in asked.items():
        if value == ALL and not stages[side]:
            raise UserError(_unnamed(ALL, side=side, key=f"{key}.{side}{SEVERAL}"))
    fixed = {counts[side] for side, value in asked.items() if value != ALL}
    count = min(fixed) if fixed else min(counts.values(), default=0)
    found = {}
    for side, value in asked.items():
        short = value == ALL and counts[side] < count
        if short or len(fixed) > 1:
            told = ", ".join(f"{key}.{name}{SEVERAL} = {asked[name]!r}" for name in asked)
            raise UserError(f"{told}: as many layers of the student as of the teacher are needed")
        names = spread_over(stages[side], count=count) if value == ALL else value
        found[side + SEVERAL] = [_one(name, stages[side], side=side, key=f"{key}.{side}{SEVERAL}") for name in names]
    return found


def spread_over(stages: Sequence[str], *, count: int) -> list[str]:
    """``count`` of the stages, evenly along the depth, the last one among them.

    >>> spread_over(["a", "b", "c", "d", "e"], count=2)
    ['c', 'e']
    """
    return [stages[-(-number * len(stages) // count) - 1] for number in range(1, count + 1)]


def _unnamed(word: str, *, side: str, key: str) -> str:
    told = "give the names of features, or module paths as in named_modules()"
    return f"{key} = '{word}': the {side} names no stages; {told}"
