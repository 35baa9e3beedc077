"""What stands in the records of student, scratch twin and teachers."""

import math

import numpy as np
import pytest
import torch
from plain_config import QUALITIES, config, overconfident

from kdlab.data.dataset import Dataset
from kdlab.evaluation.predict import load_predictions
from kdlab.keys import expected_keys
from kdlab.streams import stream_seed

SETS, SLICES = ("train", "validation", "test"), ("loud", "shifted")


@pytest.fixture(scope="module")
def family(shared):
    student = shared.run()
    teacher = shared.store.load(student.teacher["id"])
    found = {"student": student, "scratch": shared.store.load(student.twin), "teacher": teacher}
    for name, quality in QUALITIES.items():
        found[f"under {name}"] = shared.run(teacher__quality=quality)
        found[name] = shared.store.load(found[f"under {name}"].teacher["id"])
    return found


NAMES = ("student", "scratch", "teacher", "weak", "overconfident", "uniform", "under weak", "under overconfident",
         "under uniform")  # fmt: skip


@pytest.mark.parametrize("name", NAMES)
def test_every_record_carries_every_key_and_a_reason_for_each_null(family, name):
    record = family[name]
    assert record.status == "finished"
    assert set(record.metrics) == set(expected_keys(record.role, SETS, SLICES))
    nulls = {key for key, value in record.metrics.items() if value is None}
    assert set(record.metrics_undefined) == nulls
    assert all(reason and "not measured in this run" not in reason for reason in record.metrics_undefined.values())
    assert all(math.isfinite(value) for value in record.metrics.values() if value is not None)
    assert set(record.bins) == {*SETS, *SLICES}
    assert set(record.slices) == set(SLICES)
    assert record.slices["loud"] == {"reference": "twins", "ood": True, "size": 45}


def test_roles_weights_and_relations(family, shared):
    assert {name: family[name].role for name in NAMES} == {
        name: "student" if name.startswith(("student", "under")) else "scratch" if name == "scratch" else "teacher"
        for name in NAMES
    }
    student = family["student"]
    assert student.weights == {"hard_labels": 0.1, "soft_targets": 0.9}
    assert family["scratch"].weights == family["teacher"].weights == {"hard_labels": 1.0}
    assert family["scratch"].teacher is None
    assert family["scratch"].twin is None
    assert {family[name].twin for name in NAMES if family[name].role == "student"} == {family["scratch"].run_id}
    assert family["overconfident"].parent == family["teacher"].run_id
    assert not (shared.store.folder(family["overconfident"].run_id) / "weights.safetensors").exists()
    assert family["scratch"].config["teacher"] is None


def test_the_student_is_measured_beside_the_network_that_taught_it(family):
    student, teacher = family["student"].metrics, family["teacher"].metrics
    for name in (*SETS, *SLICES):
        assert student[f"{name}/accuracy_vs_teacher"] == pytest.approx(
            student[f"{name}/accuracy"] - teacher[f"{name}/accuracy"]
        )
    assert family["student"].teacher["metrics"]["test/accuracy"] == teacher["test/accuracy"]
    assert student["cost/teacher_train_seconds"] == teacher["cost/train_seconds"] > 0
    targets = family["student"].teacher["targets"]
    assert targets["temperature"] == 2.0
    assert targets["accuracy"] == pytest.approx(teacher["train/accuracy"])
    assert 0 < targets["entropy"] < math.log(3)


def test_predictions_against_the_weights_by_a_slow_loop(family, shared):
    from kdlab.experiments.again import load_model

    record = family["student"]
    folder = shared.store.folder(record.run_id)
    network = load_model(folder, shared.lab, allow=["tiny_data.*"])
    assert not network.training
    test = shared.lab.dataset(config()).test
    kept = load_predictions(folder / "predictions" / "test.npz")
    assert np.array_equal(kept.index, test.index)
    for row in range(len(test)):
        logits = network(test.inputs[row : row + 1]).logits[0].detach().numpy()
        assert np.allclose(kept.logits[row], logits, atol=1e-5)
    assert record.metrics["test/accuracy"] == np.mean(kept.logits.argmax(1) == test.labels.numpy())


