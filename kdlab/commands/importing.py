"""Heavy imports without the garbage collector, which would walk modules that stay, again and again (half a second)."""

import importlib
import sys

from kdlab.collector import collector_off


def load_training() -> None:
    """What trains, Lightning with it: once for a process, when it is first needed."""
    if "kdlab.experiments.students" not in sys.modules:
        with collector_off(freeze=True):
            importlib.import_module("kdlab.experiments.students")
