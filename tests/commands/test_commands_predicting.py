import pytest

from kdlab.commands.predicting import changed_predictions, kept_predictions
from kdlab.records.studies import read_study

SWEEP = """\
# @package _global_
defaults:
  - override /data: tiny
study:
  question: Is it worse?
  reference: A paper
  arms: {a: [], b: [objective.alpha=0.5]}
  predictions:
    worse: {claim: It is worse., effect: {difference: [b, a]}, sign: negative}
    slope: {claim: It falls., effect: {slope: {values: {a: 1, b: 0.5}}}, sign: negative, sesoi: 0.1}
  doses: {label: alpha, values: {a: 1, b: 0.5}}
hydra:
  mode: MULTIRUN
  sweeper:
    params: {seed: "0,1"}
"""


@pytest.fixture
def desk(kdlab):
    file = kdlab.conf / "sweeps" / "predicted.yaml"
    file.write_text(SWEEP)
    yield lambda *words: kdlab("sweep", "--config-dir", kdlab.conf, "predicted", *words)
    file.unlink()


def header_of(kdlab):
    return read_study(kdlab.here / "runs", "predicted").header


def test_a_study_keeps_its_predictions_in_its_header(desk, kdlab):
    assert desk("--dry-run").code == 0
    assert desk().code == 0
    header = header_of(kdlab)
    assert header["reference"] == "A paper"
    assert "caveats" not in header
    assert header["predictions"]["worse"] == {
        "claim": "It is worse.",
        "effect": {"difference": [["b"], ["a"]]},
        "metric": "test/accuracy",
        "sign": "negative",
        "recipe": "fixed",
        "sesoi": 0.005,
        "primary": True,
    }
    assert header["predictions"]["slope"]["primary"] is False
    assert header["doses"]["values"] == {"a": 1.0, "b": 0.5}
    assert header["responses"] == ["test/accuracy"]


def test_what_is_predicted_after_the_first_student_has_finished_is_told_so(desk, kdlab):
    assert desk("~study.predictions.slope").code == 0
    said = desk("study.predictions.worse.sign=positive")
    assert "predictions stay as they were before its first run (worse)" in said.out
    found = header_of(kdlab)["predictions"]
    assert found["worse"]["sign"] == "negative"
    assert found["slope"]["added_later"] is True


def test_an_arm_at_several_points_of_the_grid_is_refused(desk):
    said = desk("objective.temperature=1,2", "--dry-run")
    assert said.code == 2
    first, second = said.err.splitlines()
    assert "study.predictions.worse and study.predictions.slope and study.doses" in second
    assert "'a' stands at 2 points of the grid (objective.temperature=1; objective.temperature=2)" in second
    assert "'b'" in first


def test_arms_that_are_not_run_are_no_mistake(desk):
    assert desk("study.only=[a]", "--dry-run").code == 0


def test_predictions_stay_as_they_were_first_planned():
    one = {"claim": "c", "sign": "negative", "primary": True}
    before = {"predictions": {"x": one}}
    header = {"predictions": {"x": {**one, "sign": "positive", "claim": "d"}, "y": one}}
    kept = kept_predictions(header, before)["predictions"]
    assert kept["x"] == {**one, "claim": "d"}
    assert kept["y"] == {**one, "primary": False, "added_later": True}
    assert changed_predictions({"predictions": kept}, header) == ["x"]
    assert kept_predictions({}, {}) == {}
    assert kept_predictions({"predictions": {"x": one}}, {})["predictions"]["x"] == {**one, "added_later": True}
    assert kept_predictions({}, before)["predictions"] == {"x": one}
    assert changed_predictions({"predictions": {"x": one}}, {}) == ["x"]


def test_a_report_of_all_studies_lists_the_findings(desk, kdlab):
    assert desk("study.name=finding/F16").code == 0
    said = kdlab("report")
    assert "reports/finding/README.md" in said.out.split()
    text = (kdlab.here / "reports" / "finding" / "README.md").read_text()
    assert "[F16](F16/README.md) | It is worse. | A paper |" in text
    assert "not run: `kdlab sweep finding/F24`" in text
    assert "1 have been run" in text
