"""Predictions on made-up records, each against a loop over the records themselves."""

import math

import numpy as np
import pytest
import synthetic_records as synthetic
from scipy import stats

from kdlab.reporting.aggregate import summarize
from kdlab.reporting.intervals import Interval, Row
from kdlab.reporting.predictions import outcome_of, predictions_of
from kdlab.reporting.resolving import paired

ARMS = {
    "kd": [],
    "weak": ["teacher/quality=weak"],
    "uniform": ["teacher/quality=uniform"],
    "labels": ["objective=hard_labels"],
}
GAIN = {"kd": 0.03, "weak": 0.01, "uniform": 0.0, "labels": 0.0}


def said(effect, **changes):
    first = {"claim": "It is so.", "metric": "test/accuracy", "sign": "positive", "recipe": "fixed"}
    return {**first, "sesoi": 0.005, "primary": False, "effect": effect, **changes}


def study(predictions, *, seeds=9, arms=ARMS, **header):
    maker = synthetic.Maker(seed=11)
    for seed in range(seeds):
        for arm in arms:
            quality = {"kd": "standard", "labels": "standard"}.get(arm, arm)
            alpha = 0 if arm == "labels" else 0.9
            overrides = [f"seed={seed}", *ARMS[arm]]
            maker.student(seed, arm=arm, quality=quality, alpha=alpha, gain=GAIN[arm], overrides=overrides)
    return maker.lines(arms=ARMS, predictions=predictions, **header)


def evaluated(effect, lines=None, **changes):
    lines = study({"one": said(effect, **changes)}) if lines is None else lines
    (found,) = predictions_of(summarize(lines), "mnist1d")
    return found, lines


class Slow:
    """The records of a study, by arm and student seed."""

    def __init__(self, lines):
        self.by_id = {line["run_id"]: line for line in lines[1:]}
        self.runs = {}
        for line in lines[1:]:
            for member in line["members"]:
                self.runs[member["arm"], line["seeds"]["student"]] = line

    def value(self, arm, seed, who="arm", metric="test/accuracy"):
        run = self.runs[arm, seed]
        if who == "scratch":
            run = self.by_id[run["twin"]] if run["twin"] else run
        if who == "teacher":
            run = self.by_id[run["teacher"]["id"]]
        return run["metrics"][metric]


def t_interval(values):
    return stats.t.interval(0.95, len(values) - 1, loc=np.mean(values), scale=stats.sem(values))


def check(found, values):
    low, high = t_interval(values)
    assert found.effect.estimate == pytest.approx(np.mean(values), abs=1e-12)
    assert (found.effect.low, found.effect.high) == (pytest.approx(low, abs=1e-12), pytest.approx(high, abs=1e-12))
    assert found.effect.n == len(values)
    assert found.p_value == pytest.approx(stats.ttest_1samp(values, 0).pvalue)


def test_a_difference_of_arms_twins_and_teachers():
    found, lines = evaluated({"difference": [["kd"], ["scratch(weak)"]]})
    slow = Slow(lines)
    check(found, [slow.value("kd", seed) - slow.value("weak", seed, "scratch") for seed in range(9)])
    found, _ = evaluated({"difference": [["teacher(kd)"], ["uniform", "weak"]]}, metric="test/nll")
    slow = Slow(lines)
    check(
        found,
        [
            slow.value("kd", seed, "teacher", "test/nll")
            - (slow.value("uniform", seed, metric="test/nll") + slow.value("weak", seed, metric="test/nll")) / 2
            for seed in range(9)
        ],
    )


def test_a_difference_to_scratch_is_the_one_of_the_main_table():
    found, lines = evaluated({"difference": [["kd"], ["scratch(kd)"]]})
    row = next(row for row in summarize(lines).rows if row.group.arm == "kd")
    assert found.effect == row.against("scratch").differences["test/accuracy"]
    assert found.detectable == row.against("scratch").detectable["test/accuracy"]


def test_a_difference_of_arms_is_the_one_that_the_study_compares():
    lines = study({"one": said({"difference": [["kd"], ["uniform"]]})}, compare=[["kd", "uniform"], ["uniform", "kd"]])
    summary = summarize(lines)
    (found,) = predictions_of(summary, "mnist1d")
    row = next(row for row in summary.rows if row.group.arm == "kd")
    assert found.effect == row.against("arm").differences["test/accuracy"]


