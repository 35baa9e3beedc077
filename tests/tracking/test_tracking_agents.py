"""``wandb sweep`` and ``wandb agent`` against the stand-in server; and the files of examples/wandb_sweeps."""

import itertools
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from wandbstub import WandbStub

from kdlab.commands.sweeping import dry
from kdlab.keys import direction
from kdlab.tracking.wandb.agent import AgentRun, take_agent_run
from kdlab.tracking.wandb.tracker import WandbTracker

ROOT = Path(__file__).parents[2]
EXAMPLES = sorted((ROOT / "examples" / "wandb_sweeps").glob("*.yaml"))
NAMES = [path.stem for path in EXAMPLES]
#: What makes a point of the examples cheap.
TINY = ["data=digits", "training.steps=20", "teacher.training.steps=20", "evaluation.latency.enabled=false"]
ASKED = AgentRun("agents", "sw0", {"objective.temperature": 4}, "theirs", "team")


def example(name):
    return yaml.safe_load((ROOT / "examples" / "wandb_sweeps" / f"{name}.yaml").read_text(encoding="utf-8"))


def corners(parameters):
    """The first values of all parameters, and the last."""
    for at, end in ((0, "min"), (-1, "max")):
        yield [f"{key}={found['values'][at] if 'values' in found else found[end]}" for key, found in parameters.items()]


#: wandb's own agent, which asks its server more often than every five seconds.
AGENT = """
import sys
from wandb import wandb_agent
from wandb.cli.cli import cli
wandb_agent.Agent.POLL_INTERVAL = 0.2
cli(["agent", sys.argv[1], "--count", "1"])
"""
#: What three processes do that agents start: a new point, the same again, and two points at once.
SWEEPS = """
import os, sys
from kdlab.commands.cli import main
from kdlab.commands.jobs import _lab
for run, extra in (("new", []), ("again", []), ("several", ["objective.alpha=0.5,0.9"])):
    os.environ.update(WANDB_SWEEP_ID="sw9", WANDB_RUN_ID=run, WANDB_PROJECT="theirs")
    _lab.cache_clear()
    print(f"--- {run}", main(["sweep", *sys.argv[1:], *extra]), flush=True)
"""


def test_there_are_examples():
    assert NAMES == ["bayes", "grid", "question"]


@pytest.mark.parametrize("path", EXAMPLES, ids=NAMES)
def test_an_example_opens_with_what_it_is_for_the_command_and_the_cost(path):
    lines = path.read_text(encoding="utf-8").splitlines()
    head = list(itertools.takewhile(lambda line: line.startswith("#"), lines))
    assert head[0].split("?")[0] != head[0] or ":" in head[0]
    assert any(f"wandb sweep examples/wandb_sweeps/{path.name}" in line for line in head)
    assert any("wandb agent ENTITY/kdlab/ID" in line for line in head)
    assert any(line.startswith("# Cost: ") for line in head)
    assert max(map(len, lines)) <= 120


@pytest.mark.parametrize("name", NAMES)
def test_every_corner_of_an_example_is_a_point_that_kdlab_takes(name, tmp_path):
    found = example(name)
    words = found["command"]
    assert (words[0], words[-1]) == ("${program}", "${args_no_hyphens}")
    assert found["program"] == "kdlab"
    assert "tracker.mode=online" in words  # an agent's run is begun at its server
    many = words[1] == "sweep"
    assert many or words[1] == "run"
    fixed = [f"sweeps={words[2]}", *words[3:-1]] if many else words[2:-1]
    for point in corners(found["parameters"]):
        dry([*fixed, *point, f"store.root={tmp_path}"], many=many)


@pytest.mark.parametrize("name", NAMES)
def test_an_example_optimises_what_is_better_on_validation(name):
    metric = example(name)["metric"]
    assert metric["name"].startswith("validation/")
    assert metric["goal"] == {"higher": "maximize", "lower": "minimize"}[direction(metric["name"])]


