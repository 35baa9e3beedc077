"""A study of two phases: every arm tuned on validation with seeds of its own, then confirmed with what was chosen."""

import re
import shlex

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


def test_a_study_is_tuned_then_confirmed_once_and_its_report_has_both_phases(two, kdlab):
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

    assert kdlab("report", "two").code == 0
    page = (kdlab.here / "reports/two/README.md").read_text()
    assert page.index("## Tuning") < page.index("## Results")
    assert "study.phase=tune" in page
    assert "phase=" not in page.replace("study.phase=tune", "")
    header = studies.read_study(kdlab.here / "runs", "two").header
    assert header["arms"]["soft"] == [chosen["soft"]]
    assert header["arms"]["hot"] == ["objective.temperature=8", chosen["hot"]]
    assert "0 to run" in two("study.only=[hot]", "seed=0,1,2").out
    table = page[page.index("## Tuning") : page.index("## Results")]
    marked = re.findall(r"\*\*(\w+): (\S+=\S+)\*\* \(chosen\)", table)
    assert dict(marked) == {arm: _short(line) for arm, line in chosen.items()}


def _short(line):
    return line.replace("training.optimizer.", "").replace("objective.", "")


@pytest.mark.long
def test_the_command_behind_a_tuning_row_has_what_was_set_for_all(two, kdlab):
    assert two("study.phase=tune", "study.only=[hot]", "training.steps=8", "study.name=shorter").code == 0
    assert kdlab("report", "shorter").code == 0
    page = (kdlab.here / "reports/shorter/README.md").read_text()
    command = "kdlab sweep two training.steps=8 'study.only=[hot]' study.name=shorter study.phase=tune"
    assert command in page
    assert "0 to run" in two(*shlex.split(command)[3:]).out


def test_a_trial_that_diverges_is_not_chosen_one_that_failed_by_accident_is_tried_again(two, kdlab):
    words = ("study.only=[soft]", "seed=0", "+study.tune.space.soft={training.optimizer.lr:[1e30,0.01]}",
             "training/optimizer=sgd")  # fmt: skip
    assert two(*words).code == 0
    saved = yaml.safe_load((kdlab.here / HERE).read_text())
    assert saved["arms"]["soft"]["chosen"] == ["training.optimizer.lr=0.01"]
    trials = saved["arms"]["soft"]["trials"]
    assert [trial.get("failed") for trial in trials] == [["NonFiniteLossError"], None]
    assert trials[0]["mean"] is None
    assert "0 of 1 arm just now" in two(*words).out
    trials[0]["failed"] = ["OSError"]
    (kdlab.here / HERE).write_text(yaml.safe_dump(saved))
    assert "1 of 1 arm just now" in two(*words).out


@pytest.mark.long
def test_an_arm_edited_in_the_file_is_told_as_it_is_now(two, kdlab, user_conf):
    assert two("study.only=[hot]", "seed=0").code == 0
    file = user_conf / "sweeps" / "two.yaml"
    file.write_text(STUDY.replace("[objective.temperature=8]", "[objective.temperature=6]"))
    assert two("study.only=[hot]", "study.phase=tune").code == 0
    assert studies.read_study(kdlab.here / "runs", "two").header["arms"]["hot"] == ["objective.temperature=6"]


def test_a_study_runs_without_its_tuning_phase(two, kdlab):
    said = two("~study.tune", "study.only=[hot]", "seed=0")
    assert said.code == 0
    assert not (kdlab.here / HERE).exists()


