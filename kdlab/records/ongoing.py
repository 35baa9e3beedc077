"""What the files of a run tell while it is made: that a file was written again, how far it is; and the pace."""

import json
import os
from collections.abc import Sequence
from pathlib import Path

RECENT = 6
"""Ends of points that tell the pace of measuring."""
_TAIL_BYTES = 4096
Signature = tuple[int, int, int] | None


def signature(path: Path) -> Signature:
    """What changes when a file is written again; None where there is none."""
    try:
        found = path.stat()
    except (FileNotFoundError, NotADirectoryError):
        return None
    return found.st_mtime_ns, found.st_size, found.st_ino


def last_values(path: Path, step: int, accuracy: float | None) -> tuple[int, float | None]:
    """The last step and the last validation accuracy of a history; those given where its end tells none."""
    try:
        with path.open("rb") as file:
            file.seek(max(0, os.fstat(file.fileno()).st_size - _TAIL_BYTES))
            lines = file.read().split(b"\n")
    except FileNotFoundError:
        return step, accuracy
    found = None
    for line in reversed(lines[:-1]):  # the last piece is empty or torn
        try:
            row = json.loads(line)
        except ValueError:  # the first piece of a tail is torn
            continue
        step, found = (int(row["step"]) if found is None else step), row
        if row["key"] == "validation/accuracy" and row["value"] is not None:
            return step, float(row["value"])
    return step, accuracy


def seconds_left(*, passed: float, trained: float, ended: int, total: int, ends: Sequence[float]) -> float:
    """How long the rest takes at the pace so far: of what ended, or of the training where that is further on.

    The first points bring teachers and twins along that later ones share. Once all are trained (a stack), what is left
    is measuring, at the pace of the last ends.

    Args:
        passed: seconds since the beginning.
        trained: share of all training that is done; 0 where nothing is known of it.
        ended: how many ended since the beginning.
        total: how many there are to end.
        ends: the times of these ends, in order.

    Returns:
        Seconds; infinite where nothing tells yet.
    """
    if trained >= 1:
        recent = ends[-RECENT:]
        if len(recent) < 2:
            return float("inf")
        return (recent[-1] - recent[0]) / (len(recent) - 1) * (total - ended)
    share = max(ended / max(total, 1), trained)
    return passed * (1 - share) / share if share > 0 else float("inf")
