import itertools
import json
import math
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kdlab.errors import UserError
from kdlab.records.history import HistoryRow, HistoryWriter, decimate, read_history


def test_rows_are_on_disk_after_every_call(tmp_path):
    path = tmp_path / "history.jsonl"
    with HistoryWriter(path) as writer:
        assert read_history(path) == []
        writer.append({"train/loss": 1.5, "train/accuracy": 0.25}, step=10, epoch=0.5)
        expected = [HistoryRow(10, 0.5, "train/loss", 1.5), HistoryRow(10, 0.5, "train/accuracy", 0.25)]
        assert read_history(path) == expected
        writer.append({}, step=11, epoch=0.6)
        writer.append({"bad": math.nan, "worse": math.inf, "none": None}, step=12, epoch=0.7)
    lines = path.read_text().splitlines()
    assert [json.loads(line) for line in lines[2:]] == [
        {"step": 12, "epoch": 0.7, "key": key, "value": None} for key in ("bad", "worse", "none")
    ]


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="open files are counted in /proc")
def test_hundreds_of_histories_need_no_open_files(tmp_path):
    before = len(list(Path("/proc/self/fd").iterdir()))
    writers = [HistoryWriter(tmp_path / f"{at}.jsonl") for at in range(300)]
    for step in (1, 2):
        for at, writer in enumerate(writers):
            writer.append({"a": float(at)}, step=step, epoch=1.0)
    assert len(list(Path("/proc/self/fd").iterdir())) <= before + 5
    assert read_history(tmp_path / "299.jsonl") == [HistoryRow(step, 1.0, "a", 299.0) for step in (1, 2)]
    assert [row.value for row in read_history(tmp_path / "3.jsonl")] == [3.0, 3.0]


def test_every_torn_last_line_is_left_out(tmp_path):
    path = tmp_path / "history.jsonl"
    with HistoryWriter(path) as writer:
        writer.append({"a": 1.0, "ü": 2.0}, step=1, epoch=1.0)
    content = path.read_bytes()
    first = content.index(b"\n") + 1
    for cut in range(first, len(content)):
        path.write_bytes(content[:cut])
        assert len(read_history(path)) in ((1, 2) if cut == len(content) - 1 else (1,)), cut


def test_a_damaged_line_in_the_middle_is_an_error(tmp_path):
    path = tmp_path / "history.jsonl"
    path.write_text('{"step": 1, "epoch"\n{"step": 1, "epoch": 1.0, "key": "a", "value": 1.0}\n')
    with pytest.raises(UserError, match="line 1"):
        read_history(path)


def test_a_missing_history_is_empty(tmp_path):
    assert read_history(tmp_path / "history.jsonl") == []


def test_resuming_keeps_what_the_checkpoint_has_seen(tmp_path):
    path = tmp_path / "history.jsonl"
    with HistoryWriter(path) as writer:
        for step in (10, 20, 30):
            writer.append({"a": float(step)}, step=step, epoch=step / 10)
    with path.open("a") as file:
        file.write('{"step": 40, "ep')
    with HistoryWriter(path, resume_step=20) as writer:
        writer.append({"a": 30.5}, step=30, epoch=3.0)
    assert [row.value for row in read_history(path)] == [10.0, 20.0, 30.5]
    with HistoryWriter(path):
        assert read_history(path) == []


@given(st.integers(1, 300), st.integers(2, 50))
def test_decimation_keeps_first_and_last_and_spaces_the_rest(count, max_points):
    history = [HistoryRow(step, 0.0, "a", step / 7) for step in range(count)]
    points = decimate(history, max_points)["a"]
    steps = [int(step) for step, _ in points]
    assert len(points) == min(count, max_points)
    assert steps[0] == 0
    assert steps[-1] == count - 1
    assert all(value == step / 7 for step, value in points)
    gaps = [after - before for before, after in itertools.pairwise(steps)]
    assert not gaps or (min(gaps) >= 1 and max(gaps) - min(gaps) <= 1)


def test_decimation_splits_by_key_and_drops_undefined():
    history = [HistoryRow(1, 0.1, "a", 1.0), HistoryRow(1, 0.1, "b", None), HistoryRow(2, 0.2, "a", 2.0)]
    assert decimate(history, 40) == {"a": [[1, 1.0], [2, 2.0]]}
    with pytest.raises(ValueError, match="max_points = 1"):
        decimate(history, 1)
