"""``kdlab sync`` against an unmodified wandb client and the stand-in server: what arrives, what is lost (nothing)."""

import json
import re
import shutil
import signal
import time
from dataclasses import replace
from types import SimpleNamespace

import pytest
from mirrored_store import ROWS, STUDY, made_up

from kdlab.records import studies
from kdlab.records.store import Store, locked
from kdlab.tracking.wandb.note import Note
from kdlab.tracking.wandb.server import Remote, lacking

RUNS = [made_up(number).run_id for number in range(3)]
ROOT_IS = "store.root=runs"


def steps(run):
    return [row["_step"] for row in run.history]


def assert_whole(server, ids=RUNS):
    """All that the runs were told is at the server, once."""
    for number, run_id in enumerate(ids):
        run = server.run("kdlab", run_id)
        is_failed = number == 2
        assert (run.state, run.exit_code) == (("failed", 1) if is_failed else ("finished", 0))
        assert (run.group, run.job_type, run.display_name) == (STUDY, "student", f"distilled seed={number}")
        assert {STUDY, "digits", "distilled"} <= set(run.tags)
        assert run.config["student"] == {"width": 16}
        assert len(set(steps(run))) == len(steps(run)) == ROWS + (not is_failed)  # the tables are a row of their own
        assert [row["trainer/step"] for row in run.history[:ROWS]] == [10 * at for at in range(ROWS)]
        assert [row["train/loss"] for row in run.history[:ROWS]] == pytest.approx([1 / (at + 1) for at in range(ROWS)])
        assert run.summary["test/accuracy"] == 0.5 + number / 100
        assert "test/ece" not in run.summary
        assert {"record.json", "studies.json"} <= set(run.files)
        assert sum(name.startswith("media/table/") for name in run.files) >= (0 if is_failed else 2)


def test_what_was_made_offline_arrives_once(copied, server, kdlab, inspect_run):
    done = kdlab("sync", ROOT_IS, server=server)
    assert done.returncode == 0, done.stderr
    assert done.stdout == "W&B: 3 runs sent, 0 brought up to date, 0 there before\n"
    assert_whole(server)
    for run_id in RUNS:  # record, wandb's own reader and the server tell the same
        (folder,) = (copied / "wandb").glob(f"offline-run-*-{run_id}")
        here, there = inspect_run(folder)["summary"], server.run("kdlab", run_id)
        numbers = {key: value for key, value in Store(copied).load(run_id).metrics.items() if value is not None}
        assert {key: here[key] for key in numbers} == numbers == {key: there.summary[key] for key in numbers}
        assert there.files["record.json"] == (copied / run_id / "record.json").read_bytes()
    requests = len(server.log)
    again = kdlab("sync", STUDY, ROOT_IS, server=server)
    assert again.stdout == "W&B: 0 runs sent, 0 brought up to date, 3 there before\n"
    assert len(server.log) == requests, "what was seen whole is not asked for again"
    assert sorted(path.name for path in copied.parent.iterdir() if path.name == "wandb") == []


@pytest.mark.long
def test_a_server_that_goes_away_is_told_and_the_rest_arrives_later(copied, server, kdlab):
    posts = []

    def gone_after_two(kind, name):
        posts.append(kind)
        return "drop" if posts.count("filestream") > 2 else None

    server.fault = gone_after_two
    first = kdlab("sync", ROOT_IS, "tracker.sync_timeout_seconds=2", "tracker.init_timeout_seconds=2", server=server)
    assert first.returncode == 1
    assert "kdlab:" in first.stderr
    assert "Traceback" not in first.stderr
    server.fault = None
    second = kdlab("sync", ROOT_IS, server=server)
    assert second.returncode == 0, second.stderr
    assert_whole(server)


@pytest.mark.long
def test_files_that_do_not_arrive_are_named(copied, server, kdlab):
    server.fault = lambda kind, name: 403 if kind == "file" and name in ("record.json", "studies.json") else None
    first = kdlab("sync", ROOT_IS, "tracker.sync_timeout_seconds=5", server=server)
    assert first.returncode == 1
    assert re.search(rf"{RUNS[0]} lacks .*files \(.*record\.json", first.stderr)
    server.fault = None
    second = kdlab("sync", ROOT_IS, server=server)
    assert second.returncode == 0, second.stderr
    assert_whole(server)


