"""Latency and the price of a step: measured once per architecture and machine, shared by twins and seeds."""

import time

import pytest
from plain_config import QUALITIES, config

import kdlab.experiments.latency as latency_room
import kdlab.experiments.measured_once as measured_once_room
import kdlab.experiments.step_cost as step_cost
from kdlab.evaluation.latency import LatencyResult
from kdlab.experiments.preflight import measure_latencies

TIMED = {"evaluation__latency__enabled": True}


@pytest.fixture
def measured(monkeypatch):
    """What was measured: quick stand-ins for the two measurements."""
    calls = []

    def quick(student, reference, **how):
        calls.append("alone" if reference is None else "pair")
        ratio = None if reference is None else 0.5
        values = {f"latency/{name}": 1.0 for name in ("p50_ms", "p90_ms", "p99_ms", "p99_ms_low", "p99_ms_high")}
        values["latency/contended"] = 0.0
        ratios = {f"latency/{name}": ratio for name in ("p50_ratio", "p99_ratio", "p99_ratio_low", "p99_ratio_high")}
        undefined = dict.fromkeys(ratios, "no reference") if reference is None else {}
        return LatencyResult({**values, **ratios, "throughput/examples_per_s": 9.0}, undefined, {"threads": 1})

    monkeypatch.setattr(latency_room, "measure_latency", quick)
    # tests that train in the next process disturb the real step measurement; here what was measured once serves
    monkeypatch.setattr(measured_once_room, "others_train", lambda: True)
    monkeypatch.setattr(step_cost, "_SECONDS", 0.0)
    monkeypatch.setattr(step_cost, "BLOCKS", 2)
    measure = step_cost.measure_step_cost

    def counted(*arguments, **keywords):
        calls.append("step")
        return measure(*arguments, **keywords)

    monkeypatch.setattr(step_cost, "measure_step_cost", counted)
    return calls


def test_one_measurement_serves_student_twin_and_every_seed_and_temperature(bench, measured):
    student = bench.run(**TIMED)
    twin, teacher = bench.store.load(student.twin), bench.store.load(student.teacher["id"])
    assert measured.count("pair") == 1
    assert measured.count("step") == 1
    assert measured.count("alone") == 1
    assert twin.metrics["latency/p50_ratio"] == student.metrics["latency/p50_ratio"] == 0.5
    assert twin.latency["measurement"] == student.latency["measurement"]
    assert teacher.metrics["latency/p50_ratio"] is None
    assert teacher.metrics_undefined["latency/p50_ratio"] == "no reference"
    bench.run(seed=1, temperature=7, **TIMED)
    assert len(measured) == 3


def test_the_twin_made_first_alone_is_timed_beside_the_same_teacher(bench, measured):
    scratch = bench.run(alpha=0, **TIMED)
    assert scratch.role == "scratch"
    assert scratch.metrics["latency/p50_ratio"] == 0.5
    assert bench.run(**TIMED).twin == scratch.run_id
    assert measured.count("pair") == 1


def test_the_price_of_a_step_is_the_students_alone(bench, measured):
    student = bench.run(**TIMED)
    twin, teacher = bench.store.load(student.twin), bench.store.load(student.teacher["id"])
    assert student.metrics["cost/step_ms_ratio"] > 0
    facts = student.latency["step_cost"]
    assert student.metrics["cost/step_ms_ratio"] == facts["step_ms"] / facts["plain_step_ms"]
    for record in (twin, teacher):
        assert record.metrics["cost/step_ms_ratio"] is None
        assert record.metrics_undefined["cost/step_ms_ratio"] == "measured of student records only"


