"""All students of a study diagnosed, and written down beside its report."""

import json
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kdlab.commands.diagnosis.command import subject, train_probes
from kdlab.commands.table import Column, show
from kdlab.errors import UserError
from kdlab.experiments.diagnosis import Diagnosis, Measurements
from kdlab.experiments.diagnosis.gathering import Subject
from kdlab.experiments.diagnosis.probing import diagnosed
from kdlab.experiments.diagnosis.rules import domain_shift
from kdlab.experiments.lab import Lab
from kdlab.records import studies
from kdlab.records.atomic import write_text
from kdlab.records.record import RunRecord
from kdlab.reporting.compact import plain
from kdlab.reporting.diagnosis.planted import planted_in
from kdlab.reporting.diagnosis.rows import DIAGNOSES
from kdlab.saying import say
from kdlab.schema.config import RunConfig

if TYPE_CHECKING:
    from collections.abc import Sequence

Case = tuple[str | None, RunRecord]
"""An arm, and a student that belongs to it."""


def diagnose_study(name: str, lab: Lab, here: RunConfig, *, probe: bool) -> int:
    """Diagnose every finished student of a study, and write ``diagnoses.jsonl`` into the folder of its report.

    Raises:
        UserError: it has no student that a teacher taught.
    """
    cases = _cases(name, lab)
    if not cases:
        raise UserError(f"study {name} has no finished student that a teacher taught; kdlab list {name} shows its runs")
    subjects = {record.run_id: subject(record, lab, here) for _, record in cases}
    if probe:
        train_probes(list(subjects.values()), lab)
    rows = [_row(arm, subjects[record.run_id], lab) for arm, record in cases]
    path = Path(here.report.root).expanduser() / name / DIAGNOSES
    path.parent.mkdir(parents=True, exist_ok=True)
    write_text(path, "".join(json.dumps(row, allow_nan=False) + "\n" for row in rows))
    _show(rows)
    say(f"\n{path}: {len(rows)} diagnoses; kdlab report {name} shows them")
    return 0


def _cases(name: str, lab: Lab) -> list[Case]:
    study = studies.read_study(lab.store.root, name)
    assert study is not None
    found = dict.fromkeys((member.arm, member.run_id) for member in study.members if member.role == "student")
    records = ((arm, lab.store.find(run_id)) for arm, run_id in found)
    return [
        (arm, record)
        for arm, record in records
        if record is not None
        and record.status == "finished"
        and record.role == "student"
        and record.teacher is not None
    ]


def _row(arm: str | None, of_run: Subject, lab: Lab) -> dict[str, Any]:
    """A line of ``diagnoses.jsonl``; a planted arm says itself where its student is deployed."""
    planted = planted_in(arm)
    found, told = diagnosed(of_run, lab, deploy=None if planted is None else planted.deployment)
    record = of_run.record
    row: dict[str, Any] = plain(_told(arm, record, found, told))
    return row


def _told(arm: str | None, record: RunRecord, found: Measurements, told: Diagnosis) -> dict[str, Any]:
    harm = told.harm[0].estimate
    low, high = (None, None) if harm is None or harm.interval is None else harm.interval
    return {
        "arm": arm,
        "run_id": record.run_id,
        "data": record.data,
        "seeds": dict(record.seeds),
        "primary": told.primary,
        "fired": list(told.fired),
        "undecided": list(told.undecided),
        "shift_without_labels": domain_shift(replace(found, deployed_student=None, deployed_teacher=None)).fired,
        "harm": {"value": None if harm is None else harm.value, "low": low, "high": high},
        "measurements": found.values(),
    }


def _show(rows: "Sequence[dict[str, Any]]") -> None:
    """Arm by arm, what its students were found to show."""
    arms: dict[str, list[dict[str, Any]]] = {}
    for row in rows:
        arms.setdefault(row["arm"] or "", []).append(row)
    cells = []
    for arm, mine in arms.items():
        counts = Counter(row["primary"] for row in mine)
        said = ", ".join(f"{primary} {count}" for primary, count in counts.most_common())
        harms = [row["harm"]["value"] for row in mine if row["harm"]["value"] is not None]
        mean = f"{100 * sum(harms) / len(harms):+.1f}" if harms else ""
        undecided = sum(bool(row["undecided"]) for row in mine)
        cells.append([arm, str(len(mine)), said, mean, str(undecided) if undecided else ""])
    columns = [Column("arm", yields=True), Column("n", "right"), Column("diagnosis", yields=True)]
    show([*columns, Column("to scratch", "right"), Column("undecided", "right")], cells)
