"""Finished runs that lack something are measured again from their weights, never trained again."""

from dataclasses import replace

import pytest
from plain_config import QUALITIES, config, plain

from kdlab.errors import UserError
from kdlab.evaluation import EVALUATION_VERSION
from kdlab.experiments.again import config_of, evaluate_again, is_up_to_date, load_model
from kdlab.experiments.plan import plan

ALLOW = ["tiny_data.*"]


def untimed(record):
    return {key: value for key, value in record.metrics.items() if not key.startswith("cost/")}


def test_what_is_finished_is_found(bench, trainings):
    first = bench.run()
    assert bench.run() == first
    assert len(trainings) == 3
    assert all(is_up_to_date(run, bench.lab) for run in plan(config()).runs())


def test_force_repeats_the_run_alone(bench, trainings):
    first = bench.run()
    again = bench.run(force=True)
    assert [role for role, _ in trainings] == ["teacher", "student", "student", "student"]
    assert untimed(again) == untimed(first)
    assert again.provenance["attempt"] == 2


@pytest.mark.parametrize("quality", ["standard", "overconfident", "uniform"])
def test_missing_sets_are_measured_of_student_twin_and_teacher_and_the_others_stay(bench, trainings, quality):
    told = {"teacher__quality": QUALITIES.get(quality, {"name": "standard"})}
    bench.run(evaluation__sets=["train", "validation"], **told)
    count, before = len(trainings), {record.run_id: record for record in bench.records()}
    assert not is_up_to_date(plan(config(**told)).run, bench.lab)
    bench.run(evaluation__sets=["test", "slices"], **told)
    assert len(trainings) == count
    whole = bench.__class__(bench.store.root.parent / "other")
    whole.run(**told)
    for record in bench.records():
        assert set(record.bins) == {"train", "validation", "test", "loud", "shifted"}
        assert untimed(record) == untimed(whole.store.load(record.run_id))
        assert record.metrics_undefined == whole.store.load(record.run_id).metrics_undefined
        earlier = before[record.run_id]
        assert record.metrics["cost/train_seconds"] == earlier.metrics["cost/train_seconds"]
        assert (record.provenance, record.curves, record.weights) == (
            earlier.provenance,
            earlier.curves,
            earlier.weights,
        )
        assert record.config["evaluation"]["sets"] == ["train", "validation", "test", "slices"]
    assert all(is_up_to_date(run, bench.lab) for run in plan(config(**told)).runs())


def test_an_older_evaluation_is_done_again(bench, trainings):
    bench.run()
    for record in bench.records():
        spoiled = {**record.metrics, "test/accuracy": 0.0}
        bench.store.write(replace(record, evaluation_version=EVALUATION_VERSION - 1, metrics=spoiled))
    bench.run()
    assert len(trainings) == 3
    for record in bench.records():
        assert record.evaluation_version == EVALUATION_VERSION
        assert record.metrics["test/accuracy"] > 0
    student = bench.run()
    teacher = bench.store.load(student.teacher["id"])
    assert student.teacher["metrics"]["test/accuracy"] == teacher.metrics["test/accuracy"]


def test_a_slice_whose_knob_was_turned_is_measured_again_and_compared_with_the_teacher_on_the_same_rows(
    bench, trainings
):
    mild = bench.run()
    strong = bench.run(data__slices__loud__factor=8.0)
    assert len(trainings) == 3
    assert strong.run_id == mild.run_id
    assert strong.metrics["loud/accuracy"] < mild.metrics["loud/accuracy"]
    assert strong.metrics["test/accuracy"] == mild.metrics["test/accuracy"]
    teacher = bench.store.load(strong.teacher["id"]).metrics
    assert strong.metrics["loud/accuracy_vs_teacher"] == pytest.approx(
        strong.metrics["loud/accuracy"] - teacher["loud/accuracy"]
    )
    fresh = bench.__class__(bench.store.root.parent / "other").run(data__slices__loud__factor=8.0)
    assert untimed(fresh) == untimed(strong)


def test_two_sweeps_with_slices_of_their_own_do_not_undo_each_other(bench):
    spec = plain()["data"]["slices"]["loud"]
    bench.run(data__slices={"one": spec})
    both = bench.run(data__slices={"two": spec})
    assert {"one", "two"} <= set(both.bins)
    assert set(both.config["data"]["slices"]) == {"one", "two"}
    assert bench.run(data__slices={"one": spec}) == both


def test_evaluate_again_gives_the_same_numbers(bench):
    student = bench.run()
    for record in bench.records():
        folder = bench.store.folder(record.run_id)
        again = evaluate_again(folder, bench.lab, config_of(record, allow=ALLOW))
        assert again.metrics == record.metrics
        assert again.metrics_undefined == record.metrics_undefined
        assert again.role == record.role
        assert again == bench.store.load(record.run_id)
        assert "measured again" in (folder / "log.txt").read_text()
    assert bench.store.load(student.run_id).teacher == student.teacher


def test_evaluate_again_of_a_failed_run_and_of_none(bench, tmp_path):
    record = bench.run()
    bench.store.write(replace(record, status="failed", error={"type": "X", "message": "why"}))
    with pytest.raises(UserError, match=r"failed \(why\)"):
        evaluate_again(bench.store.folder(record.run_id), bench.lab, config())
    with pytest.raises(UserError, match="no record yet"):
        evaluate_again(tmp_path, bench.lab, config())


def test_a_run_folder_names_no_code_to_execute(bench):
    record = bench.run()
    folder = bench.store.folder(record.run_id)
    with pytest.raises(UserError, match="allow_targets"):
        load_model(folder, bench.lab)  # tiny_data is nobody's building block
    evil = {**record.config, "student": {"_target_": "torch.os.system", "command": "false"}}
    bench.store.write(replace(record, config=evil))
    with pytest.raises(UserError, match=r"student\._target_ = 'torch\.os\.system'"):
        load_model(folder, bench.lab, allow=ALLOW)
    sneaky = {"_target_": "kdlab.data.slices.transformed", "reference": "twins", "ood": True, "function": "os.system"}
    data = {**record.config["data"], "slices": {"sneaky": sneaky}}
    bench.store.write(replace(record, evaluation_version=0, config={**record.config, "data": data}))
    with pytest.raises(UserError, match=r"data\.slices\.sneaky\.function = 'os\.system'"):
        bench.run()


def test_a_transformed_teacher_names_its_parent_when_asked_for_weights(bench):
    record = bench.teacher(teacher__quality=QUALITIES["overconfident"])
    with pytest.raises(UserError, match=f"no weights of its own; its weights are those of {record.parent}"):
        load_model(bench.store.folder(record.run_id), bench.lab, allow=ALLOW)
    assert load_model(bench.store.folder(record.parent), bench.lab, allow=ALLOW)
