"""Arrays that are filled piece by piece and may be larger than memory: a folder of memory-mapped ``.npy`` files.

A folder is written beside its place and renamed, so that a reader sees a whole one or none, whatever kills the process
that writes; its ``manifest.json`` says what it was made from and holds the SHA-256 of each file. Reading runs no code.
"""

import errno
import functools
import hashlib
import json
import math
import os
import shutil
import uuid
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import quote

import numpy as np
import numpy.typing as npt

from kdlab.data.cache import cache_key
from kdlab.errors import UserError

Array = npt.NDArray[Any]
MANIFEST = "manifest.json"
TOLD_ABOVE_BYTES = 50_000_000
_SLACK_BYTES = 16_000_000  # what a disk keeps for others: a full one stops more than this run


class NoRoomError(UserError):
    """The disk has no room for what was to be stored."""


class ArraySpec(NamedTuple):
    """Shape and dtype (``float32``) of an array that is to be stored."""

    shape: tuple[int, ...]
    dtype: str

    @property
    def nbytes(self) -> int:
        """Bytes of its values."""
        return math.prod(self.shape) * np.dtype(self.dtype).itemsize


def total_bytes(specs: Mapping[str, ArraySpec]) -> int:
    """Bytes of all of them together."""
    return sum(spec.nbytes for spec in specs.values())


def stored_arrays(
    root: Path,
    described: Mapping[str, Any],
    specs: Mapping[str, ArraySpec],
    fill: Callable[[Mapping[str, Array]], None],
    *,
    what: str,
    check: Callable[[Mapping[str, Array]], str | None] = lambda arrays: None,
    say: Callable[[str], object] = print,
) -> dict[str, Array]:
    """The arrays of ``described``: opened where they are whole and ``check`` agrees, else filled (once, under a lock).

    Args:
        root: where the folders of this kind of arrays lie; made where it is missing.
        described: plain JSON values; two folders that may differ must differ here.
        specs: name -> shape and dtype.
        fill: writes the values into arrays of these names, memory-mapped for writing.
        what: what the arrays are, for messages: ``outputs of the teacher 0123``.
        check: says what is wrong with arrays that were found, None for nothing.
        say: gets a line before much is written, and where something is written anew.

    Returns:
        name -> array, memory-mapped; a change of it stays in this process.

    Raises:
        NoRoomError: the disk has no room.
        UserError: the folder cannot be written.
    """
    folder = root / cache_key(described)
    found, _ = _judged(folder, specs, check)  # without the lock: a finished folder may lie where nothing can be written
    if found is not None:
        return found
    from filelock import FileLock

    try:
        root.mkdir(parents=True, exist_ok=True)
        with FileLock(root / f"{folder.name}.lock"):
            found, problem = _judged(folder, specs, check)
            if found is not None:
                return found
            if problem is not None:
                say(f"  {what}: {problem}; written anew")
            _write(folder, described, specs, fill, what=what, say=say)
    except OSError as error:
        raise UserError(f"{what}: {root} cannot be written: {error.strerror or error}") from error
    found, problem = _opened(folder, specs)
    if found is None:
        raise UserError(f"{what}: {folder} cannot be read back: {problem}")
    return found


def check_room(root: Path, num_bytes: int, *, what: str) -> None:
    """Whether the disk has room for an amount of bytes.

    Raises:
        NoRoomError: it has not; both numbers are told.
    """
    place = next(path for path in (root.absolute(), *root.absolute().parents) if path.exists())
    free = shutil.disk_usage(place).free
    if num_bytes + _SLACK_BYTES > free:
        raise NoRoomError(f"{what}: {megabytes(num_bytes)} are needed in {root}, the disk has {megabytes(free)}")


def megabytes(num_bytes: int) -> str:
    """A size as people say it.

    >>> megabytes(188_160_000)
    '188 MB'
    """
    return f"{num_bytes / 1e6:.0f} MB" if num_bytes >= 1e6 else f"{num_bytes / 1e6:.1f} MB"


