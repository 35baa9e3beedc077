"""kdlab: when does knowledge distillation help, when does it fail, and what fixes it?

Three lines are enough from Python and notebooks::

    import kdlab
    record = kdlab.run(["data=digits", "student.width=16"])   # one run, measured and recorded
    frame = kdlab.load("temperature_alpha")                   # one row per run of a study
    model = kdlab.load_model(record.run_id)                   # the trained network, in eval mode

Nothing heavy is imported until one of them is used.
"""

from typing import Any

__version__ = "0.1.0"
__all__ = ["load", "load_model", "run"]


def __getattr__(name: str) -> Any:
    if name in __all__:
        import importlib

        return getattr(importlib.import_module("kdlab.commands.api"), name)
    raise AttributeError(f"module 'kdlab' has no attribute {name!r}")
