"""Real processes: two that want the same run, one that is interrupted, one that is killed."""

import json
import multiprocessing
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from plain_config import config

from kdlab.experiments import fitting
from kdlab.experiments.lab import Lab
from kdlab.experiments.plan import plan
from kdlab.experiments.students import run_point
from kdlab.records.history import read_history
from kdlab.records.store import Store
from kdlab.tracking.base import NullTracker

ROOT = Path(__file__).parents[2]
KDLAB = [sys.executable, "-c", "import sys; from kdlab.commands.cli import entry; sys.exit(entry())"]
QUICK = ["data=digits", "tracker.mode=disabled", "evaluation.latency.enabled=false", "evaluation.sets=[validation]",
         "teacher/model=mlp", "teacher.model.width=20", "teacher.training.steps=20"]  # fmt: skip


def two_students(root, barrier, told):
    """What each of two processes does: the students at T = 1 and 4, telling of every training and record."""
    fit = fitting.fit

    def counted(learners, **keywords):
        for learner in learners:
            told.put(("trains", learner.role))
        return fit(learners, **keywords)

    fitting.fit = counted
    lab = Lab(Store(root), NullTracker())
    barrier.wait(60)
    for temperature in (1, 4):
        record = run_point(plan(config(temperature=temperature, training__steps=200)), lab)
        told.put(("has", f"{record.run_id} {record.status}"))


def environment():
    return {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), os.environ["PYTHONPATH"]])}


def start(command, folder, **pipes):
    return subprocess.Popen(
        command, cwd=folder, env=environment(), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, **pipes
    )


def test_what_two_processes_want_at_once_is_trained_once(tmp_path):
    """Both want the same two students of one teacher: four trainings in all, and both get every record."""
    forked = multiprocessing.get_context("fork")  # what is imported here need not be imported again
    barrier, told = forked.Barrier(2), forked.Queue()
    both = [forked.Process(target=two_students, args=(tmp_path / "runs", barrier, told)) for _ in range(2)]
    for process in both:
        process.start()
    heard = [told.get(timeout=60) for _ in range(8)]
    for process in both:
        process.join(60)
    assert [process.exitcode for process in both] == [0, 0]
    assert sorted(what for kind, what in heard if kind == "trains") == ["student"] * 3 + ["teacher"]
    found = [what for kind, what in heard if kind == "has"]
    assert len(found) == 4
    assert len(set(found)) == 2
    assert all(line.endswith("finished") for line in found)
    store = Store(tmp_path / "runs")
    assert [store.load(run_id).status for run_id in store.ids()] == ["finished"] * 4


def folders(root):
    return [path for path in root.glob("*") if len(path.name) == 16]


def wait_for(condition, process, *, seconds=90):
    deadline = time.monotonic() + seconds
    while not (found := condition()):
        assert process.poll() is None, process.communicate()[0]
        assert time.monotonic() < deadline, "nothing happened"
        time.sleep(0.01)
    return found


@pytest.mark.long
def test_interrupted_then_killed_then_finished_by_the_same_command(tmp_path):
    """Ctrl-C: exit code 130 and a failed record. kill -9: no record. The same command goes on from the checkpoint."""
    command = [*KDLAB, "run", *QUICK, "training.steps=1600", "trainer.checkpoint_every_seconds=0.05"]
    root = tmp_path / "runs"

    def checkpointed(*, beyond=0):
        """Run folders in training whose history has gone on beyond a step, with a checkpoint there."""
        return [
            folder
            for folder in folders(root)
            if (folder / "checkpoint.ckpt").exists() and read_history(folder / "history.jsonl")[-1:]
            and read_history(folder / "history.jsonl")[-1].step > beyond
        ]  # fmt: skip

    first = start(command, tmp_path)
    (folder,) = wait_for(lambda: checkpointed(beyond=50), first)
    first.send_signal(signal.SIGINT)
    output = first.communicate(timeout=60)[0]
    assert first.returncode == 130, output
    assert "Traceback" not in output
    record = json.loads((folder / "record.json").read_text())
    assert record["status"] == "failed"
    assert "interrupted" in record["error"]["message"]
    reached = read_history(folder / "history.jsonl")[-1].step

    second = start(command, tmp_path)
    wait_for(lambda: [path for path in checkpointed(beyond=reached) if path == folder], second)
    second.kill()
    assert "taking up a cut-off run at step" in second.communicate()[0]
    assert second.returncode == -signal.SIGKILL
    assert not (folder / "record.json").exists()

    third = subprocess.run(
        command, cwd=tmp_path, env=environment(), capture_output=True, text=True, timeout=240, check=False
    )
    assert third.returncode == 0, third.stderr
    assert "taking up a cut-off run at step" in third.stdout
    last = tmp_path / third.stdout.splitlines()[-1]
    assert json.loads((last / "record.json").read_text())["status"] == "finished"
    assert all(json.loads((path / "record.json").read_text())["status"] == "finished" for path in folders(root))
    steps = [row.step for row in read_history(folder / "history.jsonl") if row.key == "train/loss"]
    assert steps == sorted(set(steps))
    assert steps[-1] == 1600
