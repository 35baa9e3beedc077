"""What stores and servers hold when something went wrong before: each costs one run at most, and is told in a line."""

import copy
import json
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from mirrored_store import STUDY, made_up
from wandbstub import WandbStub

from kdlab.errors import UserError
from kdlab.records import studies
from kdlab.records.store import Store
from kdlab.tracking.wandb.connection import check_project, clipped
from kdlab.tracking.wandb.note import unreadable
from kdlab.tracking.wandb.upload import _WANDB

pytestmark = pytest.mark.long

RUNS = [made_up(number).run_id for number in range(3)]
HERE = "store.root=here"


@pytest.fixture(scope="module")
def sent_once(mirrored, tmp_path_factory):
    """What a server holds that got the runs of a store, which are made online there."""
    folder = tmp_path_factory.mktemp("sent")
    with WandbStub() as stub:
        mirrored(folder / "runs", mode="online", **stub.env(str(folder / "home")))
        return stub.runs


@pytest.fixture
def sent(sent_once, server):
    """A server that got the three runs of another machine's store."""
    server.runs = copy.deepcopy(sent_once)
    return server


def folder_of(root, run_id):
    (folder,) = (root / "wandb").glob(f"offline-run-*-{run_id}")
    return folder


def test_files_that_cannot_be_sent_cost_no_other_run(copied, server, kdlab):
    (file,) = folder_of(copied, RUNS[0]).glob("*.wandb")
    file.write_bytes(b"")  # as a full disk leaves it; wandb sync would send none of all then
    note = folder_of(copied, RUNS[1]) / "kdlab.json"
    note.write_text(json.dumps({**json.loads(note.read_text()), "rows": None}))  # killed before its end ...
    next(folder_of(copied, RUNS[1]).glob("*.wandb")).unlink()  # ... and nothing left to count its rows in
    done = kdlab("sync", "store.root=runs", server=server)
    assert done.returncode == 1
    assert f"{RUNS[0]} lacks the run; {file.parent.name}/{file.name} is empty or damaged" in done.stderr
    assert f"{RUNS[1]} lacks the run; its .wandb file is gone" in done.stderr
    assert "Traceback" not in done.stderr
    assert [name for _, _, name in server.runs] == [RUNS[2]]


def test_a_store_whose_notes_are_lost_takes_no_run_of_another_machine_for_its_own(copied, sent, kdlab):
    other = sent.run("kdlab", RUNS[0])
    other.raw_config["begun"] = {"value": "2026-05-05T05:05:05+00:00"}
    tags = list(other.tags)
    for run_id in RUNS:
        (folder_of(copied, run_id) / "kdlab.json").unlink()
    studies.plan(copied, "later", {"question": "?"}, [studies.Member(run_id, "student") for run_id in RUNS])
    done = kdlab("sync", "store.root=runs", server=sent)
    assert f"run {RUNS[0]} is {RUNS[0]}-2 in W&B" in done.stdout, done.stderr
    assert other.tags == tags
    assert "later" in sent.run("kdlab", RUNS[1]).tags


def test_an_upload_ends_with_the_process_that_started_it():
    """Else a sync that was killed goes on unseen, and the next one sends the same beside it."""
    begins = "from wandb.cli.cli import cli\ncli()"
    assert begins in _WANDB
    code = _WANDB.replace(begins, "print('up', flush=True)\nthreading.Event().wait()")
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with subprocess.Popen([sys.executable, "-c", code], start_new_session=True, **pipes) as process:
        assert process.stdout.readline() == b"up\n"
        assert process.poll() is None
        process.stdin.close()
        assert process.wait(20) == -signal.SIGTERM


def kept(root, run, **changes):
    """Put what a run carries where an earlier pull leaves it."""
    record = json.loads(run.files["record.json"])
    folder = root / "pulled" / record["run_id"]
    folder.mkdir(parents=True)
    (folder / "record.json").write_bytes(
        json.dumps({**record, **changes}).encode() if changes else run.files["record.json"]
    )
    (folder / "studies.json").write_bytes(run.files["studies.json"])


def test_a_pull_that_was_cut_off_before_it_joined_its_studies_joins_them_later(sent, kdlab, tmp_path):
    here = tmp_path / "here"
    for run_id in RUNS[1:]:
        kept(here, sent.run("kdlab", run_id))
    mine = studies.Member("0" * 16, "student", "x", None, ("a=1",))
    asked = {"question": "mine", "arms": {"x": []}, "command": "kdlab sweep story a=1", "grid": {"a": ["1"]}}
    studies.plan(here, STUDY, asked, [mine])
    sent.run("kdlab", RUNS[0]).state = "running"
    sent.run("kdlab", RUNS[0]).files = {}
    done = kdlab("pull", "kdlab", HERE, server=sent)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("W&B stub-team/kdlab: 0 records pulled, 2 here before")
    assert "note: 1 run without a record yet" in done.stdout
    study = studies.read_study(here, STUDY)
    assert [member.run_id for member in study.members] == [mine.run_id, *RUNS[1:]]
    assert (study.header["arms"], study.header["grid"]) == ({"x": []}, {"a": ["1"]}), "what only this store has stays"


def test_of_a_repeated_run_the_last_attempt_counts_and_what_is_no_text_is_told(sent, kdlab, tmp_path):
    first = sent.run("kdlab", RUNS[0])
    record = json.loads(first.files["record.json"])
    repeated = copy.deepcopy(first)
    repeated.name = f"{RUNS[0]}-2"
    later = {"provenance": {"attempt": 2}, "metrics": {"test/accuracy": 0.75}}
    repeated.files["record.json"] = json.dumps({**record, **later, "tracker_id": repeated.name}).encode()
    sent.runs["stub-team", "kdlab", repeated.name] = repeated
    kept(tmp_path / "here", sent.run("kdlab", RUNS[1]), **later, tracker_id=f"{RUNS[1]}-2")
    sent.run("kdlab", RUNS[2]).files["record.json"] = b"\xff\xfe" * 100
    done = kdlab("pull", "kdlab", HERE, server=sent)
    assert done.returncode == 1
    assert f"{RUNS[2]}: record.json is no text" in done.stderr
    assert "2 records pulled, 0 here before, 1 left out: another attempt" in done.stdout
    here = Store(tmp_path / "here")
    assert [here.load(run_id).metrics["test/accuracy"] for run_id in RUNS[:2]] == [0.75, 0.75]


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (lambda members: [{**members[0], "run_id": "../../x"}], "another run"),
        (lambda members: [{**members[0], "arm": ["x"]}], "no word"),
    ],
)
def test_memberships_that_a_server_tells_are_looked_at(change, why):
    from kdlab.tracking.wandb.pull import _problem

    members = change([{"run_id": RUNS[0], "role": "student", "arm": "distilled", "phase": None, "overrides": []}])
    told = json.dumps([{"name": STUDY, "header": {}, "members": members}])
    assert why in _problem(RUNS[0], {"studies.json": told})
    assert "recursion" in _problem(RUNS[0], {"studies.json": "[" * 100_000})


def test_what_wandb_refuses_as_a_tag_or_a_project_is_told_or_left_out_before_a_run_begins(tmp_path):
    assert clipped(["", "a", "a", "x" * 70]) == ("a", "x" * 64)
    assert check_project("kdlab") == "kdlab"
    for name in ("", "team/kdlab", "a:b", "x" * 129):
        with pytest.raises(UserError, match=r"tracker\.project = "):
            check_project(name)
    assert unreadable(Path(tmp_path)).startswith("its .wandb file is gone")
