"""The task of every training line, and what both sides start from: data, a trained teacher, a student, a recipe.

MNIST-1D, student 40-100-100-10, batch 100, AdamW, 2000 steps; teacher cnn1d of width 25 with BatchNorm. The teacher is
trained once by kdlab's own command, in a store that measurements copy; the other loops get its weights and the data.
"""

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn
from torchdistill_env import networks

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
BATCH, LEARNING_RATE, WEIGHT_DECAY = 100, 0.003, 1e-4
TEMPERATURE, ALPHA = 4.0, 0.9
TEACHER_WIDTH = 25
TEMPERATURES, ALPHAS = (1, 2, 4, 8, 16), (0.1, 0.3, 0.5, 0.7, 0.9)
POINTS = [(float(T), alpha) for T in TEMPERATURES for alpha in ALPHAS]
# What every command of a line says: the teacher of the task, its recipe, no latency (a line of its own in a record).
OVERRIDES = (
    "data=mnist1d",
    f"teacher.model.width={TEACHER_WIDTH}",
    "teacher.seed=0",
    "training/schedule=constant",
    f"training.optimizer.lr={LEARNING_RATE}",
    f"training.optimizer.weight_decay={WEIGHT_DECAY}",
    "evaluation.latency.enabled=false",
)


@dataclass(frozen=True)
class Sizes:
    """How much is done: the whole task, or numbers for trying the harness.

    Args:
        steps: of a training.
        points: of the T x alpha sweep.
        repeats: of what takes seconds.
        few: of what takes minutes.
        stack: the ``K`` whose marginal cost is asked for.
        curve: the ``K`` of the plot.
        sweeps: the numbers of points of the plot.
        budget: student-steps of one measurement of a stack.
        grid: points whose composing is measured.
        records: of the report.
        epochs: of the Fashion-MNIST sweep.
    """

    steps: int = 2000
    points: int = 25
    repeats: int = 7
    few: int = 3
    stack: int = 100
    conv: int = 25
    curve: tuple[int, ...] = (1, 2, 5, 10, 25, 50, 100, 200, 400)
    sweeps: tuple[int, ...] = (1, 5, 10, 25, 50)
    budget: int = 20_000
    grid: int = 300
    records: int = 10_000
    epochs: int = 20
    quick: bool = False


QUICK = Sizes(steps=80, points=4, repeats=2, few=1, stack=6, conv=3, curve=(1, 2, 5), sweeps=(1, 2), budget=400,
              grid=12, records=400, epochs=1, quick=True)  # fmt: skip


@dataclass(frozen=True)
class Bench:
    """What the lines share: the folder of work, the sizes, the cores of the machine."""

    work: Path
    sizes: Sizes
    cores: int

    @property
    def store(self) -> Path:
        """The store with the trained teacher; measurements copy it."""
        return self.work / "store"

    @cached_property
    def dataset(self) -> Any:
        """MNIST-1D without slices, from the cache."""
        from kdlab.data.mnist1d import mnist1d

        return mnist1d(cache_dir=self.work / "data")

    @cached_property
    def teacher_id(self) -> str:
        """The run of the teacher, trained now if the store does not have it."""
        from kdlab.records.store import Store

        kdlab(["teacher", *OVERRIDES[:3], "evaluation.latency.enabled=false"], bench=self, store=self.store)
        store = Store(self.store)
        return next(name for name in store.ids() if store.load(name).role == "teacher")

    @cached_property
    def teacher_network(self) -> nn.Module:
        """kdlab's own network of the teacher."""
        import kdlab as package

        return package.load_model(self.teacher_id, store=self.store)

    @cached_property
    def teacher(self) -> nn.Module:
        """The teacher in plain PyTorch, with the same weights; that it says the same is asserted."""
        known = self.teacher_network
        plain = networks.take_over(networks.cnn1d(TEACHER_WIDTH, norm=True), known.state_dict())
        plain.eval().requires_grad_(False)
        inputs = self.dataset.validation.inputs
        torch.testing.assert_close(plain(inputs), known(inputs).logits)
        return plain

    def hand_over(self) -> None:
        """Write data and teacher for processes that do not know kdlab."""
        sets = {name: getattr(self.dataset, name) for name in ("train", "validation", "test")}
        parts = {f"{name}_inputs": one.inputs.numpy() for name, one in sets.items()}
        parts |= {f"{name}_labels": one.labels.numpy() for name, one in sets.items()}
        np.savez(self.work / "data.npz", **parts)
        torch.save(self.teacher.state_dict(), self.work / "teacher.pt")

    def fresh_store(self, name: str = "measured") -> Path:
        """A store that holds the teacher and nothing else."""
        assert self.teacher_id
        folder = self.work / name
        shutil.rmtree(folder, ignore_errors=True)
        shutil.copytree(self.store, folder)
        return folder


def environment(bench: Bench, **more: str) -> dict[str, str]:
    """What kdlab's commands run under: the data cache of the benchmarks, no thread count, a silent tracker."""
    base = {name: value for name, value in os.environ.items() if name != "OMP_NUM_THREADS"}
    return {**base, "KDLAB_CACHE_DIR": str(bench.work / "data"), "WANDB_SILENT": "true",
            "WANDB_ERROR_REPORTING": "false", **more}  # fmt: skip


def words_of(words: Sequence[str], store: Path) -> list[str]:
    """A kdlab command that leaves its runs in a store."""
    return [sys.executable, "-m", "kdlab.commands.cli", *words, f"store.root={store}"]


def kdlab(words: Sequence[str], *, bench: Bench, store: Path, **more: str) -> float:
    """Wall seconds of a kdlab command, start-up included.

    Raises:
        RuntimeError: it failed.
    """
    started = time.perf_counter()
    done = subprocess.run(words_of(words, store), cwd=bench.work, env=environment(bench, **more), text=True,
                          capture_output=True, check=False)  # fmt: skip
    seconds = time.perf_counter() - started
    if done.returncode:
        raise RuntimeError(
            f"kdlab {' '.join(words)}: exit code {done.returncode}\n{done.stdout[-2000:]}\n{done.stderr[-4000:]}"
        )
    return seconds  # fmt: skip


def grid(points: int) -> list[str]:
    """The overrides of a T x alpha grid of a number of points: whole rows of five where it is one, seeds beyond 25."""
    if points <= len(ALPHAS):
        return ["objective.temperature=4", f"objective.alpha={_list(ALPHAS[-points:])}"]
    rows, rest = divmod(points, len(ALPHAS))
    if rest:
        raise ValueError(f"{points} points: at most {len(ALPHAS)}, or a multiple of it")
    # more temperatures and not more seeds: the teacher is one, and its scratch twin too
    temperatures = TEMPERATURES[:rows] if rows <= len(TEMPERATURES) else [1 + 0.75 * row for row in range(rows)]
    return [f"objective.temperature={_list(temperatures)}", f"objective.alpha={_list(ALPHAS)}"]


def _list(values: Sequence[float]) -> str:
    return ",".join(f"{value:g}" for value in values)
