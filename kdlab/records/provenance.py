"""Provenance: with which code, libraries and machine a run was made. No host name, no user name, no path."""

import copy
import functools
import os
import platform
import subprocess
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

import kdlab

#: What the versions are called in a record -> the distribution that has them.
DISTRIBUTIONS = {
    "torch": "torch",
    "lightning": "pytorch-lightning",
    "hydra": "hydra-core",
    "wandb": "wandb",
    "torchmetrics": "torchmetrics",
    "netcal": "netcal",
    "numpy": "numpy",
}
#: What of the checkout makes results; a report that was built again does not make it dirty.
CODE = ("kdlab", "hydra_plugins", "conf", "sweeps", "pyproject.toml")
GIT_TIMEOUT_SECONDS = 5.0


def provenance(*, threads: int) -> dict[str, Any]:
    """Commit, versions and machine (looked up once per process), the threads of this run, and when it started.

    Args:
        threads: threads of the process that trains; another count gives other last bits.

    Returns:
        Plain Python: ``kdlab``, ``commit`` and ``dirty`` (null outside a checkout), ``versions``, ``python``,
        ``hardware``, ``threads``, ``started`` (UTC, ISO 8601).
    """
    started = datetime.now(UTC).isoformat(timespec="seconds")
    return {**copy.deepcopy(_of_this_process()), "threads": threads, "started": started}


@functools.cache
def _of_this_process() -> dict[str, Any]:
    checkout = Path(kdlab.__file__).resolve().parent.parent
    return {
        "kdlab": kdlab.__version__,
        **git_state(checkout),
        "versions": {name: _version(distribution) for name, distribution in DISTRIBUTIONS.items()},
        "python": platform.python_version(),
        "hardware": hardware(),
    }


def git_state(checkout: Path) -> dict[str, Any]:
    """``commit`` and ``dirty`` (code or config differ from it, new files included), null where this is no checkout.

    Only a ``.git`` in ``checkout`` itself counts: a package installed inside somebody's repository is not that commit.
    """
    nothing: dict[str, Any] = {"commit": None, "dirty": None}
    if not (checkout / ".git").exists():
        return nothing
    commit = _git(checkout, "rev-parse", "HEAD")
    changes = _git(checkout, "status", "--porcelain", "--", *CODE)
    return nothing if commit is None or changes is None else {"commit": commit, "dirty": bool(changes)}


def hardware() -> dict[str, Any]:
    """CPU model, cores (of the machine and those this process may use), memory in GiB, GPU names."""
    import torch

    gpus = [torch.cuda.get_device_name(at) for at in range(torch.cuda.device_count())]
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return {
        "cpu": _cpu_model(),
        "cores": os.cpu_count(),
        "cores_usable": usable,
        "memory_gib": _memory_gib(),
        "gpus": gpus,
        "system": f"{platform.system()} {platform.machine()}",
    }


def _git(checkout: Path, *arguments: str) -> str | None:
    # GIT_DIR and its kin are set inside git hooks and would name another repository
    environment = {key: value for key, value in os.environ.items() if not key.startswith("GIT_")}
    try:
        done = subprocess.run(
            ["git", "-C", str(checkout), *arguments],
            capture_output=True,
            text=True,
            check=True,
            timeout=GIT_TIMEOUT_SECONDS,
            env={**environment, "GIT_OPTIONAL_LOCKS": "0"},
        )
    except (OSError, subprocess.SubprocessError):  # no git, no commit yet, or not ours to read: then there is no answer
        return None
    return done.stdout.strip()


def _version(distribution: str) -> str | None:
    try:
        return metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return None


def _cpu_model() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        lines = []
    models = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return models[0] if models else platform.processor() or platform.machine()


def _memory_gib() -> float | None:
    try:
        return round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1)
    except (AttributeError, ValueError, OSError):  # not every system can say
        return None
