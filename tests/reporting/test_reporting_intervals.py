"""Interval procedures against slow oracles and by simulated coverage."""

import itertools

import numpy as np
import pytest
from scipy import stats

from kdlab.reporting.intervals import Row, crossed_spread, interval, layout_of, ratio_interval, spread_of, t_spread


def _rows(cells, values=None, data=0):
    values = range(len(cells)) if values is None else values
    return [
        Row(data if not callable(data) else data(s), t, s, float(v)) for (t, s), v in zip(cells, values, strict=False)
    ]


PAIRS = [(i, i) for i in range(6)]
CROSSED = list(itertools.product(range(3), range(4)))


@pytest.mark.parametrize(
    ("cells", "case", "n"),
    [
        (PAIRS, "pairs", 6),
        ([(i, 5 - i) for i in range(6)], "pairs", 6),
        ([(0, i) for i in range(5)], "pinned", 5),
        ([(0, 0), (0, 1), (1, 2), (1, 3), (2, 4)], "teachers", 3),
        (CROSSED, "crossed", 3),
        ([(None, i) for i in range(4)], "students", 4),
        ([(0, 0), (1, 0), (2, 0)], "none", 3),
        (CROSSED[:-1], "none", 11),
        ([(0, 0), (1, 1), (1, 0)], "none", 3),
        ([(0, 0), (None, 1)], "none", 2),
        ([(3, 3)], "none", 1),
    ],
)
def test_the_case_follows_from_the_seeds(cells, case, n):
    found = interval(_rows(cells))
    assert (found.case, found.n) == (case, n)
    assert (found.low is None) == (case == "none")
    assert bool(found.reason) == (case == "none")


def test_order_of_rows_does_not_matter():
    rows = _rows(CROSSED, np.random.default_rng(0).normal(size=12))
    assert interval(rows) == interval(rows[::-1]) == interval(rows[5:] + rows[:5])


def test_equal_seeds_are_averaged_before_anything_else():
    rows = [Row(0, 0, 0, 1.0), Row(0, 0, 0, 3.0), Row(0, 1, 1, 4.0), Row(0, 2, 2, 9.0)]
    assert interval(rows) == interval([Row(0, 0, 0, 2.0), Row(0, 1, 1, 4.0), Row(0, 2, 2, 9.0)])


def test_pairs_are_the_plain_t_interval():
    values = np.random.default_rng(1).normal(2, 3, 9)
    found = interval(_rows([(i, i) for i in range(9)], values), level=0.9)
    low, high = stats.t.interval(0.9, 8, values.mean(), stats.sem(values))
    assert (found.low, found.high) == pytest.approx((low, high))
    assert found.p_value == pytest.approx(stats.ttest_1samp(values, 0).pvalue)


def test_several_students_per_teacher_use_teacher_means():
    cells = [(0, 0), (0, 1), (1, 2), (1, 3), (1, 4), (2, 5)]
    values = np.array([1.0, 3.0, 5.0, 6.0, 7.0, 0.5])
    means = [2.0, 6.0, 0.5]
    found = interval(_rows(cells, values))
    low, high = stats.t.interval(0.95, 2, np.mean(means), stats.sem(means))
    assert (found.estimate, found.low, found.high, found.df) == pytest.approx((np.mean(means), low, high, 2))


def test_crossed_against_slow_mean_squares():
    values = np.random.default_rng(2).normal(size=(4, 5))
    found = interval(_rows(list(itertools.product(range(4), range(5))), values.ravel()))
    grand = values.mean()
    by_teacher = sum(5 * (values[i].mean() - grand) ** 2 for i in range(4)) / 3
    by_student = sum(4 * (values[:, j].mean() - grand) ** 2 for j in range(5)) / 4
    df = np.floor((by_teacher + by_student) ** 2 / (by_teacher**2 / 3 + by_student**2 / 4))
    half = stats.t.ppf(0.975, df) * np.sqrt((by_teacher + by_student) / 20)
    assert (found.df, found.half_width) == pytest.approx((df, half))
    assert found.standard_error == pytest.approx(np.sqrt((by_teacher + by_student) / 20))


def test_own_data_draws_widen_the_interval_and_one_fixed_draw_does_not():
    values = np.random.default_rng(3).normal(size=6)
    fixed = interval(_rows(PAIRS, values), test_ratio=1 / 3)
    own = interval(_rows(PAIRS, values, data=lambda s: s), test_ratio=1 / 3)
    assert fixed == interval(_rows(PAIRS, values))
    assert own.half_width == pytest.approx(fixed.half_width * np.sqrt((1 / 6 + 1 / 3) / (1 / 6)))
    assert own.resplit == pytest.approx(1 / 3)


