import doctest
import math

import numpy as np
import pytest
import scipy.special
import scipy.stats
import sklearn.metrics

from kdlab.evaluation import fidelity, metrics
from kdlab.evaluation.metrics import log_softmax


def network(n=257, classes=5, seed=0, scale=3.0):
    random = np.random.default_rng(seed)
    logits = (random.normal(size=(n, classes)) * scale).astype(np.float32)
    return logits, random.integers(0, classes, size=n)


@pytest.mark.parametrize("classes", [2, 5])
def test_against_sklearn_and_scipy(classes):
    logits, labels = network(classes=classes)
    log_probs = log_softmax(logits)
    probs = np.exp(log_probs)
    assert log_probs.dtype == np.float64
    np.testing.assert_allclose(log_probs, scipy.special.log_softmax(logits.astype(np.float64), axis=1), rtol=1e-13)
    assert metrics.accuracy(logits, labels) == sklearn.metrics.accuracy_score(labels, logits.argmax(1))
    expected = sklearn.metrics.log_loss(labels, probs, labels=list(range(classes)))
    assert metrics.nll(log_probs, labels) == pytest.approx(expected, rel=1e-12)
    recalls = sklearn.metrics.recall_score(labels, logits.argmax(1), average=None)
    assert metrics.worst_class_accuracy(logits, labels, num_classes=classes) == pytest.approx(recalls.min(), rel=1e-14)


def test_brier_is_summed_over_classes():
    logits, labels = network(n=50)
    probs = np.exp(log_softmax(logits))
    slow = 0.0
    for row, label in zip(probs, labels, strict=True):
        for k, p in enumerate(row):
            slow += (p - (1.0 if k == label else 0.0)) ** 2
    before = probs.copy()
    assert metrics.brier(probs, labels) == pytest.approx(slow / 50, rel=1e-13)
    np.testing.assert_array_equal(probs, before)
    assert metrics.brier(np.array([[1.0, 0.0]]), np.array([1])) == 2.0


def test_probabilities_that_underflow_keep_a_finite_logarithm():
    log_probs = log_softmax(np.array([[0.0, 3e4], [3e38, -3e38]], dtype=np.float32))
    assert np.isfinite(log_probs).all()
    assert metrics.nll(log_probs[:1], np.array([0])) == pytest.approx(3e4)
    assert fidelity.teacher_kl(log_probs[::-1][:1], log_probs[:1]) > 1e38


def test_ties_go_to_the_first_class():
    assert metrics.accuracy(np.zeros((4, 3)), np.array([0, 0, 1, 2])) == 0.5


def test_the_worst_class_is_one_that_occurs():
    logits = np.eye(4, dtype=np.float32)[[0, 0, 1, 2]]
    assert metrics.worst_class_accuracy(logits, np.array([0, 0, 1, 1]), num_classes=4) == 0.5


def test_kl_against_scipy_and_zero_at_itself():
    student, labels = network(seed=1)
    teacher, _ = network(seed=2)
    p, q = (scipy.special.softmax(z.astype(np.float64), axis=1) for z in (teacher, student))
    expected = np.mean([scipy.stats.entropy(a, b) for a, b in zip(p, q, strict=True)])
    assert fidelity.teacher_kl(log_softmax(student), log_softmax(teacher)) == pytest.approx(expected, rel=1e-10)
    assert fidelity.teacher_kl(log_softmax(student), log_softmax(student)) == 0.0
    shifted = log_softmax(student.astype(np.float64) + 7.0)
    assert 0.0 <= fidelity.teacher_kl(shifted, log_softmax(student)) < 1e-15


def test_kl_is_teacher_first():
    teacher, student = log_softmax(np.array([[0.0, 0.0]])), log_softmax(np.array([[0.0, math.log(3.0)]]))
    assert fidelity.teacher_kl(student, teacher) == pytest.approx(
        0.5 * math.log(0.5 / 0.25) + 0.5 * math.log(0.5 / 0.75)
    )


def test_metrics_do_not_depend_on_the_order_of_classes():
    logits, labels = network()
    other, _ = network(seed=3)
    order = np.random.default_rng(0).permutation(5)
    place = np.argsort(order)
    a, b = log_softmax(logits), log_softmax(logits[:, order])
    assert metrics.nll(a, labels) == pytest.approx(metrics.nll(b, place[labels]), rel=1e-13)
    assert metrics.accuracy(logits, labels) == metrics.accuracy(logits[:, order], place[labels])
    assert fidelity.agreement(logits, other) == fidelity.agreement(logits[:, order], other[:, order])


def test_agreement_by_hand():
    assert fidelity.agreement(
        np.array([[1, 0], [0, 1], [3, 2.0]]), np.array([[9, 0], [1, 0], [1, 0.0]])
    ) == pytest.approx(2 / 3)


@pytest.mark.parametrize("temperature", [1, 4.0])
def test_target_entropy_against_scipy(temperature):
    logits, _ = network()
    p = scipy.special.softmax(logits.astype(np.float64) / temperature, axis=1)
    expected = scipy.stats.entropy(p, axis=1).mean()
    assert fidelity.target_entropy(logits, temperature=temperature) == pytest.approx(expected, rel=1e-12)
    assert fidelity.target_entropy(np.array([[0.0, 1e5]])) == 0.0


def test_doctests():
    assert doctest.testmod(metrics).failed == 0
    assert doctest.testmod(fidelity).failed == 0
