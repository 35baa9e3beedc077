"""The jobs that Hydra calls: one composed config in, one run (or one teacher) out."""

import contextlib
import functools
import io
import os
import pickle
from collections.abc import Callable
from pathlib import Path

from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf

from kdlab.commands.checking import checked, typed
from kdlab.commands.composing import Composer, config_dir_of, make_loader
from kdlab.commands.grid import key_of
from kdlab.commands.importing import load_training
from kdlab.commands.knobs import BOOKKEEPING, section_of
from kdlab.commands.launching import BASIC_LAUNCHER
from kdlab.commands.progress import is_drawn_elsewhere, is_watched
from kdlab.commands.wording import first_line
from kdlab.errors import UserError
from kdlab.experiments.lab import Lab, say
from kdlab.experiments.planned import PlannedRun
from kdlab.records.record import RunRecord
from kdlab.records.store import Store
from kdlab.schema.bookkeeping import TrackerConfig
from kdlab.schema.config import RunConfig

Job = Callable[[DictConfig], float | None]

#: What a single run raised. Handed past Hydra, which would print a line of its own about it.
failures: list[BaseException] = []


def _reported(job: Job) -> Job:
    """How the end of a job is told: by our own handler, by the sweep, or here where jobs run beside each other."""

    @functools.wraps(job)
    def told(cfg: DictConfig) -> float | None:
        hydra = HydraConfig.get()
        if hydra.mode == RunMode.RUN:
            try:
                return job(cfg)
            except Exception as error:
                failures.append(error)
                return None
        if hydra.launcher["_target_"] == BASIC_LAUNCHER:
            return job(cfg)
        if is_watched():
            try:
                with _silent() if is_drawn_elsewhere() else contextlib.nullcontext():
                    return job(cfg)
            except Exception as error:
                raise _portable(error) from None
        words = [cfg.study.arm, *(line for line in _asked() if section_of(key_of(line)) not in BOOKKEEPING)]
        label = " ".join(word for word in words if word)
        try:
            value = job(cfg)
        except Exception as error:
            say(f"{label}: FAILED: {first_line(error)}")
            raise _portable(error) from None
        say(f"{label}: {'done' if value is None else f'{cfg.optimized_metric} {value:.4f}'}")
        return value

    return told


def _silent() -> contextlib.AbstractContextManager[object]:
    """Nothing is said in a worker process of a sweep that draws its progress."""
    return contextlib.redirect_stdout(io.StringIO())


def _portable(error: Exception) -> Exception:
    """The error itself, or its words where it cannot travel to another process (that would break the whole pool)."""
    try:
        pickle.loads(pickle.dumps(error))
    except Exception:
        return UserError(first_line(error))
    return error


@_reported
def run_job(cfg: DictConfig) -> float | None:
    """``kdlab run``: a student with its twin and its teacher. Returns ``optimized_metric``."""
    alone = HydraConfig.get().mode == RunMode.RUN
    config = _checked_alone(cfg, kind="run") if alone else typed(cfg)
    record = run_config(config, [line for line in _asked() if section_of(line) != "study"], alone=alone)
    return record.metrics.get(config.optimized_metric)


@_reported
def teacher_job(cfg: DictConfig) -> float | None:
    """``kdlab teacher``: the teacher of a config alone. Returns ``optimized_metric``."""
    from kdlab.experiments.plan import plan_teacher
    from kdlab.experiments.preflight import preflight
    from kdlab.experiments.teachers import obtain_teacher

    alone = HydraConfig.get().mode == RunMode.RUN
    config = _checked_alone(cfg, kind="teacher") if alone else typed(cfg)
    apply_threads(config)
    lab = open_lab(config)
    planned = plan_teacher(config)
    if alone:
        preflight([config], lab)
        _say_if_finished(planned, lab, force=config.force)
    taught = obtain_teacher(planned, lab, force=config.force)
    if alone:
        say(show_path(lab.store.folder(taught.record.run_id)))
    return taught.record.metrics.get(config.optimized_metric)


run_job.kind = "run"  # type: ignore[attr-defined]
teacher_job.kind = "teacher"  # type: ignore[attr-defined]


def _checked_alone(cfg: DictConfig, *, kind: str) -> RunConfig:
    """The typed config of a single run: every mistake at once, knobs that nothing reads among them."""
    composer = Composer(make_loader(config_dir_of(HydraConfig.get())))
    return checked(cfg, _asked(), composer=composer, kind=kind)


