"""The jobs that Hydra calls: one composed config in, one run (or one teacher) out."""

import functools
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig

from kdlab.commands.composing import refuse_unread, resolved
from kdlab.experiments.lab import Lab, say
from kdlab.records.record import RunRecord
from kdlab.records.store import Store
from kdlab.schema import RunConfig, TrackerConfig, read_config


def run_job(cfg: DictConfig) -> float | None:
    """``kdlab run``: a student with its twin and its teacher. Returns ``optimized_metric``."""
    hydra = HydraConfig.get()
    overrides = list(hydra.overrides.task)
    alone = hydra.mode == RunMode.RUN
    if alone:
        refuse_unread(cfg, overrides)
    config = read_config(resolved(cfg))
    record = run_config(config, [word for word in overrides if not word.startswith("study.")], alone=alone)
    return _optimized(record, config)


def teacher_job(cfg: DictConfig) -> float | None:
    """``kdlab teacher``: the teacher of a config alone. Returns ``optimized_metric``."""
    from kdlab.experiments.plan import plan_teacher
    from kdlab.experiments.preflight import preflight
    from kdlab.experiments.teachers import obtain_teacher

    config = read_config(resolved(cfg))
    apply_threads(config)
    lab = open_lab(config)
    preflight([config], lab)
    taught = obtain_teacher(plan_teacher(config), lab, force=config.force)
    say(show_path(lab.store.folder(taught.record.run_id)))
    return _optimized(taught.record, config)


run_job.kind = "run"  # type: ignore[attr-defined]
teacher_job.kind = "teacher"  # type: ignore[attr-defined]


def run_config(config: RunConfig, overrides: list[str], *, alone: bool = True) -> RunRecord:
    """Find or make the run of a config; the path of its folder is the last line printed."""
    from kdlab.experiments.again import is_up_to_date
    from kdlab.experiments.plan import plan
    from kdlab.experiments.preflight import preflight
    from kdlab.experiments.students import run_point

    apply_threads(config)
    lab = open_lab(config)
    point = plan(config, overrides)
    folder = lab.store.folder(point.run.run_id)
    if not config.force and is_up_to_date(point.run, lab):
        if alone:
            say(f"{point.run.role} {point.run.run_id} is finished already (force=true repeats it)")
            say(show_path(folder))
        return lab.store.load(point.run.run_id)
    if alone:
        preflight([config], lab)
    record = run_point(point, lab, force=config.force)
    if alone:
        say(summary(record, lab))
        say(show_path(folder))
    return record


def open_lab(config: RunConfig) -> Lab:
    """The lab of this process for a store and a tracker; opened once, its store tried by writing.

    Raises:
        UserError: the store cannot be written.
    """
    lab = _lab(str(Path(config.store.root).expanduser().absolute()), config.tracker.model_dump_json())
    lab.store.check_writable()
    return lab


@functools.lru_cache(maxsize=4)
def _lab(root: str, tracker_json: str) -> Lab:
    from kdlab.tracking.wandb import WandbTracker

    tracker = TrackerConfig.model_validate_json(tracker_json)
    store = Store(Path(root), say=say)
    mirror = WandbTracker(
        mode=tracker.mode,
        project=tracker.project,
        entity=tracker.entity,
        tags=tracker.tags,
        notes=tracker.notes,
        directory=store.root / "wandb",
        say=say,
    )
    return Lab(store, mirror)


def apply_threads(config: RunConfig) -> None:
    """``threads`` wins over ``OMP_NUM_THREADS``."""
    import torch

    torch.set_num_threads(config.threads)


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


def _optimized(record: RunRecord, config: RunConfig) -> Any:
    return record.metrics.get(config.optimized_metric)