def test_the_uniform_control_is_no_network(family):
    record, control = family["under uniform"], family["uniform"]
    for key in ("test/agreement", "loud/teacher_kl", "train/accuracy_vs_teacher", "test/ece_vs_teacher"):
        assert record.metrics[key] is None
        assert record.metrics_undefined[key] == "the control that taught is no network"
    assert record.teacher["metrics"] is None
    assert record.teacher["targets"] == {"temperature": 2.0, "accuracy": None, "entropy": pytest.approx(math.log(3))}
    assert control.metrics["transfer/target_entropy"] == pytest.approx(math.log(3))
    assert control.metrics["cost/num_params"] is None
    assert control.metrics_undefined["cost/num_params"] == "this control has no network"


def test_overconfident_keeps_accuracy_and_spoils_calibration(family):
    parent, spoiled = family["teacher"].metrics, family["overconfident"].metrics
    assert spoiled["test/accuracy"] == parent["test/accuracy"] == spoiled["test/parent_accuracy"]
    assert spoiled["test/fitted_temperature"] == pytest.approx(3 * parent["test/fitted_temperature"], rel=0.02)
    assert spoiled["transfer/target_entropy"] < parent["transfer/target_entropy"]
    assert spoiled["cost/train_seconds"] == parent["cost/train_seconds"]


def test_a_weak_teacher_is_one_trained_for_fewer_steps(family):
    assert family["weak"].provenance["steps"] == 4
    assert family["teacher"].provenance["steps"] == 18
    assert family["weak"].metrics["train/nll"] > family["teacher"].metrics["train/nll"]


def test_curves_stand_in_the_record(family):
    student = family["student"]
    assert [step for step, _ in student.curves["validation/accuracy"]] == [6, 12]
    assert {"train/loss", "train/terms/hard_labels", "train/terms/soft_targets"} <= set(student.curves)
    assert "train/terms/soft_targets" not in family["scratch"].curves


def test_keep_predictions(bench):
    kept = {}
    for what in ("all", "test", "none"):
        record = bench.run(evaluation__keep_predictions=what, seed=len(kept))
        folder = bench.store.folder(record.run_id) / "predictions"
        kept[what] = sorted(path.stem for path in folder.glob("*")) if folder.exists() else []
        assert set(record.bins) == {*SETS, *SLICES}
    assert kept == {"all": sorted([*SETS, *SLICES]), "test": ["test"], "none": []}
    teacher = bench.store.folder(record.teacher["id"]) / "predictions"
    assert len(list(teacher.glob("*"))) == 5  # a teacher's students are compared with it


def test_doses_share_a_parent_that_is_trained_once(bench, trainings):
    for scale in (2, 4):
        bench.run(teacher__quality=overconfident(scale))
    assert trainings == [("teacher", 0), ("student", 0), ("student", 0), ("student", 0)]  # teacher, twin, two doses


def test_two_temperatures_are_two_folders_and_one_twin(bench, trainings):
    cold, warm = bench.run(temperature=1), bench.run(temperature=4)
    assert cold.run_id != warm.run_id
    assert cold.metrics["test/nll"] != warm.metrics["test/nll"]
    assert len(bench.store.ids()) == 4
    assert len(trainings) == 4


def test_the_student_at_alpha_0_has_the_weights_of_the_twin_bit_by_bit(bench, trainings):
    student = bench.run(alpha=0.9)
    scratch = bench.run(alpha=0, temperature=3)
    assert scratch.run_id == student.twin
    assert len(trainings) == 3  # found, not trained again
    alone = bench.run(alpha=0, force=True)
    assert alone.run_id == scratch.run_id
    assert len(trainings) == 4
    assert alone.metrics["test/nll"] == scratch.metrics["test/nll"]


