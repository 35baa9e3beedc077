"""How often a diagnosis is right: confusion, F1, shares with exact intervals."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from kdlab.reporting.diagnosis.planted import FAILURES, NONE, SHIFT, USUAL, Planted
from kdlab.reporting.diagnosis.rows import Case

CLASSES = (*FAILURES, NONE)
HARMFUL = 0.02
"""Effect on accuracy beyond which a planted failure has to be found."""
LEAST_F1, MOST_FALSE_ALARMS = 0.9, 0.05
"""The bars, fixed before the runs."""


class Share(NamedTuple):
    """A share with its exact 95 % interval."""

    hits: int
    total: int
    low: float
    high: float

    @property
    def value(self) -> float:
        """The share itself."""
        return self.hits / self.total


def share(hits: int, total: int, *, level: float = 0.95) -> Share:
    """The interval of Clopper and Pearson (1934), from the beta distribution.

    Args:
        hits: 0 to total.
        total: at least 1.
        level: at least this coverage.
    """
    from scipy.stats import beta

    tail = (1.0 - level) / 2.0
    low = float(beta.ppf(tail, hits, total - hits + 1)) if hits else 0.0
    high = float(beta.ppf(1.0 - tail, hits + 1, total - hits)) if hits < total else 1.0
    return Share(hits, total, low, high)


def truth(case: Case) -> str:
    """The one failure that was planted, or none; pairs have no single truth."""
    return case.planted.names[0] if case.planted.names else NONE


def named(case: Case) -> str:
    """The failure that was named; harm without a cause is none of the failures."""
    return case.primary if case.primary in FAILURES else NONE


def singles(cases: Sequence[Case]) -> list[Case]:
    """Cases with one failure, or none."""
    return [case for case in cases if len(case.planted.names) < 2]


def counting(cases: Sequence[Case], effects: Mapping[str, float], *, costs_alone: bool = False) -> list[Case]:
    """Those that a score is made of: healthy ones, and single failures whose arm has an effect above 2 points.

    Args:
        cases: all of them.
        effects: arm -> effect.
        costs_alone: leaves out what is planted and gains more than that.
    """
    sizes = {arm: -effect if costs_alone else abs(effect) for arm, effect in effects.items()}
    return [case for case in singles(cases) if not case.planted.names or sizes.get(case.arm, 0.0) > HARMFUL]


def confusion(cases: Sequence[Case]) -> dict[tuple[str, str], int]:
    """(planted, named) -> number of cases, all classes."""
    found = {(planted, said): 0 for planted in CLASSES for said in CLASSES}
    for case in cases:
        found[truth(case), named(case)] += 1
    return found


def f1_scores(counts: Mapping[tuple[str, str], int]) -> dict[str, float]:
    """Class -> ``2 TP / (2 TP + FP + FN)``; classes that were never planted are left out."""
    found = {}
    for name in CLASSES:
        hits = counts[name, name]
        missed = sum(counts[name, other] for other in CLASSES if other != name)
        false = sum(counts[other, name] for other in CLASSES if other != name)
        if hits + missed:
            found[name] = 2 * hits / (2 * hits + missed + false)
    return found


def macro_f1(counts: Mapping[tuple[str, str], int]) -> float:
    """The unweighted mean of the F1 of the classes that were planted."""
    scores = f1_scores(counts)
    return sum(scores.values()) / len(scores)


def false_alarms(cases: Sequence[Case]) -> Share | None:
    """Healthy cases in which any rule fired; None without healthy ones."""
    healthy = [case for case in cases if not case.planted.names]
    return share(sum(bool(case.fired) for case in healthy), len(healthy)) if healthy else None


class Detection(NamedTuple):
    """What became of an arm.

    Args:
        arm: the arm.
        failures: what it plants.
        severity: as it is named.
        effect: mean effect on accuracy, None where that is not known.
        harm: mean difference to the scratch twins.
        fired: cases in which all planted failures fired.
        first: cases in which a planted failure was named first.
    """

    arm: str
    failures: tuple[str, ...]
    severity: str
    effect: float | None
    harm: float | None
    fired: Share
    first: Share


def _severity(planted: Planted) -> str:
    told = " + ".join(severity.replace("_", " ") for _, severity in planted.failures)
    return told if planted.recipe == USUAL else f"{told} at {planted.recipe.replace('_', ' ')}"


def detections(arms: Mapping[str, Sequence[Case]], effects: Mapping[str, float]) -> list[Detection]:
    """Every planted arm, in the order of the study."""
    found = []
    for arm, cases in arms.items():
        planted = cases[0].planted
        if not planted.names:
            continue
        harms = [case.harm for case in cases if case.harm is not None]
        found.append(
            Detection(
                arm,
                planted.names,
                _severity(planted),
                effects.get(arm),
                sum(harms) / len(harms) if harms else None,
                share(sum(set(planted.names) <= set(case.fired) for case in cases), len(cases)),
                share(sum(case.primary in planted.names for case in cases), len(cases)),
            )
        )
    return found


class Unlabelled(NamedTuple):
    """How often a domain shift was seen without labels: where one that counts was planted, and where none was."""

    seen: Share
    false: Share


def without_labels(cases: Sequence[Case], effects: Mapping[str, float]) -> Unlabelled | None:
    """Arms with a shift that lose more than 2 points, pairs among them, by the agreement with the teacher alone."""
    asked = [case for case in cases if case.shift_without_labels is not None]
    shifted = [case for case in asked if SHIFT in case.planted.names and -effects.get(case.arm, 0.0) > HARMFUL]
    rest = [case for case in asked if SHIFT not in case.planted.names]
    if not shifted or not rest:
        return None
    seen, false = (sum(bool(case.shift_without_labels) for case in some) for some in (shifted, rest))
    return Unlabelled(share(seen, len(shifted)), share(false, len(rest)))
