"""The rules of the diagnosis: each looks at a few measurements and says whether it fires, or what it lacks.

Thresholds were set on ``sweeps/diagnosis_development.yaml`` and tested on ``sweeps/diagnosis.yaml``;
``docs/diagnosis.md`` says what was changed there and why.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

from kdlab.experiments.diagnosis.measurements import LONG, WIDE, Estimate, Measurements


@dataclass(frozen=True)
class Thresholds:
    """Where the rules fire. Shares in [0, 1]; ``errors`` are multiples of a standard error.

    Args:
        parent_drop: validation accuracy that a transformed teacher has lost against its parent.
        parent_errors: the same in standard errors.
        teacher_behind: training accuracy by which a teacher is behind the student on labels alone.
        teacher_ahead_errors: a teacher that is ahead of that student by less on validation teaches nothing new.
        temperature: a fitted temperature above this, or below one over it.
        deployment_drop: accuracy that the student loses on the deployment sample.
        deployment_errors: the same in standard errors.
        unregularised_train: training accuracy gained without regularisation.
        unregularised_errors: standard errors gained on validation.
        agreement_high: training agreement at or above which a student follows its teacher.
        agreement_low: and below which one that cannot be widened is too small.
        probe_agreement: agreement that four times the width, or the steps, gains.
        probe_errors: standard errors that it gains on validation.
        wide_beyond_long: agreement by which the width is ahead of the steps where the student is too small.
    """

    parent_drop: float = 0.02
    parent_errors: float = 3.0
    teacher_behind: float = 0.10
    teacher_ahead_errors: float = 3.0
    temperature: float = 2.5
    deployment_drop: float = 0.03
    deployment_errors: float = 3.0
    unregularised_train: float = 0.05
    unregularised_errors: float = 1.0
    agreement_high: float = 0.75
    agreement_low: float = 0.60
    probe_agreement: float = 0.05
    probe_errors: float = 2.0
    wide_beyond_long: float = 0.05


THRESHOLDS = Thresholds()


class Evidence(NamedTuple):
    """One comparison of a rule.

    Args:
        what: what was measured, in words.
        estimate: the measurement; None where there is none.
        sign: ``>`` or ``<``.
        threshold: what it is compared with; None where that needs the measurement.
        holds: whether the comparison holds; None where it cannot be told.
        lacks: the measurement that is missing.
    """

    what: str
    estimate: Estimate | None
    sign: Literal[">", "<"]
    threshold: float | None
    holds: bool | None
    lacks: str | None = None


class Finding(NamedTuple):
    """What a rule says.

    Args:
        rule: its name.
        fired: True, False, or None where it cannot tell.
        evidence: the comparisons it made.
        note: why it does not apply, or what it needs.
        needs: the probes that would let it tell.
    """

    rule: str
    fired: bool | None
    evidence: tuple[Evidence, ...]
    note: str = ""
    needs: tuple[str, ...] = ()


def quantised_teacher(found: Measurements, limits: Thresholds = THRESHOLDS) -> Finding:
    """The teacher is a transformation that lost accuracy: ``parent - teacher > max(2 points, 3 SE)``."""
    drop = _compared(
        "validation accuracy, parent minus teacher",
        found,
        ("parent_validation", "teacher_validation"),
        least=limits.parent_drop,
        errors=limits.parent_errors,
    )
    return _finding("quantised_teacher", found, [drop], every=True)


def weak_teacher(found: Measurements, limits: Thresholds = THRESHOLDS) -> Finding:
    """The teacher is worse than the scratch student where it teaches, or hardly better on validation."""
    behind = _compared(
        "training accuracy, scratch student minus teacher",
        found,
        ("scratch_train", "teacher_train"),
        least=limits.teacher_behind,
    )
    ahead = _compared(
        "validation accuracy, teacher minus scratch student",
        found,
        ("teacher_validation", "scratch_validation"),
        errors=limits.teacher_ahead_errors,
        sign="<",
    )
    return _finding("weak_teacher", found, [behind, ahead], every=False)


def teacher_miscalibrated(found: Measurements, limits: Thresholds = THRESHOLDS) -> Finding:
    """The teacher's fitted temperature is far from 1: ``|ln T*| > ln 2.5``. Above 1 it is over-confident."""
    temperature, threshold = found.fitted_temperature, math.log(limits.temperature)
    what = "|ln T*|, the teacher's fitted temperature"
    if temperature is None:
        seen = Evidence(what, None, ">", threshold, None, "fitted_temperature")
    else:
        estimate = Estimate(abs(math.log(temperature)), found.log_temperature_error)
        seen = Evidence(what, estimate, ">", threshold, estimate.value > threshold)
    finding = _finding("teacher_miscalibrated", found, [seen], every=True)
    if temperature is None or not finding.fired:
        return finding
    return finding._replace(note=f"T* = {temperature:.3g}: {'over' if temperature > 1 else 'under'}-confident")


def domain_shift(found: Measurements, limits: Thresholds = THRESHOLDS) -> Finding:
    """The student is worse where it is deployed: ``validation - deployed > max(3 points, 3 SE)``.

    A sample without labels has no accuracy; there the agreement with the teacher is looked at by the same measure.
    """
    names = ("student_validation", "deployed_student")
    what = "accuracy, validation minus deployment sample"
    if found.deployed_student is None and found.deployed_agreement is not None:
        names = ("validation_agreement", "deployed_agreement")
        what = "agreement, validation minus deployment sample"
    drop = _compared(what, found, names, least=limits.deployment_drop, errors=limits.deployment_errors)
    finding = _finding("domain_shift", found, [drop], every=True)
    return finding._replace(note=_which_shift(found, limits)) if finding.fired else finding


