"""What processes on one machine must know of each other before they measure time.

Two kinds of files in one folder per user and machine: the latency lock, which one process holds while it measures, and
a marker for each process that trains. Both are held locks and not mere files: a killed process leaves its file behind
but not the lock, so a file that can be locked is stale and is ignored.
"""

import os
import platform
import tempfile
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

LATENCY_LOCK = "latency.lock"
_MARKERS = "training-*.lock"
_POLL_SECONDS = 0.1
# A marker exists for a moment before it is locked: only files that nobody can be about to lock are swept away.
_SWEEP_AFTER_SECONDS = 24 * 3600.0

_own_markers: set[tuple[int, str]] = set()
_waited_for: set[str] = set()


def machine_dir() -> Path:
    """The folder of the locks: this user's, on this machine, made on first use and closed to others.

    The temporary folder and not the home: a home may be shared by many machines.

    Raises:
        PermissionError: a folder of that name belongs to somebody else.
    """
    user = os.getuid() if hasattr(os, "getuid") else None
    folder = Path(tempfile.gettempdir()) / ("kdlab" if user is None else f"kdlab-{user}")
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    if user is not None and folder.lstat().st_uid != user:
        raise PermissionError(f"{folder} belongs to another user: set TMPDIR to a folder of your own")
    return folder


@contextmanager
def training_marker(lock_dir: Path | None = None) -> Iterator[Path]:
    """Tell the machine that this process trains: inside, others do not start to measure latency (or say contended)."""
    folder = machine_dir() if lock_dir is None else lock_dir
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"training-{os.getpid()}-{uuid.uuid4().hex[:8]}.lock"
    own = (os.getpid(), path.name)
    _own_markers.add(own)
    try:
        with FileLock(path):
            yield path
    finally:
        _own_markers.discard(own)
        path.unlink(missing_ok=True)


def others_train(lock_dir: Path | None = None) -> bool:
    """Whether another process of this machine holds a training marker; one's own are ignored."""
    return bool(_trainers(machine_dir() if lock_dir is None else lock_dir))


def _trainers(folder: Path) -> set[str]:
    """The markers of other processes that train now."""
    others = (path for path in folder.glob(_MARKERS) if (os.getpid(), path.name) not in _own_markers)
    return {path.name for path in others if _is_held(path)}


def _is_held(path: Path) -> bool:
    try:
        age = time.time() - path.stat().st_mtime
        # Two tries: another process may be asking the same question of a stale file at this very moment.
        with FileLock(path, timeout=0.02).acquire(poll_interval=0.01):
            if age > _SWEEP_AFTER_SECONDS:
                path.unlink(missing_ok=True)
        return False
    except Timeout:
        return True
    except FileNotFoundError:  # its process has just ended
        return False


@contextmanager
def quiet_machine(*, wait_seconds: float, lock_dir: Path | None = None) -> Iterator[bool]:
    """Hold the latency lock while nobody else trains, or go on without after ``wait_seconds``.

    Whoever was waited for in vain is not waited for again: thirty measurements beside a long sweep wait once.

    Yields:
        Whether the machine is quiet: the lock is held and no other process trains.
    """
    folder = machine_dir() if lock_dir is None else lock_dir
    folder.mkdir(parents=True, exist_ok=True)
    deadline = time.monotonic() + wait_seconds
    lock = FileLock(folder / LATENCY_LOCK)
    try:
        held = _acquired(lock, timeout=wait_seconds)
        busy = _trainers(folder)
        while busy - _waited_for and time.monotonic() < deadline:
            time.sleep(min(_POLL_SECONDS, max(deadline - time.monotonic(), 0.0)))
            busy = _trainers(folder)
        _waited_for.update(busy if wait_seconds > 0 else ())
        yield held and not busy
    finally:
        lock.release()


def _acquired(lock: FileLock, *, timeout: float) -> bool:
    try:
        lock.acquire(timeout=max(timeout, 0.0))
    except Timeout:
        return False
    return True


@contextmanager
def computing_with(threads: int) -> Iterator[None]:
    """That many threads of torch inside; afterwards as many as before."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def machine_name(device: str = "cpu") -> str:
    """The kind of machine, never its name: processor model, cores, and the accelerator where one is used.

    Args:
        device: the torch device that computes.
    """
    cores = os.cpu_count() or 1
    name = f"{_processor()}, {cores} core{'s' if cores > 1 else ''}"
    if device.startswith("cuda"):
        import torch

        return f"{name}, {torch.cuda.get_device_name(device)}"
    return name if device.startswith("cpu") else f"{name}, {device.split(':')[0]}"


def _processor() -> str:
    """The model name the processor gives itself; the architecture where the system does not tell."""
    information = Path("/proc/cpuinfo")
    if information.exists():
        for line in information.read_text(encoding="utf-8", errors="replace").splitlines():
            if line.lower().startswith(("model name", "hardware")) and ":" in line:
                return " ".join(line.split(":", 1)[1].split())
    return platform.machine() or "unknown processor"


def load_average() -> float | None:
    """Processes that want to run, mean over the last minute; None where the system does not tell."""
    return os.getloadavg()[0] if hasattr(os, "getloadavg") else None
