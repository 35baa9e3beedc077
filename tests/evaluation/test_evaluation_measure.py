import json
import math
import time

import numpy as np
import pytest

from kdlab.evaluation import calibration, fidelity
from kdlab.evaluation.evaluate import complete, measure, role_reason
from kdlab.evaluation.gaps import SliceFacts
from kdlab.evaluation.metrics import log_softmax, nll
from kdlab.evaluation.scored import Scored
from kdlab.keys import expected_keys
from kdlab.outputs import Predictions

SLICES = {"noise": SliceFacts("twins", True), "shear": SliceFacts("twins", True), "shift": SliceFacts("test", False)}


def one(n, *, start=0, seed=0, labels=None, strength=2.5, classes=10):
    random = np.random.default_rng(seed)
    labels = random.integers(0, classes, n) if labels is None else labels
    logits = (random.normal(size=(n, classes)) * 2).astype(np.float32)
    logits[np.arange(n), labels] += strength
    return Predictions(logits, labels, np.arange(start, start + n))


def network(seed=0, *, test=400, piece=100):
    sets = {"train": one(150, start=50_000, seed=seed), "validation": one(120, start=60_000, seed=seed + 1)}
    sets["test"] = one(test, seed=seed + 2)
    for at, name in enumerate(("noise", "shear")):
        sets[name] = one(piece, seed=seed + 3 + at, labels=sets["test"].labels[:piece], strength=1.0 + at)
    sets["shift"] = one(piece, start=90_000, seed=seed + 9)
    return sets


def shaken(sets):
    random = np.random.default_rng(99)
    return {
        name: p._replace(logits=(p.logits + random.normal(size=p.logits.shape)).astype(np.float32))
        for name, p in sets.items()
    }


def run(sets, teacher=None, role="student", **knobs):
    return measure(sets, slices=SLICES, teacher=teacher, role=role, num_classes=10, **knobs)


def demanded(role, sets, slices):
    other = ("cost/", "latency/", "throughput/", "transfer/")
    return {k for k in expected_keys(role, sets, slices) if not k.startswith(other) and "parent" not in k}


@pytest.mark.parametrize("role", ["student", "scratch", "teacher"])
@pytest.mark.parametrize("taught", [True, False])
def test_every_key_is_there_and_every_null_has_a_reason(role, taught):
    sets = network()
    found = run(sets, shaken(sets) if taught else None, role)
    assert set(found.metrics) == demanded(role, sets, SLICES)
    assert {key for key, value in found.metrics.items() if value is None} == set(found.undefined)
    assert all(found.undefined.values())
    assert all(math.isfinite(v) for v in found.metrics.values() if v is not None)
    json.dumps([found.metrics, found.undefined, found.bins], allow_nan=False)
    assert set(found.bins) == set(sets)
    if taught:
        assert not found.undefined


def test_the_numbers_are_those_of_the_pure_functions():
    sets = network()
    teacher = shaken(sets)
    found = run(sets, teacher).metrics
    test, validation = sets["test"], sets["validation"]
    assert found["test/accuracy"] == np.mean(test.logits.argmax(1) == test.labels)
    assert found["noise/nll"] == nll(log_softmax(sets["noise"].logits), sets["noise"].labels)
    temperature = calibration.fit_temperature(validation.logits, validation.labels).temperature
    assert found["test/fitted_temperature"] == temperature
    assert found["test/log_fitted_temperature"] == pytest.approx(math.log(temperature))
    probs = np.exp(log_softmax(test.logits.astype(np.float64) / temperature))
    hits = test.logits.argmax(1) == test.labels
    assert found["test/ece_scaled"] == pytest.approx(calibration.ece(probs.max(1), hits), abs=1e-13)
    same = np.mean(sets["shift"].logits.argmax(1) == teacher["shift"].logits.argmax(1))
    assert found["shift/agreement"] == pytest.approx(same)
    kl = fidelity.teacher_kl(log_softmax(test.logits), log_softmax(teacher["test"].logits))
    assert found["test/teacher_kl"] == kl
    theirs = run(teacher, role="teacher").metrics
    for name in sets:
        assert found[f"{name}/accuracy_vs_teacher"] == found[f"{name}/accuracy"] - theirs[f"{name}/accuracy"]
        assert found[f"{name}/ece_vs_teacher"] == found[f"{name}/ece"] - theirs[f"{name}/ece"]


