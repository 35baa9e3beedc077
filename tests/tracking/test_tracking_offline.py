import json
import os
import subprocess
import sys
from concurrent.futures import Future
from types import SimpleNamespace

import pytest

from kdlab.errors import UserError
from kdlab.tracking.base import NullTracker, Table
from kdlab.tracking.wandb.run import WandbRun
from kdlab.tracking.wandb.tracker import WandbTracker

RUN = {
    "run_id": "ab" * 8,
    "name": "T=4 alpha=0.9",
    "group": "quickstart",
    "job_type": "student",
    "tags": ["mnist1d", "mine"],
    "config": {"objective": {"alpha": 0.9, "temperature": 4}, "student": {"width": 16, "norm": None}, "tags": ["a"]},
    "notes": None,
}
BINS = Table(["set", "confidence", "accuracy"], [["test", 0.5, None], ["test", 1, 0.25]])


def tracker(tmp_path, mode="offline", **extra):
    return WandbTracker(mode=mode, project="kdlab", directory=tmp_path / "runs" / "wandb", **extra)


def folders(tmp_path):
    return sorted(path.name for path in (tmp_path / "runs" / "wandb").glob("*run-*") if path.is_dir())


def settings():
    """The environment, without the address that wandb notes there for its own use."""
    return {key: value for key, value in os.environ.items() if key != "WANDB_SERVICE"}


def test_an_offline_run_can_be_read_back_whole(tmp_path, inspect_run):
    before = settings()
    said = []
    run = tracker(tmp_path, tags=["mine", "all"], notes="why", say=said.append).start(**RUN)
    assert run.id == RUN["run_id"]
    run.log({"train/loss": 2.0, "train/bad": float("nan"), "train/none": None}, step=50, epoch=0.5)
    run.log({"train/loss": 1.0, "validation/accuracy": 0.25}, step=100, epoch=1.0)
    summary = {"test/accuracy": 0.5, "test/ece": None, "validation/accuracy": 0.75}
    run.finish(summary, tables={"reliability": BINS}, files={}, failed=False)
    assert said == []
    assert settings() == before

    (name,) = folders(tmp_path)
    folder = tmp_path / "runs" / "wandb" / name
    found = inspect_run(folder)
    assert (found["run_id"], found["name"], found["project"]) == (RUN["run_id"], RUN["name"], "kdlab")
    assert (found["state"], found["exit_code"], found["notes"]) == ("finished", 0, "why")
    assert found["config"] == RUN["config"]
    assert sorted(found["tags"]) == ["all", "mine", "mnist1d"]
    flat = {key: value for key, value in found["summary"].items() if "/" in key}
    assert flat == {"test/accuracy": 0.5, "validation/accuracy": 0.75, "trainer/step": 100}
    assert found["summary"]["reliability"]["nrows"] == 2

    records = inspect_run(folder, summary=False)
    header = next(record["run"] for record in records if record["type"] == "run")
    assert (header["run_group"], header["job_type"]) == ("quickstart", "student")
    rows = [record["history"]["item"] for record in records if record["type"] == "history"]
    curves = [{key: value for key, value in row.items() if "/" in key} for row in rows[:2]]
    assert curves == [
        {"train/loss": 2, "trainer/step": 50, "trainer/epoch": 0.5},
        {"train/loss": 1, "validation/accuracy": 0.25, "trainer/step": 100, "trainer/epoch": 1},
    ]
    metrics = [record["metric"] for record in records if record["type"] == "metric"]
    assert {m["name"]: m.get("step_metric") for m in metrics} == {
        "trainer/step": None,
        "trainer/epoch": "trainer/step",
        "train/loss": "trainer/step",
        "validation/accuracy": "trainer/step",
    }
    (table,) = (folder / "files" / "media" / "table").glob("reliability*.json")
    assert json.loads(table.read_text())["data"] == [["test", 0.5, None], ["test", 1, 0.25]]
    assert (tmp_path / "runs" / "wandb" / "data").is_dir()  # what the table needs to be sent later lies beside the run


def test_a_failed_run_says_so(tmp_path, inspect_run):
    run = tracker(tmp_path).start(**RUN)
    run.finish({}, tables={}, files={}, failed=True)
    found = inspect_run(tmp_path / "runs" / "wandb" / folders(tmp_path)[0])
    assert (found["state"], found["exit_code"]) == ("failed", 1)


