"""Curves of runs, as their histories grow: what was read is kept, and only what was added is read."""

import functools
import json
import threading
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from kdlab.errors import UserError
from kdlab.records.history import HistoryRow, decimate
from kdlab.records.ongoing import Signature, signature
from kdlab.records.store import CONFIG, HISTORY, PULLED, RECORD, read_record

MOST_POINTS = 240
MOST_KEPT = 256
Curve = list[list[float]]


@dataclass
class _Tail:
    """What was read of a history: until which byte of which file, and the curves so far."""

    file: tuple[int, int]
    read: int = 0
    curves: dict[str, Curve] = field(default_factory=dict)


class Curves:
    """The curves of the runs of a store; those asked for lately are kept."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._tails: OrderedDict[str, _Tail] = OrderedDict()
        self._lock = threading.Lock()

    def of(self, run_id: str) -> dict[str, Curve]:
        """Key -> ``[[step, value], ...]``, every point; empty where nothing was logged yet."""
        folder = self._root / run_id
        written, begun = signature(folder / HISTORY), signature(folder / CONFIG)
        if written is None:
            pulled = self._root / PULLED / run_id
            return _pulled(pulled, signature(pulled / RECORD))
        file = written[2], begun[0] if begun is not None else 0
        with self._lock:
            tail = self._tails.get(run_id)
            if tail is None or tail.file != file or written[1] < tail.read:  # begun anew, or cut to a checkpoint
                tail = _Tail(file)
            _read_on(folder / HISTORY, tail)
            self._tails[run_id] = tail
            self._tails.move_to_end(run_id)
            while len(self._tails) > MOST_KEPT:
                self._tails.popitem(last=False)
            return {key: list(points) for key, points in tail.curves.items()}


def _read_on(path: Path, tail: _Tail) -> None:
    """Add the whole lines that came since; a torn last line is left for the next time."""
    with path.open("rb") as file:
        file.seek(tail.read)
        added = file.read()
    whole = added[: added.rfind(b"\n") + 1]
    tail.read += len(whole)
    for line in whole.splitlines():
        try:
            row = json.loads(line)
            key, step, value = str(row["key"]), int(row["step"]), row["value"]
        except (ValueError, TypeError, KeyError):  # a damaged line: the others are the curve
            continue
        if isinstance(value, int | float):
            tail.curves.setdefault(key, []).append([step, float(value)])


@functools.lru_cache(maxsize=256)
def _pulled(folder: Path, _: Signature) -> dict[str, Curve]:
    """The curves of a record that came from another machine, without its history."""
    try:
        record = read_record(folder)
    except UserError:  # the board says so where it lists the run
        return {}
    return {} if record is None else {key: [list(point) for point in curve] for key, curve in record.curves.items()}


def shown(key: str, curves: Mapping[str, Curve]) -> Curve:
    """One curve, thin enough to be drawn, the first and the last point among it; six significant digits."""
    rows = (HistoryRow(int(step), 0.0, key, float(f"{value:.6g}")) for step, value in curves.get(key, []))
    return decimate(rows, MOST_POINTS).get(key, [])
