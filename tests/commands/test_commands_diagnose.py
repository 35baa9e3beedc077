"""``kdlab diagnose`` from the front door: one run, its probes, a study, and what it refuses."""

import json
import shutil

import pytest

QUICK = ("training.steps=12", "student.dropout=0.2")
MINE = ("allow_targets=[tiny_data.*]",)
NO_OPTIMUM = "teacher_miscalibrated"  # a teacher that is no better than guessing has no fitted temperature


@pytest.fixture
def student(kdlab):
    assert kdlab.tiny("run", *QUICK).code == 0
    (run_id,) = kdlab.ids("student")
    return run_id


def test_a_run_is_diagnosed_from_its_records_alone(kdlab, student):
    before = kdlab.ids()
    said = kdlab("diagnose", student[:6], *MINE)
    assert (said.code, said.err) == (0, "")
    assert f"student {student} on tiny" in said.out
    assert "diagnosis: " in said.out
    assert "points to scratch on validation" in said.out
    assert "--probe trains it" in said.out
    assert "--deploy names a sample" in said.out
    assert kdlab.ids() == before


def test_probes_are_trained_and_found_the_next_time(kdlab, student):
    first = kdlab("diagnose", student, "--probe", "--deploy", "loud", *MINE, "tracker.mode=disabled")
    assert (first.code, first.err) == (0, "")
    there = kdlab.ids()
    again = kdlab("diagnose", student, "--deploy=loud", "--json", *MINE)
    assert again.code == 0
    told = json.loads(again.out)
    assert kdlab.ids() == there
    assert set(told["undecided"]) <= {NO_OPTIMUM}
    assert told["run_id"] == student
    assert {finding["rule"]: finding["fired"] for finding in told["findings"]}.keys() >= {
        "domain_shift",
        "weak_teacher",
    }
    assert f"diagnosis: {told['primary']}" in first.out
    assert set(told["fixes"]) == set(told["fired"])


def test_json_is_alone_on_stdout_while_probes_are_trained(kdlab, student):
    said = kdlab("diagnose", student, "--probe", "--json", *MINE, "tracker.mode=disabled")
    assert json.loads(said.out)["run_id"] == student
    assert "training" in said.err


def test_what_cannot_be_diagnosed_is_told_with_what_is_there(kdlab, student):
    teacher, twin = kdlab.ids("teacher")[0], kdlab.ids("scratch")[0]
    for run_id, words in ((teacher, "is a teacher; its students"), (twin, "is a scratch twin")):
        said = kdlab("diagnose", run_id, *MINE)
        assert said.code == 2
        assert words in said.err
        assert student in said.err
    assert kdlab("diagnose", f"runs/{student}", "store.root=elsewhere", *MINE).code == 0
    assert "no run 'zz'" in kdlab("diagnose", "zz").err
    assert "a study is needed" in kdlab("diagnose").err
    assert "--deploy needs a slice" in kdlab("diagnose", student, "--deploy").err
    assert "did you mean loud" in kdlab("diagnose", student, "--deploy", "loudd", *MINE).err
    assert "unknown option --prob" in kdlab("diagnose", student, "--prob").err
    assert "student.width cannot be set here" in kdlab("diagnose", student, "student.width=3").err


def test_a_student_that_nobody_taught_has_nothing_to_diagnose(kdlab):
    assert kdlab.tiny("run", "objective=hard_labels", *QUICK).code == 0
    (run_id,) = kdlab.ids("scratch")
    said = kdlab("diagnose", run_id, *MINE)
    assert said.code == 2
    assert "kdlab diagnose reads a distilled student" in said.err


def test_a_study_of_planted_failures_is_diagnosed_and_reported(kdlab, tmp_path):
    conf = shutil.copytree(kdlab.conf, tmp_path / "mine")
    (conf / "sweeps" / "planted.yaml").write_text(
        "# @package _global_\n"
        "defaults:\n  - override /data: tiny\n"
        "study:\n  arms:\n"
        "    planted_teacher_miscalibrated_20: [teacher/quality=overconfident, teacher.quality.scale=20]\n"
        "    planted_domain_shift_9: []\n"
        "    healthy_recipe: []\n"
        "training: {steps: 90, optimizer: {lr: 0.05}}\n"
        "data: {pool: 30, shift: {_target_: tiny_data.moved, by: 1.0}}\n"
        "evaluation: {sets: [train, validation], keep_predictions: all}\n"
        "hydra:\n  mode: MULTIRUN\n  sweeper:\n    params: {seed: '0,1'}\n"
    )
    assert kdlab("sweep", "planted", "--config-dir", conf).code == 0
    said = kdlab("diagnose", "planted", "--probe", *MINE, "tracker.mode=disabled")
    assert (said.code, said.err) == (0, "")
    assert "planted_domain_shift_9" in said.out
    path = kdlab.here / "reports" / "planted" / "diagnoses.jsonl"
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    assert [row["arm"] for row in rows].count("planted_domain_shift_9") == 2
    assert all(set(row["undecided"]) <= {NO_OPTIMUM} for row in rows)
    shifted = [row["measurements"]["deployed_student"] for row in rows if row["arm"] == "planted_domain_shift_9"]
    healthy = [row["measurements"]["deployed_student"] for row in rows if row["arm"] == "healthy_recipe"]
    assert sum(shifted) < sum(healthy)
    assert kdlab("report", "planted").code == 0
    folder = kdlab.here / "reports" / "planted"
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    assert "## Diagnosis" in (folder / "README.md").read_text()
    assert (folder / "figures" / "diagnosis_confusion.png").is_file()
    assert kdlab("report", "planted", "store.root=nowhere").code == 0
    assert {path: path.read_bytes() for path in before} == before
    assert "are for one run" in kdlab("diagnose", "planted", "--deploy", "loud").err


def test_a_study_without_a_distilled_student_is_told(kdlab):
    assert kdlab.tiny("teacher", "-m", "teacher.seed=0,1", "study.name=teachers").code == 0
    assert "no finished student that a teacher taught" in kdlab("diagnose", "teachers").err