@pytest.mark.long
def test_a_part_of_a_history_is_completed_and_nothing_is_doubled(copied, server, kdlab):
    assert kdlab("sync", ROOT_IS, server=server).returncode == 0
    cut = {RUNS[0]: 0, RUNS[1]: 4, RUNS[2]: 5}
    for run_id, kept in cut.items():
        run = server.run("kdlab", run_id)
        lines = run.lines["wandb-history.jsonl"]
        for at in [at for at in lines if at >= kept]:
            del lines[at]
        run.state, run.exit_code, run.completed = "crashed", None, False
        (note,) = (copied / "wandb").glob(f"*-{run_id}/kdlab.json")
        note.write_text(json.dumps({**json.loads(note.read_text()), "arrived": None}))
    done = kdlab("sync", ROOT_IS, server=server)
    assert done.returncode == 0, done.stderr
    assert_whole(server)
    times = [row["_timestamp"] for row in server.run("kdlab", RUNS[1]).history]
    assert times == sorted(times)


def test_a_history_that_was_doubled_elsewhere_is_told():
    """It cannot be mended: nothing is taken away at a server."""
    shown = SimpleNamespace(state="finished", config={}, tags=[], summary_metrics={}, historyLineCount=14)
    note = Note("id", "id", "kdlab", summary={}, rows=7)
    assert lacking(note, Remote(shown, {}), {}) == ["history (14 of 7 rows)"]
    assert lacking(replace(note, rows=14), Remote(shown, {}), {}) == []


@pytest.mark.long
def test_a_killed_sync_goes_on_where_it_was(copied, server, kdlab):
    server.fault = lambda kind, name: 1.0 if kind == "filestream" else None  # slow enough to be killed at work
    process = kdlab("sync", ROOT_IS, server=server, background=True)
    deadline = time.monotonic() + 30
    while not any(kind == "filestream" for _, kind, _ in server.log) and time.monotonic() < deadline:
        time.sleep(0.05)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    server.fault = None
    time.sleep(1.5)  # what was on its way arrives
    done = kdlab("sync", ROOT_IS, server=server)
    assert done.returncode == 0, done.stderr
    assert_whole(server)


@pytest.mark.long
def test_two_at_once_send_nothing_twice(copied, server, kdlab):
    both = [kdlab("sync", ROOT_IS, server=server, background=True) for _ in range(2)]
    outputs = [process.communicate(timeout=60) for process in both]
    assert [process.returncode for process in both] == [0, 0], outputs
    assert_whole(server)


@pytest.mark.parametrize("fault", [401, "drop"])
def test_a_refused_key_and_a_dead_server_are_told_in_a_line_and_in_time(copied, server, kdlab, fault):
    server.fault = lambda kind, name: fault
    started = time.monotonic()
    done = kdlab("sync", ROOT_IS, "tracker.init_timeout_seconds=2", server=server)
    assert done.returncode == 1, (done.stdout, done.stderr)
    assert "W&B" in done.stderr
    assert len(done.stderr.splitlines()) <= 3
    assert time.monotonic() - started < 20
    assert server.runs == {}


def test_without_a_key_nothing_is_tried(copied, kdlab):
    done = kdlab("sync", ROOT_IS)
    assert done.returncode == 2
    assert "wandb login" in done.stderr


@pytest.mark.long
def test_a_run_of_another_machine_keeps_its_id(copied, server, kdlab, mirrored, tmp_path):
    told = server.env(str(tmp_path / "other"))
    mirrored(tmp_path / "elsewhere" / "runs", mode="online", count=3, begun="2026-05-05T05:05:05+00:00", **told)
    done = kdlab("sync", ROOT_IS, server=server)
    assert done.returncode == 0, done.stderr
    assert f"run {RUNS[0]} is {RUNS[0]}-2 in W&B" in done.stdout
    assert Store(copied).load(RUNS[0]).tracker_id == f"{RUNS[0]}-2"
    assert server.run("kdlab", RUNS[0]).config["begun"] == "2026-05-05T05:05:05+00:00"
    assert_whole(server, [f"{run_id}-2" for run_id in RUNS])
    assert json.loads(server.run("kdlab", f"{RUNS[0]}-2").files["record.json"])["tracker_id"] == f"{RUNS[0]}-2"
    assert kdlab("sync", ROOT_IS, server=server).stdout.endswith("3 there before\n")


