"""Intervals over independent units: which rows are independent, and the t interval that follows.

A unit is a pair (teacher seed i, student seed i). Rows of equal (teacher seed, student seed) are averaged, then the
seeds themselves say which case holds; sharing that no case covers gets no interval, with the reason. Bootstraps over a
handful of teachers do not cover and are not used.

References: Satterthwaite (1946) for crossed seeds; Nadeau and Bengio (2003) where the data are split again for every
seed; Fieller (1954) for ratios.
"""

import functools
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal, NamedTuple

import numpy as np

from kdlab.arrays import FloatArray, IntArray

Case = Literal["pairs", "pinned", "teachers", "crossed", "students", "none"]

CASE_TEXT: Mapping[str, str] = {
    "pairs": "independent teacher-student pairs; t over pairs",
    "pinned": "one pinned teacher; t over student seeds: the interval speaks of that teacher only",
    "teachers": "several students per teacher; t over teacher means",
    "crossed": "every teacher seed with every student seed; two-way Satterthwaite; n is the smaller number of seeds",
    "students": "no teacher; t over student seeds",
    "none": "no interval",
}


class Row(NamedTuple):
    """One measured value and its seeds; ``teacher_seed`` is None for an arm without a teacher (scratch, uniform)."""

    data_seed: int | None
    teacher_seed: int | None
    student_seed: int | None
    value: float


@dataclass(frozen=True)
class Interval:
    """An estimate over units, with its interval where one is honest.

    Args:
        estimate: the mean over the averaged rows (over teacher means in the case ``teachers``).
        low: lower end, None without an interval.
        high: upper end, None without an interval.
        n: independent units.
        sd: standard deviation of a unit, such that the standard error is ``sd * sqrt(1 / n + resplit)``.
        df: degrees of freedom.
        case: which sharing of seeds was found.
        reason: why there is no interval, else None.
        level: nominal coverage.
        resplit: n_test / n_train where each unit has its own split of one small set (Nadeau-Bengio), else 0.
    """

    estimate: float
    low: float | None
    high: float | None
    n: int
    sd: float | None
    df: float | None
    case: Case
    reason: str | None = None
    level: float = 0.95
    resplit: float = 0.0

    def scaled(self, factor: float) -> "Interval":
        """The same in another unit: every number times a positive factor."""
        low, high, sd = (None if end is None else factor * end for end in (self.low, self.high, self.sd))
        return replace(self, estimate=factor * self.estimate, low=low, high=high, sd=sd)

    @property
    def half_width(self) -> float | None:
        """Half the width of the interval."""
        return None if self.low is None or self.high is None else (self.high - self.low) / 2

    @property
    def standard_error(self) -> float | None:
        """The standard error of the estimate."""
        return None if self.sd is None else self.sd * (1 / self.n + self.resplit) ** 0.5

    @property
    def p_value(self) -> float | None:
        """Two-sided p of "effect = 0", the input of Holm's procedure."""
        error = self.standard_error
        if error is None or self.df is None:
            return None
        if error == 0:
            return 1.0 if self.estimate == 0 else 0.0
        from scipy.special import stdtr

        return float(2 * stdtr(self.df, -abs(self.estimate) / error))


class Spread(NamedTuple):
    """Mean, variance of that mean and degrees of freedom; leading axes of the values are kept."""

    mean: FloatArray
    variance: FloatArray
    df: FloatArray


class Layout(NamedTuple):
    """Which cells (teacher seed, student seed) exist, and what they share."""

    case: Case
    reason: str | None
    teachers: IntArray
    students: IntArray
    num_teachers: int
    num_students: int
    resplit: bool
    cell_of_row: IntArray

    def cells(self, values: FloatArray) -> FloatArray:
        """Mean of the rows of every cell, ``[rows]`` -> ``[cells]``."""
        means: FloatArray = np.bincount(self.cell_of_row, weights=values) / np.bincount(self.cell_of_row)
        return means

    @property
    def units(self) -> int:
        """The number of independent units."""
        if self.case == "teachers":
            return self.num_teachers
        return min(self.num_teachers, self.num_students) if self.case == "crossed" else len(self.students)


@functools.lru_cache(maxsize=4096)
def t_quantile(df: float, level: float) -> float:
    """The two-sided t quantile: P(|t| <= q) = level."""
    from scipy.special import stdtrit

    return float(stdtrit(df, 0.5 + level / 2))


