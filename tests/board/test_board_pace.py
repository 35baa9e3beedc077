"""When a study will be through, from the times of its files."""

import pytest

from kdlab.board.pace import PAUSE_SECONDS, expected_end, sitting
from kdlab.board.runs import WAITING, Run

NOW = 10_000.0


def ended(begun, end, state="finished"):
    return Run(state, begun, end, end)


def running(begun, step=0, steps=100):
    return Run("running", begun, None, begun, step, steps)


def test_nothing_runs_nothing_is_expected():
    assert expected_end([ended(0, 10), WAITING], NOW) is None


def test_one_after_the_other():
    runs = [ended(NOW - 40, NOW - 30), ended(NOW - 30, NOW - 20), running(NOW - 20, 50), WAITING]
    assert expected_end(runs, NOW) == pytest.approx(NOW + 40 * 1.5 / 2.5)


def test_a_stack_goes_by_its_steps():
    runs = [running(NOW - 30, 75) for _ in range(8)]
    assert expected_end(runs, NOW) == pytest.approx(NOW + 10)


def test_a_trained_stack_goes_by_the_pace_of_measuring():
    runs = [*(ended(NOW - 60, NOW - 8 + 2 * at) for at in range(4)), *(running(NOW - 60, 100) for _ in range(5))]
    assert expected_end(runs, NOW) == pytest.approx(NOW + 10)
    assert expected_end(runs[3:], NOW) is None, "one end tells no pace"


def test_what_was_done_before_a_pause_tells_nothing():
    long_ago = [ended(NOW - 5000 - at, NOW - 4000 - at) for at in range(20)]
    lately = [ended(NOW - 40, NOW - 20), running(NOW - 20, 0)]
    found = sitting([*long_ago, *lately])
    assert (found.began, found.ends) == (NOW - 40, [NOW - 20])
    assert expected_end([*long_ago, *lately], NOW) == pytest.approx(NOW + 40)
    near = ended(NOW - 90, NOW - 40 - PAUSE_SECONDS / 2)
    assert sitting([near, *lately]).began == NOW - 90


def test_what_stopped_or_failed_before_is_run_again():
    lately = [ended(NOW - 40, NOW - 20), running(NOW - 20, 0)]
    before = [Run("stopped", 0.0), ended(0.0, 10.0, "failed")]
    assert expected_end([*lately, *before], NOW) == pytest.approx(NOW + 120)
    assert expected_end([ended(NOW - 40, NOW - 20, "failed"), running(NOW - 20)], NOW) == pytest.approx(NOW + 40)
