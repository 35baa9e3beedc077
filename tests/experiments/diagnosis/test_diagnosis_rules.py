"""Every rule on each side of its threshold, what it needs where it cannot tell, and the order of the table."""

import dataclasses
import functools
import math

import pytest

from kdlab.experiments.diagnosis import THRESHOLDS, Measurements, diagnose
from kdlab.experiments.diagnosis import rules as of
from kdlab.experiments.diagnosis.fixes import CONFIRMING
from kdlab.reporting.diagnosis.planted import FAILURES

PAIRS = dict.fromkeys(
    [
        ("parent_validation", "teacher_validation"),
        ("teacher_validation", "scratch_validation"),
        ("student_validation", "deployed_student"),
        ("student_validation", "unregularised_validation"),
        ("student_validation", "wide_validation"),
        ("student_validation", "long_validation"),
        ("student_validation", "scratch_validation"),
    ],
    0.01,
)
"""One point of standard error everywhere, so that thresholds in errors are whole points."""
HEALTHY = Measurements(
    num_train=10**8, num_validation=2000, num_deployed=2000, student_train=0.9, student_validation=0.62,
    teacher_train=1.0, teacher_validation=0.95, fitted_temperature=1.5, parent_validation=0.95, agreement=0.9,
    scratch_train=0.95, scratch_validation=0.60, wide_agreement=0.95, wide_validation=0.70,
    long_agreement=0.95, long_validation=0.68,
    unregularised_train=0.9, unregularised_validation=0.62, deployed_student=0.61, deployed_teacher=0.94, paired=PAIRS,
)  # fmt: skip


def healthy(**changes):
    return dataclasses.replace(HEALTHY, **changes)


def test_nothing_fires_in_a_healthy_run():
    told = diagnose(HEALTHY)
    assert (told.primary, told.fired, told.undecided, told.needs) == ("none", (), (), ())


BORDERS = [
    ("quantised_teacher", {"teacher_validation": 0.919}, {"teacher_validation": 0.921}),
    ("weak_teacher", {"teacher_train": 0.849}, {"teacher_train": 0.851}),
    ("weak_teacher", {"scratch_validation": 0.921}, {"scratch_validation": 0.919}),
    ("teacher_miscalibrated", {"fitted_temperature": THRESHOLDS.temperature * 1.01},
     {"fitted_temperature": THRESHOLDS.temperature * 0.99}),
    ("teacher_miscalibrated", {"fitted_temperature": 0.99 / THRESHOLDS.temperature},
     {"fitted_temperature": 1.01 / THRESHOLDS.temperature}),
    ("domain_shift", {"deployed_student": 0.589}, {"deployed_student": 0.591}),
    ("over_regularised", {"unregularised_train": 0.951, "unregularised_validation": 0.65},
     {"unregularised_train": 0.949, "unregularised_validation": 0.65}),
    ("over_regularised", {"unregularised_train": 0.96, "unregularised_validation": 0.631},
     {"unregularised_train": 0.96, "unregularised_validation": 0.629}),
]  # fmt: skip


@pytest.mark.parametrize(("rule", "beyond", "before"), BORDERS)
def test_a_rule_fires_beyond_its_threshold_and_not_before(rule, beyond, before):
    assert rule in diagnose(healthy(**beyond)).fired
    assert rule not in diagnose(healthy(**before)).fired


def test_errors_move_a_threshold_where_they_are_large():
    drop = {"parent_validation": 0.95, "teacher_validation": 0.90}
    assert of.quantised_teacher(healthy(**drop)).fired
    loud = {**PAIRS, ("parent_validation", "teacher_validation"): 0.02}
    assert of.quantised_teacher(healthy(**drop, paired=loud)).fired is False


MIDDLE = (THRESHOLDS.agreement_low + THRESHOLDS.agreement_high) / 2


