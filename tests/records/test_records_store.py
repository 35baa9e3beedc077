import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
import yaml

from kdlab.errors import UserError
from kdlab.records import atomic
from kdlab.records.record import RunRecord
from kdlab.records.store import Store

ROOT = str(Path(__file__).parents[2])


def start_python(code, *arguments):
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([ROOT, os.environ.get("PYTHONPATH", "")])}
    return subprocess.Popen(
        [sys.executable, "-c", code, *map(str, arguments)], stdout=subprocess.PIPE, text=True, env=environment
    )


def test_a_record_comes_back_as_it_was_written(store, record):
    store.write(record)
    assert store.load(record.run_id) == record
    assert store.finished(record.run_id) == record
    assert store.ids() == [record.run_id]
    text = (store.folder(record.run_id) / "record.json").read_text()
    assert RunRecord.from_json(json.loads(text)) == record
    assert '\n  "test/accuracy": 0.5,\n' in text  # one metric a line: people read and diff it
    assert not list(store.folder(record.run_id).glob(".*"))


def test_failed_runs_have_a_record_and_are_not_finished(store, record):
    store.write(replace(record, status="failed", error={"type": "ValueError", "message": "x"}))
    assert store.find(record.run_id).status == "failed"
    assert store.finished(record.run_id) is None


def test_unknown_runs(store, record):
    assert store.find(record.run_id) is None
    assert store.ids() == []
    with pytest.raises(UserError, match="it holds no run"):
        store.load(record.run_id)
    store.write(record)
    with pytest.raises(UserError, match=f"did you mean {record.run_id}"):
        store.load(record.run_id[:-1] + "0")
    store.folder("f" * 16).mkdir()
    with pytest.raises(UserError, match="no record yet"):
        store.load("f" * 16)


@pytest.mark.parametrize(
    "text", ["", "{", "[]", "null", '"x"', "{}", '{"schema_version": 99}', '{"schema_version": 1}', "\ud800"]
)
def test_damaged_records_are_a_users_error_that_names_the_file(store, record, text):
    path = store.begin(record.run_id, {}) / "record.json"
    path.write_bytes(text.encode("utf-8", "surrogatepass"))
    with pytest.raises(UserError, match=r"record\.json"):
        store.find(record.run_id)


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_non_finite_numbers_never_reach_a_record(store, record, bad):
    with pytest.raises(ValueError, match=r"bins\.test\.accuracy\[1\]"):
        store.write(replace(record, bins={"test": {"accuracy": [0.0, bad]}}))
    assert store.find(record.run_id) is None


