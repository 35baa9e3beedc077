import numpy as np
import pytest

from kdlab.evaluation.gaps import SliceFacts, Twins, gap, ood_gaps
from kdlab.outputs import Predictions


def predictions(hits, labels, index, classes=4):
    """Predictions that are right exactly where ``hits`` says so."""
    labels = np.asarray(labels)
    top = np.where(hits, labels, (labels + 1) % classes)
    return Predictions(np.eye(classes, dtype=np.float32)[top], labels, np.asarray(index))


def test_twins_are_joined_by_index_not_by_position():
    random = np.random.default_rng(0)
    labels, index = random.integers(0, 4, 50), random.permutation(1000)[:50]
    test = predictions(random.random(50) < 0.8, labels, index)
    rows = random.permutation(50)[:20]
    piece = predictions(random.random(20) < 0.5, labels[rows], index[rows])
    by_index = {int(i): at for at, i in enumerate(index)}
    slow = 0
    for at in range(20):
        twin = by_index[int(piece.index[at])]
        slow += int(test.logits[twin].argmax() == test.labels[twin]) - int(
            piece.logits[at].argmax() == piece.labels[at]
        )
    assert gap(piece, test, reference="twins") == pytest.approx(slow / 20, abs=1e-15)


def test_twins_and_test_differ_where_the_slice_is_an_easy_part():
    labels, index = np.zeros(10, int), np.arange(10)
    test = predictions([1, 1, 1, 1, 0, 0, 0, 0, 0, 0], labels, index)
    piece = predictions([1, 1, 0, 0], labels[:4], index[:4])
    assert gap(piece, test, reference="twins") == 0.5
    assert gap(piece, test, reference="test") == pytest.approx(-0.1)


def test_twins_have_a_much_smaller_standard_error():
    random = np.random.default_rng(0)
    pool, n = 40_000, 500
    ease = random.random(pool) < 0.8
    shifted = ease & (random.random(pool) > 0.03)
    twins, independent = [], []
    for _ in range(150):
        test_rows = random.choice(pool, 2 * n, replace=False)
        test = predictions(ease[test_rows], np.zeros(2 * n, int), test_rows)
        same = test_rows[:n]
        twins.append(gap(predictions(shifted[same], np.zeros(n, int), same), test, reference="twins"))
        other = random.choice(pool, n, replace=False)
        independent.append(gap(predictions(shifted[other], np.zeros(n, int), other), test, reference="test"))
    assert np.mean(twins) == pytest.approx(0.024, abs=0.002)
    expected = np.sqrt(0.024 * 0.976 / n)  # of a paired difference that is 1 with probability .8 * .03
    assert np.std(twins) == pytest.approx(expected, rel=0.2)
    assert np.std(independent) > 2.5 * np.std(twins)


def test_what_cannot_be_joined_is_refused():
    test = predictions([1, 1], [0, 1], [3, 5])
    with pytest.raises(ValueError, match="1 of 2 examples have no twin"):
        gap(predictions([1, 1], [0, 1], [3, 4]), test, reference="twins")
    with pytest.raises(ValueError, match="no twin"):
        gap(predictions([1], [0], [99]), test, reference="twins")
    with pytest.raises(ValueError, match="twice"):
        Twins(np.array([1, 2, 1])).rows(np.array([1]))
    with pytest.raises(ValueError, match="different labels"):
        gap(predictions([1], [1], [3]), test, reference="twins")
    with pytest.raises(ValueError, match="allowed are twins, test"):
        gap(test, test, reference="train")


def test_ood_is_unweighted_over_marked_slices_only():
    facts = {"a": SliceFacts("twins", True), "b": SliceFacts("twins", True), "shift": SliceFacts("test", False)}
    assert ood_gaps({"a": 0.1, "b": -0.3, "shift": 0.9}, facts) == (pytest.approx(-0.1), 0.1)
    assert ood_gaps({"shift": 0.9}, facts) is None
