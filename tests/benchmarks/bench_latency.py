"""Does latency depend on the weights? The same architecture fresh and trained, interleaved. ``make bench`` runs it.

A sweep measures its architectures before its first point trains, on fresh weights, because then nothing of it trains
beside the measurement whatever launcher follows. That is right only as long as this ratio is 1.
"""

import statistics

import pytest
import torch
from bench_speed import ADAMW, CONSTANT, SHAPE, STUDENT, TEACHER, TRAIN, VALIDATION

from kdlab.evaluation.latency import measure_latency
from kdlab.models import build_model
from kdlab.objectives import Objective
from kdlab.training import Recipe, Runtime, fit

REPEATS = 7


@pytest.mark.parametrize("architecture", [STUDENT, TEACHER], ids=["mlp", "cnn1d with BatchNorm"])
def test_trained_weights_are_as_fast_as_fresh_ones(architecture):
    torch.set_num_threads(1)
    fresh, trained = (build_model(architecture, **SHAPE, seed_value=0) for _ in range(2))
    fit(
        trained,
        Objective.from_specs({"hard_labels": {"_target_": "kdlab.objectives.terms.hard_labels", "weight": 1.0}}),
        train=TRAIN,
        validation=VALIDATION,
        num_classes=10,
        recipe=Recipe(steps=2000, batch_size=100, optimizer=ADAMW, schedule=CONSTANT),
        role="student",
        seed=0,
        runtime=Runtime(accelerator="cpu", progress=False),
    )
    found = [measure_latency(trained, fresh.eval(), input_shape=SHAPE["input_shape"]).metrics for _ in range(REPEATS)]
    p50 = [float(one["latency/p50_ratio"] or 0) for one in found]
    p99 = [float(one["latency/p99_ratio"] or 0) for one in found]
    print(
        f"\ntrained over fresh weights: p50 {statistics.median(p50):.3f} ({min(p50):.3f} to {max(p50):.3f}), "
        f"p99 {statistics.median(p99):.3f} ({min(p99):.3f} to {max(p99):.3f}), {REPEATS} measurements"
    )
    assert abs(statistics.median(p50) - 1) < 0.03