def test_gaps_use_their_reference_and_ood_leaves_the_label_shift_out():
    sets = network()
    found = run(sets).metrics
    twins = np.mean(sets["test"].logits[:100].argmax(1) == sets["test"].labels[:100])
    assert found["noise/gap"] == pytest.approx(twins - found["noise/accuracy"])
    assert found["shift/gap"] == found["test/accuracy"] - found["shift/accuracy"]
    assert found["ood/mean_gap"] == pytest.approx((found["noise/gap"] + found["shear/gap"]) / 2)
    assert found["ood/worst_gap"] == max(found["noise/gap"], found["shear/gap"])


def test_a_teacher_scored_once_gives_every_student_the_same_numbers(monkeypatch):
    teacher = shaken(network())
    once = {name: Scored(name, predictions) for name, predictions in teacher.items()}
    students = [network(), shaken(shaken(network()))]
    assert [run(student, once) for student in students] == [run(student, teacher) for student in students]
    looked_at = []
    monkeypatch.setattr("kdlab.evaluation.metrics.log_softmax", lambda z: looked_at.append(len(z)) or log_softmax(z))
    run(students[1], once)
    assert len(looked_at) == len(teacher) + 1  # the student's sets and its scaled test set, none of the teacher's


def test_the_top_confidence_is_the_largest_probability():
    for strength in (0.0, 3.0, 40.0):
        found = Scored("test", one(3001, strength=strength))
        np.testing.assert_array_equal(found.confidence, found.probs.max(axis=1))


def test_a_student_that_is_its_teacher():
    sets = network()
    found = run(sets, sets).metrics
    for name in sets:
        assert found[f"{name}/agreement"] == 1.0
        assert (
            found[f"{name}/teacher_kl"]
            == found[f"{name}/accuracy_vs_teacher"]
            == found[f"{name}/ece_vs_teacher"]
            == 0.0
        )


def test_a_tuning_run_holds_no_test_number():
    sets = {name: p for name, p in network().items() if name in ("train", "validation")}
    found = run(sets)
    assert {key.split("/")[0] for key in found.metrics} == {"train", "validation"}
    assert set(found.metrics) == demanded("student", sets, ())


def test_slices_without_the_test_set_have_no_gap():
    sets = {name: p for name, p in network().items() if name in ("validation", "noise")}
    found = run(sets)
    assert found.undefined["noise/gap"] == found.undefined["ood/worst_gap"] == "the test set was not evaluated"
    assert found.metrics["noise/accuracy"] is not None


def test_reasons_say_why():
    sets = network()
    assert run(sets, role="scratch").undefined["test/agreement"] == "trained on hard labels alone"
    found = run(sets, why_no_teacher="the uniform control is no network")
    assert found.undefined["noise/teacher_kl"] == "the uniform control is no network"
    part = {name: p for name, p in shaken(sets).items() if name != "noise"}
    assert run(sets, part).undefined == {
        f"noise/{key}": "the teacher was not evaluated on noise"
        for key in ("agreement", "teacher_kl", "accuracy_vs_teacher", "ece_vs_teacher")
    }
    alone = run({"test": sets["test"]})
    assert alone.undefined["test/ece_scaled"] == "the validation set was not evaluated"
    assert alone.undefined["ood/mean_gap"] == "no evaluated slice is marked ood"