def test_a_taken_id_gets_a_suffix_and_runs_may_be_open_together(tmp_path):
    mirror = tracker(tmp_path)
    runs = [mirror.start(**RUN), mirror.start(**RUN), mirror.start(**RUN, attempt=5)]
    other = mirror.start(**{**RUN, "run_id": "cd" * 8})
    ids = [run.id for run in [*runs, other]]
    assert ids == ["ab" * 8, "ab" * 8 + "-2", "ab" * 8 + "-5", "cd" * 8]
    for run in [*runs, other]:
        run.log({"train/loss": 1.0}, step=1, epoch=0.1)
    for run in [*runs, other]:
        run.finish({"test/accuracy": 0.5}, tables={}, files={}, failed=False)
    assert [name.rsplit("run-", 1)[1].split("-", 1)[1] for name in folders(tmp_path)] == sorted(ids)


def test_a_failure_of_ours_still_ends_the_run(tmp_path, inspect_run):
    run = tracker(tmp_path).start(**RUN)
    with pytest.raises(TypeError):  # rows of a table must be sequences
        run.finish({}, tables={"t": Table(["a"], [1])}, files={}, failed=True)
    found = inspect_run(tmp_path / "runs" / "wandb" / folders(tmp_path)[0])
    assert found["exit_code"] == 1


@pytest.mark.long
def test_a_stack_of_runs_is_logged_in_turn_and_each_ends_by_itself(tmp_path, inspect_run, monkeypatch):
    now = [1_000_000.0]
    monkeypatch.setattr("kdlab.tracking.wandb.run.time", SimpleNamespace(time=lambda: now[0], monotonic=lambda: now[0]))
    said = []
    mirror, ids = tracker(tmp_path, say=said.append), [f"{at:016x}" for at in range(25)]
    runs = [mirror.start(**{**RUN, "run_id": run_id}) for run_id in ids]
    for epoch in range(1, 4):
        for at, run in enumerate(runs):
            now[0] += 0.01
            if at != 7 or epoch < 3:  # the seventh diverges in its last epoch
                run.log({"validation/accuracy": at / 25, "validation/nll": None}, step=10 * epoch, epoch=float(epoch))
                run.log({"train/loss": float(epoch)}, step=10 * epoch, epoch=float(epoch))
    for at, run in enumerate(runs):
        run.finish({"test/accuracy": at / 25}, tables={}, files={}, failed=at == 7)
    assert said == []
    assert len(folders(tmp_path)) == 25

    for at in (7, 24):
        (folder,) = (tmp_path / "runs" / "wandb").glob(f"*run-*-{ids[at]}")
        found = inspect_run(folder)
        assert found["exit_code"] == (at == 7)
        assert found["summary"]["test/accuracy"] == at / 25
        rows = [r["history"]["item"] for r in inspect_run(folder, summary=False) if r["type"] == "history"]
        together = [row for row in rows if "train/loss" in row and "validation/accuracy" in row]
        assert [row["trainer/step"] for row in together] == ([20] if at == 7 else [20, 30])  # the first went at once
        assert all(row["validation/accuracy"] == pytest.approx(at / 25) for row in together)
        assert [row["train/loss"] for row in rows if "train/loss" in row] == ([1, 2] if at == 7 else [1, 2, 3])
        measured_at = [row["_timestamp"] - 1_000_000 for row in together]
        assert measured_at == pytest.approx([0.25 * 1 + 0.01 * (at + 1), 0.25 * 2 + 0.01 * (at + 1)][: len(together)])


def test_rare_rows_are_sent_at_once(tmp_path):
    sent = []
    run = WandbRun(begun(stand_in(sent)), name="a", directory=tmp_path, say=print)
    run.log({"a": 1.0}, step=1, epoch=0.5)
    run.log({"b": 2.0}, step=1, epoch=0.5)
    assert [set(row) - {"_timestamp"} for row in sent] == [
        {"a", "trainer/step", "trainer/epoch"},
        {"b", "trainer/step", "trainer/epoch"},
    ]
    run.log({"a": 3.0}, step=2, epoch=1.0)
    run.log({"b": 4.0}, step=2, epoch=1.0)
    assert len(sent) == 2  # waits: the file is not flushed sooner either
    run._sent_at -= 10.0
    run.log({"a": 5.0}, step=3, epoch=1.5)
    assert [row.get("a") for row in sent] == [1.0, None, 3.0, 5.0]
    assert sent[2]["b"] == 4.0