def t_spread(values: FloatArray) -> Spread:
    """``mean``, ``var / n`` and ``n - 1`` over the last axis, ``[..., n]``."""
    n = values.shape[-1]
    variance = values.var(axis=-1, ddof=1) / n
    return Spread(values.mean(axis=-1), variance, np.full(variance.shape, n - 1.0))


def crossed_spread(values: FloatArray) -> Spread:
    """Two-way Satterthwaite over the last two axes, ``[..., teachers, students]``.

    ``Var(mean) ~ (MS_teacher + MS_student) / (T S)``, not reduced by the residual: never negative, and conservative
    (simulated coverage .935 to 1.0). Degrees of freedom are rounded down; with two seeds on a side they are 1, because
    Satterthwaite's own number then covers as little as .88.
    """
    num_teachers, num_students = values.shape[-2:]
    by_teacher = num_students * values.mean(axis=-1).var(axis=-1, ddof=1)
    by_student = num_teachers * values.mean(axis=-2).var(axis=-1, ddof=1)
    total = by_teacher + by_student
    denominator = by_teacher**2 / (num_teachers - 1) + by_student**2 / (num_students - 1)
    smallest = min(num_teachers, num_students) - 1.0
    df = np.full(total.shape, smallest)
    if smallest > 1:
        df = np.where(denominator > 0, np.floor(total**2 / np.where(denominator > 0, denominator, 1.0)), df)
    return Spread(values.mean(axis=(-2, -1)), total / (num_teachers * num_students), np.maximum(df, 1.0))


def _codes(seeds: Sequence[int | None]) -> tuple[IntArray, int]:
    order = {seed: code for code, seed in enumerate(sorted(set(seeds), key=lambda seed: (seed is not None, seed or 0)))}
    return np.array([order[seed] for seed in seeds], dtype=np.int64), len(order)


def _case(num_cells: int, teachers: Sequence[int | None], num_teachers: int, num_students: int) -> tuple[Case, str]:
    """How the seeds are shared, from the seeds of the averaged cells."""
    if num_cells < 2:
        return "none", "one unit"
    if None in teachers:
        return ("students", "") if num_teachers == 1 else ("none", "rows with and without a teacher")
    if num_teachers == num_cells and num_students == num_cells:
        return "pairs", ""
    if num_teachers == 1:
        return "pinned", ""
    if num_students == num_cells:
        return "teachers", ""
    if num_students > 1 and num_teachers * num_students == num_cells:
        return "crossed", ""
    if num_students == 1:
        return "none", "one student seed for several teachers"
    return "none", "teacher or student seeds are shared between some rows, but not fully crossed"


def _data_sharing(draws: Sequence[frozenset[int | None]], teachers: IntArray, students: IntArray) -> str:
    """``fixed``: every unit saw the same draws; ``own``: no draw is shared between units; else ``shared``."""
    if len(set(draws)) == 1:
        return "fixed"
    for codes in (students, teachers):
        owner: dict[int | None, int] = {}
        pairs = ((int(code), seed) for code, draw in zip(codes, draws, strict=True) for seed in draw)
        if all(owner.setdefault(seed, code) == code for code, seed in pairs):
            return "own"
    return "shared"


Seeds = tuple[int | None, int | None, int | None]


@functools.lru_cache(maxsize=8192)  # a report asks for the same group with every metric
def layout_of(seeds: tuple[Seeds, ...]) -> Layout:
    """The layout of rows with these (data, teacher, student) seeds."""
    positions: dict[tuple[int | None, int | None], list[int]] = {}
    for position, (_, teacher, student) in enumerate(seeds):
        positions.setdefault((teacher, student), []).append(position)
    keys = sorted(positions, key=lambda key: tuple((seed is not None, seed or 0) for seed in key))
    teachers, num_teachers = _codes([teacher for teacher, _ in keys])
    students, num_students = _codes([student for _, student in keys])
    case, reason = _case(len(keys), [teacher for teacher, _ in keys], num_teachers, num_students)
    sharing = _data_sharing([frozenset(seeds[i][0] for i in positions[key]) for key in keys], teachers, students)
    if sharing == "shared" and case != "none":
        case, reason = "none", "data draws are shared between some units only"
    cell_of_row = np.empty(len(seeds), dtype=np.int64)
    for cell, key in enumerate(keys):
        cell_of_row[positions[key]] = cell
    own = sharing == "own"
    return Layout(case, reason or None, teachers, students, num_teachers, num_students, own, cell_of_row)


