"""The fix of a failure: what the failure x fix matrix supports, else the confirming intervention, untested."""

import csv
from pathlib import Path
from typing import NamedTuple

from kdlab.errors import UserError

MATRIX = Path("failure_fix_matrix") / "tables" / "matrix.csv"
COLUMNS = ("failure", "fix", "label", "repaired", "low", "high", "verdict")
REPAIRS = "repairs"
MISCALIBRATED = "teacher_miscalibrated"
IN_MATRIX = {
    "quantised_teacher": "quantised",
    "weak_teacher": "weak",
    "domain_shift": "domain_shift",
    "over_regularised": "over_regularised",
    "student_too_small": "too_small",
}
"""How ``sweeps/failure_fix_matrix.yaml`` names the failures; a miscalibrated teacher is two of them, by direction."""
CONFIRMING = {
    "quantised_teacher": "teach with the trained parent in its place",
    "weak_teacher": "lower alpha, or train the teacher longer",
    "teacher_miscalibrated": "scale the teacher's logits by 1 / T* (teacher/quality=calibrated)",
    "domain_shift": "add unlabelled inputs from the deployment to the transfer set",
    "over_regularised": "take dropout, weight decay and label smoothing away, as the probe does",
    "under_trained": "more steps, as the probe, or a higher learning rate",
    "student_too_small": "a wider student, as the probe; lower T where it may not grow",
}
"""What the decision table names as the intervention that confirms each failure."""


class Fix(NamedTuple):
    """A row of the matrix: a fix, the share of the loss that it repairs, and its interval."""

    label: str
    repaired: float
    low: float | None
    high: float | None


class Advice(NamedTuple):
    """What is known to help.

    Args:
        fixes: those that repair this failure, best first.
        note: what there is instead; empty where there are fixes.
    """

    fixes: tuple[Fix, ...]
    note: str


def advice(failure: str, *, report_root: Path, fitted_temperature: float | None = None) -> Advice:
    """The fixes of a failure whose verdict is ``repairs``, best first.

    Args:
        failure: the rule that fired.
        report_root: where reports are, that of the matrix among them.
        fitted_temperature: of the teacher; above 1 it is over-confident, which is a failure of its own in the matrix.

    Raises:
        UserError: the matrix is there and lacks a column, or a number in it is none.
    """
    confirming = f"the intervention that would confirm it is untested here: {CONFIRMING[failure]}"
    path = report_root / MATRIX
    if not path.is_file():
        return Advice((), f"there is no failure x fix matrix ({MATRIX} in report.root); {confirming}")
    direction = "overconfident" if (fitted_temperature or 0.0) > 1.0 else "underconfident"
    name = direction if failure == MISCALIBRATED else IN_MATRIX.get(failure)
    if name is None:
        return Advice((), f"the failure x fix matrix has no row of it; {confirming}")
    fixes = [_fix(row, path) for row in _rows(path) if row["failure"] == name and row["verdict"] == REPAIRS]
    if not fixes:
        return Advice((), f"the failure x fix matrix has no fix that repairs it; {confirming}")
    return Advice(tuple(sorted(fixes, key=lambda fix: -fix.repaired)), "")


def _rows(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        reader = csv.DictReader(file)
        missing = [name for name in COLUMNS if name not in (reader.fieldnames or ())]
        if missing:
            raise UserError(f"{path}: no column {', '.join(missing)}; it has {', '.join(reader.fieldnames or ())}")
        return list(reader)


def _fix(row: dict[str, str], path: Path) -> Fix:
    try:
        low, high = (float(row[name]) if row[name] else None for name in ("low", "high"))
        return Fix(row["label"] or row["fix"], float(row["repaired"]), low, high)
    except ValueError as error:
        raise UserError(f"{path}: fix '{row['fix']}' of '{row['failure']}': {error}") from error
