"""A sweep, whole: planned before anything trains, each run once, failures told, the same command finishes the rest."""

import csv
import json
import re
import shlex
import subprocess
import sys
import time

import pytest

from kdlab.commands.composing import Composer, make_loader
from kdlab.commands.launching import SweepFailedError
from kdlab.commands.reports import words_of
from kdlab.commands.sweeping import of_all_points, planned, sweep_of
from kdlab.commands.wording import counted, duration

QUICK = ["data=tiny", "evaluation.sets=[validation,test]"]


@pytest.fixture(scope="module")
def composer(user_conf):
    return Composer(make_loader(user_conf))


@pytest.fixture
def plan(composer):
    """The points of a sweep, planned as the sweeper plans them."""

    def run(*words, kind="run"):
        config = of_all_points(words, composer)
        _, planning = planned(words, config=config, composer=composer, sweep=sweep_of(config, kind=kind))
        return planning

    return run


def overrides(planning):
    return [" ".join(filter(None, [point.arm, *point.overrides])) for point in planning.points]


# --- planning -------------------------------------------------------------------------------------------------------


def test_what_a_point_does_not_read_is_dropped_and_equal_points_are_one_run(plan):
    planning = plan("data=tiny", "objective=distillation,hard_labels", "objective.temperature=1,2")
    assert overrides(planning) == [
        "data=tiny objective=distillation objective.temperature=1",
        "data=tiny objective=distillation objective.temperature=2",
        "data=tiny objective=hard_labels",
        "data=tiny objective=hard_labels",
    ]
    assert planning.dropped == {"objective.temperature": 2}
    ids = [point.plan.run.run_id for point in planning.points]
    assert len(set(ids)) == 3
    assert planning.points[2].plan.run.role == "scratch"


def test_a_dose_belongs_to_its_preset_alone(plan):
    planning = plan("data=tiny", "teacher/quality=standard,overconfident", "teacher.quality.scale=2,3")
    assert planning.dropped == {"teacher.quality.scale": 2}
    parents = {(point.plan.teacher.parent or point.plan.teacher).run_id for point in planning.points}
    assert len(parents) == 1
    assert len({point.plan.run.run_id for point in planning.points}) == 3


def test_a_grid_over_alpha_may_hold_0_and_1(plan):
    planning = plan("data=tiny", "objective.alpha=0,0.5,1", "objective.temperature=1,2")
    assert planning.dropped == {}, "a term is there whatever its weight"
    roles = [point.plan.run.role for point in planning.points]
    assert roles == ["scratch", "scratch", "student", "student", "student", "student"]
    assert len({point.plan.run.run_id for point in planning.points}) == 5
    assert len({point.plan.twin.run_id for point in planning.points}) == 1


def test_arms_are_crossed_with_the_grid_and_their_values_hold(plan):
    arms = "+study.arms={soft: ['objective.temperature=8'], uniform: ['teacher/quality=uniform']}"
    planning = plan("data=tiny", arms, "objective.temperature=1,2", "seed=0,1")
    assert overrides(planning) == [
        *["soft data=tiny seed=0 objective.temperature=8", "soft data=tiny seed=1 objective.temperature=8"] * 2,
        "uniform data=tiny objective.temperature=1 seed=0 teacher/quality=uniform",
        "uniform data=tiny objective.temperature=1 seed=1 teacher/quality=uniform",
        "uniform data=tiny objective.temperature=2 seed=0 teacher/quality=uniform",
        "uniform data=tiny objective.temperature=2 seed=1 teacher/quality=uniform",
    ]
    assert len({point.plan.run.run_id for point in planning.points}) == 6
    assert {point.config.study.arm for point in planning.points} == {"soft", "uniform"}


def test_an_arm_holds_against_the_command_line_too(plan):
    planning = plan(
        "data=tiny", "+study.arms={scratch: ['objective=hard_labels'], own: []}", "objective=distillation", "seed=0"
    )
    assert [point.plan.run.role for point in planning.points] == ["scratch", "student"]


def test_two_terms_of_one_group_do_not_exclude_each_other(plan):
    more = "+objective/term@objective.terms"
    planning = plan("data=tiny", f"+study.arms={{both: ['{more}.b=margin']}}", f"{more}.a=margin")
    (point,) = planning.points
    assert set(point.config.objective.terms) == {"hard_labels", "soft_targets", "a", "b"}


