"""The lines of ``diagnoses.jsonl``, which ``kdlab diagnose STUDY`` writes: one diagnosed student each."""

import json
import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kdlab.errors import UserError
from kdlab.reporting.diagnosis.planted import SHIFT, USUAL, Planted, planted_in

DIAGNOSES = "diagnoses.jsonl"


@dataclass(frozen=True)
class Case:
    """A student with something planted, or nothing, and what the diagnosis said.

    Args:
        arm: its arm.
        planted: what the arm plants.
        seed: of the student.
        primary: the failure that was named.
        fired: all that were seen.
        undecided: rules that lacked a measurement.
        measured: the measurements by name, shares in [0, 1].
        harm: validation accuracy minus that of the scratch twin.
        shift_without_labels: whether a domain shift was seen by agreement alone; None where that was not asked.
    """

    arm: str
    planted: Planted
    seed: int
    primary: str
    fired: tuple[str, ...]
    undecided: tuple[str, ...]
    measured: Mapping[str, float | None]
    harm: float | None
    shift_without_labels: bool | None = None

    @property
    def accuracy(self) -> float | None:
        """On the deployment sample where a shift was planted, else on validation."""
        return self.measured["deployed_student" if SHIFT in self.planted.names else "student_validation"]


def read_cases(path: Path) -> list[Case]:
    """The planted and healthy cases of a file; lines of other arms are left out.

    Raises:
        UserError: a line that is none.
    """
    lines = path.read_text(encoding="utf-8").splitlines()
    return [case for number, line in enumerate(lines, start=1) if (case := _case(line, f"{path}, line {number}"))]


def _case(line: str, where: str) -> Case | None:
    try:
        row: dict[str, Any] = json.loads(line)
        planted = planted_in(row["arm"])
        if planted is None:
            return None
        return Case(
            row["arm"],
            planted,
            row["seeds"]["student"],
            row["primary"],
            tuple(row["fired"]),
            tuple(row["undecided"]),
            row["measurements"],
            row["harm"]["value"],
            row.get("shift_without_labels"),
        )
    except (ValueError, KeyError, TypeError) as error:
        raise UserError(f"{where} is no diagnosis ({error}); kdlab diagnose STUDY writes it again") from error


def by_arm(cases: Iterable[Case]) -> dict[str, list[Case]]:
    """Cases by their arm, in the order of the study."""
    found: dict[str, list[Case]] = {}
    for case in cases:
        found.setdefault(case.arm, []).append(case)
    return found


def effects(cases: Sequence[Case]) -> dict[str, float]:
    """Arm -> mean effect of what it plants: accuracy minus that of the healthy arm of its recipe, same seed.

    Where a shift is planted, its accuracy is that on the shifted sample. Arms without a healthy partner are left out.
    """
    healthy = {(case.planted.recipe, case.seed): case.accuracy for case in cases if not case.planted.names}
    return _differences(cases, [healthy.get((case.planted.recipe, case.seed)) for case in cases])


def poor_recipes(cases: Sequence[Case], *, beyond: float) -> set[str]:
    """Healthy arms whose accuracy lies further than this below that of the usual recipe of the same seeds."""
    healthy = [case for case in cases if not case.planted.names]
    usual = {case.seed: case.accuracy for case in healthy if case.planted.recipe == USUAL}
    found = _differences(healthy, [usual.get(case.seed) for case in healthy])
    return {arm for arm, difference in found.items() if difference < -beyond}


def _differences(cases: Sequence[Case], references: Sequence[float | None]) -> dict[str, float]:
    """Arm -> mean of accuracy minus reference, where both are known."""
    known: dict[str, list[float]] = {}
    for case, reference in zip(cases, references, strict=True):
        if case.accuracy is not None and reference is not None:
            known.setdefault(case.arm, []).append(case.accuracy - reference)
    return {arm: statistics.fmean(values) for arm, values in known.items()}