def follows(rule, *, agreement=MIDDLE, wide=0.95, long=0.95, wide_validation=0.645, long_validation=0.645, **changes):
    """What the rule says of a student whose two probes agree so much and are so good."""
    return rule(healthy(agreement=agreement, wide_agreement=wide, long_agreement=long, wide_validation=wide_validation,
                        long_validation=long_validation, **changes))  # fmt: skip


def test_a_small_student_is_judged_against_a_wide_one():
    small = functools.partial(follows, of.student_too_small, long=MIDDLE)
    assert small().fired
    assert small(wide=MIDDLE + THRESHOLDS.probe_agreement - 0.001).fired is False
    assert small(wide_validation=0.639).fired is False
    assert small(agreement=THRESHOLDS.agreement_high, wide=1.0).fired is False


def test_an_under_trained_student_is_judged_against_one_of_more_steps():
    short = functools.partial(follows, of.under_trained, wide=MIDDLE + 0.06, long=MIDDLE + 0.06)
    assert short().fired
    assert short(long=MIDDLE + THRESHOLDS.probe_agreement - 0.001).fired is False
    assert short(long_validation=0.639).fired is False
    assert short(agreement=THRESHOLDS.agreement_high, long=1.0).fired is False


@pytest.mark.parametrize(("wide", "long", "expected"), [(0.9, 0.84, "student_too_small"), (0.9, 0.86, "under_trained"),
                                                        (0.8, 0.95, "under_trained")])  # fmt: skip
def test_width_ahead_of_steps_parts_too_small_from_under_trained(wide, long, expected):
    fired = {
        rule.__name__ for rule in (of.student_too_small, of.under_trained) if follows(rule, wide=wide, long=long).fired
    }
    assert fired == {expected}


@pytest.mark.parametrize(("helps", "expected"), [("wide", "student_too_small"), ("long", "under_trained")])
def test_a_probe_that_does_not_help_is_no_rival_of_one_that_does(helps, expected):
    """Both agree as much, and one of them is no better on validation."""
    other = "long" if helps == "wide" else "wide"
    found = {"wide": 0.9, "long": 0.9, f"{helps}_validation": 0.7, f"{other}_validation": 0.6}
    fired = {rule.__name__ for rule in (of.student_too_small, of.under_trained) if follows(rule, **found).fired}
    assert fired == {expected}


def test_a_student_that_cannot_be_widened_is_too_small_where_more_steps_do_not_let_it_follow():
    cannot = {"wide": None, "wide_validation": None, "cannot": frozenset({"wide"})}
    alone = functools.partial(follows, of.student_too_small, **cannot)
    low = THRESHOLDS.agreement_low
    assert alone(agreement=low - 0.001, long=low - 0.001).fired
    assert alone(agreement=low - 0.001, long=low).fired is False
    assert alone(agreement=low, long=low - 0.001).fired is False
    assert alone(agreement=low - 0.001, long=None).fired is None
    assert alone(agreement=low - 0.001, long=None, cannot=frozenset({"wide", "long"})).fired
    assert follows(of.under_trained, **cannot).fired
    assert follows(of.student_too_small, agreement=low - 0.001, wide=None).fired is None  # it may be probed yet


def test_a_rule_that_lacks_a_measurement_says_what_would_measure_it():
    found = healthy(
        agreement=0.7, wide_agreement=None, wide_validation=None, unregularised_train=None, deployed_student=None,
        unregularised_validation=None, fitted_temperature=None, teacher_train=None, scratch_train=None,
        lacking={"wide_agreement": "there is no wide one", "fitted_temperature": "nothing was kept"},
        probes={"wide_agreement": "wide", "wide_validation": "wide", "unregularised_train": "unregularised",
                "scratch_train": "scratch"},
    )  # fmt: skip
    told = diagnose(found)
    assert told.fired == ()
    assert told.undecided == (
        "weak_teacher", "teacher_miscalibrated", "domain_shift", "over_regularised", "under_trained",
        "student_too_small",
    )  # fmt: skip
    assert told.needs == ("scratch", "unregularised", "wide")
    notes = {finding.rule: finding.note for finding in told.findings}
    assert notes["teacher_miscalibrated"] == "cannot tell: nothing was kept"
    assert "there is no wide one" in notes["student_too_small"]