def test_the_same_point_written_twice_is_one_membership(plan):
    assert overrides(plan("data=tiny", "++seed=0,1")) == overrides(plan("data=tiny", "seed=0,1"))


def test_a_sweep_keeps_the_predictions_of_the_test_set_unless_told(plan):
    assert plan("data=tiny", "seed=0,1").points[0].config.evaluation.keep_predictions == "test"
    told = plan("data=tiny", "seed=0,1", "evaluation.keep_predictions=all")
    assert told.points[0].config.evaluation.keep_predictions == "all"


def test_seeds_make_pairs(plan):
    points = plan("data=tiny", "seed=range(0,4)").points
    assert [point.plan.run.seeds for point in points] == [{"student": s, "teacher": s, "data": 0} for s in range(4)]


def test_planning_a_point_is_quick(composer, plan):
    words = ["objective.temperature=1,2,4,8,16", "objective.alpha=0.2,0.5,0.9", "seed=range(0,4)"]
    plan(*words)
    started = time.process_time()
    count = len(plan(*words).points)
    each_ms = (time.process_time() - started) / count * 1000
    print(f"\n{count} points: {each_ms:.1f} ms each")
    assert count == 60
    assert each_ms < 40, "25 ms on an idle machine; Hydra's own sweeper needs about 100"


# --- running --------------------------------------------------------------------------------------------------------


def test_the_study_lists_every_run_before_the_first_trains(kdlab, monkeypatch):
    import kdlab.experiments.fitting as fitting

    seen = []

    def stopped(*arguments, **keywords):
        seen.append(kdlab.members("mine"))
        raise KeyboardInterrupt

    monkeypatch.setattr(fitting, "fit", stopped)
    said = kdlab("sweep", "mine", *QUICK, "--config-dir", kdlab.conf)
    assert said.code == 130
    assert f"go on with: kdlab sweep mine {QUICK[0]} '{QUICK[1]}'" in said.err
    assert sorted(member["role"] for member in seen[0]) == [*["scratch"] * 2, *["student"] * 4, *["teacher"] * 2]
    listed = kdlab("list", "mine")
    assert "0 finished, 2 failed, 6 not run yet" in listed.out
    assert listed.last.startswith("run what is missing: kdlab sweep mine data=tiny ")


def test_what_is_missing_is_finished_by_the_same_command_and_nothing_is_trained_twice(kdlab, monkeypatch, trainings):
    import kdlab.experiments.fitting as fitting

    counted_fit = fitting.fit

    def students_are_interrupted(learners, **keywords):
        if learners[0].role == "student":
            raise KeyboardInterrupt
        return counted_fit(learners, **keywords)

    words = ["sweep", "mine", *QUICK, "seed=0", "--config-dir", kdlab.conf]
    monkeypatch.setattr(fitting, "fit", students_are_interrupted)
    assert kdlab(*words).code == 130
    assert "1 finished, 3 failed, 0 not run yet" in kdlab("list", "mine").out
    monkeypatch.setattr(fitting, "fit", counted_fit)
    said = kdlab(*words)
    assert said.code == 0
    assert "2 to run, 0 finished before" in said.out
    assert len(trainings) == 4, "teacher, twin and two students, each once"
    again = kdlab(*words)
    assert "0 to run, 2 finished before" in again.out
    assert again.last == "study mine: all 2 runs are finished; kdlab report mine makes its tables and figures"
    assert len(trainings) == 4


def test_one_run_belongs_to_two_studies(kdlab, trainings):
    grid = [*QUICK, "objective.temperature=1,2", "--config-dir", kdlab.conf]
    assert kdlab("run", "-m", *grid, "study.name=first").code == 0
    assert kdlab("run", "-m", *grid, "study.name=deep/second").code == 0
    assert len(trainings) == 4
    first, second = kdlab.members("first"), kdlab.members("deep/second")
    assert {member["run_id"] for member in first} == {member["run_id"] for member in second} == set(kdlab.ids())
    out = kdlab("list").out
    assert "study deep/second: 4 runs, 4 finished" in out
    assert "study first: 4 runs, 4 finished" in out


