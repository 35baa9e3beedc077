import numpy as np
import pytest

from kdlab.reporting.families import AFTER_HOLM, adjusted_in, holm, word_after


def slow_holm(p_values):
    """Step down: each p by the number of those not yet rejected, never below the one before."""
    left, found, highest = list(enumerate(p_values)), {}, 0.0
    while left:
        place, p = min(left, key=lambda item: item[1])
        highest = max(highest, min(1.0, p * len(left)))
        found[place] = highest
        left.remove((place, p))
    return [found[place] for place in range(len(p_values))]


@pytest.mark.parametrize("count", [1, 2, 5, 40])
def test_holm_against_stepping_down(count):
    p_values = np.random.default_rng(count).uniform(0, 0.2, count).round(2).tolist()
    assert holm(p_values) == pytest.approx(slow_holm(p_values))


def test_a_textbook_example():
    assert holm([0.01, 0.02, 0.03, 0.005]) == pytest.approx([0.03, 0.04, 0.04, 0.02])
    assert holm([]) == []


def test_what_has_no_p_is_no_part_of_the_family():
    assert adjusted_in([0.02, None, 0.04]) == [pytest.approx(0.04), None, pytest.approx(0.04)]


def test_only_a_shown_difference_is_taken_back():
    assert word_after("reproduced", 0.2, shows_difference=True) == AFTER_HOLM
    assert word_after("reproduced", 0.04, shows_difference=True) == "reproduced"
    assert word_after("null", 0.9, shows_difference=False) == "null"
