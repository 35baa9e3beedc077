"""How many threads compute: one for a run by itself, all cores for a stack, its sweep's only training process."""

import os

from kdlab.schema.config import RunConfig


def threads_alone(config: RunConfig) -> int:
    """Threads of a run by itself: ``threads``, and 1 for ``auto``.

    Two OpenMP threads in each of two busy processes slow both up to a hundredfold on two cores.
    """
    return 1 if config.threads == "auto" else config.threads


def threads_stacked(config: RunConfig) -> int:
    """Threads of a stack: ``threads``; for ``auto`` all usable cores, or fewer where ``OMP_NUM_THREADS`` says so."""
    if config.threads != "auto":
        return config.threads
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    asked = os.environ.get("OMP_NUM_THREADS", "").split(",")[0].strip()
    return min(cores, int(asked)) if asked.isdigit() and int(asked) > 0 else cores
