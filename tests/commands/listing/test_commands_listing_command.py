"""``kdlab list``: what is shown, what a filter keeps, what is refused; over a store of records that nobody trained."""

import csv
import io
import json
import re
import time

import pytest
from filelock import FileLock

from kdlab.records import studies
from kdlab.records.record import RunRecord
from kdlab.records.store import Store


def record(number, *, role="student", seed=0, temperature=4.0, accuracy=0.6, status="finished", quality="standard"):
    """A record as a run leaves it, as far as a list reads it."""
    config = {
        "seed": seed,
        "student": {"_target_": "kdlab.models.MLP", "width": 16},
        "objective": {"temperature": temperature},
        "training": {"steps": 100},
        "teacher": {"seed": seed, "quality": {"name": quality, "scale": None}},
        "data": {"name": "digits", "seed": 0},
    }
    if role == "scratch":
        config |= {"teacher": None, "objective": {"terms": {}}}
    return RunRecord(
        run_id=f"{number:016x}",
        identity=f"{number:064x}",
        status=status,
        role=role,
        data="digits",
        seeds={"student": None if role == "teacher" else seed, "teacher": seed, "data": 0},
        config=config,
        identity_config={},
        overrides=[f"seed={seed}", *([f"objective.temperature={temperature}"] if role == "student" else [])],
        teacher={"id": "f" * 16, "quality": quality} if role == "student" else None,
        metrics={"test/accuracy": accuracy, "test/ece": 0.1, "test/agreement": 0.9 if role == "student" else None},
        error={"type": "OddError", "message": "broken"} if status == "failed" else None,
        provenance={"seconds": 1.5},
    )


RECORDS = [
    record(1, temperature=4.0, accuracy=0.61, seed=0),
    record(2, temperature=4.0, accuracy=0.65, seed=1),
    record(3, temperature=16.0, accuracy=0.7, seed=0, quality="uniform"),
    record(4, role="scratch", accuracy=0.5),
    record(5, role="teacher", accuracy=0.9),
    record(6, temperature=2.0, accuracy=None, status="failed"),
]


@pytest.fixture
def store(kdlab):
    """Six records, four of them and three runs without one in a study."""
    store = Store(kdlab.here / "runs")
    for one in RECORDS:
        store.write(one)
    members = [
        studies.Member(one.run_id, one.role, "warm" if one.role == "student" else one.role, "confirm", one.overrides)
        for one in RECORDS[:4]
    ]
    members += [studies.Member(f"{n:016x}", "student", "warm", None, (f"seed={n}",)) for n in (7, 8, 9)]
    studies.plan(store.root, "asked", {"command": "kdlab sweep asked", "arms": {"warm": []}}, members)
    for number in (8, 9):
        store.begin(f"{number:016x}", {})
    return store


def shown(said):
    """The run numbers of the rows that were printed, in their order."""
    assert said.code == 0, said.err
    return [int(line.split()[0], 16) for line in said.out.splitlines() if line[:8] == "0" * 8]


@pytest.mark.parametrize(
    ("words", "kept"),
    [
        (["role=student"], {1, 2, 3, 6, 8, 9}),
        (["role=student", "status=finished"], {1, 2, 3}),
        (["role=scratch,teacher"], {4, 5}),
        (["role!=student"], {4, 5}),
        (["objective.temperature=4"], {1, 2}),
        (["objective.temperature=4.0,16"], {1, 2, 3}),
        (["objective.temperature>2"], {1, 2, 3}),
        (["objective.temperature<=2"], {6}),
        (["objective.temperature!=4"], {3, 4, 5, 6, 8, 9}),
        (["test/accuracy>0.6", "role=student"], {1, 2, 3}),
        (["test/accuracy >= 0.65", "role=student"], {2, 3}),
        (["seed=1"], {2}),
        (["quality=uniform"], {3}),
        (["arm=warm", "status=finished"], {1, 2, 3}),
        (["study=asked", "status=finished"], {1, 2, 3, 4}),
        (["student.width=16"], {1, 2, 3, 4, 6}),
        (["teacher.quality.name=standard"], {1, 2, 5, 6}),
        (["training.steps=100", "role=teacher"], set()),
        (["data=digits"], {1, 2, 3, 4, 5, 6}),
        (["status=failed"], {6}),
        (["provenance.seconds>1", "role=scratch"], {4}),
        (["run=0000000000000001"], {1}),
        (["test/agreement=null", "role=scratch"], {4}),
    ],
)
def test_filters(kdlab, store, words, kept):
    assert set(shown(kdlab("list", *words))) == kept