def test_rows_wait_until_the_run_has_begun(tmp_path):
    sent, future = [], Future()
    run = WandbRun(future, name="a", directory=tmp_path, say=print)
    for step in range(3):
        run._sent_at = -10.0
        run.log({"a": float(step)}, step=step, epoch=0.5)
    assert sent == []
    future.set_result(stand_in(sent))
    assert run.id == "a"
    run.log({"a": 3.0}, step=3, epoch=0.5)
    run.log({"a": 4.0}, step=4, epoch=0.5)
    assert [row["a"] for row in sent] == [0.0, 1.0, 2.0, 3.0]


def test_a_run_that_cannot_begin_is_told_once_and_stops_nothing(tmp_path, monkeypatch):
    import wandb

    def refuse(**_):
        raise wandb.errors.CommError("no service\nmore of it")

    monkeypatch.setattr(wandb, "init", refuse)
    said = []
    run = tracker(tmp_path, say=said.append).start(**RUN)
    run.log({"a": 1.0}, step=1, epoch=0.5)
    assert run.id is None
    run.log({"a": 2.0}, step=2, epoch=1.0)
    run.finish({"test/accuracy": 0.5}, tables={}, files={}, failed=False)
    assert said == [f"run {RUN['run_id']} is not mirrored in W&B: no service; its record is not affected"]


def begun(run):
    """A run of wandb's that has begun."""
    future = Future()
    future.set_result(run)
    return future


def stand_in(sent):
    """What ``WandbRun`` uses of a run of wandb's."""
    return SimpleNamespace(
        id="a", settings=SimpleNamespace(_offline=True), log=sent.append, define_metric=lambda *_, **__: None
    )


@pytest.mark.parametrize("forced_mode", ["online", "disabled"])
def test_offline_beats_wandb_mode(tmp_path, clean_environment, inspect_run, forced_mode):
    code = f"""
import sys
from concurrent.futures import Future
from pathlib import Path
from kdlab.tracking.wandb.tracker import WandbTracker
run = WandbTracker(mode="offline", project="p", directory=Path(sys.argv[1]) / "runs" / "wandb").start(**{RUN!r})
run.finish({{"test/accuracy": 0.5}}, tables={{}}, files={{}}, failed=False)
"""
    environment = clean_environment(WANDB_MODE=forced_mode, WANDB_BASE_URL="http://127.0.0.1:9")
    subprocess.run([sys.executable, "-c", code, str(tmp_path)], check=True, env=environment, cwd=tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["runs"]
    (name,) = folders(tmp_path)
    assert name.startswith("offline-run-")
    assert inspect_run(tmp_path / "runs" / "wandb" / name)["summary"]["test/accuracy"] == 0.5


def test_disabled_mirrors_nothing_and_imports_nothing(tmp_path, clean_environment):
    code = f"""
import sys
from pathlib import Path
from kdlab.tracking.wandb.tracker import WandbTracker
mirror = WandbTracker(mode="disabled", project="p", directory=Path({str(tmp_path / "wandb")!r}))
mirror.check()
run = mirror.start(**{RUN!r})
run.log({{"a": 1.0}}, step=1, epoch=0.1)
run.finish({{}}, tables={{}}, files={{}}, failed=False)
assert run.id is None
assert "wandb" not in sys.modules and "torch" not in sys.modules
"""
    subprocess.run([sys.executable, "-c", code], check=True, env=clean_environment())
    assert list(tmp_path.iterdir()) == []


def test_the_null_tracker_has_the_same_shape():
    run = NullTracker().start(**RUN, attempt=2)
    run.log({"a": 1.0}, step=1, epoch=0.1)
    run.finish({"a": None}, tables={"t": BINS}, files={}, failed=True)
    assert run.id is None


def test_mistakes_are_named(tmp_path):
    with pytest.raises(UserError, match=r"tracker\.mode = 'ofline': did you mean offline"):
        tracker(tmp_path, mode="ofline")
    with pytest.raises(UserError, match="named wandb"):
        WandbTracker(mode="offline", project="p", directory=tmp_path / "mirror")
