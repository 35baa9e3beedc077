"""Work without Python's garbage collector, which walks all that is there again and again."""

import contextlib
import gc
from collections.abc import Iterator


@contextlib.contextmanager
def collector_off(*, freeze: bool = False) -> Iterator[None]:
    """No collection inside; afterwards as before.

    Args:
        freeze: what is made inside stays (modules do), so that later collections need not look at it.
    """
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
        if freeze:
            gc.freeze()
    finally:
        if was_on:
            gc.enable()
