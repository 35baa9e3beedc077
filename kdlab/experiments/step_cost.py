"""The price of a training step: milliseconds of the objective's step over those of plain cross-entropy.

Methods are compared by this ratio and not by the wall seconds of their runs, which depend on what else the machine did
and on the stack. Bare steps (forward, loss, backward, optimizer, the online teacher's forward) of both are interleaved
in one process. The ratio belongs to (method, architectures, batch size, optimizer, machine, threads), not to the
weights, so one file under ``<store.root>/step_cost`` serves a whole sweep.

The teacher is priced online also where a run reads stored answers: ``teacher.cache.mode`` is no part of a run, so no
number of its record may depend on it, and a method is not cheaper because somebody asked its teacher before.
"""

import gc
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import nn

from kdlab.collector import collector_off
from kdlab.data import Dataset
from kdlab.evaluation.machine import computing_with, load_average, machine_name, quiet_machine
from kdlab.experiments.assembling import untrained_teacher
from kdlab.experiments.lab import Lab, device_of
from kdlab.experiments.measured_once import measured_once
from kdlab.experiments.objectives import objective_of, terms_of
from kdlab.experiments.plan import HARD_LABELS
from kdlab.experiments.several import quality_of, teaching_model
from kdlab.experiments.threads import threads_alone
from kdlab.models import as_output, build_model
from kdlab.objectives import Objective
from kdlab.outputs import Batch
from kdlab.records.identity import canonical_json
from kdlab.schema.config import RunConfig
from kdlab.targets import build, resolve
from kdlab.teachers import CachedTeacher, Teacher, tap_teacher
from kdlab.training.equipped import after_step, modules_of, prepared
from kdlab.training.listening import placed

STEP_COST_VERSION = 1
BLOCKS, STEPS_A_BLOCK, WARMUP = 20, 8, 5
_SECONDS = 0.8
"""What a measurement may take: blocks are added until then, at least ``BLOCKS`` of them whatever a step takes."""


@dataclass(frozen=True)
class StepCost:
    """``cost/step_ms_ratio``, and how it was measured (both medians in ms, machine, threads, load, contended)."""

    ratio: float
    facts: dict[str, Any]


def step_cost_of(config: RunConfig, *, dataset: Dataset, lab: Lab) -> StepCost | None:
    """The price of a step of a config's objective: found, or measured now; None where times are not wanted."""
    if not config.evaluation.latency.enabled:
        return None
    described = _described(config, dataset)
    saved = measured_once(lab.store.root / "step_cost", described, lambda: _measure(config, dataset))
    facts = {name: saved[name] for name in saved if name not in ("ratio", "described")}
    return StepCost(float(saved["ratio"]), facts)


def measure_step_cost(
    priced: Callable[[], None], plain: Callable[[], None], *, synchronize: Callable[[], None] = lambda: None
) -> dict[str, float]:
    """Ratio of the median times of two steps, run in turn in short blocks.

    Args:
        priced: one step of the method.
        plain: one step of plain cross-entropy.
        synchronize: waits for the device.

    Returns:
        ``ratio``, ``step_ms`` and ``plain_step_ms`` (medians).
    """
    times: tuple[list[float], list[float]] = ([], [])
    for step in (priced, plain):
        _timed(step, WARMUP, synchronize)
    started = time.perf_counter()
    while len(times[0]) < BLOCKS * STEPS_A_BLOCK or time.perf_counter() - started < _SECONDS:
        for found, step in zip(times, (priced, plain), strict=True):
            found += _timed(step, STEPS_A_BLOCK + 1, synchronize)[1:]  # the first step of a block finds cold caches
    step_ms, plain_ms = (float(np.median(found)) for found in times)
    return {"ratio": step_ms / plain_ms, "step_ms": step_ms, "plain_step_ms": plain_ms}


def bare_step(config: RunConfig, *, dataset: Dataset, stored_answers: bool = False) -> Callable[[], None]:
    """One training step of a config's student as a function; no weight of it is trained.

    Its teacher's forward is part of it, unless ``stored_answers`` stand in for it.
    """
    objective = objective_of(config)
    batch = _batch(dataset, size=_batch_size(config, dataset), device=device_of(config))
    teacher = _teacher(config, dataset) if objective.needs else None
    if teacher is not None and stored_answers:
        objective = placed(objective, student=_network(config.student, dataset), teacher=teacher)
        teacher = _stored(teacher, batch, objective)
    return _step(config, dataset, objective, batch, teacher=teacher)


def _stored(teacher: Teacher, batch: Batch, objective: Objective) -> Teacher:
    """What the teacher says of one batch, read by index."""
    tap_teacher(teacher, objective.teacher_features)
    said = teacher(batch.inputs, batch.index)
    features = {name: said.features[name].cpu() for name in objective.teacher_features}
    return CachedTeacher(said.logits.cpu(), batch.index.cpu(), features=features).to(batch.inputs.device)


