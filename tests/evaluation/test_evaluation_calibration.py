import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from netcal.metrics import ECE
from scipy.optimize import minimize_scalar
from torchmetrics.functional.classification import binary_calibration_error, multiclass_calibration_error

from kdlab.evaluation import calibration
from kdlab.evaluation.calibration import (
    NUM_BINS,
    bins,
    ece,
    ece_binned,
    ece_classwise,
    ece_floor,
    ece_of_bins,
    fit_temperature,
)
from kdlab.evaluation.metrics import correct, log_softmax, nll


def network(n=600, classes=10, seed=0, scale=2.0):
    random = np.random.default_rng(seed)
    labels = random.integers(0, classes, size=n)
    logits = random.normal(size=(n, classes)) * scale
    logits[np.arange(n), labels] += 2.5
    return logits, labels


def view(logits, labels):
    probs = np.exp(log_softmax(logits))
    return probs, probs.max(axis=1), correct(logits, labels)


def slow_ece(confidence, hits):
    """One bin at a time, one example at a time."""
    edges = np.linspace(0, 1, NUM_BINS + 1)
    total = 0.0
    for b in range(NUM_BINS):
        inside = [
            i for i, c in enumerate(confidence)
            if edges[b] <= c and (c < edges[b + 1] or (b == NUM_BINS - 1 and c == 1.0))
        ]  # fmt: skip
        if inside:
            accuracy = sum(bool(hits[i]) for i in inside) / len(inside)
            total += len(inside) / len(confidence) * abs(accuracy - sum(confidence[i] for i in inside) / len(inside))
    return total


@pytest.mark.parametrize(("n", "classes"), [(600, 10), (601, 2), (7, 3), (1, 4)])
def test_ece_is_netcals_our_own_bins_and_a_slow_loop(n, classes):
    _, confidence, hits = view(*network(n, classes))
    value = ece(confidence, hits)
    assert value == pytest.approx(slow_ece(confidence, hits), abs=1e-13)
    assert value == pytest.approx(ece_of_bins(bins(confidence, hits)), abs=1e-13)


def test_ece_is_what_netcal_and_torchmetrics_make_of_the_whole_matrix():
    logits, labels = network()
    probs, confidence, hits = view(logits, labels)
    assert ece(confidence, hits) == pytest.approx(ECE(15).measure(probs, labels), abs=1e-13)
    other = multiclass_calibration_error(torch.tensor(probs), torch.tensor(labels), num_classes=10, n_bins=15)
    assert ece(confidence, hits) == pytest.approx(float(other), abs=1e-6)


@given(
    st.lists(
        st.tuples(st.one_of(st.floats(0, 1), st.integers(0, 15).map(lambda k: k / 15)), st.booleans()),
        min_size=1,
        max_size=40,
    )
)
@settings(max_examples=60, deadline=None)
def test_our_bins_agree_with_netcal_at_every_edge(pairs):
    confidence = np.array([c for c, _ in pairs])
    hits = np.array([h for _, h in pairs])
    theirs = float(ECE(15).measure(confidence, hits.astype(int)))
    assert ece(confidence, hits) == theirs
    assert ece_binned(confidence, hits) == theirs  # what is reported, to the last bit, at 0, at 1 and at every edge
    assert ece_of_bins(bins(confidence, hits)) == pytest.approx(theirs, abs=1e-12)


@pytest.mark.parametrize("scale", [0.2, 2.0, 60.0])
def test_the_reported_ece_is_netcals_to_the_last_bit(scale):
    for seed in range(20):
        probs, confidence, hits = view(*network(997, 10, seed=seed, scale=scale))
        assert ece_binned(confidence, hits) == float(ECE(15).measure(confidence, hits.astype(int)))
        if confidence.max() < 1.0:
            assert ece_of_bins(bins(confidence, hits)) == ece_binned(confidence, hits)
    assert (scale == 60.0) == (confidence.max() == 1.0)  # so both ways were walked


