"""Latency of an architecture on this machine: measured once, reused with a reference.

It depends on (student, teacher, machine, threads, batch, dtype, backend), not on the weights, so one file under
``<store.root>/latency`` serves a whole sweep. A sweep measures all of its architectures before its first point trains:
then nothing of ours trains beside it, whatever launcher follows, and every record is complete when it is written
(reports/LOG.md has the comparison of fresh with trained weights).
"""

import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from filelock import FileLock

from kdlab.data import Dataset
from kdlab.evaluation.latency import LatencyResult, machine_name, measure_latency
from kdlab.experiments.lab import Lab, device_of
from kdlab.models import build_model
from kdlab.records.identity import canonical_json
from kdlab.schema import RunConfig

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
    key = hashlib.sha256(canonical_json(described).encode()).hexdigest()[:16]
    path = lab.store.root / "latency" / f"{key}.json"
    if (found := _read(path)) is not None:
        return found
    path.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(path.with_suffix(".lock")):
        if (found := _read(path)) is not None:
            return found
        result = _measure(student, reference, config=config, dataset=dataset)
        _write(path, result, key=key, described=described)
    return _read(path)


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
    shape = {"input_shape": dataset.input_shape, "num_classes": dataset.num_classes}
    networks = [None if spec is None else build_model(spec, **shape, seed_value=0) for spec in (student, reference)]
    assert networks[0] is not None
    return measure_latency(
        networks[0],
        networks[1],
        input_shape=dataset.input_shape,
        batch_size=wanted.batch_size,
        threads=wanted.threads,
        device=device_of(config),
        min_calls=wanted.calls,
        blocks=wanted.blocks,
        wait_seconds=wanted.wait_seconds,
    )


def _read(path: Path) -> LatencyResult | None:
    try:
        saved = json.loads(path.read_text())
    except FileNotFoundError:
        return None
    return LatencyResult(metrics=saved["metrics"], undefined=saved["undefined"], facts=saved["facts"])


def _write(path: Path, result: LatencyResult, *, key: str, described: Mapping[str, Any]) -> None:
    saved = {
        "metrics": result.metrics,
        "undefined": result.undefined,
        "facts": {**result.facts, "measurement": key, "reference_model": described["reference"]},
        "described": described,
    }
    partial = path.with_suffix(f".{os.getpid()}.partial")
    partial.write_text(json.dumps(saved, indent=1, sort_keys=True, allow_nan=False))
    os.replace(partial, path)
