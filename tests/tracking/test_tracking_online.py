"""Online runs against a stand-in for the server, in a process of their own: one story, several tests read it."""

import json
import subprocess
import sys

import pytest
from wandbstub import WandbStub

STORY = """
import json, shutil, sys, time
from pathlib import Path
from kdlab.errors import UserError
from kdlab.tracking.base import Table
from kdlab.tracking.wandb.tracker import WandbTracker

folder, said, seen = Path(sys.argv[1]) / "wandb", [], {}

def tracker(mode):
    return WandbTracker(mode=mode, project="kdlab", directory=folder, init_timeout_seconds=1.0,
                        finish_timeout_seconds=1.0, say=said.append)

def start(mirror, run_id):
    return mirror.start(run_id=run_id, name="n", group="g", job_type="student", tags=["t"],
                        config={"objective": {"temperature": 4}}, notes="why")

def wait(word):
    print(word, flush=True)
    sys.stdin.readline()

run = start(tracker("online"), "a" * 16)
run.log({"train/loss": 2.0}, step=10, epoch=0.5)
run.log({"train/loss": 1.0}, step=20, epoch=1.0)
slices = {"slices": Table(["slice"], [["noise"]])}
run.finish({"test/accuracy": 0.5, "test/ece": None}, tables=slices, files={}, failed=False)
seen["first"] = run.id
shutil.rmtree(folder)  # another machine: only the server knows the id
second = start(tracker("online"), "a" * 16)
seen["second"] = second.id
second.finish({}, tables={}, files={}, failed=True)

run = start(tracker("online"), "c" * 16)
run.log({"train/loss": 2.0}, step=10, epoch=0.5)
seen["said_before"] = list(said)
wait("up")  # the server goes away
clock = time.monotonic()
run.log({"train/loss": 1.0}, step=20, epoch=1.0)
run.finish({"test/accuracy": 0.25}, tables={}, files={}, failed=False)
seen["finish_seconds"] = time.monotonic() - clock
seen["said_at_finish"], said[:] = list(said), []

clock = time.monotonic()
try:
    start(tracker("online"), "d" * 16)
except UserError as error:
    seen["online_error"] = str(error)
seen["online_seconds"] = time.monotonic() - clock

clock, mirror = time.monotonic(), tracker("auto")
for run_id in ("e" * 16, "f" * 16):
    run = start(mirror, run_id)
    run.log({"train/loss": 1.0}, step=20, epoch=1.0)
    run.finish({}, tables={}, files={}, failed=False)
    seen.setdefault("auto_ids", []).append(run.id)
seen["auto_seconds"], seen["said_auto"] = time.monotonic() - clock, list(said)
seen["folders"] = sorted(path.name for path in folder.glob("*run-*") if path.is_dir())
print(json.dumps(seen), flush=True)
"""


@pytest.fixture(scope="module")
def story(tmp_path_factory, clean_environment):
    folder = tmp_path_factory.mktemp("online")
    server = WandbStub().start()
    environment = clean_environment(**{**server.env(str(folder / "home")), "WANDB_MODE": "offline"})
    client = subprocess.Popen(
        [sys.executable, "-c", STORY, str(folder)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=environment,
    )
    try:
        assert client.stdout.readline() == "up\n"
        server.stop()
        output, _ = client.communicate("\n", timeout=60)
    finally:
        server.stop()
        client.kill()
        client.wait()
    assert client.returncode == 0
    return json.loads(output), server, folder


def test_an_online_run_arrives_although_wandb_mode_says_offline(story):
    seen, server, _ = story
    assert seen["first"] == "a" * 16
    run = server.run("kdlab", "a" * 16)
    assert (run.state, run.exit_code, run.group, run.job_type) == ("finished", 0, "g", "student")
    assert (run.tags, run.notes, run.config) == (["t"], "why", {"objective": {"temperature": 4}})
    curve = [(row["trainer/step"], row["train/loss"]) for row in run.history if "train/loss" in row]
    assert curve == [(10, 2), (20, 1)]
    assert run.summary["test/accuracy"] == 0.5
    assert "test/ece" not in run.summary
    assert any(name.startswith("media/table/slices") for name in run.files)
    assert not server.unknown


def test_an_id_that_the_server_holds_gets_a_suffix(story):
    seen, server, _ = story
    assert seen["second"] == "a" * 16 + "-2"
    assert server.run("kdlab", seen["second"]).exit_code == 1
    assert server.run("kdlab", "a" * 16).exit_code == 0


def test_a_server_that_goes_away_costs_neither_the_run_nor_the_numbers(story, inspect_run):
    seen, _, folder = story
    assert seen["said_before"] == []
    assert seen["finish_seconds"] < 10
    (line,) = seen["said_at_finish"]
    assert "c" * 16 in line
    assert "kdlab sync" in line
    assert str(folder / "wandb") in line
    (run_folder,) = (folder / "wandb").glob(f"run-*-{'c' * 16}")
    found = inspect_run(run_folder)
    assert found["summary"]["test/accuracy"] == 0.25
    assert found["summary"]["trainer/step"] == 20


def test_online_without_a_server_fails_within_its_time(story):
    seen, _, _ = story
    assert seen["online_error"].startswith("tracker.mode = online: W&B did not confirm the key within 1 s")
    assert "\n" not in seen["online_error"]
    assert seen["online_seconds"] < 10


def test_auto_without_a_server_goes_offline_once_and_says_so(story):
    seen, _, folder = story
    assert seen["auto_ids"] == ["e" * 16, "f" * 16]
    assert seen["auto_seconds"] < 10
    assert len(seen["said_auto"]) == 1
    assert seen["said_auto"][0].startswith("tracker.mode = auto: ")
    assert [name[-16:] for name in seen["folders"] if name.startswith("offline-run-")] == ["e" * 16, "f" * 16]


def test_without_credentials_nobody_is_asked(tmp_path, clean_environment):
    code = """
import sys
from pathlib import Path
from kdlab.errors import UserError
from kdlab.tracking.wandb.tracker import WandbTracker
said = []
auto = WandbTracker(mode="auto", project="p", directory=Path(sys.argv[1]) / "wandb", say=said.append)
auto.check()
assert auto.mode == "offline" and "no W&B credentials" in said[0], said
try:
    WandbTracker(mode="online", project="p", directory=Path(sys.argv[1]) / "wandb").check()
except UserError as error:
    print(error)
"""
    environment = clean_environment(NETRC=str(tmp_path / "netrc"), WANDB_CONFIG_DIR=str(tmp_path / "config"))
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path)], check=True, capture_output=True, text=True, env=environment
    )
    assert done.stdout.startswith("tracker.mode = online: no W&B credentials found; run `wandb login`")
