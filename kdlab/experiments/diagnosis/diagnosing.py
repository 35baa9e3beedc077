"""From measurements to a diagnosis: what fired, what comes first, and whether there is harm at all."""

from typing import NamedTuple

from kdlab.experiments.diagnosis.measurements import Estimate, Measurements
from kdlab.experiments.diagnosis.rules import RULES, THRESHOLDS, Finding, Thresholds

NONE = "none"
UNEXPLAINED = "unexplained"


class Harm(NamedTuple):
    """What the student lost or gained on validation.

    Args:
        against: ``scratch`` (labels alone) or ``uniform`` (a teacher that knows nothing).
        estimate: student minus that; None where that was not measured.
        word: harm, gain, or neither shown.
    """

    against: str
    estimate: Estimate | None
    word: str


class Diagnosis(NamedTuple):
    """What a run shows.

    Args:
        primary: the first rule of the table that fired; ``unexplained`` for harm without a cause, else ``none``.
        fired: every rule that fired, in the order of the table.
        undecided: rules that lack a measurement.
        harm: against scratch, then against the uniform teacher where that was measured.
        findings: what every rule says.
    """

    primary: str
    fired: tuple[str, ...]
    undecided: tuple[str, ...]
    harm: tuple[Harm, ...]
    findings: tuple[Finding, ...]

    @property
    def needs(self) -> tuple[str, ...]:
        """The probes that would let every rule tell."""
        return tuple(dict.fromkeys(probe for finding in self.findings for probe in finding.needs))


def diagnose(found: Measurements, limits: Thresholds = THRESHOLDS) -> Diagnosis:
    """Name the failure that a run shows.

    A cause may be there without harm, and harm without a cause that is known: both are said.
    """
    findings = tuple(rule(found, limits) for rule in RULES)
    fired = tuple(finding.rule for finding in findings if finding.fired)
    undecided = tuple(finding.rule for finding in findings if finding.fired is None)
    harm = (_harm(found, "scratch"), *([_harm(found, "uniform")] if found.uniform_validation is not None else []))
    is_unexplained = not fired and not undecided and harm[0].word == "harm"
    primary = fired[0] if fired else UNEXPLAINED if is_unexplained else NONE
    return Diagnosis(primary, fired, undecided, harm, findings)


def _harm(found: Measurements, against: str) -> Harm:
    estimate = found.difference("student_validation", f"{against}_validation")
    if estimate is None or estimate.interval is None:
        return Harm(against, estimate, "not measured")
    low, high = estimate.interval
    return Harm(against, estimate, "harm" if high < 0 else "gain" if low > 0 else "neither harm nor gain is shown")
