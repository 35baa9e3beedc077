"""Curves that grow: only what was added is read, and a run that begins anew begins a new curve."""

import json

import pytest
from shelf import record_of, run_id

from kdlab.board.curves import MOST_POINTS, Curves, shown


@pytest.fixture
def curves(shelf):
    return Curves(shelf.root)


def test_a_curve_grows(curves, shelf):
    assert curves.of(run_id(0)) == {}
    path = shelf.begin(0) / "history.jsonl"
    shelf.log(0, 10, train_loss=2.0, validation_accuracy=0.1)
    assert curves.of(run_id(0)) == {"train/loss": [[10, 2.0]], "validation/accuracy": [[10, 0.1]]}
    with path.open("a") as file:
        file.write('{"step": 20, "epoch": 1.0, "key": "train/lo')
    assert curves.of(run_id(0))["train/loss"] == [[10, 2.0]]
    with path.open("a") as file:
        file.write('ss", "value": 1.0}\n')
    shelf.log(0, 30, train_loss=None)
    assert curves.of(run_id(0))["train/loss"] == [[10, 2.0], [20, 1.0]]


def test_only_what_was_added_is_read(curves, shelf):
    path = shelf.begin(0) / "history.jsonl"
    shelf.log(0, 10, train_loss=2.0)
    curves.of(run_id(0))
    text = path.read_bytes()
    path.write_bytes(b"x" * (len(text) - 1) + b"\n")  # in place: what was read is not read again
    shelf.log(0, 20, train_loss=1.0)
    assert curves.of(run_id(0))["train/loss"] == [[10, 2.0], [20, 1.0]]


def test_a_run_that_begins_anew(curves, shelf):
    shelf.begin(0)
    for step in (10, 20):
        shelf.log(0, step, train_loss=2.0)
    assert len(curves.of(run_id(0))["train/loss"]) == 2
    shelf.begin(0)
    assert curves.of(run_id(0)) == {}
    shelf.log(0, 10, train_loss=3.0)
    assert curves.of(run_id(0))["train/loss"] == [[10, 3.0]]


def test_a_pulled_run_has_the_curves_of_its_record(curves, shelf):
    folder = shelf.root / "pulled" / run_id(0)
    folder.mkdir(parents=True)
    record = record_of(0, curves={"train/loss": [[1, 2.0]]})
    (folder / "record.json").write_text(json.dumps(record.to_json()))
    assert curves.of(run_id(0)) == {"train/loss": [[1, 2.0]]}
    (folder / "record.json").write_text(json.dumps(record_of(0, curves={"train/loss": [[1, 12.5]]}).to_json()))
    assert curves.of(run_id(0)) == {"train/loss": [[1, 12.5]]}, "pulled again"


def test_a_long_curve_is_thinned_for_drawing():
    points = [[step, 1 / 3] for step in range(10_000)]
    found = shown("k", {"k": points})
    assert len(found) == MOST_POINTS
    assert (found[0], found[-1]) == ([0, 0.333333], [9999, 0.333333])
    assert shown("other", {"k": points}) == []