def test_a_filter_that_keeps_nothing_says_so(kdlab, store):
    assert kdlab("list", "role=teacher", "seed=7").out == "none of 8 runs has role=teacher and seed=7\n"


@pytest.mark.parametrize(
    ("word", "hint"),
    [
        ("temprature=4", "did you mean objective.temperature"),
        ("objective.temprature=4", "did you mean objective.temperature"),
        ("rolle=student", "did you mean role?"),
        ("sort=test/acuracy", "did you mean test/accuracy"),
        ("columns=sed", "seed"),
        ("student.width>wide", "compares numbers"),
    ],
)
def test_an_unknown_key_names_the_nearest(kdlab, store, word, hint):
    said = kdlab("list", word)
    assert (said.code, said.out) == (2, "")
    assert hint in said.err


def test_a_key_that_no_run_has_yet_is_no_mistake(kdlab, store):
    assert "none of 8 runs has trainer.devices=1" in kdlab("list", "trainer.devices=1").out


def test_sorting_and_columns(kdlab, store):
    assert shown(kdlab("list", "role=student", "status=finished", "sort=test/accuracy")) == [1, 2, 3]
    assert shown(kdlab("list", "sort=-test/accuracy"))[:5] == [5, 3, 2, 1, 4]
    said = kdlab("list", "status=finished", "columns=seed,test/accuracy", "sort=seed")
    assert said.out.splitlines()[0].split() == ["run", "seed", "test/accuracy"]


def test_what_all_share_is_told_once_and_what_varies_has_a_column(kdlab, store):
    lines = kdlab("list", "role=student", "status=finished").out.splitlines()
    assert lines[0] == "all: role=student status=finished data=digits arm=warm test/ece=0.1000 test/agreement=0.9000"
    assert lines[1].split() == ["run", "quality", "seed", "objective.temperature", "test/accuracy"]
    assert lines[2].split() == ["0" * 15 + "1", "standard", "0", "4", "0.6100"]


def test_a_table_for_programs(kdlab, store):
    rows = list(csv.DictReader(io.StringIO(kdlab("list", "asked", "--csv").out)))
    assert len(rows) == 7
    assert rows[0].keys() >= {"run", "role", "status", "seed", "objective.temperature", "test/accuracy"}
    assert {row["status"] for row in rows} == {"finished", "missing", "killed"}


def test_runs_without_a_record(kdlab, store):
    with FileLock(store.root / "locks" / f"{8:016x}.lock"):
        out = kdlab("list", "asked").out
    status = {int(line.split()[0], 16): line.split()[2] for line in out.splitlines() if line[:8] == "0" * 8}
    assert status == {
        1: "finished",
        2: "finished",
        3: "finished",
        4: "finished",
        7: "missing",
        8: "running",
        9: "killed",
    }
    assert "4 finished, 0 failed, 1 running, 1 killed, 1 not run yet" in out
    assert out.rstrip().endswith("run what is missing: kdlab sweep asked")


def test_it_fits_a_terminal(kdlab, store, on_terminal):
    code, text, _ = on_terminal("list", width=80)
    assert code == 0
    rows = [line.rstrip() for line in text.splitlines() if re.match("[0-9a-f]{8}", line)]
    assert len(rows) == 8
    assert all(number in text for number in ("0.6100", "0.6500", "0.7000", "0.9000"))
    assert max(map(len, rows)) <= 80


def test_a_thousand_runs_are_quick(kdlab):
    store = Store(kdlab.here / "runs")
    for number in range(1000):
        one = record(number + 1, seed=number % 50, temperature=float(number // 50))
        (store.root / one.run_id).mkdir(parents=True)
        (store.root / one.run_id / "record.json").write_text(json.dumps(one.to_json()))
    started = time.perf_counter()
    assert len(shown(kdlab("list", "objective.temperature=4"))) == 50
    seconds = time.perf_counter() - started
    print(f"\n1,000 runs listed in {seconds:.2f} s")
    assert seconds < 4, "half a second on an idle machine"
