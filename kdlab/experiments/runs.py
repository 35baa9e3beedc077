"""One run from begin to record: the same frame for students, scratch twins and teachers, alone or many at once.

Found by identity or made once under the lock of its name. Whatever happens inside, a record is written, finished or
failed, and the tracked run is closed with it. A finished run whose record lacks what is asked for now (another set, a
newer evaluation) is measured again from its weights, never trained again.
"""

import math
import time
import traceback
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

from kdlab.errors import UserError
from kdlab.evaluation.predict import save_predictions
from kdlab.experiments.assess import Assessment
from kdlab.experiments.currency import missing_evaluation, widened
from kdlab.experiments.lab import Lab, say
from kdlab.experiments.labels import run_name, shown_config, tags_of
from kdlab.experiments.planned import PlannedRun
from kdlab.experiments.splits import store_split
from kdlab.records.history import HistoryWriter, by_step, decimate, read_history
from kdlab.records.provenance import provenance
from kdlab.records.record import RunRecord
from kdlab.records.store import CHECKPOINT, HISTORY
from kdlab.records.weights import save_weights
from kdlab.schema.config import RunConfig
from kdlab.tracking.base import NullRun, TrackedRun
from kdlab.tracking.tables import run_tables
from kdlab.tracking.travel import membership_tags, travelling_files
from kdlab.training.callbacks import CurveSink

CURVE_POINTS = 200
WEIGHTS = "weights.safetensors"


@dataclass(frozen=True)
class Measured:
    """Everything measured of a network, and the fields of its record that come with it (its teacher's entry)."""

    assessment: Assessment
    fields: Mapping[str, Any]


@dataclass(frozen=True)
class Made:
    """What the work of a run hands to its record.

    Args:
        network: whose weights are saved; None where there are none of its own.
        measured: what was measured of it.
        fields: further fields of the record (twin, weights).
        facts: what belongs in the provenance.
    """

    network: nn.Module | None
    measured: Measured
    fields: Mapping[str, Any]
    facts: Mapping[str, Any]


@dataclass(frozen=True)
class Desk:
    """Where the work of a run writes while it goes on."""

    folder: Path
    sinks: list[CurveSink]

    @property
    def checkpoint(self) -> Path:
        """The checkpoint of a run that was cut off, if it is there."""
        return self.folder / CHECKPOINT


@dataclass(frozen=True)
class Work:
    """How a run is made, and how it is measured again from what it left.

    Args:
        make: trains (or loads, or transforms) and measures.
        measure: measures a finished run with a config whose evaluation may ask for more.
    """

    make: Callable[[Desk], Made]
    measure: Callable[[RunRecord, RunConfig], Measured]


def obtain(planned: PlannedRun, lab: Lab, work: Work, *, force: bool = False) -> RunRecord:
    """The finished, up-to-date record of a planned run: found, measured again, or made now under its lock."""
    found = None if force else lab.store.finished(planned.run_id)
    if found is not None and not missing_evaluation(found, planned.config):
        return found
    with lab.store.lock(planned.run_id):
        found = None if force else lab.store.finished(planned.run_id)
        if found is None:
            return _made(planned, lab, work, force=force)
        if missing_evaluation(found, planned.config):
            return measured_again(found, lab, work, config=planned.config)
        return found


def measured_again(record: RunRecord, lab: Lab, work: Work, *, config: RunConfig) -> RunRecord:
    """Measure a finished run again with all that ``config`` and its record ask for. Call it while holding its lock.

    The sets and slices of both are measured, so that two sweeps that share a run do not take turns in undoing each
    other; a slice that both define is the config's.

    Raises:
        UserError: a slice of the record's names code outside the allow-list.
    """
    started = time.perf_counter()
    folder = lab.store.folder(record.run_id)
    config = widened(config, record)
    measured = work.measure(record, config)
    write_predictions(folder, measured.assessment, keep=config.evaluation.keep_predictions or "all")
    told = {name: config.plain[name] for name in ("evaluation", "data")}
    again = replace(record, config={**record.config, **told}, **measured.assessment.fields(), **measured.fields)
    lab.store.write(again)
    log(folder, f"measured again in {time.perf_counter() - started:.1f} s")
    say(f"  {record.role} {record.run_id}: measured again from its weights")
    return again


