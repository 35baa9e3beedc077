"""Heavy imports without the garbage collector, which would walk modules that stay, again and again (half a second)."""

import contextlib
import gc
import importlib
import sys
from collections.abc import Iterator


@contextlib.contextmanager
def collector_off() -> Iterator[None]:
    """No collection inside; what was made there is never looked at again."""
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
        gc.freeze()
    finally:
        if was_on:
            gc.enable()


def load_training() -> None:
    """What trains, Lightning with it: once for a process, when it is first needed."""
    if "kdlab.experiments.students" not in sys.modules:
        with collector_off():
            importlib.import_module("kdlab.experiments.students")