def test_a_perfect_and_a_constant_network_are_measured():
    sets = network()
    perfect = {n: p._replace(logits=50 * np.eye(10, dtype=np.float32)[p.labels]) for n, p in sets.items()}
    found = run(perfect)
    assert found.metrics["test/accuracy"] == 1.0
    assert found.metrics["test/ece"] == pytest.approx(0.0, abs=1e-12)
    assert found.metrics["test/fitted_temperature"] is found.metrics["test/ece_scaled"] is None
    assert "highest at the label" in found.undefined["test/log_fitted_temperature"]
    uniform = {n: p._replace(logits=np.zeros_like(p.logits)) for n, p in sets.items()}
    found = run(uniform, role="teacher")
    assert found.metrics["test/nll"] == pytest.approx(math.log(10))
    assert "constant" in found.undefined["test/fitted_temperature"]


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_non_finite_logits_name_the_set(bad):
    sets = network()
    broken = sets["shear"].logits.copy()
    broken[3, 1] = bad
    sets["shear"] = sets["shear"]._replace(logits=broken)
    with pytest.raises(ValueError, match="set 'shear': non-finite logits in 1 of 100 examples"):
        run(sets)
    with pytest.raises(ValueError, match="set 'shear' of the teacher: non-finite"):
        run(network(), sets)


def test_what_does_not_fit_is_refused():
    sets = network()
    with pytest.raises(ValueError, match="set 'nosie': neither"):
        run(sets | {"nosie": sets["noise"]})
    with pytest.raises(ValueError, match="set 'test': student and teacher were evaluated on different examples"):
        run(sets, sets | {"test": sets["test"]._replace(index=sets["test"].index + 1)})
    with pytest.raises(ValueError, match=r"set 'train': logits of shape \(150, 9\)"):
        run(sets | {"train": sets["train"]._replace(logits=sets["train"].logits[:, :9])})
    with pytest.raises(ValueError, match="set 'train': labels 0 to 10"):
        run(sets | {"train": sets["train"]._replace(labels=np.arange(150) % 11)})
    with pytest.raises(ValueError, match="set 'train': 150 logits, 0 labels"):
        run(sets | {"train": sets["train"]._replace(labels=np.zeros(0, int))})
    with pytest.raises(ValueError, match="slice 'noise': 100 of 100 examples have no twin"):
        run(sets | {"noise": sets["noise"]._replace(index=sets["noise"].index + 10_000)})
    with pytest.raises(ValueError, match="reserved"):
        measure({"ood": sets["noise"]}, slices={"ood": SLICES["noise"]}, teacher=None, role="student", num_classes=10)
    with pytest.raises(ValueError, match="role = 'twin'"):
        run(sets, role="twin")


def test_predictions_are_not_changed():
    sets = network()
    before = {name: [column.copy() for column in p] for name, p in sets.items()}
    run(sets, shaken(sets))
    for name, columns in before.items():
        for one_, other in zip(sets[name], columns, strict=True):
            np.testing.assert_array_equal(one_, other)


def test_complete_fills_in_and_refuses_nan():
    values, undefined = complete({"a": 1.0, "b": None, "c": 2.0}, {"b": "why", "c": "old"}, ["d", "a"], "absent")
    assert values == {"d": None, "a": 1.0, "b": None, "c": 2.0}
    assert undefined == {"d": "absent", "b": "why"}
    for bad in (math.nan, math.inf):
        with pytest.raises(ValueError, match="a = "):
            complete({"a": bad}, {}, [], "absent")
    _, undefined = complete({}, {}, ["transfer/target_entropy", "cost/macs"], role_reason("student", "not asked for"))
    assert undefined == {"transfer/target_entropy": "measured of teacher records only", "cost/macs": "not asked for"}


def test_a_full_size_evaluation_is_fast():
    sets = {"train": one(4000, start=50_000), "validation": one(2000, start=60_000), "test": one(10_000)}
    slices = {f"s{i}": SliceFacts("twins", True) for i in range(15)}
    sets |= {name: one(2000, seed=i, labels=sets["test"].labels[:2000]) for i, name in enumerate(slices)}
    taken = []
    for _ in range(4):
        start = time.perf_counter()
        measure(sets, slices=slices, teacher=None, role="scratch", num_classes=10)
        taken.append(time.perf_counter() - start)
    assert min(taken) < 0.3  # 0.045 s on a quiet machine