def _made(planned: PlannedRun, lab: Lab, work: Work, *, force: bool) -> RunRecord:
    sitting = Sitting(planned, lab, force=force)
    if sitting.resume_step is not None:
        say(f"  taking up a cut-off run at step {sitting.resume_step}")
    try:
        return sitting.finish(work.make(sitting.desk))
    except BaseException as error:
        sitting.fail(error)
        raise


class Sitting:
    """One run that is open: begun under its lock, and to be ended by ``finish`` or ``fail``. Many may be open at once.

    Args:
        planned: the run.
        lab: where it is begun.
        force: whether it begins anew even where a checkpoint lies.
    """

    def __init__(self, planned: PlannedRun, lab: Lab, *, force: bool = False) -> None:
        self.planned, self.lab = planned, lab
        self.resume_step = _checkpoint_step(lab.store.folder(planned.run_id), force=force)
        before = lab.store.find(planned.run_id)
        attempt = 1 if before is None else int(before.provenance.get("attempt", 1)) + 1
        self.folder = lab.store.begin(planned.run_id, planned.config.plain)
        self.is_open = True
        self._record = _blank(planned, attempt=attempt)
        self._started = time.perf_counter()
        self._history = HistoryWriter(self.folder / HISTORY, resume_step=self.resume_step)
        self._tracked: TrackedRun = NullRun()
        try:
            self._tracked = _tracked(planned, self._record, lab)
            self._tell_what_was_logged()
            facts = {**self._record.provenance, "split": store_split(planned.config, lab)}
            self._record = replace(self._record, provenance=facts)
        except BaseException as error:
            self.fail(error)
            raise

    @property
    def desk(self) -> Desk:
        """Where its work writes."""
        return Desk(self.folder, [_HistorySink(self._history), self._tracked])

    def _tell_what_was_logged(self) -> None:
        """Of a run that was cut off, the mirror shows the whole curve too; the first part at the time of its return."""
        if self.resume_step is not None:
            for step, epoch, metrics in by_step(read_history(self.folder / HISTORY)):
                self._tracked.log(metrics, step=step, epoch=epoch)

    def begin_again(self) -> None:
        """Go back to the last checkpoint, or to the beginning: what was logged since will be logged again."""
        self._history.close()
        self.resume_step = _checkpoint_step(self.folder, force=False)
        self._history = HistoryWriter(self.folder / HISTORY, resume_step=self.resume_step)

    def finish(self, made: Made, *, seconds: float | None = None) -> RunRecord:
        """Write what was made, and the record that says so.

        Args:
            made: by its work.
            seconds: that it took, where that is not the time since it was begun.
        """
        record = _finished(
            replace(self._record, tracker_id=self._tracked.id),
            made,
            folder=self.folder,
            config=self.planned.config,
            seconds=time.perf_counter() - self._started if seconds is None else seconds,
        )
        self.lab.store.write(record)
        self._clear_up(record)
        return record

    def _clear_up(self, finished: RunRecord) -> None:
        self._history.close()
        (self.folder / CHECKPOINT).unlink(missing_ok=True)
        self.is_open = False
        _close(self._tracked, finished, self.lab)

    def fail(self, error: BaseException) -> None:
        """Write the record of a run that failed; nothing happens where it has ended already.

        Where Ctrl-C came right behind a record that says it finished, that one wins. It is of this sitting, which began
        by removing whatever lay there.
        """
        if not self.is_open:
            return
        finished = self.lab.store.finished(self.planned.run_id)
        if finished is not None:
            self._clear_up(finished)
            return
        self.is_open = False
        seconds = time.perf_counter() - self._started
        try:
            begun = replace(self._record, tracker_id=self._tracked.id)
            failed = _failed(begun, error, folder=self.folder, seconds=seconds)
            self.lab.store.write(failed)
            _close(self._tracked, failed, self.lab)
        finally:
            self._history.close()


def answer(planned: PlannedRun, record: RunRecord, lab: Lab) -> None:
    """Tell the numbers of a run that was finished before to whoever waits for it: its sweep must hear of this point.

    Its curves are left out, told now they would have wrong times; they are those of ``record.tracker_id``.
    """
    if lab.tracker.awaits(planned.run_id):
        say(f"  its numbers go to the W&B agent that asked for it; its curves are those of W&B run {record.tracker_id}")
        _close(_tracked(planned, record, lab), record, lab)


