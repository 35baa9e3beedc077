"""``hydra/sweeper=optuna``: the right direction, trials that are ordinary runs, and honest choices."""

import importlib.util

import pytest
import yaml
from omegaconf import OmegaConf

from kdlab.commands import searching
from kdlab.commands.launching import BASIC_LAUNCHER
from kdlab.commands.search_space import optuna_direction

pytest.importorskip("hydra_plugins.hydra_optuna_sweeper", reason="needs kdlab[optuna]")

OPTUNA = "hydra/sweeper=optuna"
SPACE = "training.optimizer.lr=0.00001,0.02,0.3"
GRID = [OPTUNA, "hydra/sweeper/sampler=grid", SPACE, "objective.alpha=0.5"]


def found(kdlab, study="optuna"):
    """What Optuna wrote down: its best parameters and value."""
    return yaml.safe_load((kdlab.here / "runs" / "hydra" / study / "optimization_results.yaml").read_text())


def scores(kdlab, metric):
    """Learning rate -> the metric of the students, over their seeds."""
    by_rate = {}
    for record in kdlab.records().values():
        if record.role == "student":
            rate = float(dict(line.split("=") for line in record.overrides)["training.optimizer.lr"])
            by_rate.setdefault(rate, []).append(record.metrics[metric])
    return {rate: sum(values) / len(values) for rate, values in by_rate.items()}


@pytest.mark.parametrize(("metric", "best"), [("validation/accuracy", max), ("validation/nll", min)])
def test_the_best_student_wins_by_the_metrics_own_direction(kdlab, metric, best):
    said = kdlab.tiny("run", "-m", *GRID, f"optimized_metric={metric}")
    assert (said.code, said.err) == (0, "")
    of = scores(kdlab, metric)
    assert len(of) == 3
    assert min(of.values()) < max(of.values()), "a test of the direction needs students that differ"
    assert found(kdlab)["best_value"] == pytest.approx(best(of.values()))
    assert of[found(kdlab)["best_params"]["training.optimizer.lr"]] == best(of.values())
    assert f"best of 3 trials: {metric} {best(of.values()):.4f}" in said.out


def test_minimising_accuracy_would_return_the_worst_student(kdlab, monkeypatch):
    """The plugin's own default: what the test above is there to catch."""
    monkeypatch.setattr(searching, "optuna_direction", lambda metric: "minimize")
    assert kdlab.tiny("run", "-m", *GRID).code == 0
    of = scores(kdlab, "validation/accuracy")
    assert found(kdlab)["best_value"] == pytest.approx(min(of.values())) != max(of.values())


def test_directions():
    assert [optuna_direction(f"validation/{name}") for name in ("accuracy", "agreement")] == ["maximize"] * 2
    assert [optuna_direction(f"validation/{name}") for name in ("nll", "ece", "brier", "teacher_kl")] == [
        "minimize"
    ] * 4


@pytest.mark.parametrize(
    ("words", "needed"),
    [
        (["optimized_metric=test/accuracy"], ["optimized_metric = 'test/accuracy'", "validation/accuracy"]),
        (["optimized_metric=loud/gap"], ["choices are made on validation"]),
        (["optimized_metric=latency/p50_ms"], ["choices are made on validation"]),
        (["optimized_metric=validation/parent_accuracy"], ["neither more nor less"]),
        (["hydra.sweeper.direction=minimize"], ["hydra.sweeper.direction = minimize", "maximize"]),
        (["hydra.sweeper.n_trials=0"], ["hydra.sweeper.n_trials = 0", "from 1 up"]),
        (["--dry-run", "hydra.sweeper.n_trials=0"], ["hydra.sweeper.n_trials = 0", "from 1 up"]),
        (["--dry-run", "optimized_metric=test/accuracy"], ["choices are made on validation"]),
        (["--dry-run", "hydra.sweeper.direction=minimize"], ["hydra.sweeper.direction = minimize", "maximize"]),
        (["student.widht=interval(2,8)"], ["student.widht", "student.width"]),
        (["objective.alpha=interval(0.5,3)"], ["objective.alpha = 3"]),
        (["teacher.quality.scale=interval(2.0,8.0)"], ["teacher.quality.scale", "teacher/quality=overconfident"]),
        (["seed=0,1"], ["seed = 0", "1000"]),
        (["seed=interval(1000,1010)"], ["seed is no choice"]),
        (["tracker.mode=offline,online"], ["tracker.mode"]),
        (["student.width=interval(8,2)"], ["student.width=interval(8,2)"]),
        (["hydra/sweeper/sampler=nope"], ["hydra/sweeper/sampler", "tpe"]),
    ],
)
def test_mistakes_are_told_before_any_work(kdlab, words, needed):
    said = kdlab.tiny("run", "-m", OPTUNA, SPACE, *words)
    assert said.code == 2
    for word in needed:
        assert word in said.err
    assert kdlab.ids() == []
    assert said.out == ""


