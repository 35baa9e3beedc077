"""A study of two phases: every arm tuned on validation with seeds of its own, then confirmed with what was chosen."""

import pytest
import yaml

from kdlab.records import studies

STUDY = """\
# @package _global_
defaults:
  - override /data: tiny
study:
  arms: {labels: [objective=hard_labels], soft: [], hot: [objective.temperature=8]}
  compare: [["*", labels]]
  tune:
    space:
      "*": {training.optimizer.lr: [0.0001, 0.05]}
      hot: {objective.alpha: [0.5, 0.9]}
    seeds: range(1000,1002)
training: {steps: 9}
hydra:
  mode: MULTIRUN
  sweeper:
    params: {seed: "range(0,3)"}
"""
HERE = "reports/two/tuned.yaml"


@pytest.fixture
def two(kdlab, user_conf):
    path = user_conf / "sweeps" / "two.yaml"
    path.write_text(STUDY)
    yield lambda *words: kdlab("sweep", "two", "--config-dir", user_conf, *words)
    path.unlink()


def mean_of(records, members, arm, **wanted):
    """The mean validation accuracy of an arm's tuning runs at one value, from the records themselves."""
    words = [f"{key.replace('__', '.')}={value}" for key, value in wanted.items()]
    ids = [
        m["run_id"] for m in members if m["phase"] == "tune" and m["arm"] == arm and set(words) <= set(m["overrides"])
    ]
    values = [records[run_id].metrics["validation/accuracy"] for run_id in dict.fromkeys(ids)]
    return sum(values) / len(values), len(values)


def test_a_study_is_tuned_then_confirmed_and_once(two, kdlab):
    assert two().code == 0
    saved = yaml.safe_load((kdlab.here / HERE).read_text())
    records, members = kdlab.records(), kdlab.members("two")
    chosen = {}
    for arm, key, values in (
        ("labels", "training__optimizer__lr", [0.0001, 0.05]),
        ("soft", "training__optimizer__lr", [0.0001, 0.05]),
        ("hot", "objective__alpha", [0.5, 0.9]),
    ):
        means = [mean_of(records, members, arm, **{key: value}) for value in values]
        assert [count for _, count in means] == [2, 2]
        trials = saved["arms"][arm]["trials"]
        assert [trial["mean"] for trial in trials] == pytest.approx([mean for mean, _ in means], abs=1e-6)
        best = max(range(2), key=lambda at, means=means: means[at][0])
        chosen[arm] = f"{key.replace('__', '.')}={values[best]}"
        assert saved["arms"][arm]["chosen"] == [chosen[arm]]
    confirmed = [m for m in members if m["phase"] == "confirm" and m["arm"] in chosen]
    assert {m["arm"] for m in confirmed} == set(chosen)
    assert all(chosen[m["arm"]] in m["overrides"] for m in confirmed)
    seeds = {"tune": set(), "confirm": set()}
    for member in members:
        if member["arm"] in chosen:
            seeds[member["phase"]].add(records[member["run_id"]].seeds["student"])
    assert seeds == {"tune": {1000, 1001}, "confirm": {0, 1, 2}}
    tuned = [records[m["run_id"]] for m in members if m["phase"] == "tune"]
    assert not [key for record in tuned for key, value in record.metrics.items() if key.startswith("test/") and value]

    before = {run_id: record.provenance["started"] for run_id, record in records.items()}
    again = two()
    assert again.code == 0
    assert "0 of 3 arms just now" in again.out
    assert {run_id: record.provenance["started"] for run_id, record in kdlab.records().items()} == before


def test_the_report_has_both_phases_and_its_rows_name_what_makes_them(two, kdlab):
    assert two().code == 0
    assert kdlab("report", "two").code == 0
    page = (kdlab.here / "reports/two/README.md").read_text()
    assert page.index("## Tuning") < page.index("## Results")
    assert "study.phase=tune" in page
    assert "phase=" not in page.replace("study.phase=tune", "")
    header = studies.read_study(kdlab.here / "runs", "two").header
    saved = yaml.safe_load((kdlab.here / HERE).read_text())["arms"]
    assert header["arms"]["soft"] == saved["soft"]["chosen"]
    assert header["arms"]["hot"] == ["objective.temperature=8", *saved["hot"]["chosen"]]
    again = two("study.only=[hot]", "seed=0,1,2")
    assert "0 to run" in again.out


def test_choices_of_another_space_are_made_anew(two, kdlab):
    assert two("study.only=[soft]", "seed=0").code == 0
    other = two("study.only=[soft]", "seed=0", "training.steps=10")
    assert other.code == 0
    assert "1 of 1 arm just now" in other.out
    alone = two("study.only=[labels]", "study.phase=tune")
    assert alone.code == 0
    assert set(yaml.safe_load((kdlab.here / HERE).read_text())["arms"]) == {"soft", "labels"}, "others are kept"
    assert not [m for m in kdlab.members("two") if m["phase"] == "confirm" and m["arm"] == "labels"]


@pytest.mark.parametrize(
    ("word", "told"),
    [
        ("+study.tune.space.hott={objective.alpha:[0.5,0.9]}", "study.tune.space.hott: no arm of this sweep"),
        ("study.tune.space.hot={objective.alpha:[0.5]}", "the same number of trials, got labels 2, soft 2"),
        ("study.tune.space.hot={objective.alpha:[0.5,1.5]}", "objective.alpha = 1.5"),
        ("study.tune.seeds=\"range(0,2)\"", "a tuning phase has seeds of its own"),
        ("study.tune.metric=test/nothing", "study.tune.metric = 'test/nothing'"),
        ("study.tune.space.hot={objective.alhpa:[0.5,1]}", "objective.alhpa"),
    ],
)  # fmt: skip
def test_mistakes_are_told_before_anything_trains(two, kdlab, word, told):
    said = two(word)
    assert said.code == 2
    assert told in said.err
    assert not list(kdlab.here.glob("runs/*/record.json"))


def test_a_damaged_file_of_choices_is_named(two, kdlab):
    path = kdlab.here / HERE
    path.parent.mkdir(parents=True)
    path.write_text("arms: [not, a, mapping]\n")
    said = two()
    assert said.code == 2
    assert "tuned.yaml: no file of choices" in said.err


def test_a_dry_run_shows_both_phases(two):
    said = two("--dry-run=all")
    assert said.code == 0
    assert "labels seed=1000 training.optimizer.lr=0.05" in said.out
    assert "21 points" in said.out


def test_a_trial_that_diverges_is_not_chosen(two, kdlab):
    said = two("study.only=[soft]", "seed=0", "+study.tune.space.soft={training.optimizer.lr:[1e30,0.01]}",
               "training/optimizer=sgd")  # fmt: skip
    saved = yaml.safe_load((kdlab.here / HERE).read_text())["arms"]["soft"]
    assert said.code == 0
    assert saved["chosen"] == ["training.optimizer.lr=0.01"]
    assert saved["trials"][0]["mean"] is None
