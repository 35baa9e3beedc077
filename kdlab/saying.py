"""How kdlab speaks to the user: one line at a time, at once. Nothing heavy is imported for it."""

import os
import sys


def say(text: str) -> None:
    """Print a line for the user; a closed pipe (``kdlab sweep X | head``) must not fail a run."""
    try:
        print(text, flush=True)
    except BrokenPipeError:
        sys.stdout = open(os.devnull, "w")  # noqa: PTH123, SIM115 - nobody reads any more; later prints vanish too