def test_confidence_exactly_one_belongs_to_the_last_bin():
    confidence, hits = np.array([0.95, 1.0]), np.array([True, False])
    assert ece(confidence, hits) == pytest.approx(0.475)
    assert ece_of_bins(bins(confidence, hits)) == pytest.approx(0.475)
    table = bins(confidence, hits)
    assert table.count.tolist() == [0.0] * 14 + [2.0]
    assert table.confidence[-1] == pytest.approx(0.975)
    theirs = float(binary_calibration_error(torch.tensor(confidence), torch.tensor([1, 0]), n_bins=15))
    assert theirs == pytest.approx(0.525), "torchmetrics issue 3510 is solved: the docstring can say so"


def test_every_example_certain_and_right():
    confidence = np.ones(8)
    assert ece(confidence, np.ones(8, bool)) == pytest.approx(0.0, abs=1e-15)
    assert ece(confidence, np.zeros(8, bool)) == pytest.approx(1.0)


@pytest.mark.parametrize("present", [[3], [0, 1], [4, 7]])
def test_a_set_with_one_or_two_classes_of_ten(present):
    logits, _ = network(200)
    labels = np.array(present)[np.arange(200) % len(present)]
    probs, confidence, hits = view(logits, labels)
    with pytest.raises(RuntimeError):  # what netcal makes of the matrix, and why it does not get it
        ECE(15).measure(probs, labels)
    assert ece(confidence, hits) == pytest.approx(slow_ece(confidence, hits), abs=1e-13)


def test_an_empty_bin_is_zero_and_the_table_adds_up():
    logits, labels = network(300, 10)
    _, confidence, hits = view(logits, labels)
    table = bins(confidence, hits)
    assert table.count[0] == table.confidence[0] == table.accuracy[0] == 0.0  # of ten classes none tops below 0.1
    assert table.count.sum() == 300
    assert (table.count * table.accuracy).sum() == pytest.approx(hits.sum())
    assert (table.count * table.confidence).sum() == pytest.approx(confidence.sum())
    assert np.isfinite(table.confidence).all()


@pytest.mark.parametrize("classes", [2, 10])
def test_classwise_is_the_mean_of_one_against_the_rest(classes):
    logits, labels = network(400, classes)
    probs, _, _ = view(logits, labels)
    slow = np.mean([slow_ece(probs[:, k], labels == k) for k in range(classes)])
    assert ece_classwise(probs, labels) == pytest.approx(slow, abs=1e-13)
    netcal = np.mean([ECE(15).measure(probs[:, k].copy(), (labels == k).astype(int)) for k in range(classes)])
    assert ece_classwise(probs, labels) == pytest.approx(netcal, abs=1e-12)


def test_classwise_with_an_absent_class():
    probs = np.array([[0.7, 0.3, 0.0], [0.2, 0.8, 0.0]])
    assert ece_classwise(probs, np.array([0, 1])) == pytest.approx((0.5 * 0.3 + 0.5 * 0.2) * 2 / 3)


def test_the_floor_is_the_ece_of_a_calibrated_network():
    random = np.random.default_rng(1)
    measured, floors = [], []
    for _ in range(30):
        logits = random.normal(size=(1500, 6)) * 2
        probs = np.exp(log_softmax(logits))
        labels = (probs.cumsum(axis=1) > random.random((1500, 1))).argmax(axis=1)  # drawn from its own probabilities
        measured.append(ece(probs.max(axis=1), correct(logits, labels)))
        floors.append(ece_floor(probs.max(axis=1)))
    assert np.mean(measured) == pytest.approx(np.mean(floors), abs=4 * np.std(measured) / np.sqrt(30))
    assert np.std(measured) / np.sqrt(30) < 0.08 * np.mean(floors)  # so the line above can fail


def test_the_floor_against_exact_enumeration():
    confidence = np.array([0.9, 0.9, 0.6, 0.35])
    exact = 0.0
    for outcome in range(16):
        hits = np.array([outcome >> i & 1 for i in range(4)], bool)
        exact += np.prod(np.where(hits, confidence, 1 - confidence)) * slow_ece(confidence, hits)
    assert ece_floor(confidence, num_draws=20_000) == pytest.approx(exact, rel=0.02)


