"""From kept predictions to every number of a record: pure, in float64, each set looked at once.

What is not derived from predictions (cost, latency, target entropy, the parent of a transformed teacher) is measured
elsewhere and merged in by the caller; ``complete`` then sees to it that every key is there.
"""

import math
from collections.abc import Callable, Iterable, Mapping
from typing import NamedTuple

import numpy as np

from kdlab.evaluation import calibration, fidelity, metrics
from kdlab.evaluation.gaps import SliceFacts, Twins, gap_of, ood_gaps
from kdlab.evaluation.scored import Scored, check
from kdlab.keys import RESERVED_NAMES, SPLITS, check_role, expected_keys, out_of_scope
from kdlab.outputs import Predictions

_MEASURED_ELSEWHERE = ("cost/", "latency/", "throughput/", "transfer/")
_WHY_NO_TEACHER = {
    "student": "no network taught this student",
    "scratch": "trained on hard labels alone",
    "teacher": "a teacher is not measured beside a teacher",
}


class Measurements(NamedTuple):
    """What one network measured.

    Args:
        metrics: key -> value, None where undefined.
        undefined: key -> reason, for every None.
        bins: set -> ``{"count", "confidence", "accuracy"}``, 15 numbers each.
    """

    metrics: dict[str, float | None]
    undefined: dict[str, str]
    bins: dict[str, dict[str, list[float]]]


def measure(
    predictions: Mapping[str, Predictions],
    *,
    slices: Mapping[str, SliceFacts],
    teacher: Mapping[str, Predictions | Scored] | None,
    role: str,
    num_classes: int,
    why_no_teacher: str | None = None,
) -> Measurements:
    """Every key of a record that predictions determine.

    Args:
        predictions: set or slice -> predictions of the network. Of train, validation and test a subset is allowed (a
            tuning run looks at no test set); the keys of the others are then not demanded.
        slices: slice -> its reference and whether it is ood; those without predictions are not read.
        teacher: the same sets by the network that taught, or None. As ``Scored`` they are looked at once for all of
            its students.
        role: ``student``, ``scratch`` or ``teacher``.
        num_classes: C.
        why_no_teacher: the reason recorded where ``teacher`` is None, by default one that follows from the role.

    Raises:
        ValueError: a set is empty, has non-finite logits or labels outside the classes, is neither a split nor a slice,
            or its examples differ from the teacher's. The message names the set.
    """
    check_role(role)
    evaluated = {name: slices[name] for name in slices if name in predictions}
    for name in predictions:
        if name not in SPLITS and name not in slices:
            raise ValueError(f"set '{name}': neither train, validation, test nor one of the slices {sorted(slices)}")
        if name in slices and name in RESERVED_NAMES:
            raise ValueError(f"slice '{name}': this name is reserved")
    for name, value in predictions.items():
        check(name, value, num_classes=num_classes)
    sets = {name: Scored(name, value) for name, value in predictions.items()}
    values: dict[str, float | None] = {}
    undefined: dict[str, str] = {}
    for one in sets.values():
        values |= _own(one)
    if "test" in sets:
        values |= _of_test(sets["test"], num_classes=num_classes)
        _add_scaled(values, undefined, test=sets["test"], validation=sets.get("validation"))
    _add_gaps(values, undefined, sets=sets, slices=evaluated)
    reason = why_no_teacher or _WHY_NO_TEACHER[role]
    for one in sets.values():
        _add_fidelity(values, undefined, student=one, teacher=teacher, num_classes=num_classes, reason=reason)
    demanded = [
        key
        for key in expected_keys(role, sets, evaluated)
        if not key.startswith(_MEASURED_ELSEWHERE) and not key.endswith("/parent_accuracy")
    ]
    values, undefined = complete(values, undefined, demanded, "not measured")
    return Measurements(values, undefined, {name: one.plain_bins() for name, one in sets.items()})


def _own(one: Scored) -> dict[str, float]:
    labels = one.predictions.labels
    return {
        f"{one.name}/accuracy": one.accuracy,
        f"{one.name}/nll": metrics.nll(one.log_probs, labels),
        f"{one.name}/brier": metrics.brier(one.probs, labels),
        f"{one.name}/ece": one.ece,
    }


def _of_test(test: Scored, *, num_classes: int) -> dict[str, float]:
    logits, labels, _ = test.predictions
    return {
        "test/ece_classwise": calibration.ece_classwise(test.probs, labels),
        "test/ece_floor": calibration.ece_floor(test.confidence),
        "test/worst_class_accuracy": metrics.worst_class_accuracy(logits, labels, num_classes=num_classes),
    }


