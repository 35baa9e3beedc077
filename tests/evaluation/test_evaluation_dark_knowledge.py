"""Dark knowledge against a slow loop from its equation, and where it is hard to compute or not there at all."""

import doctest
import math

import numpy as np
import pytest

from kdlab.evaluation import dark_knowledge as module
from kdlab.evaluation.dark_knowledge import dark_knowledge, describe_dark_knowledge
from kdlab.outputs import Predictions


def network(n=150, classes=5, seed=0, scale=3.0):
    random = np.random.default_rng(seed)
    return (random.normal(size=(n, classes)) * scale).astype(np.float32), random.integers(0, classes, size=n)


def predictions(logits, labels):
    return Predictions(logits, labels, np.arange(len(labels)))


def slow(logits, labels, temperature):
    """``mean over n with y_n = i of p_nj / (1 - p_ni)``, number by number."""
    classes = logits.shape[1]
    found = [[math.nan] * classes for _ in range(classes)]
    for i in range(classes):
        for j in range(classes):
            shares = []
            for row, label in zip(logits.tolist(), labels, strict=True):
                weights = [math.exp(one / temperature) for one in row]
                p = [weight / sum(weights) for weight in weights]
                if label == i != j:
                    shares.append(p[j] / (1 - p[i]))
            if shares:
                found[i][j] = sum(shares) / len(shares)
    return np.array(found)


@pytest.mark.parametrize("temperature", [1.0, 4.0, 0.5])
def test_against_a_slow_loop_and_a_row_sums_to_one(temperature):
    logits, labels = network()
    before = logits.copy()
    found = dark_knowledge(logits, labels, temperature=temperature)
    np.testing.assert_allclose(found, slow(logits, labels, temperature), rtol=1e-10)
    np.testing.assert_allclose(np.nansum(found, axis=1), 1.0, rtol=1e-12)
    assert np.isnan(np.diag(found)).all()
    np.testing.assert_array_equal(logits, before)


def test_a_class_without_examples_is_undefined_and_the_others_are_not():
    logits, labels = network(classes=4)
    rows = labels != 2
    found = dark_knowledge(logits[rows], labels[rows], temperature=2.0)
    assert np.isnan(found[2]).all()
    np.testing.assert_allclose(found, slow(logits[rows], labels[rows], 2.0), rtol=1e-10)


def test_a_teacher_that_leaves_nothing_in_float64_still_has_its_ratios():
    others = np.log([3.0, 1.0])  # to one another as 3 to 1, whatever the true class has
    for sure in (1e3, 1e30):
        found = dark_knowledge(np.array([[sure, *others]]), np.array([0]), temperature=1.0)
        np.testing.assert_allclose(found[0, 1:], [0.75, 0.25], rtol=1e-12)
    wrong = dark_knowledge(np.array([[0.0, 3e38, -3e38]], np.float32), np.array([0]), temperature=1e-3)
    np.testing.assert_array_equal(wrong[0, 1:], [1.0, 0.0])


def test_it_reads_ratios_alone():
    logits, labels = network()
    shifted = logits + np.random.default_rng(1).normal(size=(len(labels), 1)) * 10
    surer = logits.astype(np.float64)
    surer[np.arange(len(labels)), labels] += 7.0
    for same in (shifted, surer):
        np.testing.assert_allclose(
            dark_knowledge(same, labels, temperature=3.0), dark_knowledge(logits, labels, temperature=3.0), rtol=1e-5
        )


def test_classes_may_be_permuted():
    logits, labels = network()
    order = np.array([3, 0, 4, 1, 2])
    found = dark_knowledge(logits[:, order], np.argsort(order)[labels], temperature=2.0)
    np.testing.assert_allclose(found, dark_knowledge(logits, labels, temperature=2.0)[np.ix_(order, order)], rtol=1e-12)


def test_the_record_holds_the_test_set_else_validation_at_the_chosen_temperature():
    both = {"validation": predictions(*network(seed=1)), "test": predictions(*network(seed=2)), "train": None}
    told = describe_dark_knowledge(both, temperature=2.0, class_names=("a", "b", "c", "d", "e"))
    assert (told["set"], told["temperature"], told["class_names"]) == ("test", 2.0, ["a", "b", "c", "d", "e"])
    matrix = np.array(told["probabilities"], dtype=np.float64)
    np.testing.assert_array_equal(matrix, dark_knowledge(*both["test"][:2], temperature=2.0))
    assert told["probabilities"][3][3] is None
    told = describe_dark_knowledge({"validation": both["validation"]}, temperature=2.0)
    assert (told["set"], told["class_names"]) == ("validation", ["0", "1", "2", "3", "4"])


@pytest.mark.parametrize(("sets", "reason"), [
    ({"train": predictions(*network())}, "neither the test set nor the validation set was evaluated"),
    ({"test": predictions(*network(classes=21))}, "21 classes: a matrix of at most 20 is kept"),
    ({"test": predictions(*network(classes=2))}, "2 classes: there is nothing to share out"),
])  # fmt: skip
def test_none_with_a_reason(sets, reason):
    told = describe_dark_knowledge(sets, temperature=4.0)
    assert told["probabilities"] is None
    assert reason in told["reason"]
    assert describe_dark_knowledge({"test": predictions(*network(classes=20))}, temperature=4.0)["probabilities"]


def test_doctests():
    assert doctest.testmod(module, extraglobs={"np": np}).failed == 0
