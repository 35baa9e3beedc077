"""The statistics of predictions: which columns of values they ask for, and the value they give in every pair.

A column is the mean of one or several references (``ARM``, ``scratch(ARM)``, ``teacher(ARM)``) of one metric, one value
per pair. What is chosen is chosen on validation, never on the metric it is compared on.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from kdlab.arrays import FloatArray
from kdlab.references import whose, without_metric

CHOSEN_BY = "validation/accuracy"
MOST_NAMES = 4
"""Of references whose mean is meant; of more the first and the last are named."""


class Column(NamedTuple):
    """References whose mean within the pair is meant, and the metric."""

    references: tuple[str, ...]
    metric: str


class Statistic(NamedTuple):
    """A statistic.

    Args:
        asks: its parameters and the metric -> the columns it needs.
        gives: values ``[columns, pairs]`` and its parameters -> ``[pairs]``, NaN where a pair has none; a ratio gives
            ``[2, pairs]``, numerators and denominators.
        words: its parameters as a reader writes them.
        is_difference: whether it has the unit of its metric.
        note: what a reader has to know of it.
    """

    asks: Callable[[Any, str], list[Column]]
    gives: Callable[[FloatArray, Any], FloatArray]
    words: Callable[[Any], str]
    is_difference: bool = False
    note: str = ""


def difference(values: FloatArray, asked: Sequence[Any]) -> FloatArray:
    """``A - B``."""
    return np.asarray(values[0] - values[1])


def gains(values: FloatArray, asked: Sequence[Any]) -> FloatArray:
    """``(A - scratch(A)) - (B - scratch(B))``."""
    return np.asarray((values[0] - values[1]) - (values[2] - values[3]))


def ratio(values: FloatArray, asked: Mapping[str, Any]) -> FloatArray:
    """``A - B`` and ``C - D``: the ratio is one of their means."""
    return np.stack([values[0] - values[1], values[2] - values[3]])


def slope(values: FloatArray, asked: Mapping[str, Any]) -> FloatArray:
    """Least squares of the values (or gains) on the transformed dose: ``sum (x - mean x) y / sum (x - mean x)^2``."""
    doses = np.array(list(asked["values"].values()), dtype=np.float64)
    x = {"linear": doses, "log": np.log(np.maximum(doses, 1e-300)), "log1p": np.log1p(doses)}[asked["scale"]]
    y = values[: len(x)] - values[len(x) :] if asked["gains"] else values
    return least_squares_slope(x, y)


def least_squares_slope(x: FloatArray, y: FloatArray) -> FloatArray:
    """The slope of ``y`` ``[points, pairs]`` on ``x`` ``[points]``."""
    centred = x - x.mean()
    return np.asarray(centred @ (y - y.mean(axis=0)) / (centred @ centred))


def last_minus_best(values: FloatArray, asked: Sequence[Any]) -> FloatArray:
    """The last arm minus the one that is best on validation in the pair."""
    metric, chosen_by = np.split(values, 2)
    best = chosen_by.argmax(axis=0)
    return np.asarray(metric[-1] - np.take_along_axis(metric, best[None, :], axis=0)[0])


def best_dose_slope(values: FloatArray, asked: Mapping[str, Mapping[str, Any]]) -> FloatArray:
    """The slope of log(best dose) on log(capacity); of doses that are alike on validation the smallest counts."""
    best, row = [], 0
    for _, doses in _by_number(asked):
        place = values[row : row + len(doses)].argmax(axis=0)
        best.append(np.log([dose for dose, _ in _by_number(doses)])[place])
        row += len(doses)
    return least_squares_slope(np.log([capacity for capacity, _ in _by_number(asked)]), np.stack(best))


def rank_correlation(values: FloatArray, asked: Mapping[str, Any]) -> FloatArray:
    """Spearman's correlation over arms: Pearson's of the ranks, ties share theirs; NaN where all are alike."""
    from scipy.stats import rankdata

    first, second = (rankdata(part, axis=0) for part in np.split(values, 2))
    first, second = first - first.mean(axis=0), second - second.mean(axis=0)
    norm = np.sqrt((first**2).sum(axis=0) * (second**2).sum(axis=0))
    return np.asarray(np.where(norm > 0, (first * second).sum(axis=0) / np.where(norm > 0, norm, 1.0), np.nan))


def share_above(values: FloatArray, asked: Mapping[str, Any]) -> FloatArray:
    """The share of arms that exceed the reference in the pair, minus a number."""
    return np.asarray((values[:-1] > values[-1]).mean(axis=0) - asked["minus"])


def _by_number(asked: Mapping[str, Any]) -> list[tuple[float, Any]]:
    """Items by their keys as numbers, ascending: keys of JSON are text."""
    return sorted(((float(key), value) for key, value in asked.items()), key=lambda item: item[0])


def _columns(references: Sequence[Any], metric: str) -> list[Column]:
    return [Column((one,) if isinstance(one, str) else tuple(one), metric) for one in references]


def _chosen(references: Sequence[Any]) -> list[Column]:
    """What the choice is made by, also of references that are compared at a metric of their own."""
    columns = _columns(references, CHOSEN_BY)
    return [Column(tuple(without_metric(text) for text in one.references), CHOSEN_BY) for one in columns]


def _twins(arms: Sequence[str]) -> list[str]:
    return [whose("scratch", arm) for arm in arms]


def _asks_gains(asked: Sequence[Sequence[str]], metric: str) -> list[Column]:
    return _columns([one for arms in asked for one in (arms, _twins(arms))], metric)


def _asks_slope(asked: Mapping[str, Any], metric: str) -> list[Column]:
    arms = list(asked["values"])
    return _columns([*arms, *(_twins(arms) if asked["gains"] else [])], metric)


def _asks_correlation(asked: Mapping[str, Any], metric: str) -> list[Column]:
    of = [whose("teacher" if asked["of"] == "teacher" else "arm", without_metric(arm)) for arm in asked["arms"]]
    return [*_columns(of, asked["with"]), *_columns(asked["arms"], metric)]


def _mean(references: Any) -> str:
    """One reference by its name, several as their mean."""
    names = [references] if isinstance(references, str) else list(references)
    if len(names) > MOST_NAMES:
        return f"mean of {len(names)} from {names[0]} to {names[-1]}"
    return names[0] if len(names) == 1 else f"mean({', '.join(names)})"


def _minus(pair: Sequence[Any]) -> str:
    return f"{_mean(pair[0])} − {_mean(pair[1])}"


def _slope_words(asked: Mapping[str, Any]) -> str:
    doses = ", ".join(f"{arm} {dose:g}" for arm, dose in asked["values"].items())
    of, on = ("gains over scratch" if asked["gains"] else "values"), {"linear": "dose"}.get(asked["scale"])
    return f"slope of the {of} on {on or asked['scale'] + '(dose)'}: {doses}"


def _best_dose_words(asked: Mapping[str, Any]) -> str:
    sizes = "; ".join(
        f"at {capacity:g} " + ", ".join(f"{_mean(arm)} {dose:g}" for dose, arm in _by_number(doses))
        for capacity, doses in _by_number(asked)
    )
    return f"slope of log(best dose) on log(capacity): {sizes}"


def _rank_words(asked: Mapping[str, Any]) -> str:
    whose = "the teacher's" if asked["of"] == "teacher" else "the student's own"
    return f"rank correlation with {whose} {asked['with']} over {', '.join(asked['arms'])}"


STATISTICS: Mapping[str, Statistic] = {
    "difference": Statistic(_columns, difference, _minus, is_difference=True),
    "gains": Statistic(
        _asks_gains,
        gains,
        lambda asked: f"gain of {_mean(asked[0])} − gain of {_mean(asked[1])}",
        is_difference=True,
        note="a gain is a student minus its own scratch twin",
    ),
    "ratio": Statistic(
        lambda asked, metric: _columns([*asked["of"], *asked["to"]], metric),
        ratio,
        lambda asked: f"({_minus(asked['of'])}) / ({_minus(asked['to'])})",
        note="a ratio of mean differences, Fieller's interval",
    ),
    "slope": Statistic(
        _asks_slope, slope, _slope_words, note="least squares in each pair, per unit of the (transformed) dose"
    ),
    "last_minus_best": Statistic(
        lambda asked, metric: [*_columns(asked, metric), *_chosen(asked)],
        last_minus_best,
        lambda asked: f"{_mean(asked[-1])} − best of {', '.join(_mean(one) for one in asked)}",
        is_difference=True,
        note="the best arm of a pair is chosen on validation accuracy: where it is the last one the difference is 0, "
        "and it is a little below 0 even where all arms are alike, as the luckiest of them is chosen",
    ),
    "best_dose_slope": Statistic(
        lambda asked, metric: _chosen([arm for _, doses in _by_number(asked) for _, arm in _by_number(doses)]),
        best_dose_slope,
        _best_dose_words,
        note="in each pair, the best dose chosen on validation accuracy",
    ),
    "rank_correlation": Statistic(
        _asks_correlation, rank_correlation, _rank_words, note="Spearman's, over the arms of each pair"
    ),
    "share_above": Statistic(
        lambda asked, metric: _columns([*asked["arms"], asked["reference"]], metric),
        share_above,
        lambda asked: f"share of {', '.join(asked['arms'])} above {_mean(asked['reference'])}, − {asked['minus']:g}",
        note="the share is counted in each pair",
    ),
}
