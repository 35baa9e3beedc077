"""A diagnosis as it is read: a short table and a few lines; or as JSON."""

from collections.abc import Mapping
from typing import Any

from kdlab.commands.table import Column, show
from kdlab.experiments.diagnosis import Diagnosis, Evidence, Finding, Harm, Measurements
from kdlab.experiments.diagnosis.fixes import Advice
from kdlab.experiments.diagnosis.measurements import Estimate
from kdlab.records.record import RunRecord
from kdlab.saying import say

FIRED: Mapping[bool | None, str] = {True: "FIRES", False: "no", None: "?"}
_IN_LOGARITHMS = "teacher_miscalibrated"


def show_run(record: RunRecord, told: Diagnosis, advised: Mapping[str, Advice]) -> None:
    """Print a diagnosis."""
    teacher = record.teacher or {}
    say(f"student {record.run_id} on {record.data}, taught by {teacher.get('id')} ({teacher.get('quality')})\n")
    others = f"; also fires: {', '.join(told.fired[1:])}" if told.fired[1:] else ""
    say(f"diagnosis: {told.primary}{others}")
    for harm in told.harm:
        say(f"effect:    {harm_text(harm)}")
    say("")
    columns = [Column("rule"), Column("fires"), Column("measured", "right"), Column("95 % interval", "right")]
    columns += [Column("threshold", "right"), Column("what", yields=True)]
    show(columns, [row for finding in told.findings for row in _rows(finding)])
    notes = [f"{finding.rule}: {finding.note}" for finding in told.findings if finding.note]
    if notes:
        say("\n" + "\n".join(notes))
    for rule, found in advised.items():
        say(f"\nfix of {rule}: {found.note}" if found.note else f"\nfix of {rule}, by the failure x fix matrix:")
        for fix in found.fixes:
            interval = (
                "" if fix.low is None or fix.high is None else f" ({100 * fix.low:.0f} to {100 * fix.high:.0f} %)"
            )
            say(f"  {fix.label}: repairs {100 * fix.repaired:.0f} %{interval}")


def harm_text(harm: Harm) -> str:
    """``harm: -2.1 points to scratch on validation (-3.0 to -1.2)``."""
    if harm.estimate is None:
        return f"not measured: the {harm.against} student is not there (--probe trains the scratch twin)"
    return f"{harm.word}: {points(harm.estimate)} points to {harm.against} on validation ({_interval(harm.estimate)})"


def points(estimate: Estimate) -> str:
    """A difference of shares in points."""
    return f"{100 * estimate.value:+.1f}"


def _interval(estimate: Estimate, *, scale: float = 100.0, form: str = "+.1f") -> str:
    if estimate.interval is None:
        return ""
    low, high = estimate.interval
    return f"{scale * low:{form}} to {scale * high:{form}}"


def _rows(finding: Finding) -> list[list[str]]:
    rows = [[*_cells(one, of=finding.rule)] for one in finding.evidence] or [["", "", "", ""]]
    return [
        [finding.rule if at == 0 else " ", FIRED[finding.fired] if at == 0 else " ", *row]
        for at, row in enumerate(rows)
    ]


def _cells(one: Evidence, *, of: str) -> tuple[str, str, str, str]:
    scale, form = (1.0, ".2f") if of == _IN_LOGARITHMS else (100.0, ".1f")
    threshold = "" if one.threshold is None else f"{one.sign} {scale * one.threshold:{form}}"
    if one.estimate is None:
        return "", "", threshold, one.what
    return f"{scale * one.estimate.value:{form}}", _interval(one.estimate, scale=scale, form=form), threshold, one.what


def as_plain(record: RunRecord, found: Measurements, told: Diagnosis, advised: Mapping[str, Advice]) -> dict[str, Any]:
    """The whole diagnosis as plain Python, shares in [0, 1]."""
    return {
        "run_id": record.run_id,
        "primary": told.primary,
        "fired": list(told.fired),
        "undecided": list(told.undecided),
        "harm": [{"against": harm.against, "word": harm.word, **_estimate(harm.estimate)} for harm in told.harm],
        "findings": [
            {
                "rule": finding.rule,
                "fired": finding.fired,
                "note": finding.note,
                "needs": list(finding.needs),
                "evidence": [_evidence(one) for one in finding.evidence],
            }
            for finding in told.findings
        ],
        "measurements": found.values(),
        "fixes": {
            rule: {"fixes": [fix._asdict() for fix in one.fixes], "note": one.note} for rule, one in advised.items()
        },
    }


def _evidence(one: Evidence) -> dict[str, Any]:
    return {
        "what": one.what,
        "sign": one.sign,
        "threshold": one.threshold,
        "holds": one.holds,
        **_estimate(one.estimate),
    }


def _estimate(estimate: Estimate | None) -> dict[str, float | None]:
    low, high = (None, None) if estimate is None or estimate.interval is None else estimate.interval
    return {"value": None if estimate is None else estimate.value, "low": low, "high": high}
