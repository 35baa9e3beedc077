"""``kdlab pull``: what other machines sent comes back as records, and only as what a record may be."""

import copy
import json
import re
from dataclasses import replace

import pytest
from mirrored_store import ROWS, STUDY, made_up
from wandbstub import WandbStub

from kdlab.commands.cli import main
from kdlab.records.store import Store, read_record
from kdlab.records.studies import read_study

RUNS = [made_up(number).run_id for number in range(3)]
HERE = "store.root=here"


@pytest.fixture(scope="module")
def sent_once(mirrored, tmp_path_factory):
    """What a server holds that got the runs of a store, which are made online there."""
    folder = tmp_path_factory.mktemp("sent")
    with WandbStub() as stub:
        mirrored(folder / "runs", mode="online", **stub.env(str(folder / "home")))
        return folder / "runs", stub.runs


@pytest.fixture
def sent(sent_once, server):
    """A server that got the three runs of another machine's store."""
    server.runs = copy.deepcopy(sent_once[1])
    return server


def test_runs_of_another_machine_are_records_here(sent, sent_once, kdlab, tmp_path):
    done = kdlab("pull", "kdlab", HERE, server=sent)
    assert done.returncode == 0, done.stderr
    assert done.stdout == (
        f"W&B stub-team/kdlab: 3 records pulled, 0 here before\n  study {STUDY}: kdlab report {STUDY} covers them\n"
    )
    there, here = Store(sent_once[0]), Store(tmp_path / "here")
    assert here.ids() == sorted(RUNS)
    assert here.own_ids() == []
    for run_id in RUNS:
        assert here.load(run_id) == there.load(run_id)
        assert here.finished(run_id) is None, "its weights are not here: a sweep that needs it trains it"
    assert set(read_study(here.root, STUDY).members) == set(read_study(there.root, STUDY).members)
    for name, root in (("here", here.root), ("there", there.root)):
        assert main(["report", STUDY, f"store.root={root}", f"report.root={tmp_path / f'reports_{name}'}"]) == 0
    reports = [tmp_path / f"reports_{name}" / STUDY / "tables" / "results.csv" for name in ("here", "there")]
    assert reports[0].read_bytes() == reports[1].read_bytes()
    again = kdlab("pull", "stub-team/kdlab", STUDY, HERE, server=sent)
    assert again.stdout.startswith("W&B stub-team/kdlab: 0 records pulled, 3 here before\n")


@pytest.mark.long
def test_a_run_made_here_stays_and_a_run_made_twice_elsewhere_is_taken_once(sent, kdlab, mirrored, tmp_path):
    told = sent.env(str(tmp_path / "third"))
    third = mirrored(tmp_path / "third" / "runs", begun="2026-05-05T05:05:05+00:00")
    assert kdlab("sync", f"store.root={third}", server=sent, environment=told).returncode == 0
    mine = Store(tmp_path / "here")
    own = replace(made_up(0), metrics={"test/accuracy": 0.25})
    mine.begin(own.run_id, own.config)
    mine.write(own)
    done = kdlab("pull", "kdlab", HERE, server=sent)
    assert done.returncode == 0, done.stderr
    assert mine.load(RUNS[0]).metrics == {"test/accuracy": 0.25}
    assert mine.load(RUNS[1]).tracker_id == RUNS[1], "the first one stays"
    assert "another machine made the same run first" in done.stdout


@pytest.mark.long
def test_what_is_no_record_is_told_and_not_kept(sent, kdlab, tmp_path):
    def change(at, how):
        files = sent.run("kdlab", RUNS[at]).files
        files["record.json"] = json.dumps(how(json.loads(files["record.json"]))).encode()

    change(0, lambda record: {**record, "identity_config": {"seeds": 7}})
    change(1, lambda record: {**record, "schema_version": 99})
    change(2, lambda record: [record])
    done = kdlab("pull", "kdlab", HERE, server=sent)
    assert done.returncode == 1
    for at, why in enumerate(("not the hash of what it says", "schema_version 99", "cannot be taken")):
        assert re.search(rf"{RUNS[at]}: .*{why}", done.stderr)
    assert Store(tmp_path / "here").ids() == []


def test_no_name_that_a_server_tells_leads_out_of_the_store(sent, kdlab, tmp_path):
    run = sent.run("kdlab", RUNS[0])
    run.raw_config["run_id"] = {"value": "../../escaped"}
    studies = json.loads(sent.run("kdlab", RUNS[1]).files["studies.json"])
    studies[0]["name"] = "../../escaped"
    sent.run("kdlab", RUNS[1]).files["studies.json"] = json.dumps(studies).encode()
    done = kdlab("pull", "kdlab", HERE, server=sent)
    assert done.returncode == 1
    assert "its config names no run of kdlab's, but '../../escaped'" in done.stderr
    assert "study.name = '../../escaped'" in done.stderr
    assert Store(tmp_path / "here").ids() == [RUNS[2]]
    assert not list(tmp_path.rglob("escaped*"))


@pytest.mark.long
def test_a_file_that_is_too_large_or_does_not_come_is_told(sent, kdlab):
    sent.run("kdlab", RUNS[0]).files["record.json"] = b" " * 20_000_001
    sent.fault = lambda kind, name: 404 if kind == "file" and name == "studies.json" else None
    done = kdlab("pull", "kdlab", HERE, server=sent)
    assert done.returncode == 1
    assert "20000001 bytes, more than such a file has" in done.stderr
    assert RUNS[1] in done.stderr


def test_curves_are_part_of_what_the_record_carries(sent):
    """The record is whole at the server: a pull needs nothing else."""
    run = sent.run("kdlab", RUNS[0])
    assert len(run.history) == ROWS + 1
    assert json.loads(run.files["record.json"])["metrics"]["test/accuracy"] == 0.5


@pytest.mark.long
@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        ([], 2, "a W&B project is needed"),
        (["kdlab", "nope", HERE], 2, "holds no run with the tag nope"),
        (["kdlab", HERE, "student.width=3"], 2, "student.width cannot be set here"),
    ],
)
def test_mistakes_are_told(server, kdlab, words, code, said):
    done = kdlab("pull", *words, server=server)
    assert done.returncode == code, done.stderr
    assert said in done.stderr


def test_a_pulled_record_that_was_damaged_names_its_file(tmp_path):
    folder = tmp_path / "pulled" / RUNS[0]
    folder.mkdir(parents=True)
    (folder / "record.json").write_text("{", encoding="utf-8")
    with pytest.raises(ValueError, match=r"record\.json is not a record"):
        read_record(folder)