def test_choices_of_other_runs_are_made_anew(two, kdlab, user_conf):
    assert two("study.only=[soft]", "seed=0").code == 0
    other = two("study.only=[soft]", "seed=0", "training.steps=10")
    assert other.code == 0
    assert "1 of 1 arm just now" in other.out
    again = two("study.only=[soft]", "seed=0", "training.steps=10", "threads=1")
    assert "0 of 1 arm just now" in again.out, "what trains nothing makes no other choice"
    file = user_conf / "sweeps" / "two.yaml"
    file.write_text(STUDY.replace("training: {steps: 9}", "training: {steps: 9, batch_size: 7}"))
    changed = two("study.only=[soft]", "seed=0", "study.tune.seeds=[1000,1003]")
    assert changed.code == 0
    assert "1 of 1 arm just now" in changed.out, "the recipe of the file is part of a choice"
    trials = yaml.safe_load((kdlab.here / HERE).read_text())["arms"]["soft"]["trials"]
    records = kdlab.records()
    assert [[records[run].seeds["student"] for run in trial["runs"]] for trial in trials] == [[1000, 1003]] * 2
    assert all(records[run].identity_config["training"]["batch_size"] == 7 for trial in trials for run in trial["runs"])
    alone = two("study.only=[labels]", "study.phase=tune")
    assert alone.code == 0
    assert set(yaml.safe_load((kdlab.here / HERE).read_text())["arms"]) == {"soft", "labels"}, "others are kept"
    assert not [m for m in kdlab.members("two") if m["phase"] == "confirm" and m["arm"] == "labels"]


def test_an_arm_without_a_space_keeps_its_recipe_beside_those_that_are_tuned(two, kdlab, user_conf):
    file = user_conf / "sweeps" / "two.yaml"
    file.write_text(STUDY.replace('      "*": {training.optimizer.lr: [0.0001, 0.05]}\n', ""))
    told = two("seed=0")
    assert told.code == 0
    assert "1 of 1 arm just now" in told.out
    assert "2 arms without a space: the recipe as the sweep file has it" in told.out
    assert set(yaml.safe_load((kdlab.here / HERE).read_text())["arms"]) == {"hot"}
    members = kdlab.members("two")
    assert {m["arm"] for m in members if m["phase"] == "tune"} - {"scratch", "teacher"} == {"hot"}
    assert {m["arm"] for m in members if m["phase"] == "confirm"} >= {"labels", "soft", "hot"}


@pytest.mark.parametrize(
    ("word", "told"),
    [
        ("+study.tune.space.hott={objective.alpha:[0.5,0.9]}", "study.tune.space.hott: no arm of this sweep"),
        ("study.tune.space.hot={objective.alpha:[0.5]}", "the same number of trials, got labels 2, soft 2"),
        ("study.tune.space.hot={objective.alpha:[0.5,1.5]}", "objective.alpha = 1.5"),
        ("study.tune.seeds=\"range(0,2)\"", "a tuning phase has seeds of its own"),
        ("study.tune.metric=test/nothing", "study.tune.metric = 'test/nothing'"),
        ("study.tune.space.hot={objective.alhpa:[0.5,1]}", "objective.alhpa"),
        ("study.tune.space.hot=3", "study.tune.space.hot = 3"),
        ("study.tune.space.hot={objective.alpha:0.5}", "hot.objective.alpha = 0.5: must be a valid list"),
        ("study.tune.space.hot={objective.alpha:[0.5,0.5]}", "each value once, 0.5 stands there again"),
        ("study.tune.space.hot={objective.alpha:['0.5','.50']}", "trains the same networks as 'objective.alpha=0.5'"),
        ("+study.tune.space.hot={objective.temperature:[2,4]}", "arm hot: objective.temperature is to be tuned and"),
        ("+study.tune.space.labels={objective.alpha:[0.5,1]}", "arm labels: 'objective.alpha=1' trains the same"),
        ("objective.alpha=0.3", "objective.alpha=0.3: study.tune.space chooses objective.alpha for hot"),
        ("+schedule@objective.alpha=linear", "study.tune.space chooses objective.alpha for hot"),
        ("training.optimizer.lr=0.1,0.2", "chooses training.optimizer.lr for labels, soft"),
        ("study.tune.seeds=1000,1001", "as a list: study.tune.seeds=[1000,1001]"),
        ("study.tune.seeds=[a,b]", "study.tune.seeds"),
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
