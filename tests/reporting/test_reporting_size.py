"""How a compact record is brought under its size: the same points as a slow search over whole lines."""

import copy
import json

import numpy as np
import pytest

from kdlab.records.parsing import parse_json
from kdlab.reporting import compact as module
from kdlab.reporting.compact import MOST_POINTS, decimate, most_bytes, plain, size_of


def slowly(line, curves):
    """Every choice made whole and weighed whole."""
    for most in (MOST_POINTS, 30, 20, 10):
        line = {**line, "curves": {key: plain(decimate(curves[key], most=most)) for key in sorted(curves)}}
        if size_of(line) <= most_bytes(len(line["slices"])):
            return line
    return {**line, "curves": {key: value for key, value in line["curves"].items() if key == "validation/accuracy"}}


@pytest.mark.parametrize("num_curves", [0, 1, 9, 13, 17, 27, 60])
def test_as_many_points_are_kept_as_fit(num_curves):
    draws = np.random.default_rng(num_curves)
    names = ["validation/accuracy", *(f"é{number}/loss" for number in range(num_curves))][:num_curves]
    curves = {name: [[step, float(draws.normal())] for step in range(55)] for name in names}
    line = {"run_id": "a", "slices": {}, "metrics": {"x": 1.0}, "curves": {}}
    assert module._within_size(dict(line), curves) == slowly(line, curves)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (True, True),
        (float("nan"), None),
        (float("-inf"), None),
        (np.float32(0.1), 0.1),
        (np.int64(7), 7),
        (10**20, 10**20),
        (-0.0, -0.0),
        ((1, 2.00000049), [1, 2.0]),
        ({2: [None, "/data/a/b"], 1: {}}, {"1": {}, "2": [None, "b"]}),
    ],
)
def test_values_become_plain(value, expected):
    found = plain(value)
    assert found == expected
    assert type(found) is type(expected)


def test_a_line_that_knows_its_text_is_never_dumped_again_nor_changed(monkeypatch, tmp_path):
    text = '{"kind":"run","run_id":"a","status":"finished","members":[],"metrics":{"x":1e-05}}'
    other = text.replace('"a"', '"b\u2028c"')
    path = tmp_path / "records.jsonl"
    path.write_text(f'{{"kind":"study","name":"s"}}\n{text}\n{other}\n', encoding="utf-8", newline="\n")
    lines = module.read_lines(path)
    assert [line["run_id"] for line in lines[1:]] == ["a", "b\u2028c"]  # a line ends at a newline alone
    assert module.dump_lines(lines) == path.read_text(encoding="utf-8")
    changed = {**lines[1], "status": "failed"}
    assert '"status":"failed"' in module.dump_line(changed)
    deep = copy.deepcopy(lines[1])
    deep["metrics"]["x"] = 2.0
    assert '"x":2.0' in module.dump_line(deep)
    with pytest.raises(TypeError, match="in a copy of it"):
        lines[1]["status"] = "failed"
    dumped = []
    monkeypatch.setattr(module, "_dump", lambda line: dumped.append(line) or json.dumps(line))
    module.dump_lines(module.as_read(line) for line in module.merge(lines, None, []))
    assert [line["kind"] for line in dumped] == ["study"] * 2  # the header alone: to be read back, and to be written


def test_a_text_that_was_not_dumped_is_dumped_anew():
    with pytest.raises(ValueError, match="JSON"):
        module.dump_line(module.parse_line('{"kind":"run","run_id":"a","metrics":{"x":NaN}}'))
    assert module.dump_line(module.parse_line('{"kind": "run", "run_id": "a"}')) == '{"kind":"run","run_id":"a"}'


def test_what_is_compacted_is_dumped_once_for_each_number_of_points_tried(monkeypatch):
    dumped, dump = [], module._dump
    monkeypatch.setattr(module, "_dump", lambda line: dumped.append(line) or dump(line))
    line = {"run_id": "a", "slices": {}, "metrics": {"x": 1.0}, "curves": {}}
    few = {"validation/accuracy": [[step, 0.5] for step in range(15)]}
    made = module._within_size(dict(line), few)
    assert len(dumped) == 3  # what stands before the curves, after them, and the curves
    assert module.dump_line(made) == made.text == dump(dict(made))


@pytest.mark.parametrize("text", ['{"a": [1e400, -0, 0.1, 123456789012345678901234567890]}', '"\\ud800"', b'{"a": 1}'])
def test_json_is_read_as_the_standard_library_reads_it(text):
    assert parse_json(text) == json.loads(text)


@pytest.mark.parametrize("text", ["", "{", "[1,]", '{"a":1}x', "[01]"])
def test_what_is_no_json_is_refused_as_the_standard_library_does(text):
    with pytest.raises(json.JSONDecodeError):
        parse_json(text)
