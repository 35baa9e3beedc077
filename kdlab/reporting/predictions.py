"""What a study predicted beside what was seen: the effect with its interval, and a verdict in words of its own.

null: shown to be no difference; reproduced / opposite: a difference is shown, on the predicted side or the other;
inconclusive: neither, with the number of units that would decide. Where no difference is predicted (sign zero), a shown
no difference is what was predicted.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from kdlab.arrays import FloatArray
from kdlab.keys import key_of
from kdlab.references import parse_reference
from kdlab.reporting.aggregate import Summary, detectable
from kdlab.reporting.groups import Group
from kdlab.reporting.intervals import Interval, Seeds, interval, ratio_interval
from kdlab.reporting.resolving import UnresolvedError, columns_by_pair, groups_read, rows_by_pair
from kdlab.reporting.statistics import STATISTICS
from kdlab.reporting.verdicts import Verdict, verdict

Word = Literal["reproduced", "opposite", "null", "inconclusive"]
WORDS: tuple[Word, ...] = ("reproduced", "opposite", "null", "inconclusive")
LATE = "added after the first student had finished"


@dataclass(frozen=True)
class Outcome:
    """A verdict in the words of a prediction; ``units`` as in :class:`Verdict`."""

    word: Word
    units: int | None = None

    def __str__(self) -> str:
        return str(Verdict("inconclusive", self.units)) if self.word == "inconclusive" else self.word


@dataclass(frozen=True)
class Prediction:
    """A prediction on a data set, and what was seen of it.

    Args:
        name: its name.
        data: the data set.
        said: what the header says of it.
        effect: with its interval; None where it could not be evaluated.
        p_value: two-sided, of "effect = 0".
        outcome: None without an interval.
        detectable: the effect that 80 % power would have found.
        reason: why there is no effect, or no interval.
        left_out: pairs in which the statistic is not defined.
        groups: the groups it reads, those that have runs.
    """

    name: str
    data: str
    said: Mapping[str, Any]
    effect: Interval | None
    p_value: float | None
    outcome: Outcome | None
    detectable: float | None
    reason: str | None
    left_out: int
    groups: tuple[Group, ...]

    @property
    def statistic(self) -> str:
        """The name of its statistic."""
        return str(next(iter(self.said["effect"])))

    @property
    def metrics(self) -> list[str]:
        """The metrics it is read at: its own, or those of its references."""
        columns = STATISTICS[self.statistic].asks(self.said["effect"][self.statistic], self.said["metric"])
        read = [(column.metric, parse_reference(text).metric) for column in columns for text in column.references]
        compared = [own or metric for metric, own in read if own or metric == self.said["metric"]]
        return list(dict.fromkeys(compared)) or [str(self.said["metric"])]

    @property
    def in_points(self) -> bool:
        """Whether it is a difference of fractions, which reads best in points."""
        keys = [key_of(metric) for metric in self.metrics]
        are_fractions = all(key is not None and key.unit == "fraction" for key in keys)
        return STATISTICS[self.statistic].is_difference and are_fractions

    @property
    def words(self) -> str:
        """The effect as a reader writes it."""
        return STATISTICS[self.statistic].words(self.said["effect"][self.statistic])

    @property
    def note(self) -> str:
        """What a reader has to know of it beside its row."""
        told = [STATISTICS[self.statistic].note, LATE if self.said.get("added_later") else ""]
        if self.left_out:
            told.append(f"{self.left_out} pairs in which it is not defined are left out")
        return "; ".join([*filter(None, [*told, self.reason])])


def predictions_of(summary: Summary, data: str) -> list[Prediction]:
    """Every prediction of a study on a data set, in the order of its file."""
    return [_seen(summary, data, name, said) for name, said in (summary.header.get("predictions") or {}).items()]


def _seen(summary: Summary, data: str, name: str, said: Mapping[str, Any]) -> Prediction:
    ((kind, asked),) = said["effect"].items()
    statistic = STATISTICS[kind]
    columns = statistic.asks(asked, said["metric"])
    references = [text for column in columns for text in column.references]
    try:
        groups = tuple(groups_read(summary, data, references))
        seeds, values = columns_by_pair(summary, data, columns)
    except UnresolvedError as error:
        return Prediction(name, data, said, None, None, None, None, f"not evaluated: {error.args[0]}", 0, ())
    found = statistic.gives(values, asked)
    defined = np.isfinite(found if found.ndim == 1 else found.sum(axis=0))
    rows = [seed for seed, is_there in zip(seeds, defined, strict=True) if is_there]
    left_out = int((~defined).sum())
    if not rows:
        reason = "not evaluated: it is defined in no pair"
        return Prediction(name, data, said, None, None, None, None, reason, left_out, groups)
    effect, p_value = _interval(rows, found[..., defined], level=summary.level, test_ratio=summary.ratios[data])
    outcome = outcome_of(effect, sign=said["sign"], sesoi=said["sesoi"])
    told = f"no interval: {effect.reason}" if effect.reason else None
    return Prediction(name, data, said, effect, p_value, outcome, detectable(effect), told, left_out, groups)


def _interval(
    seeds: Sequence[Seeds], values: FloatArray, *, level: float, test_ratio: float | None
) -> tuple[Interval, float | None]:
    """The interval of a statistic and the p of "it is 0"; that of a ratio is the p of its numerator."""
    above = values if values.ndim == 1 else values[0]
    rows = rows_by_pair(seeds, above)
    found = interval(rows, level=level, test_ratio=test_ratio)
    if values.ndim == 1:
        return found, found.p_value
    below = [float(value) for value in values[1]]
    return ratio_interval(rows, below, level=level, test_ratio=test_ratio), found.p_value


def outcome_of(effect: Interval, *, sign: str, sesoi: float | None) -> Outcome | None:
    """The verdict on an effect, in the words of a prediction.

    Args:
        effect: with its interval.
        sign: what was predicted: ``positive``, ``negative`` or ``zero``.
        sesoi: the smallest effect of interest.
    """
    found = verdict(effect, sesoi=sesoi, higher_is_better=True)
    if found is None:
        return None
    if found.word == "inconclusive":
        return Outcome("inconclusive", found.units)
    seen = {"better": "positive", "worse": "negative", "no difference": "zero"}[found.word]
    if seen == sign:
        return Outcome("reproduced")
    return Outcome("null" if seen == "zero" else "opposite")
