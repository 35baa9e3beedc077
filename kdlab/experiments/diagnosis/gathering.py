"""From the records of a run and of those beside it to the measurements of a diagnosis. Test numbers are never read."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from kdlab.errors import UserError
from kdlab.evaluation.fidelity import agreement
from kdlab.evaluation.metrics import accuracy, correct
from kdlab.evaluation.predict import load_predictions, predict
from kdlab.experiments.again import config_of, load_model
from kdlab.experiments.assembling import predicted
from kdlab.experiments.diagnosis.deployment import deployment_sample
from kdlab.experiments.diagnosis.measurements import (
    LONG,
    SCRATCH,
    UNIFORM,
    UNREGULARISED,
    WIDE,
    Measurements,
    log_temperature_error,
    paired_error,
)
from kdlab.experiments.diagnosis.probes import CannotProbe, probe_plan
from kdlab.experiments.lab import Lab, device_of
from kdlab.experiments.plan import plan
from kdlab.experiments.planned import Plan
from kdlab.experiments.teachers import teach
from kdlab.outputs import Predictions
from kdlab.records.record import RunRecord
from kdlab.schema.config import RunConfig
from kdlab.teachers import Teacher
from kdlab.tempering import fit_temperature

NEEDS_PROBE = "--probe trains it"
NEEDS_DEPLOYMENT = "--deploy names a sample of where the student is used"
NO_NETWORK = "no network taught this student"


@dataclass(frozen=True)
class Subject:
    """A run to be diagnosed, and the plans of those beside it.

    Args:
        record: of the student.
        config: its config, with store and tracker of this process.
        plans: probe -> what it needs; those that cannot be made are left out.
        cannot: probe -> why it cannot be made.
    """

    record: RunRecord
    config: RunConfig
    plans: dict[str, Plan]
    cannot: dict[str, str]

    def found(self, name: str, lab: Lab) -> RunRecord | None:
        """The finished record of a probe, wherever it was made."""
        if name not in self.plans:
            return None
        record = lab.store.find(self.plans[name].run.run_id)
        return record if record is not None and record.status == "finished" else None


def subject_of(record: RunRecord, lab: Lab, *, allow: Sequence[str], sections: Mapping[str, Any]) -> Subject:
    """What stands beside a run.

    Args:
        record: of the run.
        lab: where it lies.
        allow: import paths of the user's own that a config may name.
        sections: of the config of this process, which stand in the place of the record's: what trains nothing.

    Raises:
        UserError: it is no finished student that a teacher taught; the message names what there is.
    """
    _refuse_others(record, lab)
    plain = {**record.config, "study": {}, "store": {"root": str(lab.store.root)}, "allow_targets": list(allow)}
    config = config_of(replace(record, config={**plain, **sections}), allow=allow)
    plans, cannot = dict[str, Plan](), dict[str, str]()
    for name in (SCRATCH, WIDE, LONG, UNREGULARISED, UNIFORM):
        try:
            plans[name] = probe_plan(name, config, record.overrides)
        except CannotProbe as why:
            cannot[name] = str(why)
    return Subject(record, config, plans, cannot)


def _refuse_others(record: RunRecord, lab: Lab) -> None:
    if record.status != "finished":
        raise UserError(f"run {record.run_id} failed ({(record.error or {}).get('message')}): run it again first")
    if record.role == "student" and record.teacher is not None:
        return
    students = [other for other in map(lab.store.load, lab.store.ids()) if record.run_id in _beside(other)]
    there = ", ".join(student.run_id for student in students[:4]) or "none in this store"
    what = {
        "teacher": "a teacher; its students",
        "scratch": "a scratch twin, taught by nobody; its students",
        "student": "a student that nobody taught; those it is the twin of",
    }[record.role]
    raise UserError(f"run {record.run_id} is {what}: {there}. kdlab diagnose reads a distilled student")


def _beside(record: RunRecord) -> tuple[str | None, ...]:
    return record.twin, (record.teacher or {}).get("id")


def gather(subject: Subject, lab: Lab, *, deploy: str | None = None) -> Measurements:
    """The measurements of a run: its own, its teacher's, and those of baselines and probes that are finished.

    Args:
        subject: the run.
        lab: where it lies.
        deploy: the deployment sample, as ``deployment_sample`` reads it; None for none.
    """
    found = _Gathered(subject, lab)
    found.student()
    found.teacher()
    found.baselines()
    if deploy is None:
        found.lack(("deployed_student", "deployed_agreement"), NEEDS_DEPLOYMENT)
    else:
        found.deployed(deploy)
    return Measurements(
        **found.values,
        paired=found.paired,
        lacking=found.lacking,
        probes=found.probes,
        applies=found.applies,
        cannot=frozenset(subject.cannot),
    )


class _Gathered:
    """Measurements as they are found."""

    def __init__(self, subject: Subject, lab: Lab) -> None:
        self.subject, self.lab = subject, lab
        self.values: dict[str, Any] = {}
        self.paired: dict[tuple[str, str], float] = {}
        self.lacking: dict[str, str] = {}
        self.probes: dict[str, str] = {}
        self.applies: dict[str, str] = {}
        self.kept: dict[str, Predictions] = {}

    def lack(self, names: Sequence[str], why: str, *, probe: str | None = None) -> None:
        for name in names:
            self.lacking[name] = why
            if probe is not None:
                self.probes[name] = probe

    def student(self) -> None:
        record = self.subject.record
        size = {name: int(sum(record.bins[name]["count"])) for name in ("train", "validation") if name in record.bins}
        if len(size) < 2:
            raise UserError(
                f"run {record.run_id} was not measured on train and validation (evaluation.sets); "
                f"kdlab evaluate {record.run_id} evaluation.sets=[train,validation] does it"
            )
        metrics = record.metrics
        self.values |= {
            "num_train": size["train"],
            "num_validation": size["validation"],
            "student_train": metrics["train/accuracy"],
            "student_validation": metrics["validation/accuracy"],
            "student_ece": metrics.get("validation/ece"),
            "agreement": metrics.get("train/agreement"),
            "validation_agreement": metrics.get("validation/agreement"),
        }
        self._keep("student_validation", record)

    def teacher(self) -> None:
        told = self.subject.record.teacher or {}
        metrics = told.get("metrics")
        if metrics is None:
            rules = ("quantised_teacher", "weak_teacher", "teacher_miscalibrated", "under_trained", "student_too_small")
            self.applies |= dict.fromkeys(rules, NO_NETWORK)
            return
        self.values |= {
            "teacher_train": metrics.get("train/accuracy"),
            "teacher_validation": metrics.get("validation/accuracy"),
            "teacher_ece": metrics.get("validation/ece"),
            "parent_validation": metrics.get("validation/parent_accuracy"),
        }
        if self.values["parent_validation"] is None:
            self.applies["quantised_teacher"] = "its teacher is no transformation of another network"
        record = self.lab.store.find(str(told["id"]))
        self._temperature(metrics, None if record is None else self._keep("teacher_validation", record))
        if record is not None and record.parent is not None and self.values["parent_validation"] is not None:
            parent = self.lab.store.find(record.parent)
            if parent is not None:
                self._keep("parent_validation", parent)
                self._pair("parent_validation", "teacher_validation")

    def _temperature(self, metrics: Any, said: Predictions | None) -> None:
        """T* as its record has it (fitted on validation), else fitted now to what was kept of validation."""
        temperature = metrics.get("test/fitted_temperature")
        if temperature is None and said is not None:
            temperature, why = fit_temperature(said.logits, said.labels)
            self.lacking["fitted_temperature"] = str(why)
        elif temperature is None:
            self.lacking["fitted_temperature"] = "neither a fitted temperature nor predictions on validation were kept"
        self.values["fitted_temperature"] = temperature
        if temperature is not None and said is not None:
            self.values["log_temperature_error"] = log_temperature_error(said.logits, said.labels, temperature)

    def baselines(self) -> None:
        """The scratch twin and the probes that are finished."""
        for probe, names in _MEASURED.items():
            record = self.subject.found(probe, self.lab)
            if record is None:
                why = self.subject.cannot.get(probe)
                told = (
                    f"the {_WORDS[probe]} is not there: {NEEDS_PROBE}" if why is None else f"no {_WORDS[probe]}: {why}"
                )
                self.lack(list(names), told, probe=None if why else probe)
                continue
            self.values |= {name: record.metrics.get(key) for name, key in names.items()}
            unmeasured = [name for name in names if self.values[name] is None]
            self.lack(unmeasured, f"the {_WORDS[probe]}, run {record.run_id}, was not measured on train and validation")
            name = f"{probe}_validation"
            self._keep(name, record)
            self._pair("student_validation", name)
        for probe, rule in ((UNREGULARISED, "over_regularised"), (LONG, "under_trained")):
            if probe in self.subject.cannot:
                self.applies.setdefault(rule, self.subject.cannot[probe])
        if "teacher_validation" in self.kept:
            self._pair("teacher_validation", "scratch_validation")

    def deployed(self, asked: str) -> None:
        """Student and teacher on the deployment sample."""
        subject, lab = self.subject, self.lab
        examples = deployment_sample(asked, subject.config, lab)
        folder = lab.store.folder(subject.record.run_id)
        network = load_model(folder, lab, allow=subject.config.allow_targets)
        device, size = device_of(subject.config), subject.config.evaluation.batch_size
        said = predict(network.to(device), examples, batch_size=size, device=device)
        self.values["num_deployed"] = len(said.labels)
        is_labelled = bool((said.labels >= 0).all())
        if is_labelled:
            self.values["deployed_student"] = accuracy(said.logits, said.labels)
            self.kept["deployed_student"] = said
            self._pair("student_validation", "deployed_student")
        teacher = self._provider()
        if teacher is None:
            self.lack(("deployed_teacher", "deployed_agreement"), "its teacher is not in this store")
            return
        theirs = predicted(teacher, examples, subject.config)
        self.values["deployed_agreement"] = agreement(said.logits, theirs.logits)
        if is_labelled:
            self.values["deployed_teacher"] = accuracy(theirs.logits, theirs.labels)
            self.kept["deployed_teacher"] = theirs
            self._pair("teacher_validation", "deployed_teacher")

    def _provider(self) -> Teacher | None:
        """The teacher, put together from what is finished here; nothing is trained for it."""
        planned = plan(self.subject.config, self.subject.record.overrides).teacher
        if planned is None or "teacher_validation" not in self.values:
            return None
        records = [self.lab.store.finished(run.run_id) for run in planned.lineage()]
        known = [record for record in records if record is not None]
        return teach(planned, known[-1], self.lab).provider if len(known) == len(records) else None

    def _keep(self, name: str, record: RunRecord) -> Predictions | None:
        """What a run said on validation, where that was kept."""
        path = self.lab.store.folder(record.run_id) / "predictions" / "validation.npz"
        if path.is_file():
            self.kept[name] = load_predictions(path)
        return self.kept.get(name)

    def _pair(self, first: str, second: str) -> None:
        """The paired error of two shares, where both were kept on the same examples."""
        a, b = self.kept.get(first), self.kept.get(second)
        if a is not None and b is not None and np.array_equal(a.index, b.index):
            hits = [correct(said.logits, said.labels) for said in (a, b)]
            self.paired[first, second] = paired_error(*hits)


_MEASURED = {
    SCRATCH: {"scratch_train": "train/accuracy", "scratch_validation": "validation/accuracy"},
    WIDE: {"wide_agreement": "train/agreement", "wide_validation": "validation/accuracy"},
    LONG: {"long_agreement": "train/agreement", "long_validation": "validation/accuracy"},
    UNREGULARISED: {"unregularised_train": "train/accuracy", "unregularised_validation": "validation/accuracy"},
    UNIFORM: {"uniform_validation": "validation/accuracy"},
}
_WORDS = {
    SCRATCH: "scratch twin",
    WIDE: "student of four times the width",
    LONG: "student of four times the steps",
    UNREGULARISED: "student without regularisation",
    UNIFORM: "student of a uniform teacher",
}