def spread_of(layout: Layout, values: FloatArray) -> Spread:
    """The spread of cell values ``[..., cells]`` under a layout that has an interval."""
    if layout.case == "crossed":
        return crossed_spread(values.reshape(*values.shape[:-1], layout.num_teachers, layout.num_students))
    return t_spread(_units(layout, values))


def _units(layout: Layout, values: FloatArray) -> FloatArray:
    """Teacher means in the case ``teachers`` (``[..., teachers]``), the cells themselves otherwise."""
    if layout.case != "teachers":
        return values
    share = (layout.teachers[None, :] == np.arange(layout.num_teachers)[:, None]).astype(np.float64)
    means: FloatArray = values @ (share / share.sum(axis=1, keepdims=True)).T
    return means


def interval(rows: Iterable[Row], *, level: float = 0.95, test_ratio: float | None = None) -> Interval:
    """The mean of a value over units and its t interval.

    Args:
        rows: one per run.
        level: nominal coverage.
        test_ratio: n_test / n_train of a set that is split again for every data seed. Where the units have data
            draws of their own the variance factor is then ``1 / n + n_test / n_train`` (Nadeau and Bengio) instead
            of ``1 / n``; with one fixed draw it is not used.

    Raises:
        ValueError: there is no row.
    """
    rows = list(rows)
    if not rows:
        raise ValueError("an interval needs at least one row")
    layout = layout_of(tuple(row[:3] for row in rows))
    values = layout.cells(np.array([row.value for row in rows], dtype=np.float64))
    if layout.case == "none":
        return Interval(float(values.mean()), None, None, len(values), None, None, "none", layout.reason, level)
    resplit = test_ratio if test_ratio and layout.resplit else 0.0
    spread = spread_of(layout, values)
    n = layout.units
    sd = float(np.sqrt(spread.variance * n))
    estimate, df = float(spread.mean), float(spread.df)
    half = t_quantile(df, level) * sd * (1 / n + resplit) ** 0.5
    return Interval(estimate, estimate - half, estimate + half, n, sd, df, layout.case, None, level, resplit)


def ratio_interval(
    rows: Iterable[Row], denominators: Iterable[float], *, level: float = 0.95, test_ratio: float | None = None
) -> Interval:
    """Ratio of two means and its Fieller interval: all r for which 0 lies in the interval of ``x - r y``.

    Args:
        rows: the numerator x of every run, with its seeds.
        denominators: y of the same runs, in the same order.
        level: nominal coverage.
        test_ratio: as in :func:`interval`.

    Returns:
        The ratio; without an interval (and with the reason) where the mean of y is not clearly apart from 0.
    """
    rows, below = list(rows), np.array(list(denominators), dtype=np.float64)
    if not rows or len(rows) != len(below):
        raise ValueError(f"a ratio needs rows and as many denominators, got {len(rows)} and {len(below)}")
    layout = layout_of(tuple(row[:3] for row in rows))
    x, y = layout.cells(np.array([row.value for row in rows], dtype=np.float64)), layout.cells(below)
    if layout.case == "none":
        return Interval(float(x.mean() / y.mean()), None, None, len(x), None, None, "none", layout.reason, level)
    resplit = test_ratio if test_ratio and layout.resplit else 0.0
    n = layout.units
    # The variance is a quadratic form of the values, so the covariance follows by polarisation in every case.
    spread = spread_of(layout, np.stack([x, y, x + y, x - y]))
    (mean_x, mean_y), (v_x, v_y, v_sum, v_difference) = spread.mean[:2], spread.variance * (1 + n * resplit)
    ratio = float(mean_x / mean_y)
    residual = spread_of(layout, x - ratio * y)
    df, sd = float(residual.df), float(np.sqrt(residual.variance * n) / abs(mean_y))
    t2, covariance = t_quantile(df, level) ** 2, (v_sum - v_difference) / 4
    a, b, c = mean_y**2 - t2 * v_y, mean_x * mean_y - t2 * covariance, mean_x**2 - t2 * v_x
    if a <= 0:
        reason = "the interval of the denominator contains 0"
        return Interval(ratio, None, None, n, None, None, layout.case, reason, level, resplit)
    root = float(np.sqrt(max(b * b - a * c, 0.0)))
    low, high = float((b - root) / a), float((b + root) / a)
    return Interval(ratio, low, high, n, sd, df, layout.case, None, level, resplit)
