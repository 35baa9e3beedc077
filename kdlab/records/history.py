"""The history of a run: every logged number as one JSON line, so that curves survive whatever stops the training."""

import itertools
import json
import math
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import NamedTuple

from kdlab.errors import UserError
from kdlab.records.atomic import write_text


class HistoryRow(NamedTuple):
    """One number: the optimizer step and (fractional) epoch it was measured at, its key and its value."""

    step: int
    epoch: float
    key: str
    value: float | None


class HistoryWriter:
    """Writes ``history.jsonl`` while a run trains; what a call wrote is in the file, whatever kills the process.

    The file is open during a call alone (it costs 10 us): hundreds of runs that are trained together would need more
    open files than a process may have.

    Args:
        path: the file.
        resume_step: None starts an empty history. A run that goes on from a checkpoint gives the checkpoint's step: the
            earlier rows up to it stay, later ones (they will be measured again) and a torn last line go.
    """

    def __init__(self, path: Path, *, resume_step: int | None = None) -> None:
        self._path = path
        if resume_step is None:
            path.write_text("", encoding="utf-8")  # nothing to lose: no need of the disk's word for it
        else:
            write_text(path, _lines(row for row in read_history(path) if row.step <= resume_step))

    def append(self, metrics: Mapping[str, float | None], *, step: int, epoch: float) -> None:
        """Add one row per metric. A value that is not finite is written as null: JSON has no NaN."""
        rows = [HistoryRow(int(step), float(epoch), key, _finite(value)) for key, value in metrics.items()]
        with self._path.open("a", encoding="utf-8", newline="\n") as file:
            file.write(_lines(rows))

    def close(self) -> None:
        """Nothing is open between two calls."""

    def __enter__(self) -> "HistoryWriter":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def read_history(path: Path) -> list[HistoryRow]:
    """All rows in the order they were logged; none where there is no file. A torn last line is left out.

    Raises:
        UserError: a line before the last is not a row.
    """
    if not path.exists():
        return []
    lines = path.read_text(encoding="utf-8", errors="replace").split("\n")
    complete, torn = lines[:-1], lines[-1]  # a whole file ends with a newline, so its last piece is empty
    rows = [_row(line, path, number) for number, line in enumerate(complete, start=1)]
    try:
        return [*rows, _row(torn, path, len(lines))] if torn else rows
    except UserError:
        return rows


def by_step(history: Iterable[HistoryRow]) -> Iterator[tuple[int, float, dict[str, float | None]]]:
    """``(step, epoch, metrics)`` of what was logged at once, in order."""
    for (step, epoch), rows in itertools.groupby(history, key=lambda row: (row.step, row.epoch)):
        yield step, epoch, {row.key: row.value for row in rows}


def decimate(history: Iterable[HistoryRow], max_points: int) -> dict[str, list[list[float]]]:
    """Curves of at most ``max_points`` points: key -> ``[[step, value], ...]``, evenly spaced, first and last kept.

    Args:
        history: rows in the order they were logged; undefined values are left out.
        max_points: at least 2.

    Raises:
        ValueError: ``max_points`` below 2.
    """
    if max_points < 2:
        raise ValueError(f"max_points = {max_points}: the first and the last point need at least 2")
    curves: dict[str, list[list[float]]] = {}
    for row in history:
        if row.value is not None:
            curves.setdefault(row.key, []).append([row.step, row.value])
    return {key: _spaced(points, max_points) for key, points in curves.items()}


def _spaced(points: list[list[float]], count: int) -> list[list[float]]:
    if len(points) <= count:
        return points
    last, gaps = len(points) - 1, count - 1
    return [points[(2 * at * last + gaps) // (2 * gaps)] for at in range(count)]  # rounded in integers: same everywhere


def _finite(value: float | None) -> float | None:
    return float(value) if value is not None and math.isfinite(value) else None


def _lines(rows: Iterable[HistoryRow]) -> str:
    return "".join(json.dumps(row._asdict(), allow_nan=False) + "\n" for row in rows)


def _row(line: str, path: Path, number: int) -> HistoryRow:
    try:
        return HistoryRow(**json.loads(line))
    except (ValueError, TypeError) as error:
        raise UserError(f"{path}, line {number} is not a row of a history: {line[:80]!r}") from error
