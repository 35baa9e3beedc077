"""The scores of a diagnosis against scikit-learn, scipy's own tests, and counts by hand."""

import json
from dataclasses import replace

import pytest

from kdlab.errors import UserError
from kdlab.reporting.diagnosis.pages import diagnosis_pages
from kdlab.reporting.diagnosis.planted import FAILURES, planted_in
from kdlab.reporting.diagnosis.rows import DIAGNOSES, by_arm, effects, poor_recipes, read_cases
from kdlab.reporting.diagnosis.scores import (
    CLASSES,
    confusion,
    counting,
    detections,
    f1_scores,
    false_alarms,
    macro_f1,
    named,
    share,
    truth,
    without_labels,
)


def line(arm, seed, primary="none", fired=(), *, accuracy=0.6, deployed=0.6, harm=0.01, undecided=()):
    return {
        "arm": arm, "run_id": f"{seed:016x}", "data": "tiny", "seeds": {"student": seed, "teacher": seed, "data": 0},
        "primary": primary, "fired": list(fired), "undecided": list(undecided),
        "harm": {"value": harm, "low": harm - 0.01, "high": harm + 0.01},
        "measurements": {"student_validation": accuracy, "deployed_student": deployed},
    }  # fmt: skip


WEAK, SMALL, SHIFT = "weak_teacher", "student_too_small", "domain_shift"
LINES = [
    *(line("healthy_recipe", seed) for seed in (1, 2)),
    line("healthy_T4", 1, SMALL, [SMALL], accuracy=0.6), line("healthy_T4", 2, "unexplained", accuracy=0.62),
    line("planted_weak_teacher_10", 1, WEAK, [WEAK], accuracy=0.5), line("planted_weak_teacher_10", 2, accuracy=0.55),
    line("planted_weak_teacher_100", 1, accuracy=0.61), line("planted_weak_teacher_100", 2, accuracy=0.6),
    *(line("planted_domain_shift_1", seed, SHIFT, [SHIFT], deployed=0.2) for seed in (1, 2)),
    line("planted_weak_teacher_10_and_student_too_small_4", 1, WEAK, [WEAK, SMALL], accuracy=0.3),
    line("planted_weak_teacher_10_and_student_too_small_4", 2, SMALL, [SMALL], accuracy=0.3),
    line("standard", 1),
    *(line("planted_weak_teacher_10_at_T4", seed, accuracy=0.59 + seed / 100) for seed in (1, 2)),
]  # fmt: skip


@pytest.fixture
def folder(tmp_path):
    (tmp_path / DIAGNOSES).write_text("".join(json.dumps(row) + "\n" for row in LINES))
    return tmp_path


@pytest.fixture
def cases(folder):
    return read_cases(folder / DIAGNOSES)


def test_arms_say_what_they_plant():
    for failure in FAILURES:
        assert planted_in(f"planted_{failure}_0.5_of").failures == ((failure, "0.5_of"),)
    pair = planted_in("planted_weak_teacher_10_and_domain_shift_0.3")
    assert (pair.names, pair.deployment) == (("weak_teacher", "domain_shift"), "shift:0.3")
    assert planted_in("planted_weak_teacher_10").deployment == "pool"
    assert planted_in("planted_bad_luck_3") is None
    told = planted_in("planted_weak_teacher_10_at_T4")
    assert (told.failures, told.recipe) == ((("weak_teacher", "10"),), "T4")
    assert planted_in(None) is None


def test_cases_are_the_planted_and_the_healthy_ones(cases):
    assert len(cases) == len(LINES) - 1
    assert [truth(case) for case in cases[:5]] == ["none"] * 4 + [WEAK]
    assert named(cases[3]) == "none"


def test_the_effect_is_paired_with_the_healthy_recipe_of_the_seed(cases):
    found = effects(cases)
    assert found["healthy_recipe"] == 0
    assert found["planted_weak_teacher_10"] == pytest.approx((-0.1 - 0.05) / 2)
    assert found["planted_weak_teacher_10_at_T4"] == pytest.approx((0 - 0.01) / 2)
    assert found["planted_domain_shift_1"] == pytest.approx(-0.4)
    assert found["planted_weak_teacher_10_and_student_too_small_4"] == pytest.approx(-0.3)


