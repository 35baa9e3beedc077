"""The command: find the run or the study, train the probes that are asked for, diagnose, show."""

import contextlib
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from kdlab.commands.reading import parse, settings, value_of
from kdlab.errors import UserError
from kdlab.records import studies
from kdlab.records.store import Store, read_record
from kdlab.saying import say
from kdlab.schema.config import RunConfig

if TYPE_CHECKING:
    from kdlab.experiments.diagnosis.gathering import Subject
    from kdlab.experiments.lab import Lab
    from kdlab.records.record import RunRecord

READS = ("store.root", "report.root", "allow_targets", "stack.", "tracker.")
PROBE, DEPLOY, JSON = "--probe", "--deploy", "--json"


def diagnose(words: list[str]) -> int:
    """``kdlab diagnose RUN|STUDY [--probe] [--deploy WHERE] [--json] [key=value ...]``."""
    from kdlab.commands.jobs import apply_threads

    rest, deploy = value_of(words, DEPLOY, command="diagnose", what="a slice, shift:SEVERITY, pool or a .npz file")
    asked = parse(rest, command="diagnose", flags=(PROBE, JSON))
    if not asked.names:
        raise UserError("diagnose: a path, a run id, a unique prefix of one, or a study is needed")
    here = settings(asked.overrides, command="diagnose", reads=READS)
    apply_threads(here)
    name, probe, store = asked.names[0], PROBE in asked.flags, Store(Path(here.store.root), say=say)
    if not _is_study(name, store):
        return _of_run(store.resolve(name), here, probe=probe, deploy=deploy, as_json=JSON in asked.flags)
    if deploy is not None or JSON in asked.flags:
        raise UserError(f"diagnose {name}: {DEPLOY} and {JSON} are for one run, {name} is a study")
    from kdlab.commands.diagnosis.study import diagnose_study

    return diagnose_study(name, _lab(here, probe=probe), here, probe=probe)


def _lab(here: RunConfig, *, probe: bool) -> "Lab":
    """The lab of this process; its store is tried by writing only where probes are trained."""
    from kdlab.commands.jobs import lab_of, open_lab

    return open_lab(here) if probe else lab_of(here)


def _is_study(name: str, store: Store) -> bool:
    return store.root.is_dir() and name in studies.studies(store.root)


def subject(record: "RunRecord", lab: "Lab", here: RunConfig) -> "Subject":
    """A run to be diagnosed, in this process's store and with its tracker."""
    from kdlab.experiments.diagnosis.gathering import subject_of

    sections = {name: here.plain[name] for name in ("stack", "tracker", "report")}
    return subject_of(record, lab, allow=here.allow_targets, sections=sections)


def _of_run(folder: Path, here: RunConfig, *, probe: bool, deploy: str | None, as_json: bool) -> int:
    from kdlab.commands.diagnosis.showing import as_plain, show_run
    from kdlab.experiments.diagnosis.fixes import advice
    from kdlab.experiments.diagnosis.probing import diagnosed

    record = read_record(folder)
    if record is None:
        raise UserError(f"{folder} has no record yet: the run is going on or was killed; run it again")
    if folder.name != record.run_id:
        raise UserError(f"{folder} holds run {record.run_id}: give the folder that name, a run is found by it")
    its_store = here.store.model_copy(update={"root": str(folder.absolute().parent)})
    lab = _lab(here.model_copy(update={"store": its_store}), probe=probe)
    of_run = subject(record, lab, here)
    if probe:
        with contextlib.redirect_stdout(sys.stderr) if as_json else contextlib.nullcontext():
            train_probes([of_run], lab)
    found, told = diagnosed(of_run, lab, deploy=deploy)
    root = Path(here.report.root).expanduser().absolute()
    temperature = found.fitted_temperature
    advised = {rule: advice(rule, report_root=root, fitted_temperature=temperature) for rule in told.fired}
    if as_json:
        say(json.dumps(as_plain(record, found, told, advised), indent=2, allow_nan=False))
    else:
        show_run(record, told, advised)
    return 0


def train_probes(subjects: "Sequence[Subject]", lab: "Lab") -> None:
    """Train what these runs lack.

    Raises:
        UserError: a probe failed; its message is told.
    """
    from kdlab.commands.importing import load_training
    from kdlab.commands.wording import counted, first_line
    from kdlab.experiments.diagnosis.probing import run_probes

    load_training()
    ended = run_probes(subjects, lab)
    failed = [outcome for outcome in ended if isinstance(outcome, Exception)]
    if failed:
        raise UserError(f"{counted(len(failed), 'probe')} failed: {first_line(failed[0])}")