def test_a_search_tunes_with_seeds_of_its_own_and_looks_at_no_test_set():
    found = example("bayes")
    sweeper = yaml.safe_load((ROOT / "conf" / "hydra" / "sweeper" / "optuna.yaml").read_text(encoding="utf-8"))
    assert set(sweeper["trial"]) <= set(found["command"])  # as kdlab's own search does


@pytest.fixture(scope="module")
def story(tmp_path_factory, clean_environment):
    """A point of the grid by an agent; beside it points of the question as agents would start them."""
    folder = tmp_path_factory.mktemp("agents")
    with WandbStub() as server:
        environment = clean_environment(**server.env(str(folder / "home")))
        environment["PATH"] = os.pathsep.join([str(Path(sys.executable).parent), environment["PATH"]])

        def start(*command, where):
            (folder / where).mkdir(exist_ok=True)
            pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
            return subprocess.Popen(command, cwd=folder / where, env=environment, **pipes)

        words = ["temperature_alpha", "tracker.mode=online", "seed=0", "study.only=[distilled]", *TINY]
        words += ["objective.temperature=4", "objective.alpha=0.9"]
        sweeps = start(sys.executable, "-c", SWEEPS, *words, where="question")

        found = example("grid")
        found["parameters"] = {"objective.temperature": {"values": [4]}, "student.width": {"value": 8}}
        found["command"][-1:-1] = TINY
        (folder / "sweep.yaml").write_text(yaml.safe_dump(found), encoding="utf-8")
        told, _ = start("wandb", "sweep", str(folder / "sweep.yaml"), where="grid").communicate(timeout=60)
        path = re.search(r"wandb agent (\S+)", told)[1]
        agent = start(sys.executable, "-c", AGENT, path, where="grid")
        said = {"agent": agent.communicate(timeout=180)[0]}
        said["new"], said["again"], said["several"], _ = re.split(r"--- \w+ 0\n", sweeps.communicate(timeout=180)[0])
    return server, folder, said


def runs_of(server, project):
    return {run.name: run for run in server.runs.values() if run.project == project}


def records_of(folder):
    paths = sorted((folder / "runs").glob("*/record.json"))
    return {record["role"]: record for record in (json.loads(path.read_text(encoding="utf-8")) for path in paths)}


@pytest.mark.long
def test_an_agents_run_is_the_student_and_nobody_else(story):
    server, folder, said = story
    runs, records = runs_of(server, "kdlab"), records_of(folder / "grid")
    assert set(records) == {"student", "scratch", "teacher"}, said["agent"]
    assert records["student"]["tracker_id"] == "sw0r1"
    run = runs["sw0r1"]
    assert (run.state, run.sweep, run.job_type, run.group) == ("finished", "sw0", "student", "wandb_grid")
    for role in ("scratch", "teacher"):
        mine = runs[records[role]["run_id"]]
        assert records[role]["tracker_id"] == records[role]["run_id"]
        assert (mine.state, mine.sweep, mine.job_type) == ("finished", None, role)
    assert set(runs) == {"sw0r1", records["scratch"]["run_id"], records["teacher"]["run_id"]}
    assert server.unknown == []


@pytest.mark.long
def test_the_sweep_sees_its_parameters_and_what_it_optimises(story):
    server, folder, _ = story
    run, record = runs_of(server, "kdlab")["sw0r1"], records_of(folder / "grid")["student"]
    assert (run.config["objective.temperature"], run.config["student.width"]) == (4, 8)
    assert run.config["objective"]["temperature"] == 4  # the whole config as well
    metric = example("grid")["metric"]["name"]
    assert run.summary[metric] == record["metrics"][metric]
    assert [row["trainer/step"] for row in run.history if "trainer/step" in row]
    assert sorted(run.display_name.split()) == sorted(
        ["student", "data=digits", "steps=20", "steps=20", "temperature=4", "width=8", "seed=0"]
    )


