"""Does latency depend on the weights? The same architecture fresh and trained, interleaved. ``make bench`` runs it.

A sweep measures its architectures before its first point trains, on fresh weights, because then nothing of it trains
beside the measurement whatever launcher follows. That is right only as long as this ratio is 1.
"""

import statistics

import pytest
import torch

from kdlab.data.dataset import Examples
from kdlab.evaluation.latency import measure_latency
from kdlab.models import build_model
from kdlab.objectives import Objective
from kdlab.training import Learner, Recipe, Runtime, fit

REPEATS = 7
STUDENT = {"_target_": "kdlab.models.MLP", "width": 100, "depth": 2}
TEACHER = {"_target_": "kdlab.models.CNN1d", "width": 25, "depth": 3, "norm": "batch"}
ADAMW = {"_target_": "torch.optim.AdamW", "lr": 0.003, "weight_decay": 1e-4}
CONSTANT = {"_target_": "torch.optim.lr_scheduler.ConstantLR", "factor": 1.0}
HARD = {"hard_labels": {"_target_": "kdlab.objectives.terms.hard_labels", "weight": 1.0}}
SHAPE = {"input_shape": (1, 40), "num_classes": 10}


def made_up(rows: int, *, seed: int) -> Examples:
    draws = torch.Generator().manual_seed(seed)
    labels = torch.randint(0, 10, (rows,), generator=draws)
    return Examples(torch.randn(rows, 1, 40, generator=draws), labels, torch.arange(rows) + 1_000_000 * seed)


@pytest.mark.parametrize("architecture", [STUDENT, TEACHER], ids=["mlp", "cnn1d with BatchNorm"])
def test_trained_weights_are_as_fast_as_fresh_ones(architecture):
    torch.set_num_threads(1)
    fresh, trained = (build_model(architecture, **SHAPE, seed_value=0) for _ in range(2))
    recipe = Recipe(steps=2000, batch_size=100, optimizer=ADAMW, schedule=CONSTANT)
    data = made_up(4000, seed=0), made_up(2000, seed=1)
    learner = Learner(trained, Objective.from_specs(HARD), *data, recipe, role="student", seed=0)
    fit([learner], num_classes=10, runtime=Runtime(accelerator="cpu", progress=False))
    found = [measure_latency(trained, fresh.eval(), input_shape=SHAPE["input_shape"]).metrics for _ in range(REPEATS)]
    p50 = [float(one["latency/p50_ratio"] or 0) for one in found]
    p99 = [float(one["latency/p99_ratio"] or 0) for one in found]
    print(
        f"\ntrained over fresh weights: p50 {statistics.median(p50):.3f} ({min(p50):.3f} to {max(p50):.3f}), "
        f"p99 {statistics.median(p99):.3f} ({min(p99):.3f} to {max(p99):.3f}), {REPEATS} measurements"
    )
    assert abs(statistics.median(p50) - 1) < 0.03