def test_nothing_to_search_and_several_arms(kdlab):
    assert "interval(1,32)" in kdlab.tiny("run", "-m", OPTUNA, "seed=1000").err
    said = kdlab("sweep", "--config-dir", kdlab.conf, "arms", OPTUNA, "seed=1000")
    assert said.code == 2
    assert "study.only=[distilled]" in said.err


def test_a_knob_that_another_choice_reads_is_part_of_the_space(kdlab):
    words = ["teacher/quality=standard,overconfident", "teacher.quality.scale=2,4", "hydra.sweeper.n_trials=3"]
    said = kdlab.tiny("run", "-m", OPTUNA, *words)
    assert (said.code, said.err) == (0, "")


def test_trials_are_runs_of_a_tuning_phase_and_are_found_again(kdlab, trainings):
    words = ["run", "-m", OPTUNA, "objective.temperature=interval(1.0,8.0)", "study.name=find/t"]
    first = kdlab.tiny(*words, "hydra.sweeper.n_trials=2")
    made = len(trainings)
    assert {row["phase"] for row in kdlab.members("find/t")} == {"tune"}
    assert {record.seeds["student"] for record in kdlab.records().values()} - {None} == {1000}
    for record in kdlab.records().values():
        assert not [key for key in record.metrics if key.startswith(("test/", "loud/"))]
    again = kdlab.tiny(*words, "hydra.sweeper.n_trials=2")
    assert len(trainings) == made, "found by identity"
    assert again.out.splitlines()[-4:] == first.out.splitlines()[-4:]
    more = kdlab.tiny(*words, "hydra.sweeper.n_trials=3")
    assert len(trainings) == made + 1, "the twin does not depend on T"
    assert first.out.splitlines()[-5].partition("]")[2] in more.out, "the sampler repeats itself"
    assert kdlab("list", "find/t").code == kdlab("report", "find/t").code == 0
    assert set(kdlab.left()) >= {"runs", "reports"}
    assert not [name for name in kdlab.left() if name.endswith(".yaml")], "nothing beside the store"


def test_the_command_told_for_the_best_trial_finds_it(kdlab, trainings, monkeypatch):
    import shlex

    said = kdlab.tiny("run", "-m", OPTUNA, "objective.temperature=interval(1.0,8.0)", "hydra.sweeper.n_trials=2")
    line = next(line for line in said.out.splitlines() if line.strip().startswith("again:"))
    _, *words = shlex.split(line.partition(":")[2])
    before, records = len(trainings), kdlab.records()
    again = kdlab(*words)
    assert (again.code, len(trainings)) == (0, before)
    assert "finished before" in again.out
    assert kdlab.records() == records, "no test set is looked at"


def test_a_trial_scores_the_mean_of_its_seeds(kdlab):
    said = kdlab.tiny("run", "-m", *GRID, "seed=1000,1001")
    assert said.code == 0
    of = scores(kdlab, "validation/accuracy")
    assert len(kdlab.ids("student")) == 6
    assert found(kdlab)["best_value"] == pytest.approx(max(of.values()))


