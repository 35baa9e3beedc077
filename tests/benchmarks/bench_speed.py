"""What a run costs beside the least it could cost: ratios, side by side in one process. ``make bench`` runs it.

Not collected by ``make test``. The bounds are loose guards against a slip (a synchronisation every step, a batch
collated row by row), not targets; the printed medians are the result.
"""

import statistics
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from torch import nn

from kdlab.data.dataset import Examples
from kdlab.models import build_model
from kdlab.objectives import Objective
from kdlab.teachers import OnlineTeacher
from kdlab.training import Recipe, Runtime, fit

STEPS, BATCH, REPEATS = 800, 100, 5
STUDENT = {"_target_": "kdlab.models.MLP", "width": 100, "depth": 2}
TEACHER = {"_target_": "kdlab.models.CNN1d", "width": 25, "depth": 3, "norm": "batch"}
ADAMW = {"_target_": "torch.optim.AdamW", "lr": 0.003, "weight_decay": 1e-4}
CONSTANT = {"_target_": "torch.optim.lr_scheduler.ConstantLR", "factor": 1.0}
SHAPE = {"input_shape": (1, 40), "num_classes": 10}


def made_up(rows: int, *, seed: int) -> Examples:
    draws = torch.Generator().manual_seed(seed)
    labels = torch.randint(0, 10, (rows,), generator=draws)
    return Examples(torch.randn(rows, 1, 40, generator=draws), labels, torch.arange(rows) + 1_000_000 * seed)


TRAIN, VALIDATION = made_up(4000, seed=0), made_up(2000, seed=1)


def bare_loop() -> None:
    """Plain cross-entropy over sliced tensors: no Trainer, no validation, no log."""
    network = build_model(STUDENT, **SHAPE, seed_value=0)
    optimizer = torch.optim.AdamW(network.parameters(), lr=0.003, weight_decay=1e-4)
    for step in range(STEPS):
        if step % (len(TRAIN) // BATCH) == 0:
            order, at = torch.randperm(len(TRAIN)), 0
        rows = order[at : at + BATCH]
        at += BATCH
        optimizer.zero_grad(set_to_none=True)
        nn.functional.cross_entropy(network(TRAIN.inputs[rows]).logits, TRAIN.labels[rows]).backward()
        optimizer.step()


def one_fit(*, distilled: bool) -> None:
    """The same through kdlab, validation after every epoch and curves included."""
    terms = {"hard_labels": {"_target_": "kdlab.objectives.terms.hard_labels", "weight": 0.1 if distilled else 1.0}}
    if distilled:
        soft = {"_target_": "kdlab.objectives.terms.soft_targets", "weight": 0.9, "temperature": 4.0}
        terms["soft_targets"] = soft
    fit(
        build_model(STUDENT, **SHAPE, seed_value=0),
        Objective.from_specs(terms),
        train=TRAIN,
        validation=VALIDATION,
        num_classes=10,
        recipe=Recipe(steps=STEPS, batch_size=BATCH, optimizer=ADAMW, schedule=CONSTANT),
        role="student",
        seed=0,
        teacher=OnlineTeacher(build_model(TEACHER, **SHAPE, seed_value=1)) if distilled else None,
        runtime=Runtime(accelerator="cpu", progress=False),
    )


def milliseconds_per_step(action) -> float:
    started = time.perf_counter()
    action()
    return 1000 * (time.perf_counter() - started) / STEPS


@pytest.mark.parametrize(("distilled", "bound"), [(False, 3.0), (True, 8.0)])
def test_step_over_bare_loop(distilled, bound):
    torch.set_num_threads(1)
    bare_loop(), one_fit(distilled=distilled)  # warm up
    pairs = [
        (milliseconds_per_step(bare_loop), milliseconds_per_step(lambda: one_fit(distilled=distilled)))
        for _ in range(REPEATS)
    ]
    ratios = [ours / bare for bare, ours in pairs]
    bare, ours = (statistics.median(column) for column in zip(*pairs, strict=True))
    what = "distilled, teacher online" if distilled else "hard labels"
    print(
        f"\n{what}: {ours:.2f} ms a step, bare cross-entropy loop {bare:.2f}; ratio {statistics.median(ratios):.2f} "
        f"({min(ratios):.2f} to {max(ratios):.2f}), {REPEATS} pairs, one thread"
    )
    assert statistics.median(ratios) < bound


def test_help_is_instant():
    script = Path(sys.executable).with_name("kdlab")
    seconds = []
    for _ in range(5):
        started = time.perf_counter()
        subprocess.run([script, "sweep", "--help"], check=True, capture_output=True)
        seconds.append(time.perf_counter() - started)
    print(f"\nkdlab sweep --help: {statistics.median(seconds):.3f} s")
    assert statistics.median(seconds) < 0.5
