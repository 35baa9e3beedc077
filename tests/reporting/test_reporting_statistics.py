"""Every statistic against a slow loop, or scipy, pair by pair."""

import math
import statistics as python

import numpy as np
import pytest
from scipy import stats

from kdlab.reporting.statistics import CHOSEN_BY, STATISTICS, Column

RNG = np.random.default_rng(0)
ACCURACY = {arm: RNG.normal(0.6, 0.02, 7) for arm in "abcd"}
TWIN = {arm: RNG.normal(0.5, 0.02, 7) for arm in "abcd"}
TEACHER = {arm: RNG.normal(0.9, 0.02, 7) for arm in "abcd"}
CHOSEN = {arm: RNG.normal(0.6, 0.02, 7) for arm in "abcd"}
OVER = {arm: RNG.normal(0.0, 1.0, 7) for arm in "abcd"}
METRIC = "test/accuracy"


def value(text, metric, pair):
    """What a reference measured in a pair, read by hand."""
    if text.startswith("scratch("):
        return TWIN[text[8]][pair]
    if text.startswith("teacher("):
        return (OVER if metric == "test/log_fitted_temperature" else TEACHER)[text[8]][pair]
    return {METRIC: ACCURACY, CHOSEN_BY: CHOSEN, "test/log_fitted_temperature": OVER}[metric][text][pair]


def given(name, asked):
    columns = STATISTICS[name].asks(asked, METRIC)
    assert all(isinstance(column, Column) for column in columns)
    table = [
        [python.fmean(value(text, column.metric, pair) for text in column.references) for pair in range(7)]
        for column in columns
    ]
    return STATISTICS[name].gives(np.array(table), asked)


def slow(function):
    return [function(pair) for pair in range(7)]


def best(arms, pair):
    found = arms[0]
    for arm in arms:
        if CHOSEN[arm][pair] > CHOSEN[found][pair]:
            found = arm
    return found


def slow_difference(pair):
    return (ACCURACY["a"][pair] + ACCURACY["b"][pair]) / 2 - TWIN["c"][pair]


def slow_gains(pair):
    gain = {arm: ACCURACY[arm][pair] - TWIN[arm][pair] for arm in "abc"}
    return gain["a"] - (gain["b"] + gain["c"]) / 2


def slow_ratio(pair):
    return ACCURACY["a"][pair] - TWIN["a"][pair], TEACHER["a"][pair] - TWIN["a"][pair]


def slow_slope(pair):
    return stats.linregress([math.log(2), math.log(4), math.log(16)], [ACCURACY[arm][pair] for arm in "abc"]).slope


def slow_slope_of_gains(pair):
    gains = [ACCURACY[arm][pair] - TWIN[arm][pair] for arm in "abcd"]
    return stats.linregress([math.log(1), math.log(11), math.log(21), math.log(6)], gains).slope


def slow_last_minus_best(pair):
    return ACCURACY["d"][pair] - ACCURACY[best("abcd", pair)][pair]


def slow_best_dose_slope(pair):
    dose = {("a", "b"): {"a": 1, "b": 10}, ("c", "d"): {"c": 1, "d": 10}, ("a", "c", "d"): {"a": 10, "c": 1, "d": 20}}
    doses = [math.log(of[best(arms, pair)]) for arms, of in dose.items()]
    return stats.linregress([math.log(4), math.log(8), math.log(16)], doses).slope


def slow_rank_correlation(pair):
    return stats.spearmanr([OVER[arm][pair] for arm in "abcd"], [ACCURACY[arm][pair] for arm in "abcd"]).statistic


def slow_share_above(pair):
    count = 0
    for arm in "abc":
        if ACCURACY[arm][pair] > ACCURACY["d"][pair]:
            count += 1
    return count / 3 - 0.25


CASES = {
    "difference": ([["a", "b"], ["scratch(c)"]], slow_difference),
    "gains": ([["a"], ["b", "c"]], slow_gains),
    "ratio": ({"of": [["a"], ["scratch(a)"]], "to": [["teacher(a)"], ["scratch(a)"]]}, slow_ratio),
    "slope": ({"values": {"a": 2.0, "b": 4.0, "c": 16.0}, "scale": "log", "gains": False}, slow_slope),
    "slope of gains": (
        {"values": {"a": 0.0, "b": 10.0, "c": 20.0, "d": 5.0}, "scale": "log1p", "gains": True},
        slow_slope_of_gains,
    ),
    "last_minus_best": ([["a"], ["b"], ["c"], ["d"]], slow_last_minus_best),
    "best_dose_slope": (
        {
            "8.0": {"1.0": ["c"], "10.0": ["d"]},
            "16.0": {"10.0": ["a"], "20.0": ["d"], "1.0": ["c"]},
            "4.0": {"1.0": ["a"], "10.0": ["b"]},
        },
        slow_best_dose_slope,
    ),
    "rank_correlation": (
        {"arms": ["a", "b", "c", "d"], "with": "test/log_fitted_temperature", "of": "teacher"},
        slow_rank_correlation,
    ),
    "share_above": ({"arms": ["a", "b", "c"], "reference": ["d"], "minus": 0.25}, slow_share_above),
}


@pytest.mark.parametrize("case", CASES)
def test_a_statistic_against_a_slow_loop(case):
    asked, oracle = CASES[case]
    found = given(case.split()[0], asked)
    np.testing.assert_allclose(np.asarray(found).T, np.array(slow(oracle)), atol=1e-12)


def test_a_correlation_shares_the_ranks_of_ties_and_has_none_where_all_are_alike():
    asked = {"arms": ["a", "b", "c"], "with": "test/ece", "of": "student"}
    values = np.array([[1.0, 1.0], [1.0, 1.0], [2.0, 1.0], [3.0, 1.0], [1.0, 2.0], [5.0, 3.0]])
    found = STATISTICS["rank_correlation"].gives(values, asked)
    assert found[0] == pytest.approx(stats.spearmanr([1, 1, 2], [3, 1, 5]).statistic)
    assert math.isnan(found[1])


def test_the_smallest_of_doses_that_are_alike_counts():
    asked = {"1": {"4": ["a"], "2": ["b"]}, "2": {"4": ["a"], "2": ["b"]}}
    equal, larger = np.array([[0.5], [0.5], [0.5], [0.5]]), np.array([[0.5], [0.5], [0.5], [0.6]])
    assert STATISTICS["best_dose_slope"].gives(equal, asked).tolist() == [0.0]
    assert STATISTICS["best_dose_slope"].gives(larger, asked).tolist() == pytest.approx([1.0])


def test_the_last_arm_minus_itself_is_nothing():
    values = np.array([[0.7], [0.6], [0.5], [0.8]])  # the last has less on test, and more on validation
    assert STATISTICS["last_minus_best"].gives(values, [["a"], ["b"]]).tolist() == [0.0]