def test_what_counts_is_healthy_or_one_failure_with_an_effect(cases):
    counted = counting(cases, effects(cases))
    assert {case.arm for case in counted} == {
        "healthy_recipe", "healthy_T4", "planted_weak_teacher_10", "planted_domain_shift_1"
    }  # fmt: skip


def test_the_scores_are_those_of_scikit_learn(cases):
    from sklearn.metrics import confusion_matrix, f1_score

    counted = counting(cases, effects(cases))
    planted, said = [truth(case) for case in counted], [named(case) for case in counted]
    matrix = confusion_matrix(planted, said, labels=CLASSES)
    counts = confusion(counted)
    assert [[counts[a, b] for b in CLASSES] for a in CLASSES] == matrix.tolist()
    present = sorted(set(planted))
    wanted = dict(zip(present, f1_score(planted, said, labels=present, average=None), strict=True))
    assert f1_scores(counts) == pytest.approx(wanted)
    assert macro_f1(counts) == pytest.approx(f1_score(planted, said, labels=present, average="macro"))


@pytest.mark.parametrize(("hits", "total"), [(0, 5), (1, 7), (5, 5), (3, 60), (30, 60)])
def test_the_interval_is_exact(hits, total):
    from scipy.stats import binomtest

    found, wanted = share(hits, total), binomtest(hits, total).proportion_ci(0.95, "exact")
    assert (found.low, found.high) == (pytest.approx(wanted.low), pytest.approx(wanted.high))
    assert found.value == hits / total


def test_alarms_are_counted_on_healthy_runs_alone(cases):
    assert false_alarms(cases)[:2] == (1, 4)
    assert false_alarms([case for case in cases if case.planted.names]) is None


def test_a_recipe_that_costs_too_much_is_told_apart_and_counted(cases):
    assert poor_recipes(cases, beyond=0.02) == set()
    worse = [replace(case, measured={**case.measured, "student_validation": 0.57}) for case in cases]
    mixed = [worse[at] if case.arm == "healthy_T4" else case for at, case in enumerate(cases)]
    assert poor_recipes(mixed, beyond=0.02) == {"healthy_T4"}
    assert poor_recipes(mixed, beyond=0.04) == set()
    assert false_alarms(mixed)[:2] == (1, 4)


def test_detection_is_told_arm_by_arm(cases):
    found = {one.arm: one for one in detections(by_arm(cases), effects(cases))}
    assert found["planted_weak_teacher_10"].fired[:2] == (1, 2)
    pair = found["planted_weak_teacher_10_and_student_too_small_4"]
    assert (pair.fired[:2], pair.first[:2], pair.severity) == ((1, 2), (2, 2), "10 + 4")
    assert pair.harm == pytest.approx(0.01)


def test_the_pages_say_whether_the_bars_are_met_and_are_the_same_bytes_again(folder):
    pages = diagnosis_pages(folder)
    assert "the bar of 0.9 is not met" in pages.text
    assert "1 of 4 (1 to 81 %)" in pages.text
    assert "one of the two is named first in 2 of 2" in pages.text
    before = {path: path.read_bytes() for path in pages.files}
    assert diagnosis_pages(folder) == pages
    assert {path: path.read_bytes() for path in pages.files} == before
    assert {path.suffix for path in pages.files} == {".md", ".csv", ".png", ".svg"}


def test_a_report_without_diagnoses_has_no_such_part(tmp_path):
    assert diagnosis_pages(tmp_path) == ([], "")


def test_a_damaged_line_is_told_with_its_number(folder):
    path = folder / DIAGNOSES
    path.write_text(path.read_text() + '{"arm": "healthy_T1"}\n')
    with pytest.raises(UserError, match=rf"line {len(LINES) + 1} is no diagnosis"):
        read_cases(path)


def test_shifts_seen_without_labels_are_counted_where_they_cost_and_alarms_where_none_was_planted(cases):
    assert without_labels(cases, effects(cases)) is None
    said = {"planted_domain_shift_1": True, "healthy_recipe": False, "planted_weak_teacher_10": True}
    asked = [replace(case, shift_without_labels=said.get(case.arm)) for case in cases]
    asked.append(replace(asked[0], arm="planted_domain_shift_0.1", planted=planted_in("planted_domain_shift_0.1")))
    found = without_labels(asked, effects(cases))  # the mild shift has no effect, so it does not count
    assert (found.seen.hits, found.seen.total) == (2, 2)
    assert (found.false.hits, found.false.total) == (2, 4)
