"""What a diagnosis looks at: accuracies and agreements on train and validation of a student and those beside it.

Nothing here is of the test set. What was not measured is None, with the reason and with what would measure it.
"""

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

SCRATCH, WIDE, LONG, UNREGULARISED, UNIFORM = "scratch", "wide", "long", "unregularised", "uniform"
"""The baselines and probes beside a run, with which the names of measurements begin."""
NORMAL_95 = 1.959963984540054
"""The 97.5 % quantile of the normal distribution: shares of thousands of examples are as good as normal."""


class Estimate(NamedTuple):
    """A number with its standard error; None where that is not known."""

    value: float
    error: float | None = None

    @property
    def interval(self) -> tuple[float, float] | None:
        """The 95 % interval."""
        if self.error is None:
            return None
        return self.value - NORMAL_95 * self.error, self.value + NORMAL_95 * self.error


@dataclass(frozen=True)
class Measurements:
    """The measurements of one student, those of its teacher, and of the baselines and probes of the same recipe.

    Shares in [0, 1]. ``train`` is what the student is shown, with its agreement against its teacher there.

    Args:
        num_train, num_validation, num_deployed: examples behind the shares.
        teacher_train, teacher_validation, teacher_ece: of the network that taught.
        fitted_temperature: the temperature that fits the teacher's confidence to the validation labels; above 1 it is
            over-confident.
        log_temperature_error: standard error of its logarithm.
        parent_validation: accuracy of the trained network that the teacher is a transformation of.
        student_train, student_validation, student_ece: of the student.
        agreement: share of training examples on which student and teacher have the same top class.
        validation_agreement: the same on validation.
        scratch_train, scratch_validation: of the same student on labels alone.
        wide_agreement, wide_validation: of the same distillation into a student of four times the width.
        long_agreement, long_validation: of the same distillation in four times the steps.
        unregularised_train, unregularised_validation: of the same student without dropout, weight decay and smoothing.
        uniform_validation: of the same student taught by a teacher that knows nothing.
        deployed_student, deployed_teacher: accuracy on the deployment sample.
        deployed_agreement: how often the two agree there, which needs no label.
        paired: ``(a, b)`` -> standard error of ``a - b`` from the same examples.
        lacking: name -> why it is None.
        probes: name -> the probe that would measure it.
        applies: rule -> why it cannot fire for this run (its teacher is no network, nothing regularises it).
        cannot: the probes that cannot be made of this run.
    """

    num_train: int
    num_validation: int
    student_train: float
    student_validation: float
    student_ece: float | None = None
    num_deployed: int | None = None
    teacher_train: float | None = None
    teacher_validation: float | None = None
    teacher_ece: float | None = None
    fitted_temperature: float | None = None
    log_temperature_error: float | None = None
    parent_validation: float | None = None
    agreement: float | None = None
    validation_agreement: float | None = None
    scratch_train: float | None = None
    scratch_validation: float | None = None
    wide_agreement: float | None = None
    wide_validation: float | None = None
    long_agreement: float | None = None
    long_validation: float | None = None
    unregularised_train: float | None = None
    unregularised_validation: float | None = None
    uniform_validation: float | None = None
    deployed_student: float | None = None
    deployed_teacher: float | None = None
    deployed_agreement: float | None = None
    paired: Mapping[tuple[str, str], float] = field(default_factory=dict)
    lacking: Mapping[str, str] = field(default_factory=dict)
    probes: Mapping[str, str] = field(default_factory=dict)
    applies: Mapping[str, str] = field(default_factory=dict)
    cannot: frozenset[str] = frozenset()

    def share(self, name: str) -> Estimate | None:
        """A share with its binomial standard error; None where it was not measured."""
        value = getattr(self, name)
        return None if value is None else Estimate(value, share_error(value, self._size(name)))

    def difference(self, first: str, second: str) -> Estimate | None:
        """``first - second`` with the paired standard error where it is known; None where one was not measured."""
        a, b = self.share(first), self.share(second)
        if a is None or b is None:
            return None
        error = self.paired.get((first, second), self.paired.get((second, first)))
        if error is None and a.error is not None and b.error is not None:
            error = math.hypot(a.error, b.error)
        return Estimate(a.value - b.value, error)

    def _size(self, name: str) -> int | None:
        if name.startswith("deployed"):
            return self.num_deployed
        is_of_train = name.endswith("_train") or name in ("agreement", "wide_agreement", "long_agreement")
        return self.num_train if is_of_train else self.num_validation

    def values(self) -> dict[str, float | None]:
        """The numbers by name."""
        skipped = ("paired", "lacking", "probes", "applies", "cannot")
        named: dict[str, Any] = {item.name: getattr(self, item.name) for item in dataclasses.fields(self)}
        return {name: value for name, value in named.items() if name not in skipped}


def share_error(share: float, count: int | None) -> float | None:
    """Standard error of a share of ``count`` independent examples: ``sqrt(p (1 - p) / n)``.

    >>> share_error(0.5, 100)
    0.05
    """
    return None if not count else math.sqrt(share * (1.0 - share) / count)


def paired_error(first: npt.NDArray[np.bool_], second: npt.NDArray[np.bool_]) -> float:
    """Standard error of the difference of two shares of the same examples.

    ``sqrt(((b + c) / n - ((b - c) / n)^2) / n)`` where b examples are hit by the first alone and c by the second alone
    (the variance behind McNemar's test).

    Args:
        first: ``[N]``, where the first is right.
        second: ``[N]``, where the second is.
    """
    count = len(first)
    only_first, only_second = int((first & ~second).sum()), int((second & ~first).sum())
    variance = (only_first + only_second) / count - ((only_first - only_second) / count) ** 2
    return math.sqrt(variance / count)


def log_temperature_error(logits: npt.NDArray[np.floating], labels: npt.NDArray[np.integer], at: float) -> float:
    """Standard error of the logarithm of a fitted temperature, by the sandwich of its likelihood.

    With ``b = 1 / T`` the loss of an example is ``-b z_y + log sum exp(b z)``, its slope ``g = E_p[z] - z_y`` and its
    curvature ``h = Var_p(z)``. Then ``se(b) = sqrt(sum g^2) / sum h`` (White 1982), and ``se(ln T) = se(b) / b``.

    Args:
        logits: ``[N, C]`` of the validation set.
        labels: ``[N]``.
        at: the fitted temperature.
    """
    scores = np.asarray(logits, np.float64)
    scores = scores - scores.max(axis=-1, keepdims=True)
    weights = np.exp(scores / at)
    weights /= weights.sum(axis=-1, keepdims=True)
    mean = (weights * scores).sum(axis=-1)
    slope = mean - scores[np.arange(len(labels)), labels]
    curvature = (weights * scores**2).sum(axis=-1) - mean**2
    return float(np.sqrt((slope**2).sum()) / curvature.sum() * at)