def _asked() -> list[str]:
    """The overrides of this job as they were written: an interpolation in them is not for their list to resolve."""
    lines = OmegaConf.to_container(HydraConfig.get().overrides.task, resolve=False)
    assert isinstance(lines, list)
    return [str(line) for line in lines]


def run_config(config: RunConfig, overrides: list[str], *, alone: bool = True) -> RunRecord:
    """Find or make the run of a config; the path of its folder is the last line printed."""
    load_training()
    from kdlab.experiments.again import is_up_to_date
    from kdlab.experiments.plan import plan
    from kdlab.experiments.preflight import preflight
    from kdlab.experiments.runs import answer
    from kdlab.experiments.students import run_point

    apply_threads(config)
    lab = open_lab(config)
    point = plan(config, overrides)
    folder = lab.store.folder(point.run.run_id)
    if alone:
        lab.tracker.expect(point.run.run_id)
    if not config.force and is_up_to_date(point.run, lab):
        record = lab.store.load(point.run.run_id)
        if alone:
            _say_if_finished(point.run, lab)
            answer(point.run, record, lab)
            say(show_path(folder))
        return record
    if alone:
        preflight([config], lab)
    record = run_point(point, lab, force=config.force)
    if alone:
        answer(point.run, record, lab)
        say(summary(record, lab))
        say(show_path(folder))
    return record


def _say_if_finished(planned: PlannedRun, lab: Lab, *, force: bool = False) -> None:
    if not force and lab.store.finished(planned.run_id) is not None:
        say(f"{planned.role} {planned.run_id} is finished already (force=true repeats it)")


def open_lab(config: RunConfig) -> Lab:
    """The lab of this process for a store and a tracker; opened once, its store tried by writing.

    Raises:
        UserError: the store cannot be written.
    """
    lab = lab_of(config)
    lab.store.check_writable()
    lab.tracker.check()
    return lab


def lab_of(config: RunConfig) -> Lab:
    """The same lab, nothing tried and nothing written."""
    return _lab(str(Path(config.store.root).expanduser().absolute()), config.tracker.model_dump_json())


@functools.lru_cache(maxsize=4)
def _lab(root: str, tracker_json: str) -> Lab:
    from kdlab.tracking.wandb.agent import take_agent_run
    from kdlab.tracking.wandb.tracker import WandbTracker

    tracker = TrackerConfig.model_validate_json(tracker_json)
    store = Store(Path(root), say=say)
    mirror = WandbTracker(
        mode=tracker.mode,
        project=tracker.project,
        entity=tracker.entity,
        tags=tracker.tags,
        notes=tracker.notes,
        directory=store.root / "wandb",
        init_timeout_seconds=tracker.init_timeout_seconds,
        finish_timeout_seconds=tracker.finish_timeout_seconds,
        say=say,
        agent=take_agent_run(os.environ),
    )
    return Lab(store, mirror)


def apply_threads(config: RunConfig) -> None:
    """``threads`` wins over ``OMP_NUM_THREADS``; ``auto`` is one thread for what runs by itself."""
    import torch

    from kdlab.experiments.threads import threads_alone

    torch.set_num_threads(threads_alone(config))


def show_path(path: Path) -> str:
    """A path relative to where the user stands, where it lies below."""
    here = Path.cwd()
    return str(path.relative_to(here)) if path.is_relative_to(here) else str(path)


def summary(record: RunRecord, lab: Lab) -> str:
    """What a single run has to say at its end."""
    place = "test" if record.metrics.get("test/accuracy") is not None else "validation"
    lines = [f"{record.role} {record.run_id}:"]
    twin = lab.store.finished(record.twin) if record.twin else None

    def show(key: str, label: str, form: str = ".4f") -> None:
        value = record.metrics.get(key)
        if value is None:
            return
        beside = twin.metrics.get(key) if twin is not None else None
        compared = f"  ({value - beside:+{form}} against its scratch twin)" if beside is not None else ""
        lines.append(f"  {label:<28}{value:{form}}{compared}")

    show(f"{place}/accuracy", f"{place} accuracy")
    show(f"{place}/ece", f"{place} ECE")
    show("ood/mean_gap", "mean OOD gap")
    show(f"{place}/agreement", "agreement with teacher")
    show(f"{place}/accuracy_vs_teacher", "accuracy minus teacher's")
    for key, label in (("latency/p50_ms", "latency p50, ms"), ("latency/p99_ms", "latency p99, ms")):
        value = record.metrics.get(key)
        if value is not None:
            lines.append(f"  {label:<28}{value:.4f}")
    return "\n".join(lines)
