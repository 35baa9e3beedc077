import math

import numpy as np
import pytest

from kdlab.experiments.diagnosis import Measurements
from kdlab.experiments.diagnosis.measurements import Estimate, log_temperature_error, paired_error, share_error
from kdlab.tempering import fit_temperature

DRAWS = np.random.default_rng(0)


def test_the_error_of_a_share_is_the_spread_of_its_draws():
    drawn = DRAWS.binomial(500, 0.3, size=20_000) / 500
    assert share_error(0.3, 500) == pytest.approx(drawn.std(), rel=0.03)
    assert share_error(0.3, None) is None
    assert share_error(0.3, 0) is None


def test_the_paired_error_is_that_of_the_mean_of_differences():
    first, second = DRAWS.random(300) < 0.7, DRAWS.random(300) < 0.5
    differences = first.astype(float) - second.astype(float)
    assert paired_error(first, second) == pytest.approx(differences.std() / math.sqrt(300))
    assert paired_error(first, first) == 0.0


def test_pairing_two_networks_that_are_right_on_the_same_examples_is_worth_much():
    first = DRAWS.random(2000) < 0.6
    second = first ^ (DRAWS.random(2000) < 0.05)
    assert paired_error(first, second) < 0.5 * math.hypot(share_error(0.6, 2000), share_error(0.6, 2000))


def test_the_error_of_a_fitted_temperature_is_the_spread_over_resampled_validation_sets():
    logits = 3 * DRAWS.normal(size=(800, 5))
    probs = np.exp(logits / 2) / np.exp(logits / 2).sum(1, keepdims=True)
    labels = np.array([DRAWS.choice(5, p=row) for row in probs])
    fitted = fit_temperature(logits, labels).temperature
    resampled = []
    for _ in range(300):
        rows = DRAWS.integers(800, size=800)
        resampled.append(math.log(fit_temperature(logits[rows], labels[rows]).temperature))
    assert log_temperature_error(logits, labels, fitted) == pytest.approx(np.std(resampled), rel=0.15)


def measured(**more):
    return Measurements(num_train=4000, num_validation=2000, student_train=0.9, student_validation=0.6, **more)


def test_a_difference_is_paired_where_that_is_known_in_either_order():
    found = measured(scratch_validation=0.5, paired={("scratch_validation", "student_validation"): 0.004})
    assert found.difference("student_validation", "scratch_validation") == Estimate(pytest.approx(0.1), 0.004)


def test_a_difference_without_pairs_adds_the_variances():
    found = measured(scratch_validation=0.5)
    told = found.difference("student_validation", "scratch_validation")
    assert told.error == pytest.approx(math.sqrt(0.6 * 0.4 / 2000 + 0.5 * 0.5 / 2000))
    low, high = told.interval
    assert (low, high) == (
        pytest.approx(0.1 - 1.96 * told.error, abs=1e-5),
        pytest.approx(0.1 + 1.96 * told.error, abs=1e-5),
    )


@pytest.mark.parametrize(
    ("name", "count"),
    [("student_train", 4000), ("student_validation", 2000), ("agreement", 4000), ("wide_agreement", 4000),
     ("validation_agreement", 2000), ("deployed_student", 50), ("deployed_agreement", 50), ("teacher_train", 4000)],
)  # fmt: skip
def test_every_share_knows_its_examples(name, count):
    found = Measurements(
        **{"num_train": 4000, "num_validation": 2000, "student_train": 0.9, "student_validation": 0.6, name: 0.5},
        num_deployed=50,
    )
    assert found.share(name).error == pytest.approx(math.sqrt(0.25 / count))


def test_what_was_not_measured_is_none():
    found = measured()
    assert found.share("agreement") is None
    assert found.difference("student_validation", "scratch_validation") is None
    assert found.values()["agreement"] is None
    assert "paired" not in found.values()