@pytest.mark.long
@pytest.mark.parametrize("name", ["arms", "other/name"])
def test_the_command_beside_a_row_makes_that_row_and_changes_nothing_else(kdlab, trainings, name):
    told = ["--config-dir", kdlab.conf]
    assert kdlab("sweep", "arms", f"study.name={name}", *told).code == 0
    assert kdlab("report", name).code == 0
    trained, study = len(trainings), (kdlab.here / "runs" / "studies" / f"{name}.jsonl").read_text()
    rows = list(csv.DictReader((kdlab.here / "reports" / name / "tables" / "results.csv").open()))
    assert rows[0]["setting"] == "scratch"
    assert len(rows) == 5, "scratch, two temperatures of each arm"
    for row in rows:
        program, *words = shlex.split(row["command"])
        said = kdlab(*words, *told)
        assert (program, said.code) == ("kdlab", 0), said.err
        assert "0 to run, 2 finished before" in said.out, row
    assert len(trainings) == trained
    assert (kdlab.here / "runs" / "studies" / f"{name}.jsonl").read_text() == study
    teachers = list(csv.DictReader((kdlab.here / "reports" / name / "tables" / "teachers.csv").open()))
    assert ["teacher/quality=uniform" in row["command"] for row in teachers] == [False, True]
    for row in teachers:
        assert kdlab(*shlex.split(row["command"])[1:], *told).code == 0, row
    assert len(trainings) == trained


def test_a_study_that_grows_keeps_the_commands_that_made_it(kdlab):
    told = ["--config-dir", kdlab.conf]
    assert kdlab("sweep", "arms", "study.only=[distilled]", "seed=0", *told).code == 0
    assert kdlab("sweep", "arms", "study.only=[distilled]", "objective.temperature=3,4", "seed=0", *told).code == 0
    header = json.loads((kdlab.here / "runs" / "studies" / "arms.jsonl").read_text().splitlines()[0])["header"]
    assert [line.split()[4] for line in header["command"].splitlines()] == ["seed=0", "objective.temperature=3,4"]
    assert header["grid"] == {"objective.temperature": ["1", "2", "3", "4"]}


def test_the_smallest_effect_of_interest_is_fixed_by_the_first_runs(kdlab):
    told = ["--config-dir", kdlab.conf, "seed=0"]
    assert kdlab("sweep", "mine", *QUICK, *told).code == 0
    assert kdlab("sweep", "mine", *QUICK, *told, "report.sesoi={test/accuracy: 0.5}").code == 0
    header = json.loads((kdlab.here / "runs" / "studies" / "mine.jsonl").read_text().splitlines()[0])["header"]
    assert header["sesoi"] == {"test/accuracy": 0.005}


def test_an_answer_speaks_of_the_study_as_its_file_makes_it():
    header = {"sweep": "temperature_alpha", "command": "kdlab sweep temperature_alpha"}
    assert "2.3 points" in words_of(header)["says"]
    for command in ("kdlab sweep temperature_alpha data=digits", header["command"] + "\nkdlab sweep x seed=1"):
        words = words_of({**header, "command": command})
        assert words["says"] is None
        assert words["question"].startswith("Which temperature")


def test_only_names_an_arm(kdlab):
    said = kdlab("sweep", "arms", "study.only=[destilled]", "--config-dir", kdlab.conf)
    assert said.code == 2
    assert "study.only names 'destilled', which is no arm of this sweep; did you mean distilled?" in said.err


def test_a_plain_grid_is_the_study_multirun_and_says_its_command(kdlab):
    said = kdlab("run", "data=tiny", "-m", "objective.alpha=0.5,1", *QUICK[1:], "--config-dir", kdlab.conf)
    assert said.code == 0
    text = (kdlab.here / "runs" / "studies" / "multirun.jsonl").read_text()
    header = json.loads(text.splitlines()[0])["header"]
    assert header["grid"] == {"objective.alpha": ["0.5", "1"]}
    assert header["command"].startswith("kdlab run -m data=tiny objective.alpha=0.5,1 ")
    assert str(kdlab.here) not in text, "a study names no path of this machine"


