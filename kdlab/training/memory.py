"""Memory that every step asks for again: glibc gives large blocks back to the system and gets them back page by page.

For the activations of a stack of 100 small students that is a thousand page faults a step, or a fifth of its time.
"""

import ctypes
import platform
from collections.abc import Iterator
from contextlib import contextmanager

# the parameters of mallopt(3)
_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3
_KEEPING = {_MMAP_THRESHOLD: 1 << 30, _TRIM_THRESHOLD: (1 << 31) - 1}
_USUAL = {_MMAP_THRESHOLD: 32 << 20, _TRIM_THRESHOLD: 64 << 20}  # where glibc's own, moving thresholds end


@contextmanager
def kept_memory() -> Iterator[None]:
    """Keep freed blocks of any size within the process, and give them back at the end; on glibc alone."""
    libc = ctypes.CDLL(None) if platform.libc_ver()[0] == "glibc" else None
    if libc is None:
        yield
        return
    _set(libc, _KEEPING)
    try:
        yield
    finally:
        _set(libc, _USUAL)
        libc.malloc_trim(0)


def _set(libc: ctypes.CDLL, thresholds: dict[int, int]) -> None:
    for parameter, value in thresholds.items():
        libc.mallopt(parameter, value)
