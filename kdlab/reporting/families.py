"""Verdicts of one family, corrected for how many there are: Holm's procedure over their p of "effect = 0".

A family is fixed beforehand: the primary predictions of all findings are one, the cells of a matrix another. A shown
difference whose adjusted p exceeds the level reads inconclusive after Holm; a shown no difference is not adjusted.

Reference: Holm (1979), Scandinavian Journal of Statistics 6.
"""

from collections.abc import Sequence
from typing import NamedTuple

from kdlab.reporting.predictions import Prediction

ALPHA = 0.05
AFTER_HOLM = "inconclusive after Holm"


def holm(p_values: Sequence[float]) -> list[float]:
    """Adjusted p: ``max over j <= i of min(1, (m - j + 1) p_(j))`` in ascending order.

    >>> holm([0.01, 0.04, 0.03])
    [0.03, 0.06, 0.06]
    """
    adjusted, highest = [0.0] * len(p_values), 0.0
    for place, index in enumerate(sorted(range(len(p_values)), key=lambda index: p_values[index])):
        highest = max(highest, min(1.0, (len(p_values) - place) * p_values[index]))
        adjusted[index] = highest
    return adjusted


def adjusted_in(p_values: Sequence[float | None]) -> list[float | None]:
    """Adjusted p of those of a family that have one."""
    told = [place for place, p in enumerate(p_values) if p is not None]
    found = holm([p for p in p_values if p is not None])
    by_place = dict(zip(told, found, strict=True))
    return [by_place.get(place) for place in range(len(p_values))]


def word_after(word: str, adjusted: float | None, *, shows_difference: bool, alpha: float = ALPHA) -> str:
    """A verdict after Holm.

    Args:
        word: the verdict before.
        adjusted: its adjusted p.
        shows_difference: whether it says that the effect is not 0.
        alpha: the level of the family.
    """
    return AFTER_HOLM if shows_difference and is_lost(adjusted, alpha=alpha) else word


def is_lost(adjusted: float | None, *, alpha: float = ALPHA) -> bool:
    """Whether a shown difference does not stand in its family."""
    return adjusted is None or adjusted > alpha


class Judged(NamedTuple):
    """A prediction as a member of a family: its adjusted p, and its verdict after Holm (why there is none, without)."""

    prediction: Prediction
    adjusted: float | None
    word: str


def judged(family: Sequence[Prediction]) -> list[Judged]:
    """The predictions of one family, in their order."""
    adjusted = adjusted_in([one.p_value for one in family])
    return [Judged(one, p, _word(one, p)) for one, p in zip(family, adjusted, strict=True)]


def _word(one: Prediction, adjusted: float | None) -> str:
    if one.outcome is None:
        return one.reason or "no verdict"
    zero_is_shown = one.outcome.word == "null" or (one.outcome.word == "reproduced" and one.said["sign"] == "zero")
    decided = one.outcome.word != "inconclusive"
    return word_after(one.outcome.word, adjusted, shows_difference=decided and not zero_is_shown)