def test_gains_with_an_arm_on_labels_alone_that_is_its_own_twin():
    found, lines = evaluated({"gains": [["kd"], ["labels"]]})
    slow = Slow(lines)
    check(found, [slow.value("kd", seed) - slow.value("kd", seed, "scratch") for seed in range(9)])
    found, _ = evaluated({"difference": [["labels"], ["scratch(labels)"]]}, sign="zero")
    assert found.effect.case == "students"
    assert (found.effect.estimate, str(found.outcome)) == (0.0, "reproduced")


def test_a_ratio_by_a_slow_fieller():
    effect = {"ratio": {"of": [["kd"], ["scratch(kd)"]], "to": [["teacher(kd)"], ["scratch(kd)"]]}}
    found, lines = evaluated(effect, sesoi=0.05)
    slow = Slow(lines)
    x = np.array([slow.value("kd", seed) - slow.value("kd", seed, "scratch") for seed in range(9)])
    y = np.array([slow.value("kd", seed, "teacher") - slow.value("kd", seed, "scratch") for seed in range(9)])
    inside = [
        r for r in np.linspace(-1, 1, 40001) if abs(np.mean(x - r * y)) <= stats.t.ppf(0.975, 8) * stats.sem(x - r * y)
    ]
    assert found.effect.estimate == pytest.approx(x.mean() / y.mean())
    assert (found.effect.low, found.effect.high) == (
        pytest.approx(min(inside), abs=1e-4),
        pytest.approx(max(inside), abs=1e-4),
    )
    assert found.p_value == pytest.approx(stats.ttest_1samp(x, 0).pvalue)
    assert not found.in_points


def test_a_slope_of_gains():
    effect = {"slope": {"values": {"kd": 1.0, "weak": 4.0, "uniform": 2.0}, "scale": "log", "gains": True}}
    found, lines = evaluated(effect)
    slow = Slow(lines)
    check(
        found,
        [
            stats.linregress(
                np.log([1, 4, 2]),
                [slow.value(arm, seed) - slow.value(arm, seed, "scratch") for arm in ("kd", "weak", "uniform")],
            ).slope
            for seed in range(9)
        ],
    )


def test_a_rank_correlation_with_the_teachers():
    lines = study(
        {"one": said({"rank_correlation": {"arms": ["kd", "weak", "bad"], "with": "test/ece", "of": "teacher"}})}
    )
    maker = synthetic.Maker(seed=4)
    for seed in range(9):
        for arm in ("kd", "weak", "bad"):
            maker.student(seed, arm=arm, quality=arm, overrides=[f"seed={seed}", f"teacher/quality={arm}"])
    found, lines = evaluated(None, lines=maker.lines(arms={}, predictions=lines[0]["predictions"]))
    slow = Slow(lines)
    check(
        found,
        [
            stats.spearmanr(
                [slow.value(arm, seed, "teacher", "test/ece") for arm in ("kd", "weak", "bad")],
                [slow.value(arm, seed) for arm in ("kd", "weak", "bad")],
            ).statistic
            for seed in range(9)
        ],
    )


def test_pairs_that_lack_a_value_are_left_out():
    lines = study({"one": said({"difference": [["kd"], ["weak"]]})})
    slow = Slow(lines)
    slow.runs["weak", 3]["metrics"]["test/accuracy"] = None
    slow.runs["kd", 5]["status"] = "failed"
    found, _ = evaluated(None, lines=lines)
    check(found, [slow.value("kd", seed) - slow.value("weak", seed) for seed in range(9) if seed not in (3, 5)])


@pytest.mark.parametrize(
    ("effect", "told"),
    {
        "not run": ({"difference": [["kd"], ["nobody"]]}, "no run of nobody has finished"),
        "no teacher": ({"difference": [["kd"], ["teacher(labels)"]]}, "teacher(labels) has no test/accuracy"),
    }.values(),
)
def test_what_cannot_be_evaluated_says_why(effect, told):
    found, _ = evaluated(effect)
    assert (found.effect, found.outcome, found.p_value) == (None, None, None)
    assert found.reason == f"not evaluated: {told}"