def test_data_draws_shared_by_some_units_only_give_no_interval():
    found = interval(_rows(PAIRS, data=lambda s: s // 2))
    assert found.low is None
    assert "data draws" in found.reason


def test_values_all_equal_give_a_width_of_zero():
    found = interval(_rows(PAIRS, [0.5] * 6))
    assert (found.low, found.high, found.p_value) == (0.5, 0.5, 0.0)


def test_no_rows_is_an_error():
    with pytest.raises(ValueError, match="at least one row"):
        interval([])


def _share_covering(spread, *, truth=0.0):
    half = stats.t.ppf(0.975, spread.df) * np.sqrt(spread.variance)
    return np.mean(np.abs(spread.mean - truth) <= half)


@pytest.mark.parametrize("n", [3, 10, 16])
def test_coverage_of_pairs(n):
    rng = np.random.default_rng(n)
    teacher, student = rng.normal(0, 1, (4000, n)), rng.normal(0, 0.5, (4000, n))
    assert 0.93 <= _share_covering(t_spread(teacher + student)) <= 0.97


def test_coverage_of_teacher_means():
    rng = np.random.default_rng(4)
    cells = tuple((0, t, 3 * t + k) for t in range(5) for k in range(3))
    values = np.repeat(rng.normal(0, 1, (4000, 5)), 3, axis=1) + rng.normal(0, 1, (4000, 15))
    assert 0.93 <= _share_covering(spread_of(layout_of(cells), values)) <= 0.97


@pytest.mark.parametrize("shape", [(2, 2), (2, 8), (3, 3), (3, 8), (5, 5), (8, 4)])
@pytest.mark.parametrize("scales", [(1, 1, 0.2), (1, 0, 1), (0, 1, 1), (0, 0, 1), (0.3, 0.3, 1), (1, 0.5, 0.5)])
def test_coverage_of_crossed_seeds(shape, scales):
    rng = np.random.default_rng(5)
    teachers, students = shape
    values = scales[0] * rng.normal(size=(4000, teachers, 1)) + scales[1] * rng.normal(size=(4000, 1, students))
    values = values + scales[2] * rng.normal(size=(4000, teachers, students))
    assert _share_covering(crossed_spread(values)) >= 0.93


def test_naive_t_over_crossed_runs_would_not_cover():
    """The reason for the cases: what pooling all runs would give."""
    rng = np.random.default_rng(6)
    values = rng.normal(size=(4000, 4, 1)) + rng.normal(size=(4000, 4, 4))
    assert _share_covering(t_spread(values.reshape(4000, 16))) < 0.85


def test_ratio_interval_is_where_the_t_test_of_x_minus_r_y_accepts():
    rng = np.random.default_rng(7)
    y = rng.normal(0.9, 0.05, 8)
    x = 0.7 * y + rng.normal(0, 0.03, 8)
    found = ratio_interval(_rows([(i, i) for i in range(8)], x), y)
    assert found.estimate == pytest.approx(x.mean() / y.mean())
    for end in (found.low, found.high):
        assert stats.ttest_1samp(x - end * y, 0).pvalue == pytest.approx(0.05, abs=1e-6)


def test_ratio_over_a_denominator_that_may_be_zero_has_no_interval():
    found = ratio_interval(_rows(PAIRS, [1.0] * 6), [1.0, -1.0, 0.5, -0.4, 1.2, -1.0])
    assert found.low is None
    assert "denominator" in found.reason


def test_ratio_of_crossed_seeds_has_an_interval_around_it():
    rng = np.random.default_rng(8)
    y = 0.9 + rng.normal(0, 0.01, 12)
    found = ratio_interval(_rows(CROSSED, 0.7 * y + rng.normal(0, 0.01, 12)), y)
    assert found.case == "crossed"
    assert found.low < found.estimate < found.high


def test_ratio_coverage():
    rng = np.random.default_rng(9)
    hits = 0
    cells = [(i, i) for i in range(8)]
    for _ in range(1000):
        y = rng.normal(1.0, 0.2, 8)
        x = 0.6 * y + rng.normal(0, 0.1, 8)
        found = ratio_interval(_rows(cells, x), y)
        hits += found.low <= 0.6 <= found.high
    assert 0.93 <= hits / 1000 <= 0.97
