"""One run from begin to record: the same frame for students, scratch twins and teachers.

Found by identity or made once under the lock of its name. Whatever happens inside, a record is written, finished or
failed, and the tracked run is closed with it.
"""

import math
import time
import traceback
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from torch import nn

from kdlab.evaluation.predict import save_predictions
from kdlab.experiments.assess import Assessment
from kdlab.experiments.lab import Lab, say
from kdlab.experiments.plan import PlannedRun
from kdlab.records.history import HistoryWriter, decimate, read_history
from kdlab.records.provenance import provenance
from kdlab.records.record import RunRecord
from kdlab.records.store import CHECKPOINT, HISTORY
from kdlab.records.weights import save_weights
from kdlab.tracking.base import TrackedRun
from kdlab.tracking.tables import run_tables
from kdlab.training.callbacks import CurveSink

CURVE_POINTS = 200


@dataclass(frozen=True)
class Made:
    """What the work of a run hands to its record.

    Args:
        network: whose weights are saved; None where there are none of its own.
        assessment: everything measured.
        fields: further fields of the record (teacher, twin, parent, weights).
        seconds: wall seconds of training, 0 where nothing was trained.
    """

    network: nn.Module | None
    assessment: Assessment
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


Work = Callable[[Desk], Made]


def obtain(planned: PlannedRun, lab: Lab, work: Work, *, force: bool = False) -> RunRecord:
    """The finished record of a planned run: found, or made now under its lock."""
    if not force and (found := lab.store.finished(planned.run_id)) is not None:
        return found
    with lab.store.lock(planned.run_id):
        if not force and (found := lab.store.finished(planned.run_id)) is not None:
            return found
        return _made(planned, lab, work)


def _made(planned: PlannedRun, lab: Lab, work: Work) -> RunRecord:
    config = planned.config
    before = lab.store.find(planned.run_id)
    attempt = 1 if before is None else int(before.provenance.get("attempt", 1)) + 1
    folder = lab.store.begin(planned.run_id, config.plain)
    record = _blank(planned, attempt=attempt)
    started = time.perf_counter()
    history = HistoryWriter(folder / HISTORY, resume_step=_checkpoint_step(folder))
    tracked = lab.tracker.start(
        run_id=planned.run_id,
        name=run_name(planned),
        group=config.study.name,
        job_type=planned.role,
        tags=tags_of(planned),
        config={**config.plain, "role": planned.role},
        notes=config.tracker.notes,
        attempt=attempt,
    )
    record = replace(record, tracker_id=tracked.id)
    try:
        made = work(Desk(folder, [_HistorySink(history), tracked]))
        record = _finished(record, made, folder=folder, config=config, seconds=time.perf_counter() - started)
        lab.store.write(record)
    except BaseException as error:
        failed = _failed(record, error, folder=folder, seconds=time.perf_counter() - started)
        lab.store.write(failed)
        _close(tracked, failed)
        raise
    finally:
        history.close()
    (folder / CHECKPOINT).unlink(missing_ok=True)
    _close(tracked, record)
    return record


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
        parent=None if planned.parent is None else planned.parent.run_id,
        provenance={**provenance(threads=config.threads), "attempt": attempt},
    )


def _finished(record: RunRecord, made: Made, *, folder: Path, config: Any, seconds: float) -> RunRecord:
    if made.network is not None:
        save_weights(folder / "weights.safetensors", made.network.state_dict())
    keep = "all" if record.role == "teacher" else config.evaluation.keep_predictions or "all"
    write_predictions(folder, made.assessment, keep=keep)
    curves = decimate(read_history(folder / HISTORY), CURVE_POINTS)
    log(folder, f"finished after {seconds:.1f} s")
    return replace(
        record,
        status="finished",
        curves=curves,
        provenance={**record.provenance, "seconds": round(seconds, 3), **made.facts},
        **made.assessment.fields(),
        **made.fields,
    )


def write_predictions(folder: Path, assessment: Assessment, *, keep: str) -> None:
    """Keep the predictions that ``evaluation.keep_predictions`` asks for."""
    for name, predictions in assessment.predictions.items():
        if keep == "all" or (keep == "test" and name == "test"):
            save_predictions(folder / "predictions" / f"{name}.npz", predictions)


def _failed(record: RunRecord, error: BaseException, *, folder: Path, seconds: float) -> RunRecord:
    log(folder, "".join(traceback.format_exception(error)))
    return replace(
        record,
        status="failed",
        error={"type": type(error).__name__, "message": str(error) or type(error).__name__},
        curves=decimate(read_history(folder / HISTORY), CURVE_POINTS),
        provenance={**record.provenance, "seconds": round(seconds, 3)},
    )


def _close(tracked: TrackedRun, record: RunRecord) -> None:
    tables = run_tables(record) if record.status == "finished" else {}
    tracked.finish(record.metrics, tables=tables, failed=record.status == "failed")


def log(folder: Path, text: str) -> None:
    """Add a line to the run's own log."""
    with (folder / "log.txt").open("a", encoding="utf-8") as file:
        file.write(f"{time.strftime('%Y-%m-%dT%H:%M:%SZ', time.gmtime())} {text.rstrip()}\n")


def run_name(planned: PlannedRun) -> str:
    """What the run is called in a dashboard: its role and what varies."""
    words = [word.split("=", 1) for word in planned.overrides if "=" in word and not word.startswith("study.")]
    varied = [f"{key.lstrip('+').rsplit('.', 1)[-1]}={value}" for key, value in words]
    seeds = f"seed={planned.config.seed}"
    return " ".join([planned.role, *varied, *([] if seeds in varied else [seeds])])


def tags_of(planned: PlannedRun) -> list[str]:
    """Study, arm, data, role and the teacher's quality, and the user's own."""
    config = planned.config
    quality = None if config.teacher is None else config.teacher.quality["name"]
    found = [config.study.name, config.study.arm, config.data.name, quality and f"teacher:{quality}"]
    return [*dict.fromkeys(tag for tag in [*found, *config.tracker.tags] if tag)]


def _checkpoint_step(folder: Path) -> int | None:
    path = folder / CHECKPOINT
    if not path.exists():
        return None
    from kdlab.training.fit import saved_step

    step = saved_step(path)
    say(f"  taking up a cut-off run at step {step}")
    return step


class _HistorySink:
    """The history file as a listener to the curves."""

    def __init__(self, history: HistoryWriter) -> None:
        self.history = history

    def log(self, metrics: Mapping[str, float], *, step: int, epoch: float) -> None:
        self.history.append({name: value for name, value in metrics.items() if math.isfinite(value)},
                            step=step, epoch=epoch)
