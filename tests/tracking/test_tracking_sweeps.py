"""Sweeps that go online, under each launcher: one W&B run per record, grouped, tagged, and tags gained at once."""

import json
from collections import Counter

import pytest
from wandbstub import WandbStub

from kdlab.records.store import Store

TINY = (
    *("data=digits", "student.width=4", "training.steps=12", "teacher.training.steps=12"),
    *("evaluation.latency.enabled=false", "store.root=runs", "tracker.mode=online"),
)
pytestmark = pytest.mark.long
#: Study -> launcher and what it asks for: the second shares a point with the first, the third has one that fails.
SWEEPS = {
    "first": ("stacked", ["objective.temperature=1,2"]),
    "second": ("basic", ["objective.temperature=2,4"]),
    "third": ("joblib", ["training.optimizer.lr=0.001,1e30", "hydra.launcher.n_jobs=2"]),
}


@pytest.fixture(scope="module")
def story(tmp_path_factory, command):
    """Three sweeps over one store and one server."""
    pytest.importorskip("hydra_plugins.hydra_joblib_launcher", reason="needs kdlab[joblib]")
    folder, done = tmp_path_factory.mktemp("sweeps"), {}
    with WandbStub() as server:
        for name, (launcher, asked) in SWEEPS.items():
            words = ["run", "-m", *TINY, *asked, f"hydra/launcher={launcher}", f"study.name={name}"]
            done[name] = command(folder, *words, server=server)
        yield Store(folder / "runs"), server, done


def test_the_commands_end_as_their_runs_did(story):
    _, server, done = story
    assert {name: one.returncode for name, one in done.items()} == {"first": 0, "second": 0, "third": 1}
    assert "note:" not in "".join(one.stdout + one.stderr for one in done.values())
    assert not server.unknown


def test_there_is_one_run_per_record_and_each_says_how_it_ended(story):
    store, server, _ = story
    records = [store.load(run_id) for run_id in store.ids()]
    runs = {name: run for (_, _, name), run in server.runs.items()}
    assert sorted(runs) == sorted(record.tracker_id for record in records) == store.ids()
    assert Counter(record.role for record in records) == {"teacher": 1, "student": 4, "scratch": 3}
    for record in records:
        run = runs[record.run_id]
        assert (run.job_type, run.state) == (record.role, record.status)
        assert run.config["run_id"] == record.run_id
        shown = {key: run.summary.get(key) for key, value in record.metrics.items() if value is not None}
        assert shown == pytest.approx({key: value for key, value in record.metrics.items() if value is not None})
        assert json.loads(run.files["record.json"]) == json.loads(
            (store.folder(record.run_id) / "record.json").read_text()
        )
    failed = [record for record in records if record.status == "failed"]
    assert [record.role for record in failed] == ["scratch"], "its student was not begun"
    assert runs[failed[0].run_id].exit_code == 1


def test_a_shared_run_keeps_its_group_and_gains_a_tag_for_every_study(story):
    store, server, _ = story
    for record in map(store.load, store.ids()):
        run = server.run("kdlab", record.run_id)
        mine = {tag for tag in run.tags if tag in SWEEPS}
        studies = {row["name"] for row in json.loads(run.files["studies.json"])}
        assert mine == studies, record.role
        if record.role == "teacher":
            assert (mine, run.group) == (set(SWEEPS), "first")
        if record.role == "student" and any("temperature=2" in line for line in record.overrides):
            assert (mine, run.group) == ({"first", "second"}, "first")
        assert "digits" in run.tags
        assert any(tag.startswith("teacher:") for tag in run.tags) == (record.role != "scratch")


def test_names_tell_what_varies_and_curves_keep_their_times(story):
    store, server, _ = story
    names = {run.display_name for run in server.runs.values() if run.group == "first" and run.job_type == "student"}
    assert {"temperature=1", "temperature=2"} <= {word for name in names for word in name.split()}
    together = [server.run("kdlab", one.run_id) for one in map(store.load, store.ids()) if one.role == "student"][:2]
    for run in together:
        rows = [row for row in run.history if "trainer/step" in row]
        assert rows
        assert [row["trainer/step"] for row in rows] == sorted(row["trainer/step"] for row in rows)
        assert [row["_timestamp"] for row in rows] == sorted(row["_timestamp"] for row in rows)


def test_a_sync_finds_nothing_left_to_send(story, command):
    store, server, _ = story
    done = command(store.root.parent, "sync", "store.root=runs", server=server)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("W&B: 0 runs sent, 0 brought up to date")