def test_what_a_sweep_says(kdlab):
    said = kdlab("run", "-m", *QUICK, "objective.alpha=0.5,1", "seed=0", "--config-dir", kdlab.conf)
    lines = said.out.splitlines()
    assert lines[0].startswith("study multirun: 2 points = 2 students, 1 scratch twin, 1 teacher; 2 to run, 0 finished")
    points = [line for line in lines if line.startswith("[")]
    assert re.fullmatch(r"\[1/2\] objective.alpha=0.5: validation/accuracy 0\.\d{4}(, about \d+ s left)?", points[0])
    assert re.fullmatch(r"\[2/2\] objective.alpha=1: validation/accuracy 0\.\d{4}", points[1])
    assert "Launching" not in said.out, "the launcher is silent"
    assert said.err == ""


FRAGILE = ["+objective/term@objective.terms.fragile=fragile", "objective.terms.fragile.patience=3,1000"]


def test_a_point_that_fails_does_not_stop_the_others(kdlab, trainings):
    words = ["run", "-m", *QUICK, *FRAGILE, "seed=0,1", "--config-dir", kdlab.conf]
    said = kdlab(*words)
    assert said.code == 1
    assert "[1/4] objective.terms.fragile.patience=3 seed=0: FAILED: OddError: broken at step 3" in said.out
    assert "[4/4] objective.terms.fragile.patience=1000 seed=1: validation/accuracy" in said.out
    lines = said.err.splitlines()
    assert lines[0] == "kdlab: 2 of 4 points failed; the others are finished and recorded"
    assert lines[-1].strip() == "the same command runs what is missing"
    logs = re.findall(r"\((runs/\w+/log.txt)\)", said.err)
    assert len(logs) == 2
    assert "OddError" in (kdlab.here / logs[0]).read_text()
    assert "Traceback" not in said.err
    assert "2 failed, 0 not run yet" in kdlab("list", "multirun").out
    before = len(trainings)
    again = kdlab(*words)
    assert again.code == 1
    assert "2 to run, 2 finished before" in again.out
    assert len(trainings) == before + 4, "only what failed is tried again: together, then each by itself"


@pytest.mark.long
def test_a_launcher_that_works_in_parallel(kdlab):
    pytest.importorskip("hydra_plugins.hydra_joblib_launcher")
    words = ["hydra/launcher=joblib", "hydra.launcher.n_jobs=2"]
    said = kdlab("run", "-m", *QUICK, *FRAGILE, *words, "--config-dir", kdlab.conf)
    assert said.code == 1
    assert said.err.splitlines()[0] == "kdlab: 1 of 2 points failed; the others are finished and recorded"
    assert "broken at step 3" in said.err, "an error that cannot travel between processes still says what happened"
    assert "launching" not in said.out.lower()
    assert [record.status for record in kdlab.records().values() if record.role == "student"].count("finished") == 1


@pytest.mark.long
def test_the_reader_of_the_pipe_may_leave(user_conf, tmp_path):
    words = ["run", "-m", *QUICK, "objective.alpha=0.5,1", "--config-dir", user_conf]
    process = subprocess.Popen(
        [sys.executable, "-m", "kdlab.commands.cli", *map(str, words)],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=tmp_path,
    )  # fmt: skip
    assert process.stdout.readline().startswith("study multirun")
    process.stdout.close()
    assert process.wait(timeout=120) == 0
    assert process.stderr.read() == ""
    records = [json.loads(path.read_text()) for path in tmp_path.glob("runs/*/record.json")]
    assert [record["status"] for record in records] == ["finished"] * 4


def test_teachers_can_be_a_sweep(kdlab):
    said = kdlab("teacher", "-m", *QUICK, "teacher.seed=0,1", "--config-dir", kdlab.conf)
    assert said.code == 0
    assert len(kdlab.ids("teacher")) == len(kdlab.ids()) == 2
    assert {member["role"] for member in kdlab.members("multirun")} == {"teacher"}


def test_words():
    assert (counted(1, "point"), counted(0, "point"), counted(3, "point")) == ("1 point", "0 points", "3 points")
    assert [duration(seconds) for seconds in (3, 89.4, 90, 5399, 7200)] == ["3 s", "89 s", "2 min", "90 min", "2.0 h"]


def test_the_error_of_a_sweep_survives_pickling():
    import pickle

    assert str(pickle.loads(pickle.dumps(SweepFailedError("2 of 3")))) == "2 of 3"