def test_a_crash_before_the_rename_leaves_the_old_record(store, record, monkeypatch):
    store.write(record)

    def crash(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(atomic, "_flush_to_disk", crash)
    with pytest.raises(KeyboardInterrupt):
        store.write(replace(record, data="other"))
    assert store.load(record.run_id) == record
    assert [entry.name for entry in store.folder(record.run_id).iterdir()] == ["record.json"]


def test_records_survive_sigkill_at_any_moment(store, record):
    code = """
import sys, json
from dataclasses import replace
from kdlab.records.record import RunRecord
from kdlab.records.store import Store
store = Store(sys.argv[1])
record = RunRecord.from_json(json.loads(sys.argv[2]))
print("ready", flush=True)
number = 0
while True:
    number += 1
    store.write(replace(record, curves={"loss": [[number, number]] * 300}))
"""
    store.write(record)
    for delay in [0.001 + 0.0017 * number for number in range(14)]:
        process = start_python(code, store.root, json.dumps(record.to_json()))
        assert process.stdout.readline() == "ready\n"
        time.sleep(delay)
        process.send_signal(signal.SIGKILL)
        process.wait()
        found = store.load(record.run_id)
        points = found.curves.get("loss", [])
        assert len(points) in (0, 300)
        assert all(point == points[0] for point in points)


def test_begin_clears_a_failed_run_and_keeps_its_checkpoint(store, record):
    folder = store.begin(record.run_id, {"a": {"b": 1}, "list": (1, 2)})
    assert yaml.safe_load((folder / "config.yaml").read_text()) == {"a": {"b": 1}, "list": [1, 2]}
    (folder / "predictions").mkdir()
    (folder / "predictions" / "test.npz").write_text("x")
    for name in ("weights.safetensors", "checkpoint.ckpt", "history.jsonl", ".record.json.1.tmp"):
        (folder / name).write_text("x")
    store.write(replace(record, status="failed"))
    assert store.begin(record.run_id, {"a": 2}) == folder
    names = sorted(entry.name for entry in folder.iterdir())
    assert names == ["checkpoint.ckpt", "config.yaml", "history.jsonl"]
    (folder / "checkpoint.ckpt").unlink()
    store.begin(record.run_id, {"a": 2})
    assert [entry.name for entry in folder.iterdir()] == ["config.yaml"]


def test_the_config_is_what_plain_yaml_writes(store):
    nasty = {
        "words": ["naïve – ü", "on", "1e-3", "", " x ", "a: b", "line\nbreak", "long " * 60, None, True],
        "numbers": [1e-9, 1e22, -0.0, 10**20],
        "deep": {"a": {"b": [{"c": 1}, [[]], {}]}},
    }
    text = (store.begin("0" * 16, nasty) / "config.yaml").read_text(encoding="utf-8")
    assert text == yaml.safe_dump(nasty, sort_keys=False, allow_unicode=True, width=120)
    assert yaml.safe_load(text) == nasty


def test_a_damaged_record_is_not_removed_by_begin(store, record):
    (store.begin(record.run_id, {}) / "record.json").write_text("{")
    with pytest.raises(UserError):
        store.begin(record.run_id, {})


def test_repeating_a_finished_run_replaces_it_only_once_it_is_finished_again(store, record):
    said = []
    store = Store(store.root, say=said.append)
    (store.begin(record.run_id, {}) / "weights.safetensors").write_text("first")
    store.write(record)

    def interrupted():
        with store.lock(record.run_id):
            half = store.begin(record.run_id, {})
            assert store.find(record.run_id) is None
            (half / "weights.safetensors").write_text("half")
            raise KeyboardInterrupt

    folder = store.folder(record.run_id)
    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert store.load(record.run_id) == record
    assert (folder / "weights.safetensors").read_text() == "first"
    assert len(said) == 1
    assert "earlier record is kept" in said[0]

    store.begin(record.run_id, {})  # killed in the middle: nobody left the lock
    (store.folder(record.run_id) / "weights.safetensors").write_text("half")
    with store.lock(record.run_id):
        assert store.load(record.run_id) == record

    with store.lock(record.run_id):
        (store.begin(record.run_id, {}) / "weights.safetensors").write_text("second")
        store.write(replace(record, data="again"))
    assert store.load(record.run_id).data == "again"
    assert (folder / "weights.safetensors").read_text() == "second"
    assert list((store.root / "repeated").iterdir()) == []


def test_resolve_takes_paths_ids_and_unique_prefixes(store, other_record):
    ids = ["aaaa000000000000", "aaab000000000000", "bbbb000000000000"]
    for run_id in ids:
        store.write(replace(other_record(), run_id=run_id))
    (store.root / "wandb").mkdir()
    assert store.resolve(ids[0]) == store.folder(ids[0])
    assert store.resolve("b") == store.folder(ids[2])
    assert store.resolve(str(store.folder(ids[1]))) == store.folder(ids[1])
    with pytest.raises(UserError, match=r"prefix of 2 runs: aaaa0{12}, aaab0{12}"):
        store.resolve("aaa")
    with pytest.raises(UserError, match="did you mean bbbb000000000000"):
        store.resolve("bbbb00000000000f")
    for wrong in ("", "w", "wandb", ".", "no/such/folder", str(store.root)):
        with pytest.raises(UserError, match="run"):
            store.resolve(wrong)


def test_resolve_in_an_empty_store(store):
    with pytest.raises(UserError, match="it holds no run"):
        store.resolve("abc")


def test_check_writable_writes_and_leaves_nothing(store):
    store.check_writable()
    assert list(store.root.iterdir()) == []


def test_check_writable_names_the_key(tmp_path):
    (tmp_path / "file").write_text("in the way")
    for root in (tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(UserError, match=r"store\.root"):
            Store(root).check_writable()
    with pytest.raises(UserError, match=r"store\.root"):
        Store("/proc/kdlab").check_writable()  # root may write anywhere else, os.access says yes here too


def test_two_processes_share_a_lock_in_turn(store, record, tmp_path):
    code = """
import sys
from pathlib import Path
from kdlab.records.store import Store
with Store(sys.argv[1]).lock(sys.argv[2]):
    print("held", flush=True)
    while not Path(sys.argv[3]).exists():
        pass
    Path(sys.argv[3]).with_name("left").touch()
"""
    said = []
    process = start_python(code, store.root, record.run_id, tmp_path / "go")
    assert process.stdout.readline() == "held\n"

    def say(line):
        said.append(line)
        (tmp_path / "go").touch()  # only now the other process may leave

    with Store(store.root, say=say).lock(record.run_id):
        assert (tmp_path / "left").exists()
    process.wait()
    assert said == [f"waiting for another process that holds {record.run_id}"]


def test_a_killed_process_lets_go_of_its_lock(store, record):
    code = """
import sys, time
from kdlab.records.store import Store
with Store(sys.argv[1]).lock(sys.argv[2]):
    print("held", flush=True)
    time.sleep(60)
"""
    process = start_python(code, store.root, record.run_id)
    assert process.stdout.readline() == "held\n"
    process.send_signal(signal.SIGKILL)
    process.wait()
    said = []
    with Store(store.root, say=said.append).lock(record.run_id):
        assert said == []
