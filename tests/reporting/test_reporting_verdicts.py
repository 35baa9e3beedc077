"""Verdict order, the number that decides, the detectable effect, Holm."""

import numpy as np
import pytest
from scipy import stats

from kdlab.keys import CATALOGUE, sesoi_of
from kdlab.reporting.intervals import Interval
from kdlab.reporting.keys import higher_is_better
from kdlab.reporting.verdicts import detectable_effect, units_to_decide, verdict


def _interval(estimate, half, *, n=16, sd=None, resplit=0.0):
    sd = half / (stats.t.ppf(0.975, n - 1) * np.sqrt(1 / n + resplit)) if sd is None else sd
    return Interval(estimate, estimate - half, estimate + half, n, sd, n - 1, "pairs", resplit=resplit)


@pytest.mark.parametrize(
    ("estimate", "half", "word"),
    [
        (0.001, 0.003, "no difference"),
        (0.002, 0.001, "no difference"),  # inside +-SESOI though it excludes 0
        (-0.002, 0.001, "no difference"),
        (0.0, 0.005, "no difference"),  # touching the border is inside
        (0.010, 0.004, "better"),
        (0.0055, 0.004, "better"),
        (-0.010, 0.004, "worse"),
        (0.004, 0.003, "inconclusive"),  # excludes 0, but smaller than the SESOI and not inside it
        (0.010, 0.011, "inconclusive"),
        (0.0, 0.006, "inconclusive"),
    ],
)
def test_the_order_of_verdicts(estimate, half, word):
    assert verdict(_interval(estimate, half), sesoi=0.005, higher_is_better=True).word == word
    opposite = {"better": "worse", "worse": "better"}.get(word, word)
    assert verdict(_interval(estimate, half), sesoi=0.005, higher_is_better=False).word == opposite


def test_no_verdict_without_sesoi_or_without_interval():
    assert verdict(_interval(0.1, 0.01), sesoi=None, higher_is_better=True) is None
    missing = Interval(0.1, None, None, 3, None, None, "none", "one unit")
    assert verdict(missing, sesoi=0.005, higher_is_better=True) is None


def _brute_force(estimate, sd, sesoi, above, resplit):
    for n in range(above + 1, 1001):
        half = stats.t.ppf(0.975, n - 1) * sd * np.sqrt(1 / n + resplit)
        inside = -sesoi <= estimate - half and estimate + half <= sesoi
        excludes = estimate - half > 0 or estimate + half < 0
        if inside or (excludes and abs(estimate) >= sesoi):
            return n
    return None


@pytest.mark.parametrize("estimate", [0.0, 0.001, -0.0043, 0.0051, 0.0075, -0.012])
@pytest.mark.parametrize("sd", [0.006, 0.01, 0.03])
@pytest.mark.parametrize("resplit", [0.0, 0.01])
def test_units_to_decide_against_brute_force(estimate, sd, resplit):
    found = _interval(estimate, 1.0, n=5, sd=sd, resplit=resplit)
    assert units_to_decide(found, sesoi=0.005) == _brute_force(estimate, sd, 0.005, 5, resplit)


def test_more_than_a_thousand_units_is_said_so():
    word = verdict(_interval(0.00499, 0.01), sesoi=0.005, higher_is_better=True)
    assert (word.word, word.units) == ("inconclusive", None)
    assert "> 1,000" in str(word)


@pytest.mark.parametrize(("n", "expected"), [(16, 0.75), (20, 0.66)])
def test_detectable_effect_of_the_planning_numbers(n, expected):
    assert detectable_effect(sd=1.0, n=n) == pytest.approx(expected, abs=0.005)


@pytest.mark.parametrize("n", [2, 3, 10, 40])
@pytest.mark.parametrize("level", [0.95, 0.975])
def test_detectable_effect_has_the_power_it_claims(n, level):
    effect = detectable_effect(sd=0.02, n=n, level=level)
    noncentrality, critical = effect / (0.02 / np.sqrt(n)), stats.t.ppf(0.5 + level / 2, n - 1)
    power = stats.nct.sf(critical, n - 1, noncentrality) + stats.nct.sf(critical, n - 1, -noncentrality)
    assert power == pytest.approx(0.8, abs=1e-6)


def test_detectable_effect_by_simulation():
    values = np.random.default_rng(0).normal(detectable_effect(sd=1.0, n=12), 1.0, (20000, 12))
    assert np.mean(stats.ttest_1samp(values, 0, axis=1).pvalue < 0.05) == pytest.approx(0.8, abs=0.01)


def test_directions_agree_with_the_catalogue_of_metrics():
    for key in CATALOGUE:
        if key.direction != "none":
            assert higher_is_better(key.pattern) == (key.direction == "higher"), key.pattern


def test_sesoi_is_set_for_a_key_for_its_kind_or_by_default():
    assert sesoi_of("noise/accuracy", {}) == 0.005
    assert sesoi_of("test/ece", {}) is None
    assert sesoi_of("test/accuracy", {"accuracy": 0.01, "test/accuracy": 0.02}) == 0.02
    assert sesoi_of("test/accuracy", {"accuracy": None}) is None
