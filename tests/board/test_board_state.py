"""What the board shows: all studies, one of them, its members."""

import json

import pytest
from shelf import run_id

from kdlab.board.members import short
from kdlab.board.state import PAGE, Board
from kdlab.errors import UserError
from kdlab.records import studies


@pytest.fixture
def board(shelf, tmp_path):
    """A board that looks each time it is asked."""
    ticks = iter(range(1000))
    return Board(shelf.root, tmp_path / "reports", clock=lambda: 2.0 * next(ticks))


def test_an_empty_board_fills_when_a_sweep_starts(board, shelf):
    assert board.overview() == {"studies": []}
    shelf.plan(count=4)
    (found,) = board.overview()["studies"]
    assert (found["name"], found["question"], found["total"]) == ("question", "Why?", 4)
    assert found["counts"] == {"finished": 0, "running": 0, "waiting": 4, "stopped": 0, "failed": 0}
    with shelf.held(1):
        shelf.done(0)
        shelf.begin(1)
        shelf.done(2, status="failed", error={"type": "E", "message": "no"})
        shelf.begin(3)
        (found,) = board.overview()["studies"]
        assert found["counts"] == {"finished": 1, "running": 1, "waiting": 0, "stopped": 1, "failed": 1}
        assert found["ends"] is not None
    (found,) = board.overview()["studies"]
    assert found["counts"]["stopped"] == 2
    assert found["ends"] is None


def test_a_study_arm_by_arm(board, shelf):
    members = [
        studies.Member(run_id(0), "student", "soft", None, ("seed=0", "data=tiny", "objective.temperature=2")),
        studies.Member(run_id(1), "scratch", "scratch", None, ("seed=0",)),
        studies.Member(run_id(2), "teacher", "teacher", None, ("seed=0",)),
        studies.Member(run_id(3), "student", "uniform", None, ("seed=0", "data=tiny", "teacher/quality=uniform")),
        studies.Member(run_id(0), "student", "other", None, ("seed=0", "data=tiny", "store.root=x")),
    ]
    header = {"arms": {"uniform": ["teacher/quality=uniform"], "soft": []}}
    studies.plan(shelf.root, "s", header, members)
    shelf.done(0)
    shelf.done(2, status="failed", error={"type": "ValueError", "message": "first\nsecond"}, role="teacher")
    found = board.study("s")
    assert [arm["arm"] for arm in found["arms"]] == ["uniform", "soft", "other", "scratch", "teacher"]
    assert found["total"] == 4, "a run of two arms is one run"
    assert [arm["counts"]["finished"] for arm in found["arms"]] == [0, 1, 1, 0, 0]
    (failed,) = found["failed"]
    assert (failed["arm"], failed["error"]["message"]) == ("teacher", "first\nsecond")
    rows = {row["arm"]: row for row in board.members("s")["rows"]}
    assert rows["soft"]["label"] == "T=2", "what all students share tells nothing"
    assert rows["uniform"]["label"] == "", "what the arm brings neither"
    assert (rows["soft"]["accuracy"], rows["soft"]["set"]) == (0.5, "test")


def test_running_rows_tell_steps_and_accuracy(board, shelf):
    shelf.plan(count=2)
    with shelf.held(0):
        shelf.begin(0)
        shelf.log(0, 40, validation_accuracy=0.25)
        (row,) = board.study("question")["running"]
    assert (row["step"], row["steps"], row["accuracy"], row["set"]) == (40, 100, 0.25, "validation")


def test_members_by_state_by_words_and_by_page(board, shelf):
    shelf.plan(count=PAGE + 5)
    shelf.done(3)
    assert [row["id"] for row in board.members("question", state="finished")["rows"]] == [run_id(3)]
    found = board.members("question", text="t=1 DISTILLED")
    assert {row["label"].split("=")[1] for row in found["rows"]} == {"1", *map(str, range(10, 20))}
    assert [row["id"] for row in board.members("question", text=run_id(7))["rows"]] == [run_id(7)]
    last = board.members("question", page=99)
    assert (last["page"], len(last["rows"]), last["total"]) == (1, 5, PAGE + 5)
    assert board.members("question", text="nobody")["rows"] == []


def test_one_run(board, shelf):
    shelf.plan(count=2)
    shelf.done(0)
    (shelf.store.folder(run_id(0)) / "log.txt").write_text("it went well\n")
    (shelf.store.folder(run_id(0)) / "weights.safetensors").write_bytes(b"w")
    found = board.facts(run_id(0))
    assert (found["role"], found["tracker"], found["log"]) == ("student", f"team/kdlab/{run_id(0)}", "it went well\n")
    assert found["metrics"]["test/accuracy"] == 0.5
    assert found["files"] == ["record.json", "config.yaml", "history.jsonl", "log.txt"]
    assert board.facts(run_id(1))["state"] == "waiting"
    assert board.facts("0" * 16) is None


def test_a_study_nobody_knows_and_one_that_cannot_be_read(board, shelf):
    shelf.plan("question")
    with pytest.raises(UserError, match=r"no study 'qestion'.*question"):
        board.study("qestion")
    (shelf.root / "studies" / "broken.jsonl").write_text("{\n")
    broken, fine = board.overview()["studies"]
    assert "line 1 is not a line of a study" in broken["problem"]
    assert fine["problem"] is None


def test_a_study_known_from_its_report_alone(board, tmp_path):
    folder = tmp_path / "reports" / "deep" / "er"
    folder.mkdir(parents=True)
    rows = [{"kind": "study", "question": "Old?"}, {"kind": "run"}, {"kind": "run"}]
    (folder / "records.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    found = board.study("deep/er")
    assert (found["question"], found["reported"], found["total"]) == ("Old?", 2, 0)


def test_a_changed_header_and_new_members_are_seen(board, shelf):
    shelf.plan(count=1)
    board.overview()
    shelf.plan(count=3, question="Really?")
    (found,) = board.overview()["studies"]
    assert (found["question"], found["total"]) == ("Really?", 3)


def test_it_looks_once_however_many_ask(shelf, tmp_path):
    now = [0.0]
    board = Board(shelf.root, tmp_path, clock=lambda: now[0])
    assert board.overview() == {"studies": []}
    shelf.plan()
    assert board.overview() == {"studies": []}
    now[0] = 1.5
    assert len(board.overview()["studies"]) == 1


def test_an_ended_run_is_left_alone(shelf, tmp_path, monkeypatch):
    """What makes ten thousand of them cheap: of each the time of its folder is asked, and nothing is opened."""
    from kdlab.board import runs

    ticks = iter(range(1000))
    board = Board(shelf.root, tmp_path, clock=lambda: 2.0 * next(ticks))
    shelf.plan(count=4)
    for number in range(4):
        shelf.done(number)
    board.look()
    board.look()
    monkeypatch.setattr(runs, "signature", lambda path: pytest.fail(f"{path} was looked at again"))
    board.look()
    assert board.overview()["studies"][0]["counts"]["finished"] == 4


@pytest.mark.parametrize(
    ("override", "said"),
    [("objective.alpha=0.5", "alpha=0.5"), ("+student.width=3", "student.width=3"), ("odd", "odd=")],
)
def test_overrides_as_people_say_them(override, said):
    assert short(override) == said