def _judged(
    folder: Path, specs: Mapping[str, ArraySpec], check: Callable[[Mapping[str, Array]], str | None]
) -> tuple[dict[str, Array] | None, str | None]:
    """The arrays of a folder if they are to be used, else what is wrong (None where nothing is there)."""
    found, problem = _opened(folder, specs)
    if found is not None and (problem := check(found)) is None:
        return found, None
    return None, problem


def _opened(folder: Path, specs: Mapping[str, ArraySpec]) -> tuple[dict[str, Array] | None, str | None]:
    if not folder.exists():
        return None, None
    try:
        digests = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))["sha256"]
        arrays = {name: _open(folder / _file_name(name), spec, digests[name]) for name, spec in specs.items()}
    except (OSError, ValueError, KeyError, TypeError, EOFError):  # a damaged file raises any of them
        return None, "a file is damaged"
    return arrays, None


def _open(path: Path, spec: ArraySpec, digest: str) -> Array:
    array: Array = np.load(path, mmap_mode="c", allow_pickle=False)  # "c": torch warns of memory it must not write to
    state = path.stat()
    if array.shape != spec.shape or array.dtype != spec.dtype:
        raise ValueError("another array")
    if _digest(path, state.st_size, state.st_mtime_ns) != digest:
        raise ValueError("damaged")
    return array


@functools.lru_cache(maxsize=256)
def _digest(path: Path, _size: int, _changed_ns: int) -> str:
    """Of a file that has not changed, once in a process: a sweep opens the same one for every student."""
    return _sha256(path)


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _write(
    folder: Path,
    described: Mapping[str, Any],
    specs: Mapping[str, ArraySpec],
    fill: Callable[[Mapping[str, Array]], None],
    *,
    what: str,
    say: Callable[[str], object],
) -> None:
    """Write a folder whole or not at all. Call it while holding the lock."""
    for stray in folder.parent.glob(f".{folder.name}.*"):  # of processes that were killed: the lock is ours
        shutil.rmtree(stray, ignore_errors=True)
    num_bytes = total_bytes(specs)
    check_room(folder.parent, num_bytes, what=what)
    if num_bytes > TOLD_ABOVE_BYTES:
        say(f"  {what}: writing {megabytes(num_bytes)} to {folder}")
    partial, old = (folder.with_name(f".{folder.name}.{uuid.uuid4().hex}") for _ in range(2))
    partial.mkdir()
    try:
        arrays = {name: _create(partial / _file_name(name), spec) for name, spec in specs.items()}
        fill(arrays)
        for array in arrays.values():
            array.flush()
        digests = {name: _sha256(partial / _file_name(name)) for name in specs}
        told = {"what": what, "described": dict(described), "sha256": digests}
        (partial / MANIFEST).write_text(json.dumps(told, indent=1, sort_keys=True), encoding="utf-8")
        if folder.exists():
            folder.rename(old)
        partial.rename(folder)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
        shutil.rmtree(old, ignore_errors=True)


def _create(path: Path, spec: ArraySpec) -> "np.memmap[Any, Any]":
    array = np.lib.format.open_memmap(path, mode="w+", dtype=spec.dtype, shape=spec.shape)
    if hasattr(os, "posix_fallocate"):  # a disk that fills up is an error now, and no signal in the middle of a page
        with path.open("r+b") as file:
            try:
                os.posix_fallocate(file.fileno(), 0, path.stat().st_size)
            except OSError as error:
                if error.errno in (errno.ENOSPC, errno.EDQUOT):
                    raise NoRoomError(f"{path.parent}: the disk has no room for {megabytes(spec.nbytes)}") from error
                if error.errno not in (errno.EOPNOTSUPP, errno.EINVAL):  # a file system that cannot promise room
                    raise
    return array


def _file_name(name: str) -> str:
    return f"{quote(name, safe='')}.npy"
