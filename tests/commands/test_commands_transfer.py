"""Transfer sets from the command line: a sweep over them, its twins, its report."""

import csv

import pytest

SWEPT = ["run", "-m", "data/transfer=none,heldout,noise", "data.transfer.labelled_fraction=0.4",
         "data.shown.labelled=20", "seed=0,1", "study.name=wider", "evaluation.sets=[validation,test]"]  # fmt: skip
WORDS = [
    ["data/transfer=mixup", "data.transfer.size=30"],
    ["data.shown.omit=[1]"],
    ["data/transfer=heldout", "data.shown.labelled=20", "data.transfer.labels=true"],
    ["data.shown.only=[0,2]", "data.shown.bias_correction=true", "objective.alpha=1"],
]


@pytest.mark.long
def test_a_sweep_over_transfer_sets_has_one_twin_for_all_and_a_row_for_each(kdlab):
    said = kdlab.tiny(*SWEPT)
    assert said.code == 0, said.err
    records = kdlab.records()
    students = [record for record in records.values() if record.role == "student"]
    assert len(students) == 6
    assert len({record.twin for record in students}) == len(kdlab.ids("scratch")) == 2
    assert len(kdlab.ids("teacher")) == 2
    told = {
        record.identity_config.get("transfer", {}).get("_target_", "none").rpartition(".")[2] for record in students
    }
    assert told == {"none", "heldout", "noise"}
    assert all("transfer" not in record.identity_config for record in records.values() if record.role != "student")
    assert kdlab.tiny(*SWEPT).code == 0
    assert kdlab.records().keys() == records.keys()
    assert kdlab("report", "wider").code == 0
    with (kdlab.here / "reports" / "wider" / "tables" / "results.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 4, "scratch, and the three"
    assert len({row["setting"] for row in rows}) == 4


@pytest.mark.parametrize("words", WORDS)
def test_a_run_is_found_again_and_can_be_measured_again(kdlab, words):
    assert kdlab.tiny("run", *words, "evaluation.sets=[validation]").code == 0
    (student,) = kdlab.ids("student")
    said = kdlab("evaluate", student, "evaluation.sets=[test]", "allow_targets=[tiny_data.*]")
    assert said.code == 0, said.err
    record = kdlab.records()[student]
    assert {"validation/accuracy", "test/accuracy"} <= {
        key for key, value in record.metrics.items() if value is not None
    }
    before = kdlab.records()
    assert kdlab.tiny("run", *words, "evaluation.sets=[validation]").last.endswith(student)
    assert kdlab.records() == before