def test_it_belongs_to_the_method_and_not_to_its_knobs(bench, measured):
    dataset = bench.lab.dataset(config())

    def price(**changes):
        return step_cost.step_cost_of(config(**TIMED, **changes), dataset=dataset, lab=bench.lab).facts["measurement"]

    first = price()
    assert (
        price(seed=3, temperature=9, alpha=0.5, training__steps=99, training__optimizer__lr=0.9, teacher__seed=5)
        == first
    )
    others = [
        price(student__width=7),
        price(teacher__model__width=11),
        price(training__batch_size=20),
        price(alpha=1),
        price(training__optimizer={"_target_": "torch.optim.AdamW"}),
        price(teacher__quality=QUALITIES["uniform"]),
        price(teacher__quality=QUALITIES["overconfident"]),
    ]
    assert len({first, *others}) == 8
    assert measured.count("step") == 8


def test_a_sweep_measures_everything_before_it_trains(bench, measured, trainings):
    points = [config(seed=seed, temperature=t, **TIMED) for seed in (0, 1) for t in (1, 2)]
    measure_latencies(points, bench.lab)
    assert sorted(measured) == ["alone", "pair", "step"]
    assert trainings == []
    bench.run(**TIMED)
    assert len(measured) == 3


def test_times_that_were_not_wanted_are_measured_later_without_training(bench, measured, trainings):
    untimed = bench.run()
    assert measured == []
    assert untimed.metrics_undefined["latency/p50_ms"] == "not measured: evaluation.latency.enabled is false"
    timed = bench.run(**TIMED)
    assert len(trainings) == 3
    assert timed.metrics["latency/p50_ms"] == 1.0
    assert timed.metrics["cost/step_ms_ratio"] is not None
    assert all(record.metrics["latency/p50_ms"] == 1.0 for record in bench.records())
    assert bench.run() == timed


def test_the_ratio_of_two_known_steps():
    def lasting(seconds):
        def step():
            end = time.perf_counter() + seconds
            while time.perf_counter() < end:
                pass

        return step

    found = step_cost.measure_step_cost(lasting(3e-4), lasting(1e-4))
    assert found["ratio"] == pytest.approx(3, rel=0.1)
    assert found["step_ms"] == pytest.approx(0.3, rel=0.1)


def test_a_plain_step_costs_what_a_plain_step_costs_and_a_teacher_costs_more(bench):
    terms = {"hard_labels": {"_target_": "kdlab.objectives.terms.hard_labels", "weight": 1.0, "label_smoothing": 0.1}}
    dataset = bench.lab.dataset(config())
    labels = step_cost.step_cost_of(config(objective={"terms": terms}, **TIMED), dataset=dataset, lab=bench.lab)
    taught = step_cost.step_cost_of(config(teacher__model__width=400, **TIMED), dataset=dataset, lab=bench.lab)
    assert 0.7 < labels.ratio < 1.4
    assert taught.ratio > 1.1


def test_nothing_is_measured_where_times_are_not_wanted(bench):
    assert step_cost.step_cost_of(config(), dataset=bench.lab.dataset(config()), lab=bench.lab) is None
    measure_latencies([config()], bench.lab)
    assert not (bench.store.root / "latency").exists()
    assert not (bench.store.root / "step_cost").exists()


def test_a_disturbed_measurement_is_made_again_once_nothing_trains(tmp_path, monkeypatch):
    disturbed, busy = iter([1.0, 0.0]), [True]
    monkeypatch.setattr(measured_once_room, "others_train", lambda: busy[0])

    def look():
        value = {"metrics": {"latency/contended": next(disturbed)}}
        return measured_once_room.measured_once(tmp_path, {"what": "x"}, lambda: value)["metrics"]

    def found():
        nothing = {"metrics": {"latency/contended": -1.0}}
        return measured_once_room.measured_once(tmp_path, {"what": "x"}, lambda: nothing)["metrics"]

    assert look() == {"latency/contended": 1.0}
    assert found() == {"latency/contended": 1.0}, "others train still: what there is serves"
    busy[0] = False
    assert look() == {"latency/contended": 0.0}
    assert found() == {"latency/contended": 0.0}
