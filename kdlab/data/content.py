"""Files by what is in them: the sha256 that replaces a path in the identity of a run."""

import functools
import hashlib
from collections.abc import Callable
from pathlib import Path

from kdlab.errors import UserError


def content_hash(path: Path, *, key: str, read: Callable[[Path], bytes] = Path.read_bytes) -> str:
    """sha256 (64 hex digits) of a file, computed once per (path, size, time of change) in a process.

    A sweep asks for the identity of its data at each of its points.

    Args:
        path: the file.
        key: the config key that named it, for the message.
        read: what counts as its content (an unpacked one, say).

    Raises:
        UserError: the file cannot be read.
    """
    try:
        found = path.stat()
        return _hashed(path.absolute(), found.st_size, found.st_mtime_ns, read)
    except OSError as error:
        raise UserError(f"{key} = '{path}': {error.strerror or error}") from error


@functools.lru_cache(maxsize=64)
def _hashed(path: Path, _size: int, _changed_ns: int, read: Callable[[Path], bytes]) -> str:
    return hashlib.sha256(read(path)).hexdigest()
