"""``hydra/launcher=stacked``, the default of every multirun: what basic makes one by one, together."""

import os

import pytest
from omegaconf import OmegaConf

QUICK = ["data=tiny", "evaluation.sets=[validation,test]"]
TIMES = ("cost/train_seconds", "cost/teacher_train_seconds", "cost/stack_size")
GRID = ["objective.temperature=1,4", "objective.alpha=0,0.5", "seed=0,1"]


@pytest.mark.parametrize(
    ("command", "words"), [("run", GRID), ("teacher", ["teacher/quality=standard,weak", "seed=0,1"])]
)
def test_a_multirun_is_stacked_and_leaves_what_basic_leaves(kdlab, sizes, command, words):
    exact = ["training.precision=64-true", "teacher.training.precision=64-true"]
    exact = exact[1:] if command == "teacher" else exact
    doses = ["teacher.quality.steps=5"] if command == "teacher" else []
    said = kdlab.tiny(command, "-m", *words, *exact, *doses)
    assert (said.code, said.err) == (0, "")
    assert sizes == ([2, 6] if command == "run" else [2, 2])
    found, members = kdlab.records(), kdlab.members("multirun")
    assert kdlab.tiny(command, "-m", *words, *exact, *doses, "hydra/launcher=basic", "store.root=alone").code == 0
    (kdlab.here / "runs").rename(kdlab.here / "together")
    (kdlab.here / "alone").rename(kdlab.here / "runs")
    alone = kdlab.records()
    assert set(alone) == set(found)
    for run_id, record in alone.items():
        assert set(record.metrics) == set(found[run_id].metrics)
        for key, value in record.metrics.items():
            if key not in TIMES:
                assert found[run_id].metrics[key] == pytest.approx(value, abs=1e-6), key
    assert members == kdlab.members("multirun")


def test_every_point_is_told_as_it_ends_and_one_that_diverges_fails_alone(kdlab, sizes):
    rates = ["training/optimizer=sgd", "training.optimizer.lr=0.01,1e9"]
    words = ["run", "-m", *QUICK, *rates, "objective.alpha=0.5,1"]
    said = kdlab(*words, "--config-dir", kdlab.conf)
    assert said.code == 1
    lines = [line for line in said.out.splitlines() if line.startswith("[")]
    assert [line[:5] for line in lines] == ["[1/4]", "[2/4]", "[3/4]", "[4/4]"]
    failed = [line for line in lines if "FAILED" in line]
    assert len(failed) == 2
    assert all("training.optimizer.lr=1000000000.0" in line and "not finite at step" in line for line in failed)
    assert "kdlab: 2 of 4 points failed; the others are finished and recorded" in said.err
    again = kdlab(*words, "--config-dir", kdlab.conf)
    assert "2 to run, 2 finished before" in again.out
    assert sizes == [1, 6, 3], "the teacher; two twins and four students; then what failed"


def test_a_sweeper_that_composes_nothing_gets_its_points_composed(kdlab, sizes):
    words = ["hydra/sweeper=basic", "seed=0,1", "optimized_metric=test/accuracy"]
    said = kdlab("run", "-m", *QUICK, *words, "--config-dir", kdlab.conf)
    assert said.code == 0, said.err
    assert sizes == [2, 4]
    assert (
        sorted(record.role for record in kdlab.records().values())
        == ["scratch"] * 2 + ["student"] * 2 + ["teacher"] * 2
    )


