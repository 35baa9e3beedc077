"""Who listens to the curves: anyone with ``log``; here a progress bar."""

import os
from collections.abc import Mapping
from typing import Protocol

#: Set in the environment by a sweep that watches its runs: they draw nothing themselves.
WATCHED = "KDLAB_WATCHED"


class CurveSink(Protocol):
    """Whoever listens to the curves: the history file, the tracker, the progress bar."""

    def log(self, metrics: Mapping[str, float], *, step: int, epoch: float) -> None:
        """Take in the values of one moment."""


class ProgressLine:
    """A bar over optimizer steps, moved by the curves; silent where the output is no terminal that can move its cursor.

    Silent too in a run that a sweep watches, here or in a worker process: the sweep draws its line.
    No Lightning callback: Lightning puts its own ``log`` on those.
    """

    def __init__(self, label: str, *, steps: int) -> None:
        from tqdm import tqdm

        silent = WATCHED in os.environ or os.environ.get("TERM") == "dumb"
        self._bar = tqdm(total=steps, desc=label, unit="step", leave=False, disable=True if silent else None)

    def log(self, metrics: Mapping[str, float], *, step: int, epoch: float) -> None:
        """Move the bar."""
        self._bar.update(step - self._bar.n)
        if "validation/accuracy" in metrics:
            self._bar.set_postfix_str(f"validation {metrics['validation/accuracy']:.3f}", refresh=False)

    def close(self) -> None:
        """Close the bar."""
        self._bar.close()
