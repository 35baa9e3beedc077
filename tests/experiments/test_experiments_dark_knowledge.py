"""The record of every teacher that is a network says what it knows of the wrong classes; older records stay."""

from dataclasses import replace

import numpy as np
import pytest
from plain_config import QUALITIES, config

from kdlab.evaluation.dark_knowledge import dark_knowledge
from kdlab.evaluation.predict import load_predictions
from kdlab.experiments.again import evaluate_again, is_up_to_date
from kdlab.experiments.plan import plan_teacher


def matrix(record):
    return np.array(record.dark_knowledge["probabilities"], dtype=np.float64)


@pytest.fixture(scope="module")
def taught(shared):
    return {name: shared.teacher(teacher__quality=quality) for name, quality in QUALITIES.items()}


@pytest.mark.parametrize("name", ["weak", "overconfident"])
def test_a_trained_and_a_transformed_teacher_carry_what_their_own_logits_say(taught, shared, name):
    record = taught[name]
    logits, labels, _ = load_predictions(shared.store.folder(record.run_id) / "predictions" / "test.npz")
    np.testing.assert_array_equal(matrix(record), dark_knowledge(logits, labels, temperature=4.0))
    told = {key: value for key, value in record.dark_knowledge.items() if key != "probabilities"}
    assert told == {"set": "test", "temperature": 4.0, "class_names": ["0", "1", "2"]}
    assert shared.store.load(record.run_id).dark_knowledge == record.dark_knowledge


def test_scaled_logits_are_a_colder_teacher(taught, shared):
    parent = shared.store.load(taught["overconfident"].parent)
    logits, labels, _ = load_predictions(shared.store.folder(parent.run_id) / "predictions" / "test.npz")
    cold = dark_knowledge(logits, labels, temperature=4.0 / 3.0)
    np.testing.assert_allclose(matrix(taught["overconfident"]), cold, rtol=1e-5)


def test_a_control_that_is_no_network_has_none_and_students_say_nothing(taught, shared):
    assert taught["uniform"].dark_knowledge == {"probabilities": None, "reason": "this control has no network"}
    student = shared.run()
    assert student.dark_knowledge == shared.store.load(student.twin).dark_knowledge == {}


def test_without_the_test_set_it_is_of_validation_until_the_test_set_is_asked_for(bench):
    assert bench.teacher(evaluation__sets=["train", "validation"]).dark_knowledge["set"] == "validation"
    assert bench.teacher().dark_knowledge["set"] == "test"


def test_another_temperature_is_measured_from_the_weights(bench, trainings):
    first = bench.teacher()
    warm = bench.teacher(evaluation__dark_knowledge_temperature=9.0)
    assert len(trainings) == 1
    assert (warm.run_id, warm.dark_knowledge["temperature"]) == (first.run_id, 9.0)
    assert np.nanstd(matrix(warm)) < np.nanstd(matrix(first))


def test_an_older_record_is_up_to_date_without_it_and_gets_it_when_measured_again(bench):
    record = bench.teacher()
    bench.store.write(replace(record, dark_knowledge={}))
    assert is_up_to_date(plan_teacher(config()), bench.lab)
    assert bench.teacher().dark_knowledge == {}
    again = evaluate_again(bench.store.folder(record.run_id), bench.lab, config())
    assert again.dark_knowledge == record.dark_knowledge