def test_the_launcher_returns_one_result_for_each_point_in_order(kdlab, user_conf, monkeypatch):
    from kdlab.commands import stacked
    from kdlab.commands.composing import Composer, make_loader

    loader = make_loader(user_conf)
    lines = [
        [*QUICK, "training/optimizer=sgd", f"training.optimizer.lr={lr}", "seed=0"] for lr in (0.01, "1e9", 0.02, 0.01)
    ]
    points = stacked.composed(lines, loader=loader, kind="run")
    config, _ = Composer(loader).compose([])
    told = []
    found = stacked.run_stacked(points, config=config, ended=lambda at, value: told.append(at), first=3)
    assert [one.status.name for one in found] == ["COMPLETED", "FAILED", "COMPLETED", "COMPLETED"]
    assert [one.overrides for one in found] == lines
    assert (
        found[0].return_value
        == found[3].return_value
        == kdlab.records()[points[0].plan.run.run_id].metrics["validation/accuracy"]
    )
    with pytest.raises(Exception, match="not finite at step"):
        _ = found[1].return_value
    assert sorted(told) == [0, 1, 2, 3]
    with pytest.raises(ValueError, match=r"no key studnt\.width"):
        stacked.composed([["studnt.width=3"]], loader=loader, kind="run")


def test_trials_of_one_batch_are_trained_together(kdlab, sizes):
    pytest.importorskip("hydra_plugins.hydra_optuna_sweeper", reason="needs kdlab[optuna]")
    search = [
        "hydra/sweeper=optuna",
        "hydra.sweeper.n_trials=4",
        "hydra.sweeper.n_jobs=2",
        "objective.alpha=interval(0.1,1.0)",
    ]
    said = kdlab("run", "-m", "data=tiny", *search, "seed=1000,1001", "--config-dir", kdlab.conf)
    assert said.code == 0, said.err
    assert sizes == [2, 6, 4], "two teachers; twins and students of two trials; students of two more"


def test_max_size_bounds_a_stack(kdlab, sizes):
    assert kdlab.tiny("run", "-m", *GRID, "stack.max_size=2").code == 0
    assert sizes == [2, 2, 2, 2]
    said = kdlab.tiny("run", "-m", *GRID, "stack.max_size=0")
    assert said.code == 2
    assert "stack.max_size = 0: must be auto, or a whole number from 1 up" in said.err
    assert "threads = 'many': must be auto, or a whole number from 1 up" in kdlab.tiny("run", "threads=many").err


def test_threads_are_one_for_a_run_and_what_is_told_for_a_stack(kdlab, monkeypatch):
    words = ["training.steps=2", "teacher.training.steps=2", "evaluation.sets=[validation]", "training.batch_size=2"]
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    assert kdlab.tiny("run", *words).code == 0
    assert {record.provenance["threads"] for record in kdlab.records().values()} == {1}
    assert kdlab.tiny("run", "-m", *words, "seed=5,6", "threads=2", "store.root=two").code == 0
    (kdlab.here / "runs").rename(kdlab.here / "one")
    (kdlab.here / "two").rename(kdlab.here / "runs")
    assert {record.provenance["threads"] for record in kdlab.records().values()} == {2}


@pytest.mark.parametrize(
    ("told", "expected"),
    [({}, "10000"), ({"GOMP_SPINCOUNT": "7"}, "7"), ({"OMP_WAIT_POLICY": "active"}, None)],
)
def test_threads_that_wait_sleep_unless_the_user_says_otherwise(monkeypatch, told, expected):
    from kdlab.commands import cli

    for name in ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY"):
        monkeypatch.setenv(name, "")  # so that it is put back whatever is set below
        monkeypatch.delenv(name)
    for name, value in told.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(cli, "main", lambda: 0)
    with pytest.raises(SystemExit):
        cli.entry()
    assert os.environ.get("GOMP_SPINCOUNT") == expected


def test_a_dry_run_tells_the_stacks(kdlab):
    said = kdlab.tiny("run", "-m", *GRID, "--dry-run")
    assert said.code == 0, said.err
    assert "trained together: 6 + 2 networks in 2 stacks" in said.out


def test_it_is_the_default_and_the_others_remain():
    from kdlab.commands.composing import Composer, make_loader

    composer = Composer(make_loader())
    config, _ = composer.compose([])
    assert config.hydra.launcher == OmegaConf.create({"_target_": "hydra_plugins.kdlab_study.stacked.StackedLauncher"})
    basic, _ = composer.compose(["hydra/launcher=basic"])
    assert basic.hydra.launcher._target_.endswith("BasicLauncher")