def test_what_decides_needs_nothing_else():
    """Of two conditions that must both hold one is false already; of two that may hold one does."""
    assert of.over_regularised(healthy(unregularised_train=0.9, unregularised_validation=None)).fired is False
    assert of.weak_teacher(healthy(teacher_train=0.5, teacher_validation=None)).fired is True


def test_a_rule_that_does_not_apply_does_not_fire_and_says_why():
    found = healthy(teacher_validation=0.5, applies={"quantised_teacher": "no parent"})
    finding = of.quantised_teacher(found)
    assert (finding.fired, finding.note) == (False, "does not apply: no parent")


def test_without_labels_the_agreement_with_the_teacher_is_looked_at():
    found = healthy(deployed_student=None, deployed_teacher=None, validation_agreement=0.65, deployed_agreement=0.5)
    assert of.domain_shift(found).fired
    assert of.domain_shift(dataclasses.replace(found, deployed_agreement=0.64)).fired is False


@pytest.mark.parametrize(("teacher", "word"), [(0.80, "new domain"), (0.94, "too narrow")])
def test_a_shift_says_whether_the_teacher_is_worse_there_too(teacher, word):
    assert word in of.domain_shift(healthy(deployed_student=0.3, deployed_teacher=teacher)).note


def test_the_first_of_the_table_names_the_run_and_all_that_fire_are_told():
    found = healthy(
        teacher_validation=0.5, teacher_train=0.5, fitted_temperature=9.0, deployed_student=0.2, agreement=0.1
    )
    told = diagnose(found)
    assert told.primary == "quantised_teacher"
    assert set(told.fired) == set(FAILURES) - {"over_regularised", "student_too_small"}
    assert list(told.fired) == [name for name in FAILURES if name in told.fired]


@pytest.mark.parametrize(
    ("scratch", "word", "primary"),
    [(0.65, "harm", "unexplained"), (0.62, "neither harm nor gain is shown", "none"), (0.59, "gain", "none")],
)
def test_harm_is_told_beside_the_cause_and_may_have_none(scratch, word, primary):
    told = diagnose(healthy(scratch_validation=scratch))
    assert (told.harm[0].word, told.primary) == (word, primary)
    low, high = told.harm[0].estimate.interval
    assert (low < 0 < high) == (word.startswith("neither"))


def test_a_cause_without_harm_is_told_as_both():
    told = diagnose(healthy(fitted_temperature=0.1))
    assert (told.primary, told.harm[0].word) == ("teacher_miscalibrated", "gain")


def test_harm_against_a_uniform_teacher_stands_beside():
    told = diagnose(healthy(uniform_validation=0.7))
    assert [(harm.against, harm.word) for harm in told.harm] == [("scratch", "gain"), ("uniform", "harm")]


def test_harm_that_cannot_be_measured_says_so():
    told = diagnose(healthy(scratch_validation=None, scratch_train=None))
    assert (told.harm[0].word, told.harm[0].estimate) == ("not measured", None)


def test_the_temperature_is_told_with_its_direction_and_its_interval():
    finding = of.teacher_miscalibrated(healthy(fitted_temperature=0.1, log_temperature_error=0.05))
    assert finding.note == "T* = 0.1: under-confident"
    (seen,) = finding.evidence
    assert seen.estimate.value == pytest.approx(math.log(10))
    assert seen.estimate.interval == (
        pytest.approx(math.log(10) - 0.098, abs=1e-4),
        pytest.approx(math.log(10) + 0.098, abs=1e-4),
    )


def test_rules_failures_and_interventions_have_the_same_names():
    assert tuple(finding.rule for finding in diagnose(HEALTHY).findings) == FAILURES
    assert tuple(CONFIRMING) == FAILURES
