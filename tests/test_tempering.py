"""Entropies of targets, and the numbers fitted to them."""

import math

import numpy as np
import pytest
import scipy.stats
from hypothesis import given, settings
from hypothesis import strategies as st

from kdlab.errors import UserError
from kdlab.tempering import factor_of_entropy, mean_entropy, smoothed_entropy, smoothing_of_entropy


def logits(rows=40, classes=6, *, seed=0, scale=3.0):
    return (np.random.default_rng(seed).normal(size=(rows, classes)) * scale).astype(np.float32)


def slow_entropy(z, temperature):
    """One example at a time, by scipy."""
    rows = [np.exp(row.astype(float) / temperature - (row.astype(float) / temperature).max()) for row in z]
    return float(np.mean([scipy.stats.entropy(row / row.sum()) for row in rows]))


@settings(max_examples=25, deadline=None)
@given(
    st.floats(0.001, 0.999),
    st.sampled_from([0.5, 1.0, 4.0, 16.0]),
    st.integers(2, 12),
    st.sampled_from([1e-2, 1.0, 50.0]),
)
def test_a_factor_gives_the_entropy_that_is_asked_for(share, temperature, classes, scale):
    z = logits(classes=classes, scale=scale)
    entropy = share * math.log(classes)
    factor = factor_of_entropy(z, entropy=entropy, temperature=temperature)
    assert slow_entropy(factor * z.astype(float), temperature) == pytest.approx(entropy, rel=1e-7)


def test_the_factor_undoes_a_factor_and_the_temperature():
    z = logits()
    entropy = mean_entropy(z, temperature=4.0)
    assert factor_of_entropy(z, entropy=entropy, temperature=4.0) == pytest.approx(1.0, rel=1e-6)
    assert factor_of_entropy(3 * z, entropy=entropy, temperature=4.0) == pytest.approx(1 / 3, rel=1e-6)
    assert factor_of_entropy(z, entropy=entropy, temperature=8.0) == pytest.approx(2.0, rel=1e-6)
    assert factor_of_entropy(z + 1e3, entropy=entropy, temperature=4.0) == pytest.approx(1.0, rel=1e-3)


@pytest.mark.parametrize("entropy", [0.0, -1.0, math.log(6), 2.0])
def test_an_entropy_out_of_range_is_refused(entropy):
    with pytest.raises(UserError, match="nats at temperature 2"):
        factor_of_entropy(logits(), entropy=entropy, temperature=2.0)


def test_tied_logits_reach_no_entropy_below_their_tie():
    tied = np.array([[3.0, 3.0, 0.0]] * 4)
    with pytest.raises(UserError, match=r"0\.6931 to 1\.099 can be reached"):
        factor_of_entropy(tied, entropy=0.5, temperature=1.0)
    assert factor_of_entropy(tied, entropy=0.8, temperature=1.0) > 0
    with pytest.raises(UserError, match="can be reached"):
        factor_of_entropy(np.zeros((4, 3)), entropy=0.5, temperature=1.0)


@pytest.mark.parametrize("classes", [2, 10, 1000])
@pytest.mark.parametrize("share", [1e-6, 0.1, 0.5, 0.99])
def test_the_smoothing_has_its_entropy(classes, share):
    entropy = share * math.log(classes)
    smoothing = smoothing_of_entropy(entropy, num_classes=classes)
    target = np.full(classes, smoothing / classes)
    target[0] += 1 - smoothing
    assert target.sum() == pytest.approx(1.0)
    assert scipy.stats.entropy(target) == pytest.approx(entropy, rel=1e-7)
    assert smoothed_entropy(smoothing, num_classes=classes) == pytest.approx(entropy, rel=1e-7)


def test_smoothing_at_its_ends_is_finite():
    assert smoothing_of_entropy(0.0, num_classes=10) == pytest.approx(1e-12)
    assert smoothing_of_entropy(math.log(10), num_classes=10) == 1.0
    assert smoothing_of_entropy(math.log(10) + 1e-9, num_classes=10) == 1.0