@pytest.mark.long
def test_an_id_that_was_deleted_at_the_server_gets_a_suffix(copied, server, kdlab):
    known = server.graphql

    def deleted(payload):
        if "upsertBucket" in payload["query"] and payload["variables"].get("name") == RUNS[0]:
            message = f"run stub-team/kdlab/{RUNS[0]} was previously created and deleted; try a new run name"
            return {"errors": [{"message": message, "path": ["upsertBucket"]}], "data": {"upsertBucket": None}}
        return known(payload)

    server.graphql = deleted
    done = kdlab("sync", ROOT_IS, server=server)
    assert done.returncode == 0, done.stderr
    assert_whole(server, [f"{RUNS[0]}-2", *RUNS[1:]])


@pytest.mark.long
def test_tags_gained_and_numbers_measured_again_follow_without_an_upload(copied, server, kdlab):
    assert kdlab("sync", ROOT_IS, server=server).returncode == 0
    posts = server.run("kdlab", RUNS[0]).filestream_posts
    member = studies.Member(RUNS[0], "student", "wide", None, ("seed=0",))
    studies.plan(copied, "second", {"question": "?", "command": "kdlab sweep second"}, [member])
    store = Store(copied)
    again = store.load(RUNS[0])
    store.write(type(again)(**{**again.to_json(), "metrics": {**again.metrics, "test/accuracy": 0.75}}))
    done = kdlab("sync", ROOT_IS, server=server)
    assert done.returncode == 0, done.stderr
    assert done.stdout == "W&B: 0 runs sent, 1 brought up to date, 2 there before\n"
    run = server.run("kdlab", RUNS[0])
    assert {STUDY, "second", "wide", "distilled"} <= set(run.tags)
    assert run.group == STUDY
    assert run.summary["test/accuracy"] == 0.75
    assert [row["name"] for row in json.loads(run.files["studies.json"])] == ["second", STUDY]
    assert run.filestream_posts == posts
    assert steps(run) == list(range(ROWS + 1))


@pytest.mark.long
def test_a_run_that_another_process_works_on_and_files_that_are_gone_are_told(copied, server, kdlab):
    (folder,) = (copied / "wandb").glob(f"offline-run-*-{RUNS[0]}")
    shutil.rmtree(folder)
    with locked(copied, RUNS[1]):
        done = kdlab("sync", ROOT_IS, server=server)
    assert done.returncode == 0, done.stderr
    assert "1 run left out: another process works on them now" in done.stdout
    assert "the W&B files of 1 run are not in this store" in done.stdout
    assert {name for _, _, name in server.runs} == {RUNS[2]}


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["nope", ROOT_IS], "no study 'nope'"),
        (["store.root=empty"], "holds no record"),
        ([ROOT_IS, "student.width=3"], "student.width cannot be set here"),
        ([ROOT_IS, "tracker.sync_timeout_seconds=0"], "tracker.sync_timeout_seconds"),
        ([ROOT_IS, "--fast"], "unknown option --fast"),
    ],
)
def test_mistakes_are_told_before_anything_is_asked(copied, kdlab, words, said):
    done = kdlab("sync", *words)
    assert done.returncode == 2
    assert said in done.stderr


def test_the_store_was_made_by_two_runs_in_one_process(offline_store, inspect_run):
    states = {}
    for folder in (offline_store / "wandb").glob("offline-run-*"):
        states[folder.name.rsplit("-", 1)[1]] = inspect_run(folder)["state"]
    assert states == {RUNS[0]: "finished", RUNS[1]: "finished", RUNS[2]: "failed"}