def slow_floor(confidence, draws):
    """Simulated with numpy's own histogram, one test set at a time."""
    random, total = np.random.default_rng(15), 0.0
    order = np.argsort(calibration.bin_of(confidence), kind="stable")
    sums = np.histogram(confidence, bins=NUM_BINS, range=(0, 1), weights=confidence)[0]
    for _ in range(draws):
        hits = 1.0 * (random.random(len(confidence), dtype=np.float32) < confidence[order].astype(np.float32))
        total += np.abs(np.histogram(confidence[order], bins=NUM_BINS, range=(0, 1), weights=hits)[0] - sums).sum()
    return total / draws / len(confidence)


def test_the_floor_is_the_same_whether_its_draws_are_kept_or_not(monkeypatch):
    _, confidence, _ = view(*network(700))
    kept = [ece_floor(confidence), ece_floor(confidence[:300]), ece_floor(confidence)]
    monkeypatch.setattr(calibration, "_KEPT_DRAWS", 0)
    assert [ece_floor(confidence), ece_floor(confidence[:300]), ece_floor(confidence)] == kept
    assert kept[0] == pytest.approx(slow_floor(confidence, calibration.FLOOR_DRAWS), rel=1e-12)


def test_the_floor_repeats_ignores_order_falls_with_n_and_is_zero_when_certain():
    _, confidence, _ = view(*network(500))
    assert ece_floor(confidence) == ece_floor(confidence)
    assert ece_floor(np.tile(confidence, 16)) == pytest.approx(ece_floor(confidence) / 4, rel=0.1)
    assert ece_floor(np.ones(10)) == 0.0


@pytest.mark.parametrize("scale", [0.25, 1.0, 8.0, 100.0])
def test_the_fit_recovers_a_known_scale(scale):
    random = np.random.default_rng(0)
    logits = random.normal(size=(20_000, 5)) * 1.5
    labels = (np.exp(log_softmax(logits)).cumsum(axis=1) > random.random((20_000, 1))).argmax(axis=1)
    fit = fit_temperature((logits * scale).astype(np.float32), labels)
    assert fit.reason is None
    assert fit.temperature == pytest.approx(scale, rel=0.03)


def test_the_fit_against_a_direct_minimisation_of_the_nll():
    logits, labels = network(500)
    best = minimize_scalar(
        lambda t: nll(log_softmax(logits / np.exp(t)), labels),
        bounds=(-3, 3),
        method="bounded",
        options={"xatol": 1e-9},
    )
    fit = fit_temperature(logits, labels)
    assert np.log(fit.temperature) == pytest.approx(best.x, abs=1e-5)
    doubled = fit_temperature(2 * logits, labels)
    assert doubled.temperature == pytest.approx(2 * fit.temperature, rel=1e-7)
    shifted = fit_temperature(logits + 3.0, labels)
    assert shifted.temperature == pytest.approx(fit.temperature, rel=1e-7)


def test_what_has_no_optimum_says_why():
    logits, labels = network(100)
    logits[np.arange(100), labels] += 100.0
    separable = fit_temperature(logits, labels)
    assert separable.temperature is None
    assert "highest at the label" in separable.reason
    constant = fit_temperature(np.zeros((50, 10)), np.arange(50) % 10)
    assert constant.temperature is None
    assert "constant" in constant.reason
    wrong = fit_temperature(-logits, labels)
    assert wrong.temperature is None
    assert f"above {calibration.TEMPERATURE_BOUNDS[1]:g}" in wrong.reason


def test_one_wrong_example_is_enough_for_an_optimum():
    logits, labels = network(360)
    logits[np.arange(360), labels] += 60.0
    labels[0] = (labels[0] + 1) % 10
    assert 0.1 < fit_temperature(logits, labels).temperature < 100