def _timed(step: Callable[[], None], count: int, synchronize: Callable[[], None]) -> list[float]:
    """Milliseconds of each of ``count`` steps."""
    found = []
    for _ in range(count):
        synchronize()
        start = time.perf_counter_ns()
        step()
        synchronize()
        found.append((time.perf_counter_ns() - start) / 1e6)
    return found


def _described(config: RunConfig, dataset: Dataset) -> dict[str, Any]:
    """What the price belongs to: which terms, not their weights; of those that read layers or learn, knobs too."""
    terms = terms_of(config)
    return {
        "version": STEP_COST_VERSION,
        "terms": sorted(str(term["_target_"]) for term in terms.values()),
        **({"knobs": knobs} if (knobs := _costly_knobs(terms)) else {}),
        "student": dict(config.student),
        "teacher": _teacher_described(config),
        "input_shape": list(dataset.input_shape),
        "num_classes": dataset.num_classes,
        "batch_size": _batch_size(config, dataset),
        "optimizer": config.training.optimizer["_target_"],
        "threads": threads_alone(config),
        "backend": f"torch {torch.__version__} {device_of(config).type}",
        "machine": machine_name(),
    }


def _costly_knobs(terms: Mapping[str, Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The knobs, without weights, of the terms whose price depends on them."""
    costly = []
    for term in terms.values():
        function = resolve(str(term["_target_"]))
        if getattr(function, "student_needs", ()) or getattr(function, "modules", {}):
            costly.append({name: value for name, value in term.items() if name != "weight"})
    return sorted(costly, key=canonical_json)


def _teacher_described(config: RunConfig) -> dict[str, Any] | None:
    if config.teacher is None or not objective_of(config).needs:
        return None
    quality, ensemble = quality_of(config), config.teacher.ensemble
    parts = {part: spec["_target_"] for part, spec in quality.transformation.items()}
    combined = {"combination": ensemble.combination} if ensemble.is_one else {}
    return {**parts, **combined, "model": teaching_model(config) if quality.needs_network else None}


def _batch_size(config: RunConfig, dataset: Dataset) -> int:
    return min(config.training.batch_size, len(dataset.train))


def _measure(config: RunConfig, dataset: Dataset) -> dict[str, Any]:
    device = device_of(config)
    objective = objective_of(config)
    batch = _batch(dataset, size=_batch_size(config, dataset), device=device)
    priced = _step(config, dataset, objective, batch, teacher=_teacher(config, dataset) if objective.needs else None)
    plain = _step(config, dataset, Objective.from_specs({"hard_labels": HARD_LABELS}), batch, teacher=None)
    synchronize = (lambda: None) if device.type == "cpu" else getattr(torch, device.type).synchronize
    gc.collect()
    threads, wait_seconds = threads_alone(config), config.evaluation.latency.wait_seconds
    with collector_off(), computing_with(threads), quiet_machine(wait_seconds=wait_seconds) as quiet:
        found = measure_step_cost(priced, plain, synchronize=synchronize)
    return {**found, "contended": not quiet, "load": load_average()}


def _batch(dataset: Dataset, *, size: int, device: torch.device) -> Batch:
    rows = dataset.train.select(torch.arange(size))
    labelled = torch.ones_like(rows.labels, dtype=torch.bool)
    whole = Batch(rows.inputs, rows.labels, rows.index, labelled, all_labelled=True)
    return whole.mapped(lambda part: part.to(device))


def _teacher(config: RunConfig, dataset: Dataset) -> Teacher:
    """The teacher with weights that were not trained: they take the same time."""
    return untrained_teacher(config, dataset).to(device_of(config))


def _network(spec: Mapping[str, Any], dataset: Dataset) -> nn.Module:
    return build_model(spec, input_shape=dataset.input_shape, num_classes=dataset.num_classes, seed_value=0)


def _step(
    config: RunConfig, dataset: Dataset, objective: Objective, batch: Batch, *, teacher: Teacher | None
) -> Callable[[], None]:
    """One bare training step, as a function."""
    student = _network(config.student, dataset)
    found, network = prepared(objective, student=student, teacher=teacher, examples=dataset.train)
    network = network.to(batch.inputs.device).train()
    modules = modules_of(network, slice(None))
    optimizer = build(config.training.optimizer, network.parameters())

    def step() -> None:
        taught = None if teacher is None else teacher(batch.inputs, batch.index)
        optimizer.zero_grad()
        loss = found(as_output(network(batch.inputs)), taught, batch, 0, modules).loss
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        after_step(network)

    return step