def _tracked(planned: PlannedRun, record: RunRecord, lab: Lab) -> TrackedRun:
    config, begun = planned.config, record.provenance
    return lab.tracker.start(
        run_id=planned.run_id,
        name=run_name(planned),
        group=config.study.name,
        job_type=planned.role,
        tags=[*tags_of(planned), *membership_tags(lab.store, planned.run_id, role=planned.role)],
        config={**shown_config(planned), "run_id": record.run_id, "begun": begun["started"]},
        notes=config.tracker.notes,
        attempt=begun["attempt"],
    )


def _blank(planned: PlannedRun, *, attempt: int) -> RunRecord:
    config = planned.config
    return RunRecord(
        run_id=planned.run_id,
        identity=planned.identity,
        status="failed",
        role=planned.role,
        data=config.data.name,
        seeds=planned.seeds,
        config=config.plain,
        identity_config=planned.identity_config,
        overrides=list(planned.overrides),
        parent=next((source.run_id for source in (planned.parent, planned.taught_by) if source is not None), None),
        members=[member.run_id for member in planned.members],
        provenance={**provenance(threads=torch.get_num_threads()), "attempt": attempt},
    )


def _finished(record: RunRecord, made: Made, *, folder: Path, config: RunConfig, seconds: float) -> RunRecord:
    if made.network is not None:
        save_weights(folder / WEIGHTS, made.network.state_dict())
    write_predictions(folder, made.measured.assessment, keep=config.evaluation.keep_predictions or "all")
    curves = decimate(read_history(folder / HISTORY), CURVE_POINTS)
    log(folder, f"finished after {seconds:.1f} s")
    return replace(
        record,
        status="finished",
        curves=curves,
        provenance={**record.provenance, "seconds": round(seconds, 3), **made.facts},
        **made.measured.assessment.fields(),
        **made.measured.fields,
        **made.fields,
    )


def write_predictions(folder: Path, assessment: Assessment, *, keep: str) -> None:
    """Keep the predictions that ``evaluation.keep_predictions`` asks for, and no older ones."""
    kept = {name for name in assessment.predictions if keep == "all" or (keep == "test" and name == "test")}
    for path in (folder / "predictions").glob("*.npz"):
        if path.stem not in kept:
            path.unlink()
    for name in sorted(kept):
        save_predictions(folder / "predictions" / f"{name}.npz", assessment.predictions[name])


def _failed(record: RunRecord, error: BaseException, *, folder: Path, seconds: float) -> RunRecord:
    log(folder, "".join(traceback.format_exception(error)))
    return replace(
        record,
        status="failed",
        error={"type": type(error).__name__, "message": _said(error)},
        curves=decimate(read_history(folder / HISTORY), CURVE_POINTS),
        provenance={**record.provenance, "seconds": round(seconds, 3)},
    )


def _said(error: BaseException) -> str:
    if isinstance(error, KeyboardInterrupt):
        return "interrupted by the user"
    return str(error) or type(error).__name__


def _close(tracked: TrackedRun, record: RunRecord, lab: Lab) -> None:
    tables = run_tables(record) if record.status == "finished" else {}
    files = {} if tracked.id is None else travelling_files(lab.store, record.run_id)
    tracked.finish(record.metrics, tables=tables, files=files, failed=record.status == "failed")


def log(folder: Path, text: str) -> None:
    """Add a line to the run's own log."""
    with (folder / "log.txt").open("a", encoding="utf-8") as file:
        file.write(f"{time.strftime('%Y-%m-%dT%H:%M:%SZ', time.gmtime())} {text.rstrip()}\n")


def _checkpoint_step(folder: Path, *, force: bool) -> int | None:
    """The step at which a cut-off run is taken up; a checkpoint that cannot be is removed."""
    path = folder / CHECKPOINT
    if force:
        path.unlink(missing_ok=True)
    if not path.exists():
        return None
    from kdlab.training.checkpoints import saved_step

    try:
        step = saved_step(path)
    except UserError as error:
        say(f"  {error}: the run begins anew")
        path.unlink()
        return None
    return step


class _HistorySink:
    """The history file as a listener to the curves."""

    def __init__(self, history: HistoryWriter) -> None:
        self.history = history

    def log(self, metrics: Mapping[str, float], *, step: int, epoch: float) -> None:
        self.history.append(
            {name: value for name, value in metrics.items() if math.isfinite(value)}, step=step, epoch=epoch
        )
