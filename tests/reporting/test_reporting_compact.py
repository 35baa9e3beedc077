"""Compact records: size, privacy, merging."""

import copy
import getpass
import json
import re
import socket

import numpy as np
import pytest
import synthetic_records as synthetic

from kdlab.records.record import RunRecord
from kdlab.reporting.compact import MOST_BYTES, compact, dump_lines, merge, read_lines, size_of, without_paths


def _record(**changes):
    rng = np.random.default_rng(0)
    values = synthetic.metrics(rng, accuracy=1 / 3, ece=0.1, data="mnist1d", role="scratch", teacher_accuracy=None)
    undefined = {key: "no teacher taught this network" for key, value in values.items() if value is None}
    bins = {name: synthetic.bins(rng, 0.6, 0.1, synthetic.SIZES["mnist1d"][name]) for name in synthetic.SETS}
    fields = {
        "run_id": "0" * 16,
        "identity": "0" * 64,
        "status": "finished",
        "role": "scratch",
        "data": "mnist1d",
        "seeds": {"student": 1, "teacher": None, "data": 0},
        "config": {"store": {"root": "/secret/home/runs"}},
        "identity_config": {
            "data": {"name": "mnist1d", "path": "/secret/data"},
            "seeds": {"student": 1},
            "rate": 0.12345678,
        },
        "metrics": values,
        "metrics_undefined": undefined,
        "bins": bins,
        "slices": synthetic.SLICES,
        "curves": {
            "validation/accuracy": [[i, i / 3] for i in range(200)],
            "train/loss": [[i, 1 / (i + 1)] for i in range(200)],
        },
        "provenance": {
            "commit": "abc",
            "dirty": True,
            "versions": {"torch": "2.13.0"},
            "hardware": {"host": socket.gethostname()},
        },
    } | changes
    return RunRecord(**fields)


MEMBER = {
    "arm": None,
    "phase": None,
    "overrides": ("seed=1", "store.root=/secret/home/runs", "tracker.entity=someone", "student.width=8"),
}


def test_a_compact_record_keeps_what_a_report_reads_and_nothing_private():
    line = compact(_record(), [MEMBER, MEMBER])
    text = json.dumps(line)
    assert line["members"] == [{"arm": None, "phase": None, "overrides": ["seed=1", "student.width=8"]}]
    assert "secret" not in text
    assert "someone" not in text
    assert line["metrics"]["test/accuracy"] == 0.333333
    assert line["identity"]["rate"] == 0.123457
    assert line["sizes"] == synthetic.SIZES["mnist1d"]
    assert len(line["curves"]["train/loss"]) == 40
    assert line["curves"]["train/loss"][-1] == [199, 0.005]
    assert line["undefined"] == {
        "no teacher taught this network": [
            "*/accuracy_vs_teacher",
            "*/agreement",
            "*/ece_vs_teacher",
            "*/teacher_kl",
            "transfer/target_entropy",
        ]
    }


def test_compact_lines_survive_json_unchanged():
    line = compact(_record(), [MEMBER])
    assert json.loads(json.dumps(line)) == line


def test_no_absolute_path_user_or_host_in_records_of_a_failed_run():
    message = f"cannot read '/home/{getpass.getuser()}x/kd/teacher.pt' or C:\\Users\\me\\t.pt or ~/t.pt"
    failed = _record(
        status="failed",
        metrics={},
        metrics_undefined={},
        bins={},
        curves={},
        slices={},
        error={"type": "OSError", "message": message},
    )
    header = {
        "name": "x",
        "command": "kdlab sweep x store.root=/tmp/me/runs seed=1",
        "arms": {"a": ["teacher.checkpoint=/home/me/t.pt"]},
    }
    text = dump_lines(merge([], header, [compact(failed, [MEMBER]), compact(_record(run_id="1" * 16), [MEMBER])]))
    assert not re.search(r"(?<![\w.*])(/|~/|[A-Za-z]:\\\\)[\w.]+[/\\]", text)
    assert socket.gethostname() not in text
    assert "Users" not in text
    assert '"command":"kdlab sweep x seed=1"' in text
    assert "teacher.checkpoint=t.pt" in text


@pytest.mark.parametrize(
    "text", ["reports/a/b", "*/agreement", "1 / 2", "https://example.org/a", "test/accuracy", "../a", "a/b=c"]
)
def test_relative_names_are_left_alone(text):
    assert without_paths(text) == text


def test_size_is_kept_under_the_limit_by_dropping_curve_points_first():
    curves = {f"train/term_{i}": [[j, j / 7] for j in range(300)] for i in range(12)}
    line = compact(_record(curves={**curves, "validation/accuracy": [[j, j / 7] for j in range(300)]}), [MEMBER])
    assert size_of(line) <= MOST_BYTES
    assert line["curves"]["validation/accuracy"]
    assert line["metrics"].keys() == _record().metrics.keys()


def test_a_record_that_cannot_fit_is_an_error_with_its_name():
    with pytest.raises(ValueError, match=r"0000000000000000 has \d+ bytes, allowed: 12000"):
        compact(_record(metrics={f"x{i}/accuracy": 0.123456 for i in range(1000)}), [])


def test_numpy_numbers_and_empty_bins_become_plain_json():
    bins = {"test": {"count": np.array([0, 2]), "confidence": [float("nan"), np.float32(0.5)], "accuracy": [None, 1]}}
    line = compact(_record(bins=bins), [])
    assert line["bins"]["test"] == {"accuracy": [None, 1], "confidence": [None, 0.5], "count": [0, 2]}


def test_merge_adds_sorts_and_drops_nothing_without_prune():
    a, b, c = (compact(_record(run_id=name * 16), [MEMBER]) for name in "abc")
    header = {"name": "x"}
    first = merge([], header, [c, a])
    assert [line.get("run_id") for line in first] == [None, "a" * 16, "c" * 16]
    second = merge(first, header, [b])
    assert [line["run_id"][0] for line in second[1:]] == ["a", "b", "c"]
    assert merge(second, header, []) == second
    assert [line["run_id"][0] for line in merge(second, header, [b], prune=True)[1:]] == ["b"]


def test_merge_lets_the_store_win_but_never_a_failure_over_a_result():
    done = compact(_record(), [MEMBER])
    better = copy.deepcopy(done) | {"commit": "def"}
    failed = copy.deepcopy(done) | {"status": "failed", "metrics": {}}
    failed["members"] = [{"arm": "late", "phase": None, "overrides": []}]
    assert merge(merge([], {"name": "x"}, [done]), None, [better])[1]["commit"] == "def"
    kept = merge(merge([], {"name": "x"}, [done]), None, [failed])[1]
    assert kept["status"] == "finished"
    assert len(kept["members"]) == 2
    assert merge(merge([], {"name": "x"}, [failed]), None, [done])[1]["status"] == "finished"


def test_merge_needs_a_header_and_keeps_the_order_of_arms():
    with pytest.raises(ValueError, match="kind 'study'"):
        merge([], None, [])
    lines = merge([], {"name": "x", "arms": {"z": [], "a": []}}, [])
    assert list(json.loads(dump_lines(lines))["arms"]) == ["z", "a"]


def test_reading_names_the_broken_line(tmp_path):
    path = tmp_path / "records.jsonl"
    path.write_text('{"kind":"study"}\n\n{oops\n')
    with pytest.raises(ValueError, match=r"records.jsonl line 3"):
        read_lines(path)
