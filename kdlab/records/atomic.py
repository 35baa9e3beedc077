"""Files that are either whole or not there, whatever kills the process that writes them."""

import os
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """A temporary path in the folder of ``path``; what is written there takes the place of ``path`` when all went well.

    The temporary file lies in the same folder, because only there a rename is atomic; it is flushed to the disk before
    the rename, so that a power cut leaves the old file or the new one, and removed when writing fails.
    """
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex}.tmp")
    try:
        yield temporary
        _flush_to_disk(temporary, os.O_RDWR)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
    if os.name == "posix":  # the rename itself is a change of the folder; other systems cannot open one
        _flush_to_disk(path.parent, os.O_RDONLY)


def write_text(path: Path, text: str) -> None:
    """``text`` as the whole content of ``path``, atomically, in UTF-8 with plain newlines."""
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8", newline="\n")


def _flush_to_disk(path: Path, flags: int) -> None:
    descriptor = os.open(path, flags)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
