"""``--dry-run``: checked as the command checks it, nothing trained, nothing stored; and what it estimates."""

import re
import time

import pytest
import yaml

from kdlab.commands.estimates import median_seconds
from kdlab.commands.wording import option_of, size
from kdlab.errors import UserError

QUICK = ["data=tiny", "evaluation.sets=[validation,test]"]


def row(said, what):
    """The numbers of a row of the table: to train, to measure, finished, failed before."""
    line = next(line for line in said.out.splitlines() if line.startswith(what))
    return [int(cell) if cell.isdigit() else cell for cell in re.split(r"\s{2,}", line)[1:5]]


@pytest.fixture
def sweep(kdlab):
    """A sweep with two arms, as its words."""
    return ["sweep", "arms", *QUICK, "--config-dir", kdlab.conf]


@pytest.mark.parametrize(
    "words",
    [
        ["sweep", "--dry-run", "arms"],
        ["sweep", "arms", "--dry-run"],
        ["run", "-m", "--dry-run", "data=tiny", "seed=0,1"],
        ["run", "data=tiny", "--dry-run"],
        ["teacher", "--dry-run", "data=tiny"],
        ["teacher", "-m", "data=tiny", "teacher.seed=0,1", "--dry-run"],
    ],
)
def test_nothing_is_trained_and_nothing_is_written(kdlab, trainings, words):
    said = kdlab(*words, "--config-dir", kdlab.conf)
    assert (said.code, said.err) == (0, "")
    assert "nothing is trained" in said.out
    assert max(map(len, said.out.splitlines())) <= 100
    assert kdlab.left() == []
    assert trainings == []


def test_what_is_there_stays_as_it_is(kdlab, sweep):
    assert kdlab(*sweep, "seed=0").code == 0
    before = {path: path.stat().st_mtime_ns for path in kdlab.here.rglob("*") if path.is_file()}
    assert kdlab(*sweep, "--dry-run").code == 0
    assert {path: path.stat().st_mtime_ns for path in kdlab.here.rglob("*") if path.is_file()} == before


def test_what_is_to_train_is_what_is_then_trained(kdlab, sweep, trainings):
    said = kdlab(*sweep, "--dry-run")
    assert row(said, "teachers (") == [2, 0, 0, 0]
    assert row(said, "scratch twins") == [2, 0, 0, 0]
    assert row(said, "students") == [8, 0, 0, 0]
    assert row(said, "uniform teachers") == [0, 1, 0, 0]
    assert row(said, "all") == [12, 1, 0, 0]
    assert "13 from a few steps timed here" in said.out
    assert kdlab(*sweep, "seed=0").code == 0
    assert len(trainings) == 6
    said = kdlab(*sweep, "--dry-run")
    assert row(said, "students") == [4, 0, 4, 0]
    assert row(said, "uniform teachers") == [0, 0, 1, 0]
    assert row(said, "all") == [6, 0, 7, 0]
    assert "6 from records of the same kind" in said.out
    assert "  finished   distilled objective.temperature=1 seed=0" in said.out
    assert "  to train   distilled objective.temperature=1 seed=1" in said.out
    assert kdlab(*sweep).code == 0
    assert len(trainings) == 12
    assert "everything is finished already" in kdlab(*sweep, "--dry-run").out


def test_what_failed_before_is_told(kdlab):
    term = ["+objective/term@objective.terms.fragile=fragile", "objective.terms.fragile.patience=3,1000"]
    words = ["run", "-m", *QUICK, *term, "--config-dir", kdlab.conf]
    assert kdlab(*words).code == 1
    said = kdlab(*words, "--dry-run")
    assert row(said, "students") == [1, 0, 1, 1]
    assert "  again      objective.terms.fragile.patience=3" in said.out


def test_repeating_by_force_is_training(kdlab):
    words = ["run", *QUICK, "--config-dir", kdlab.conf]
    assert kdlab(*words).code == 0
    assert row(kdlab(*words, "--dry-run"), "all") == [0, 0, 3, 0]
    assert row(kdlab(*words, "--dry-run", "force=true"), "all") == [1, 0, 2, 0]
    widened = ["run", "data=tiny", "evaluation.sets=[train,validation,test]", "--config-dir", kdlab.conf]
    assert row(kdlab(*widened, "--dry-run"), "all") == [0, 3, 0, 0], "another set is measured, nothing trained"


def test_a_transformation_is_measured_and_its_parent_trained(kdlab):
    words = ["run", "-m", *QUICK, "teacher/quality=overconfident", "teacher.quality.scale=2,3", "--dry-run=all"]
    said = kdlab(*words, "--config-dir", kdlab.conf)
    assert row(said, "teachers (") == [1, 0, 0, 0]
    assert row(said, "overconfident teachers") == [0, 2, 0, 0]
    assert len(re.findall(r"^  to measure teacher [0-9a-f]{16} .*scale=", said.out, re.MULTILINE)) == 2


def test_members_and_links_are_trained_and_an_ensemble_is_measured(kdlab):
    words = ["run", "-m", *QUICK, "teacher.ensemble.count=1,3", "training.steps=11", "seed=0,1", "--dry-run"]
    said = kdlab(*words, "--config-dir", kdlab.conf)
    assert row(said, "teachers (") == [6, 0, 0, 0]
    assert row(said, "ensembles of 3") == [0, 2, 0, 0]
    words = ["run", "-m", *QUICK, "teacher/chain=assistant,born_again", "seed=0,1", "--dry-run"]
    told = kdlab(*words, "--config-dir", kdlab.conf)
    assert row(told, "assistants (MLP 4") == [2, 0, 0, 0]
    assert row(told, "teachers (MLP 8") == [2, 0, 0, 0]
    assert row(told, "teachers (MLP 4") == [2, 0, 0, 0]
    assert "trained together: 6 + 2 + 2 + 2 networks in 4 stacks" in told.out


