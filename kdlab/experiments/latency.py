"""Latency of an architecture on this machine: measured once, reused with a reference.

It depends on (student, teacher, machine, threads, batch, dtype, backend), not on the weights, so one file under
``<store.root>/latency`` serves a whole sweep. A sweep measures all of its architectures before its first point trains:
then nothing of ours trains beside it, whatever launcher follows, and every record is complete when it is written
(reports/LOG.md has the comparison of fresh with trained weights).
"""

from collections.abc import Mapping
from typing import Any

from torch import nn

from kdlab.data import Dataset
from kdlab.evaluation.latency import LatencyResult, measure_latency
from kdlab.evaluation.machine import machine_name
from kdlab.experiments.lab import Lab, device_of
from kdlab.experiments.measured_once import measured_once
from kdlab.models import build_model
from kdlab.schema.config import RunConfig

LATENCY_VERSION = 1


def latency_of(
    student: Mapping[str, Any], reference: Mapping[str, Any] | None, *, config: RunConfig, dataset: Dataset, lab: Lab
) -> LatencyResult | None:
    """The latency of a student architecture beside a teacher architecture: found, or measured now.

    Args:
        student: model spec of the network that is timed.
        reference: model spec of the teacher it is interleaved with; None for a network that is its own reference.

    Returns:
        None where ``evaluation.latency.enabled`` is false.
    """
    if not config.evaluation.latency.enabled:
        return None
    described = _described(student, reference, config=config, dataset=dataset)

    def measure() -> dict[str, Any]:
        return _measure(student, reference, config=config, dataset=dataset)._asdict()

    saved = measured_once(lab.store.root / "latency", described, measure)
    facts = {**saved["facts"], "measurement": saved["measurement"], "reference_model": described["reference"]}
    return LatencyResult(metrics=saved["metrics"], undefined=saved["undefined"], facts=facts)


def _described(
    student: Mapping[str, Any], reference: Mapping[str, Any] | None, *, config: RunConfig, dataset: Dataset
) -> dict[str, Any]:
    """What the latency belongs to."""
    import torch

    wanted = config.evaluation.latency
    return {
        "version": LATENCY_VERSION,
        "student": dict(student),
        "reference": None if reference is None else dict(reference),
        "input_shape": list(dataset.input_shape),
        "num_classes": dataset.num_classes,
        "batch_size": wanted.batch_size,
        "threads": wanted.threads,
        "calls": wanted.calls,
        "blocks": wanted.blocks,
        "dtype": "float32",
        "backend": f"torch {torch.__version__} {device_of(config).type}",
        "machine": machine_name(),
    }


def _measure(
    student: Mapping[str, Any], reference: Mapping[str, Any] | None, *, config: RunConfig, dataset: Dataset
) -> LatencyResult:
    wanted = config.evaluation.latency
    shape: dict[str, Any] = {"input_shape": dataset.input_shape, "num_classes": dataset.num_classes}
    device = device_of(config)

    def built(spec: Mapping[str, Any]) -> nn.Module:
        return build_model(spec, **shape, seed_value=0).to(device)

    return measure_latency(
        built(student),
        None if reference is None else built(reference),
        input_shape=dataset.input_shape,
        batch_size=wanted.batch_size,
        threads=wanted.threads,
        device=device,
        min_calls=wanted.calls,
        blocks=wanted.blocks,
        wait_seconds=wanted.wait_seconds,
    )
