"""How runs stand, from their folders: waiting, running, stopped, failed, finished."""

import os

import pytest
from shelf import CONFIG, record_of, run_id

from kdlab.board.runs import QUIET_SECONDS, Runs, steps_of
from kdlab.records.record import RunRecord


class Clock:
    def __init__(self):
        self.now = 0.0

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def look(shelf, clock):
    """Look at the runs 0 to 3; the state of the first."""
    runs = Runs(shelf.root, clock=clock)

    def looked(number=0):
        runs.look({run_id(at): "student" for at in range(4)})
        return runs[run_id(number)]

    return looked


def test_a_store_that_is_not_there_has_waiting_runs(look, shelf):
    assert look().state == "waiting"
    assert not shelf.root.exists()


def test_a_run_from_waiting_to_finished(look, shelf):
    shelf.store.root.mkdir()
    assert look().state == "waiting"
    with shelf.held(0):
        shelf.begin(0)
        assert (look().state, look().step, look().steps) == ("running", 0, 100)
        shelf.log(0, 40, train_loss=1.0, validation_accuracy=0.25)
        found = look()
        assert (found.state, found.step, found.accuracy) == ("running", 40, 0.25)
        shelf.end(0)
        assert look().state == "finished"  # its lock is held until the others of its stack are measured
    found = look()
    assert found.state == "finished"
    assert found.begun <= found.ended


def test_a_killed_run_is_stopped_as_soon_as_its_lock_is_free_and_running_again_when_it_is_taken_up(look, shelf):
    with shelf.held(0):
        shelf.begin(0)
        shelf.log(0, 40, train_loss=1.0)
        assert look().state == "running"
    assert look().state == "stopped"
    assert look().state == "stopped"
    with shelf.held(0):
        assert look().state == "running"


def test_a_failed_run_and_one_that_is_tried_again(look, shelf):
    shelf.done(0, status="failed", error={"type": "E", "message": "no"})
    assert look().state == look().state == "failed"
    with shelf.held(0):
        shelf.begin(0)
        assert look().state == "running"
        shelf.end(0)
    assert look().state == look().state == "finished"


def test_a_record_written_in_the_tick_of_the_last_look_is_seen(look, shelf):
    folder = shelf.begin(0)
    assert look().state == "stopped"
    stamp = folder.stat().st_mtime_ns
    shelf.end(0, status="failed", error={"type": "E", "message": "no"})
    os.utime(folder, ns=(stamp, stamp))
    assert look().state == "failed"
    shelf.end(0)
    os.utime(folder, ns=(stamp, stamp))  # a coarse clock: nothing about the folder changed since the look before
    assert look().state == "finished"


def test_a_run_that_grows_while_nobody_holds_its_lock_goes_on_elsewhere(look, shelf, clock):
    """A shared store whose locks do not reach the other machine."""
    shelf.begin(0)
    assert look().state == "stopped"
    shelf.log(0, 10, train_loss=1.0)
    assert look().state == "running"
    clock.now += QUIET_SECONDS - 1
    assert look().state == "running"
    shelf.log(0, 20, train_loss=1.0)
    assert look().state == "running"
    clock.now += QUIET_SECONDS + 1
    assert look().state == "stopped"


def test_where_the_lock_cannot_be_asked_the_last_write_tells(look, shelf, monkeypatch):
    monkeypatch.setattr("kdlab.board.runs.is_held", lambda root, run: None)
    folder = shelf.begin(0)
    assert look().state == "running"
    for name in ("config.yaml", "history.jsonl"):
        shelf.age(folder / name, QUIET_SECONDS + 10)
    assert look().state == "stopped"


def test_asking_changes_nothing_in_the_store_and_stops_nobody(look, shelf):
    shelf.begin(0)
    look()
    assert not (shelf.root / "locks").exists()
    with shelf.held(0):
        look()
    before = {path: path.stat().st_mtime_ns for path in shelf.root.rglob("*")}
    assert look().state == "stopped"
    assert {path: path.stat().st_mtime_ns for path in shelf.root.rglob("*")} == before
    with shelf.held(0):  # at once: the board holds nothing
        assert look().state == "running"


def test_pulled_runs_count_where_there_is_none_of_its_own(look, shelf):
    shelf.done(0, status="failed", error={"type": "E", "message": "no"})
    pulled = shelf.root / "pulled"
    pulled.mkdir()
    (shelf.root / run_id(0)).rename(pulled / run_id(0))
    assert (look().state, look().pulled) == ("failed", True)
    with shelf.held(0):
        shelf.begin(0)
        assert (look().state, look().pulled) == ("running", False)


def test_a_record_that_cannot_be_read_is_told(look, shelf):
    folder = shelf.begin(0)
    (folder / "record.json").write_text("{")
    found = look()
    assert found.state == "failed"
    assert "is not a record" in found.problem


def test_the_status_is_read_from_the_first_lines_of_what_the_store_writes(shelf, monkeypatch):
    from kdlab.board import runs

    shelf.done(0)
    shelf.done(1, status="failed", error={"type": "E", "message": '"status": "finished",'})

    def refuse(folder):
        raise AssertionError("the whole record was read")

    monkeypatch.setattr(runs, "read_record", refuse)
    assert [runs._status(shelf.store.folder(run_id(at)))[0] for at in (0, 1)] == ["finished", "failed"]


def test_a_record_in_another_order_is_read_whole(shelf, look):
    import json

    folder = shelf.begin(0)
    content = record_of(0, status="failed", error={"type": "E", "message": "no"}).to_json()
    (folder / "record.json").write_text(json.dumps(dict(reversed(content.items()))))
    assert RunRecord.from_json(content).status == look().state == "failed"


@pytest.mark.parametrize(
    ("role", "changes", "steps"),
    [
        ("student", {}, 100),
        ("scratch", {}, 100),
        ("teacher", {}, 60),
        ("teacher", {"quality": {"training": {"steps": 5}}}, 5),
        ("teacher", {"quality": {"outputs": {"_target_": "x"}}}, 0),
        ("teacher", {"checkpoint": "file"}, 0),
        ("teacher", {"ensemble": {"count": 2}}, 0),
        ("teacher", {"ensemble": {"count": 1, "members": {}}}, 60),
        ("teacher", {"assistants": {"middle": {"width": 8}}}, 100),
        ("teacher", {"generations": 2}, 100),
    ],
)
def test_steps_of_a_run(tmp_path, role, changes, steps):
    import yaml

    path = tmp_path / "config.yaml"
    path.write_text(yaml.safe_dump({**CONFIG, "teacher": {**CONFIG["teacher"], **changes}}))
    assert steps_of(path, role) == steps
    path.write_text("{")
    assert steps_of(path, role) == 0
