"""The bias of unseen classes: exactly the best, against a search that tries everything."""

import numpy as np
import pytest

from kdlab.evaluation.bias_correction import best_bias
from kdlab.evaluation.metrics import accuracy


def drawn(seed, *, num=60, classes=5, lowered=3.0):
    """Logits of a network that is right more often than its biases let it be."""
    draws = np.random.default_rng(seed)
    labels = draws.integers(classes, size=num)
    raised = np.zeros(classes, dtype=bool)
    raised[draws.permutation(classes)[: 1 + seed % (classes - 1)]] = True
    logits = draws.normal(size=(num, classes)) + 2 * np.eye(classes)[labels] - lowered * raised
    return logits, labels, raised


def with_bias(logits, labels, raised, bias):
    return accuracy(logits + bias * raised, labels)


def searched(logits, labels, raised):
    """A line search over so fine a grid that no answer changes twice between neighbours, in plain loops."""
    best = (-1.0, 0.0)
    for bias in np.arange(-12.0, 12.0, 0.002):
        found = with_bias(logits, labels, raised, bias)
        best = max(best, (found, -abs(bias)))
    return best[0]


@pytest.mark.parametrize("seed", range(6))
def test_no_bias_of_a_fine_grid_is_better(seed):
    logits, labels, raised = drawn(seed)
    found = best_bias(logits, labels, raised=raised)
    assert found.accuracy >= searched(logits, labels, raised)
    assert found.accuracy == with_bias(logits, labels, raised, found.bias), "what it says is what it does"
    assert found.accuracy_before == accuracy(logits, labels)
    assert found.accuracy > found.accuracy_before
    assert 0.5 < found.bias < 6


def test_biases_that_are_too_high_are_lowered():
    logits, labels, raised = drawn(2, lowered=-4.0)
    found = best_bias(logits, labels, raised=raised)
    assert -7 < found.bias < -1
    assert found.accuracy == with_bias(logits, labels, raised, found.bias)


def test_what_cannot_be_bettered_stays_as_it_is_to_the_bit():
    logits = np.array([[4.0, 0.0, 0.0], [0.0, 4.0, 0.0], [0.0, 0.0, 4.0]])
    assert best_bias(logits, np.arange(3), raised=np.array([False, False, True])) == (0.0, 1.0, 1.0)
    wrong = np.array([[4.0, 0.0]])
    assert best_bias(wrong, np.array([0]), raised=np.array([False, True])) == (0.0, 1.0, 1.0)


def test_of_equally_good_ones_it_is_the_smallest_in_size():
    # label 1 is found from 2 on, label 0 lost from 9 on: everything in between is perfect
    logits, raised = np.array([[2.0, 0.0], [9.0, 0.0]]), np.array([False, True])
    found = best_bias(logits, np.array([1, 0]), raised=raised)
    assert (found.bias, found.accuracy) == (5.5, 1.0)
    # three intervals are equally good; the one next to 0 is taken
    logits = np.array([[1.0, 0.0], [2.0, 0.0], [5.0, 0.0], [6.0, 0.0]])
    found = best_bias(logits, np.array([1, 0, 1, 0]), raised=raised)
    assert (found.bias, found.accuracy) == (1.5, 0.75)


def test_ties_and_equal_distances_are_no_interval():
    logits, labels, raised = (
        np.array([[3.0, 0.0], [3.0, 0.0], [0.0, 0.0]]),
        np.array([1, 0, 1]),
        np.array([False, True]),
    )
    found = best_bias(logits, labels, raised=raised)
    assert found.accuracy == max(with_bias(logits, labels, raised, bias) for bias in (-1, 0, 1, 4))
    assert found.accuracy == with_bias(logits, labels, raised, found.bias)


def test_where_only_unseen_classes_are_to_be_found_every_answer_is_raised():
    logits, raised = np.array([[1.0, 0.0], [7.0, 0.0]]), np.array([False, True])
    found = best_bias(logits, np.array([1, 1]), raised=raised)
    assert found.accuracy == 1.0
    assert found.bias > 7