def _which_shift(found: Measurements, limits: Thresholds) -> str:
    """Whether the teacher is worse there too."""
    lost = found.difference("teacher_validation", "deployed_teacher")
    if lost is None:
        return ""
    told = f"the teacher loses {100 * lost.value:.1f} points there"
    return f"{told}: {'a new domain' if lost.value > limits.deployment_drop else 'the transfer set is too narrow'}"


def over_regularised(found: Measurements, limits: Thresholds = THRESHOLDS) -> Finding:
    """Without regularisation the student is better on train and on validation."""
    train = _compared(
        "training accuracy, without regularisation minus student",
        found,
        ("unregularised_train", "student_train"),
        least=limits.unregularised_train,
    )
    validation = _compared(
        "validation accuracy, without regularisation minus student",
        found,
        ("unregularised_validation", "student_validation"),
        errors=limits.unregularised_errors,
    )
    return _finding("over_regularised", found, [train, validation], every=True)


def under_trained(found: Measurements, limits: Thresholds = THRESHOLDS) -> Finding:
    """The student agrees little with its teacher on the training set; more steps help, and more width hardly more."""
    return _does_not_follow("under_trained", LONG, WIDE, found, limits)


def student_too_small(found: Measurements, limits: Thresholds = THRESHOLDS) -> Finding:
    """The student agrees little with its teacher on the training set; more width helps, and clearly more than steps.

    A student that has no width to widen is too small where neither it nor its longer training follows at all.
    """
    if WIDE in found.cannot:
        names = ["agreement", *(["long_agreement"] if LONG not in found.cannot else [])]
        seen = [_agreement(found, name, limits.agreement_low) for name in names]
        return _finding("student_too_small", found, seen, every=True)
    return _does_not_follow("student_too_small", WIDE, LONG, found, limits)


def _does_not_follow(rule: str, probe: str, other: str, found: Measurements, limits: Thresholds) -> Finding:
    """Agreement is low and a probe helps; where the other helps too, how far the width is ahead decides."""
    high = _agreement(found, "agreement", limits.agreement_high)
    if high.holds is not True:
        return _finding(rule, found, [high], every=True)
    seen = [high, *_helps(probe, found, limits)]
    if other not in found.cannot and all(one.holds is not False for one in _helps(other, found, limits)):
        parts = _compared(
            f"agreement on train, {_PROBES[WIDE]} minus {_PROBES[LONG]}",
            found,
            ("wide_agreement", "long_agreement"),
            least=limits.wide_beyond_long,
            sign=">" if probe == WIDE else "<",
        )
        seen.append(parts)
    return _finding(rule, found, seen, every=True)


def _helps(probe: str, found: Measurements, limits: Thresholds) -> list[Evidence]:
    """A probe helps where it agrees by more with the teacher and is better."""
    return [
        _compared(
            f"agreement on train, {_PROBES[probe]} minus student",
            found,
            (f"{probe}_agreement", "agreement"),
            least=limits.probe_agreement,
        ),
        _compared(
            f"validation accuracy, {_PROBES[probe]} minus student",
            found,
            (f"{probe}_validation", "student_validation"),
            errors=limits.probe_errors,
        ),
    ]


_PROBES = {WIDE: "four times the width", LONG: "four times the steps"}


def _agreement(found: Measurements, name: str, threshold: float) -> Evidence:
    estimate = found.share(name)
    what = "agreement with the teacher on train" if name == "agreement" else f"the same in {_PROBES[LONG]}"
    holds = None if estimate is None else estimate.value < threshold
    return Evidence(what, estimate, "<", threshold, holds, name if estimate is None else None)


RULES: tuple[Callable[[Measurements, Thresholds], Finding], ...] = (
    quantised_teacher,
    weak_teacher,
    teacher_miscalibrated,
    domain_shift,
    over_regularised,
    under_trained,
    student_too_small,
)
"""In the order of the decision table: the first that fires names the run."""


def _compared(
    what: str,
    found: Measurements,
    names: tuple[str, str],
    *,
    least: float = 0.0,
    errors: float = 0.0,
    sign: Literal[">", "<"] = ">",
) -> Evidence:
    """A difference of two shares against ``max(least, errors x SE)``."""
    estimate = found.difference(*names)
    if estimate is None:
        lacks = next(name for name in names if getattr(found, name) is None)
        return Evidence(what, None, sign, least or None, None, lacks)
    threshold = max(least, errors * (estimate.error or 0.0))
    return Evidence(
        what, estimate, sign, threshold, estimate.value > threshold if sign == ">" else estimate.value < threshold
    )


def _finding(rule: str, found: Measurements, seen: Sequence[Evidence], *, every: bool) -> Finding:
    """A rule fires when every (or any) comparison holds; what is missing counts only where it would decide."""
    if rule in found.applies:
        return Finding(rule, False, (), f"does not apply: {found.applies[rule]}")
    holds = [one.holds for one in seen]
    decisive = not every
    if decisive in holds:
        return Finding(rule, decisive, tuple(seen))
    if None not in holds:
        return Finding(rule, not decisive, tuple(seen))
    lacking = [one.lacks for one in seen if one.lacks is not None]
    needs = tuple(dict.fromkeys(found.probes[name] for name in lacking if name in found.probes))
    why = "; ".join(dict.fromkeys(found.lacking.get(name, f"{name} was not measured") for name in lacking))
    return Finding(rule, None, tuple(seen), f"cannot tell: {why}", needs)