@pytest.mark.parametrize(
    "words",
    [
        ["run", "data=tiny", "objective.temprature=3"],
        ["run", "-m", "data=tiny", "objective.temperature=1,-2", "seed=0,x"],
        ["run", "data=tiny", "training.optimizer.lr=-1"],
        ["run", "data=tiny", "seed=0,1"],
        ["run", "data=nope"],
        ["run", "data=tiny", "student=nope"],
        ["run", "-m", "data=tiny", "seed=0,1", "hydra/launcher=nope"],
        ["run", "data=tiny", "teacher.checkpoint=nowhere.pt"],
        ["run", "data=tiny", "store.root=/proc/nowhere/runs"],
        ["sweep", "armz"],
        ["sweep", "empty"],
        ["sweep", "arms", "study.only=[destilled]"],
        ["teacher", "data=tiny", "student.width=3"],
        ["run", "--nope"],
    ],
)
def test_mistakes_are_told_as_the_command_tells_them(kdlab, words):
    words = [*words, "--config-dir", kdlab.conf]
    real, dry = kdlab(*words), kdlab(*words, "--dry-run")
    assert real.code == dry.code == 2
    assert dry.err == real.err
    assert dry.out == ""


def test_a_file_in_the_place_of_the_store(kdlab):
    (kdlab.here / "runs").write_text("no folder")
    said = kdlab("run", *QUICK, "--config-dir", kdlab.conf, "--dry-run")
    assert (said.code, said.out) == (2, "")
    assert "store.root = " in said.err
    assert "cannot be written" in said.err


def test_many_points_are_cut_and_all_are_shown_on_demand(kdlab):
    words = ["run", "-m", *QUICK, "seed=range(0,25)", "--config-dir", kdlab.conf]
    said = kdlab(*words, "--dry-run")
    assert "  ... and 5 more (--dry-run=all shows them)" in said.out
    assert said.out.count("  to train   seed=") == 20
    assert kdlab(*words, "--dry-run=all").out.count("  to train   seed=") == 25


def test_a_launcher_that_works_in_parallel_divides_the_time(kdlab):
    pytest.importorskip("hydra_plugins.hydra_joblib_launcher")
    words = ["run", "-m", *QUICK, "seed=0,1", "hydra/launcher=joblib", "hydra.launcher.n_jobs=2", "--dry-run"]
    said = kdlab(*words, "--config-dir", kdlab.conf)
    assert "divided by hydra.launcher.n_jobs = 2" in said.out


def test_a_search_is_checked_at_its_ends(kdlab):
    pytest.importorskip("hydra_plugins.hydra_optuna_sweeper")
    words = ["run", "-m", "hydra/sweeper=optuna", "data=tiny", "hydra.sweeper.n_trials=7", "--config-dir", kdlab.conf]
    said = kdlab(*words, "objective.temperature=interval(1.0,8.0)", "--dry-run")
    assert (said.code, said.err) == (0, "")
    assert "a search makes 7 runs and chooses them as it goes" in said.out
    assert re.search(r"^search: 7 runs like these take about \d+ s$", said.out, re.MULTILINE)
    assert kdlab.left() == []
    wrong = kdlab(*words, "objective.temperature=interval(-1.0,8.0)", "--dry-run")
    assert wrong.code == 2
    assert "objective.temperature = -1" in wrong.err


def test_seconds_come_from_records_and_scale_with_steps(kdlab):
    words = ["run", *QUICK, "--config-dir", kdlab.conf]
    assert kdlab(*words).code == 0
    from kdlab.commands.estimates import Estimator
    from kdlab.commands.jobs import lab_of
    from kdlab.experiments.plan import plan
    from kdlab.schema.reading import read_config

    (record,) = [found for found in kdlab.records().values() if found.role == "student"]
    plain = yaml.safe_load((kdlab.here / "runs" / record.run_id / "config.yaml").read_text())
    plain["training"]["steps"] = 1200
    config = read_config(plain)
    planned = plan(config).run
    found = Estimator(lab_of(config)).of(planned, trained=True)
    assert found.source == "records"
    assert found.train == pytest.approx(record.metrics["cost/train_seconds"] * 100)
    assert found.measure == pytest.approx(record.provenance["seconds"] - record.metrics["cost/train_seconds"], abs=2e-3)
    folder = kdlab.here / "runs" / record.run_id
    assert found.size == sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def test_timing_is_short_whatever_a_step_takes():
    calls = []
    assert median_seconds(lambda: (calls.append(0), time.sleep(0.05)), seconds=0.01) >= 0.05
    assert len(calls) == 1
    calls.clear()
    median_seconds(lambda: calls.append(0), seconds=10.0)
    assert len(calls) <= 21


def test_the_option_stands_anywhere():
    assert option_of(["a", "--dry-run", "b=--dry-run"]) == (["a", "b=--dry-run"], "first")
    assert option_of(["--dry-run=all", "a"]) == (["a"], "all")
    assert option_of(["a"]) == (["a"], None)
    with pytest.raises(UserError, match="--dry-run=every"):
        option_of(["--dry-run=every"])
    assert [size(n) for n in (3e5, 2.34e7, 2.5e9)] == ["0.3 MB", "23 MB", "2.5 GB"]