@pytest.mark.parametrize("sampler", ["grid", pytest.param("random", marks=pytest.mark.long)])
def test_a_failed_trial_is_told_and_the_search_goes_on(kdlab, sampler):
    fragile = ["+objective/term@objective.terms.fragile=fragile", f"hydra/sweeper/sampler={sampler}"]
    said = kdlab.tiny(
        "run", "-m", OPTUNA, *fragile, "objective.terms.fragile.patience=5,90", "hydra.sweeper.n_trials=6"
    )
    assert said.code == 1
    head, *rest = said.err.splitlines()
    assert head == f"kdlab: {'1 of 2' if sampler == 'grid' else f'{len(rest) - 1} of 6'} trials failed"
    assert "broken at step 5" in rest[0]
    assert said.err.count("broken") == len(rest) - 1
    assert "patience=90: validation/accuracy" in said.out
    assert found(kdlab)["best_params"] == {"objective.terms.fragile.patience": 90}
    assert "best of" in said.out


def test_when_all_trials_fail(kdlab):
    fragile = ["+objective/term@objective.terms.fragile=fragile", "objective.terms.fragile.patience=interval(2,4)"]
    said = kdlab.tiny("run", "-m", OPTUNA, *fragile, "hydra.sweeper.n_trials=2")
    assert said.code == 1
    assert "2 of 2 trials failed" in said.err
    assert "Traceback" not in said.err
    assert "best of" not in said.out


def test_a_sweep_file_gives_the_space(kdlab):
    words = ["sweep", "--config-dir", kdlab.conf, "mine", "data=tiny", OPTUNA, "seed=1000", "hydra.sweeper.n_trials=2"]
    said = kdlab(*words)
    assert (said.code, said.err) == (0, "")
    assert "study mine: a search of 2 trials over objective.temperature" in said.out


def test_cfg_shows_the_first_trial(kdlab):
    said = kdlab.tiny("run", "-m", OPTUNA, "objective.temperature=interval(1.0,8.0)", "--cfg", "job")
    assert said.code == 0
    assert "phase: tune" in said.out


@pytest.mark.long
def test_side_by_side_finds_the_same(kdlab):
    pytest.importorskip("hydra_plugins.hydra_joblib_launcher", reason="needs kdlab[joblib]")
    root = f"store.root={kdlab.here}/runs"  # processes of an earlier test, which stand elsewhere, are used again
    said = kdlab.tiny("run", "-m", *GRID, root, "hydra/launcher=joblib", "hydra.launcher.n_jobs=2")
    assert (said.code, said.err) == (0, "")
    of = scores(kdlab, "validation/accuracy")
    assert found(kdlab)["best_value"] == pytest.approx(max(of.values()))


@pytest.mark.parametrize(
    ("launcher", "asked", "together"),
    [({"_target_": BASIC_LAUNCHER}, None, 1), ({"_target_": "x", "n_jobs": 3}, None, 3), ({"_target_": "x"}, None, 1),
     ({"_target_": "x", "n_jobs": 3}, 5, 5)],
)  # fmt: skip
def test_as_many_trials_are_proposed_as_run_side_by_side(launcher, asked, together):
    config = OmegaConf.create({"hydra": {"launcher": launcher}})
    assert searching._together({"n_jobs": asked}, config) == together


def test_without_the_package_the_message_names_what_installs_it(kdlab, monkeypatch):
    find = importlib.util.find_spec
    absent = lambda name, *rest: None if "optuna" in name else find(name, *rest)  # noqa: E731
    monkeypatch.setattr(importlib.util, "find_spec", absent)
    said = kdlab.tiny("run", "-m", OPTUNA, SPACE)
    assert said.code == 2
    assert "pip install 'kdlab[optuna]'" in said.err


def test_other_applications_keep_the_plugins_own_settings(tmp_path):
    from hydra._internal.utils import create_config_search_path
    from hydra.core.config_store import ConfigStore

    from kdlab.commands.composing import make_loader

    groups = ConfigStore.instance().repo["hydra"]
    make_loader()
    assert "optuna.yaml" not in groups["sweeper"]
    create_config_search_path(str(tmp_path))
    assert {"optuna.yaml"} <= set(groups["sweeper"])
    make_loader()
    assert "optuna.yaml" not in groups["sweeper"]