@pytest.mark.long
def test_a_sweep_of_one_point_answers_too_and_goes_where_its_sweep_is(story):
    server, folder, said = story
    runs, records = runs_of(server, "theirs"), records_of(folder / "question")
    assert (runs["new"].state, runs["new"].sweep, runs["new"].job_type) == ("finished", "sw9", "student"), said["new"]
    assert {"temperature_alpha", "distilled"} <= set(runs["new"].tags)
    assert [runs[records[role]["run_id"]].sweep for role in ("teacher", "scratch")] == [None, None]


@pytest.mark.long
def test_a_point_that_is_finished_already_tells_its_numbers_all_the_same(story):
    server, _, said = story
    runs = runs_of(server, "theirs")
    new, again = runs["new"], runs["again"]
    assert "its numbers go to the W&B agent that asked for it; its curves are those of W&B run new" in said["again"]
    assert (again.state, again.sweep, again.config["run_id"]) == ("finished", "sw9", new.config["run_id"])
    measured = {key for key in new.summary if "/" in key and not key.startswith("trainer/")}
    assert "validation/accuracy" in measured
    assert {key: again.summary.get(key) for key in measured} == {key: new.summary[key] for key in measured}
    assert again.files["record.json"] == new.files["record.json"]
    assert [run.job_type for run in runs.values()].count("student") == 3  # and one of the several
    assert any("trainer/step" in row for row in new.history)
    assert not any("trainer/step" in row for row in again.history)  # curves told now would have wrong times


@pytest.mark.long
def test_several_points_are_no_answer_and_it_is_said(story):
    server, _, said = story
    assert "note: a W&B agent waits for one run, and these are several" in said["several"]
    assert "note: " not in said["new"] + said["again"]
    assert sorted(run.name for run in runs_of(server, "theirs").values() if run.sweep) == ["again", "new"]


def test_what_an_agent_asked_is_taken_out_of_the_environment(tmp_path):
    path = tmp_path / "config.yaml"
    path.write_text("wandb_version: 1\n\nobjective.temperature:\n  value: 4\n", encoding="utf-8")
    told = {"WANDB_SWEEP_ID": "sw0", "WANDB_RUN_ID": "agents", "WANDB_SWEEP_PARAM_PATH": str(path)}
    environment = {**told, "WANDB_PROJECT": "theirs", "WANDB_ENTITY": "team", "HOME": "h"}
    assert take_agent_run(environment) == ASKED
    assert environment == {"WANDB_PROJECT": "theirs", "WANDB_ENTITY": "team", "HOME": "h"}
    assert take_agent_run(environment) is None
    alone = {"WANDB_RUN_ID": "chosen"}
    assert take_agent_run(alone) is None
    assert alone == {"WANDB_RUN_ID": "chosen"}


def test_a_mode_without_a_server_says_that_the_sweep_gets_nothing(tmp_path):
    said = []
    for mode in ("offline", "disabled"):
        mirror = WandbTracker(mode=mode, project="p", directory=tmp_path / "wandb", say=said.append, agent=ASKED)
        mirror.expect("a" * 16)
        assert not mirror.awaits("a" * 16)
    assert [line.split(" the sweep")[0] for line in said] == [
        "note: with tracker.mode = offline",
        "note: with tracker.mode = disabled",
    ]
    mirror = WandbTracker(mode="offline", project="p", directory=tmp_path / "wandb", say=said.append)
    mirror.expect("a" * 16)
    assert len(said) == 2


def test_what_one_run_was_told_is_not_told_to_the_next(tmp_path, inspect_run):
    mirror = WandbTracker(mode="offline", project="p", directory=tmp_path / "wandb")
    for run_id, group, notes in (("a" * 16, "study", "why"), ("b" * 16, None, None)):
        run = mirror.start(run_id=run_id, name="n", group=group, job_type="student", tags=[], config={}, notes=notes)
        run.finish({}, tables={}, files={}, failed=False)
    (folder,) = (tmp_path / "wandb").glob(f"*-{'b' * 16}")
    (header,) = [record["run"] for record in inspect_run(folder, summary=False) if record["type"] == "run"]
    assert (header.get("run_group"), header.get("notes")) == (None, None)