def test_an_arm_in_several_groups_is_named():
    maker = synthetic.Maker()
    for seed in range(3):
        for T in (1, 2):
            maker.student(seed, arm="kd", T=T, overrides=[f"seed={seed}", f"objective.temperature={T}"])
    lines = maker.lines(arms={"kd": []}, predictions={"one": said({"difference": [["kd"], ["scratch(kd)"]]})})
    found, _ = evaluated(None, lines=lines)
    assert found.reason == "not evaluated: kd stands in 2 groups: kd: T=1, kd: T=2"


def test_a_ratio_without_a_clear_denominator_has_no_interval():
    effect = {"ratio": {"of": [["kd"], ["scratch(kd)"]], "to": [["uniform"], ["scratch(uniform)"]]}}
    found, _ = evaluated(effect, sesoi=0.1)
    assert found.outcome is None
    assert "denominator contains 0" in found.note


def interval_of(estimate, half):
    return Interval(estimate, estimate - half, estimate + half, 16, half * 4 / 2.13, 15, "pairs")


@pytest.mark.parametrize(
    ("estimate", "half", "words"),
    [
        (0.02, 0.01, {"positive": "reproduced", "negative": "opposite", "zero": "opposite"}),
        (-0.02, 0.01, {"positive": "opposite", "negative": "reproduced", "zero": "opposite"}),
        (0.001, 0.003, {"positive": "null", "negative": "null", "zero": "reproduced"}),
        (0.002, 0.001, {"positive": "null", "negative": "null", "zero": "reproduced"}),
        (0.004, 0.01, dict.fromkeys(("positive", "negative", "zero"), "inconclusive")),
    ],
)
def test_the_words_of_a_verdict(estimate, half, words):
    for sign, word in words.items():
        assert outcome_of(interval_of(estimate, half), sign=sign, sesoi=0.005).word == word
    assert outcome_of(interval_of(estimate, half), sign="zero", sesoi=None) is None


def test_rows_join_as_differences_do():
    taught = [Row(0, 3, 1, 1.0), Row(0, 3, 2, 2.0), Row(0, 4, 1, 4.0)]
    alone = [Row(0, None, 1, 0.5), Row(0, None, 2, 0.25), Row(0, None, 9, 7.0)]
    seeds, values = paired([alone, taught])
    assert seeds == [(0, 3, 1), (0, 3, 2), (0, 4, 1)]
    assert values.tolist() == [[0.5, 0.25, 0.5], [1.0, 2.0, 4.0]]
    other = [Row(0, 3, 1, 8.0), Row(0, 3, 1, 10.0), Row(1, 3, 2, 5.0)]
    seeds, values = paired([taught, other])
    assert (seeds, values.tolist()) == ([(0, 3, 1)], [[1.0], [9.0]])
    seeds, values = paired([[Row(5, None, 1, 1.0)], alone])
    assert (seeds, values.tolist()) == ([(5, None, 1)], [[1.0], [0.5]])
    assert math.prod(paired([taught, [Row(0, 9, 1, 1.0)]])[1].shape) == 0


def test_a_reference_is_read_at_a_metric_of_its_own():
    found, lines = evaluated({"gains": [["kd[noise_1/accuracy]"], ["weak"]]})
    slow = Slow(lines)

    def gain(arm, seed, metric):
        return slow.value(arm, seed, metric=metric) - slow.value(arm, seed, "scratch", metric)

    check(found, [gain("kd", seed, "noise_1/accuracy") - gain("weak", seed, "test/accuracy") for seed in range(9)])
    assert found.metrics == ["noise_1/accuracy", "test/accuracy"]
    assert found.in_points
    found, _ = evaluated({"difference": [["kd[test/nll]"], ["scratch(kd)[test/nll]"]]})
    assert not found.in_points


def test_the_best_arm_is_chosen_on_validation_whatever_it_is_compared_at():
    found, lines = evaluated({"last_minus_best": [["kd[test/ece]"], ["weak[test/ece]"]]})
    slow = Slow(lines)

    def best(seed):
        return max(("kd", "weak"), key=lambda arm: slow.value(arm, seed, metric="validation/accuracy"))

    metric = "test/ece"
    check(found, [slow.value("weak", s, metric=metric) - slow.value(best(s), s, metric=metric) for s in range(9)])