def test_same_seed_same_bits_in_another_store(bench, shared, family):
    again = bench.run()
    assert bench.weights(again.run_id) == shared.weights(family["student"].run_id)
    timed = ("cost/train_seconds", "cost/teacher_train_seconds")
    drop = lambda metrics: {key: value for key, value in metrics.items() if key not in timed}  # noqa: E731
    assert drop(again.metrics) == drop(family["student"].metrics)


def test_teacher_and_student_of_one_architecture_and_seed_start_and_go_differently(bench):
    from kdlab.experiments.assembling import build_teacher_network
    from kdlab.experiments.students import build_student

    same = config(student__norm="batch", student__width=9, student__dropout=0.0)
    assert same.student == same.teacher.model
    dataset = bench.lab.dataset(same)
    student, teacher = build_student(same, dataset), build_teacher_network(same, dataset)
    for name, value in student.state_dict().items():
        if name.endswith("weight") and value.ndim == 2:
            assert not torch.equal(value, teacher.state_dict()[name])
    assert stream_seed("student", "order", 0) != stream_seed("teacher", "order", 0)


class Guarded(Dataset):
    """Its test set and slices cannot be looked at while something trains."""

    training = False

    def __getattribute__(self, name):
        if name in ("test", "slices", "sets") and Guarded.training:
            raise AssertionError(f"{name} was looked at during training")
        return super().__getattribute__(name)


def test_nothing_of_the_test_set_is_seen_while_training(bench, monkeypatch):
    import kdlab.experiments.fitting as fitting
    import kdlab.experiments.lab as lab

    load, fit = lab.load_dataset, fitting.fit

    def guarded(*arguments, **keywords):
        found = load(*arguments, **keywords)
        return Guarded(**{name: getattr(found, name) for name in found.__dataclass_fields__})

    def watched(learners, **keywords):
        seen = {id(examples) for learner in learners for examples in (learner.train, learner.validation)}
        dataset = bench.lab.dataset(config())
        assert id(dataset.test) not in seen
        Guarded.training = True
        try:
            return fit(learners, **keywords)
        finally:
            Guarded.training = False

    monkeypatch.setattr(lab, "load_dataset", guarded)
    monkeypatch.setattr(fitting, "fit", watched)
    assert bench.run().metrics["test/accuracy"] is not None


def test_a_tuning_run_holds_no_number_of_test_or_slices(bench):
    record = bench.run(evaluation__sets=["train", "validation"])
    for one in (record, *bench.records()):
        assert set(one.bins) == {"train", "validation"}
        assert not [key for key in one.metrics if key.startswith(("test/", "loud/", "shifted/", "ood/"))]


def test_a_parent_first_asked_for_through_a_dose_is_recorded_as_itself(bench):
    bench.run(teacher__quality=overconfident(3.0))
    dose, parent = sorted((one for one in bench.records() if one.role == "teacher"), key=lambda one: one.parent is None)
    assert dose.config["teacher"]["quality"]["name"] == "overconfident"
    assert parent.config["teacher"]["quality"] == {"name": "standard"}
    assert dose.parent == parent.run_id


def test_the_split_is_kept_by_index_and_every_record_names_it(family, shared):
    names = {record.provenance["split"] for record in family.values()}
    assert len(names) == 1
    kept = np.load(shared.store.root / "splits" / names.pop(), allow_pickle=False)
    dataset = shared.lab.dataset(config())
    for part in ("train", "validation", "test"):
        assert kept[part].dtype == np.int64
        assert np.array_equal(kept[part], getattr(dataset, part).index.numpy())
    tested = load_predictions(shared.store.folder(family["student"].run_id) / "predictions" / "test.npz")
    assert np.array_equal(tested.index, kept["test"])