def _add_scaled(
    values: dict[str, float | None], undefined: dict[str, str], *, test: Scored, validation: Scored | None
) -> None:
    """Temperature scaling: fitted on validation, judged on test."""
    if validation is None:
        fit = calibration.TemperatureFit(None, "the validation set was not evaluated")
    else:
        fit = calibration.fit_temperature(validation.predictions.logits, validation.predictions.labels)
    if fit.temperature is None:
        keys = ("test/fitted_temperature", "test/log_fitted_temperature", "test/ece_scaled")
        undefined |= dict.fromkeys(keys, fit.reason or "no fit")
        return
    scaled = metrics.log_softmax(test.predictions.logits / np.float64(fit.temperature))
    values["test/fitted_temperature"] = fit.temperature
    values["test/log_fitted_temperature"] = math.log(fit.temperature)
    values["test/ece_scaled"] = calibration.ece_binned(np.exp(scaled.max(axis=-1)), test.correct)


def _add_gaps(
    values: dict[str, float | None],
    undefined: dict[str, str],
    *,
    sets: Mapping[str, Scored],
    slices: Mapping[str, SliceFacts],
) -> None:
    ood_keys = ("ood/mean_gap", "ood/worst_gap")
    if "test" not in sets:
        undefined |= dict.fromkeys([*(f"{name}/gap" for name in slices), *ood_keys], "the test set was not evaluated")
        return
    gaps: dict[str, float] = {}
    twins = Twins(sets["test"].predictions.index)
    for name, facts in slices.items():
        try:
            gaps[name] = gap_of(sets[name], sets["test"], twins=twins, reference=facts.reference)
        except ValueError as error:
            raise ValueError(f"slice '{name}': {error}") from error
    values |= {f"{name}/gap": value for name, value in gaps.items()}
    found = ood_gaps(gaps, slices)
    if found is None:
        undefined |= dict.fromkeys(ood_keys, "no evaluated slice is marked ood")
    else:
        values |= dict(zip(ood_keys, found, strict=True))


def _add_fidelity(
    values: dict[str, float | None],
    undefined: dict[str, str],
    *,
    student: Scored,
    teacher: Mapping[str, Predictions | Scored] | None,
    num_classes: int,
    reason: str,
) -> None:
    name = student.name
    if teacher is None or name not in teacher:
        reason = reason if teacher is None else f"the teacher was not evaluated on {name}"
        keys = ("agreement", "teacher_kl", "accuracy_vs_teacher", "ece_vs_teacher")
        undefined |= {f"{name}/{key}": reason for key in keys}
        return
    said = teacher[name]
    other = said if isinstance(said, Scored) else Scored(name, said)
    check(name, other.predictions, num_classes=num_classes, who=" of the teacher")
    mine, theirs = student.predictions, other.predictions
    if not (np.array_equal(mine.index, theirs.index) and np.array_equal(mine.labels, theirs.labels)):
        raise ValueError(f"set '{name}': student and teacher were evaluated on different examples")
    values[f"{name}/agreement"] = fidelity.same(student.top, other.top)
    values[f"{name}/teacher_kl"] = fidelity.teacher_kl(student.log_probs, other.log_probs, teacher_probs=other.probs)
    values[f"{name}/accuracy_vs_teacher"] = student.accuracy - other.accuracy
    values[f"{name}/ece_vs_teacher"] = student.ece - other.ece


def complete(
    values: Mapping[str, float | None],
    undefined: Mapping[str, str],
    keys: Iterable[str],
    reason: str | Callable[[str], str],
) -> tuple[dict[str, float | None], dict[str, str]]:
    """Metrics with every one of ``keys`` and reasons for exactly those that are None.

    Args:
        values: what was measured; keys beyond ``keys`` are kept.
        undefined: known reasons.
        keys: what must be there, as from ``expected_keys``.
        reason: of keys that are None without a known reason: a sentence, or a function of the key.

    Raises:
        ValueError: a value is NaN or infinite.
    """
    full: dict[str, float | None] = dict.fromkeys(keys)
    full |= values
    for key, value in full.items():
        if value is not None and not math.isfinite(value):
            raise ValueError(f"{key} = {value}: a record holds finite numbers, or null with a reason")
    default = reason if callable(reason) else (lambda _: reason)
    return full, {key: undefined.get(key) or default(key) for key, value in full.items() if value is None}


def role_reason(role: str, fallback: str) -> Callable[[str], str]:
    """For ``complete``: why a key is null in a record of this role, else ``fallback``."""
    return lambda key: out_of_scope(key, role) or fallback
