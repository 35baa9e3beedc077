"""Arrays that take seconds to make are made once: kept on disk under a lock, checked by content whenever they are read.

A file is a plain ``.npy`` (``np.load`` opens it) followed by the SHA-256 of those bytes. It is written beside its place
and renamed, so a reader sees a whole file or none; a file that does not match its digest is made again.
"""

import hashlib
import io
import json
import logging
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from kdlab.errors import UserError

FORMAT_VERSION = 1
_DIGEST_BYTES = hashlib.sha256().digest_size

Float32Array = npt.NDArray[np.float32]
logger = logging.getLogger(__name__)


def cache_key(knobs: Mapping[str, Any]) -> str:
    """The name of an array: a hash of everything it is made from, and of the format of the file."""
    text = json.dumps({"format": FORMAT_VERSION, **knobs}, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:32]


def cached_array(folder: Path, knobs: Mapping[str, Any], make: Callable[[], Float32Array]) -> Float32Array:
    """The array of ``knobs``: read where it is whole, made (once, whoever asks at the same time) where it is not.

    Args:
        folder: where the files of this kind of array lie; made where it is missing.
        knobs: plain JSON values; two arrays that may differ must differ here.
        make: makes the array. Called under the lock.

    Raises:
        UserError: the folder cannot be written.
    """
    path = folder / f"{cache_key(knobs)}.npy"
    found = _read(path)  # without the lock: a finished cache may lie in a folder that cannot be written
    if found is not None:
        return found
    from filelock import FileLock

    try:
        folder.mkdir(parents=True, exist_ok=True)
        with FileLock(path.with_suffix(".lock")):
            found = _read(path)
            if found is not None:
                return found
            if path.exists():
                logger.warning("the cached data %s is damaged: it is built again", path)
            array = make()
            _write(path, array)
            return array
    except OSError as error:
        raise UserError(f"the data cache {folder} cannot be written: {error.strerror or error}") from error


def _read(path: Path) -> Float32Array | None:
    """The array of a file, or None where there is no whole one."""
    try:
        content = path.read_bytes()
    except (FileNotFoundError, NotADirectoryError):  # where something else is in the way, writing will say so
        return None
    body, digest = content[:-_DIGEST_BYTES], content[-_DIGEST_BYTES:]
    if hashlib.sha256(body).digest() != digest:
        return None
    array: Float32Array = np.load(io.BytesIO(body), allow_pickle=False)
    return array


def _write(path: Path, array: Float32Array) -> None:
    buffer = io.BytesIO()
    np.save(buffer, array, allow_pickle=False)
    body = buffer.getvalue()
    unfinished = path.with_suffix(f".{os.getpid()}.tmp")
    try:
        unfinished.write_bytes(body + hashlib.sha256(body).digest())
        unfinished.replace(path)
    finally:
        unfinished.unlink(missing_ok=True)
