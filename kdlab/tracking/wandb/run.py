"""One W&B run while it is open: curves, final numbers, tables, and whatever goes wrong with the mirror."""

import math
import os
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kdlab.records.atomic import write_text
from kdlab.tracking.base import Table
from kdlab.tracking.wandb.connection import FLUSH_SECONDS, first_line, wandb_errors
from kdlab.tracking.wandb.note import read_note, write_note

if TYPE_CHECKING:
    import wandb
    from wandb.plot.custom_chart import CustomChart

HEAT_MAP = "wandb/confusion_matrix/v1"  # the chart of wandb.plot.confusion_matrix, so every server has it
STEP, EPOCH = "trainer/step", "trainer/epoch"
_AXES = (STEP, EPOCH, "_timestamp")
_GIVEN_BY_WANDB = ("_step", "_runtime")


@dataclass
class Outage:
    """Whether the server was found gone by one of the runs that are open side by side: the others need not try."""

    is_on: bool = False


class WandbRun:
    """One W&B run, open until ``finish``; many may be open side by side, each logged in turn.

    A call of wandb's costs half a millisecond or more (it waits for another thread), whatever it carries. So what was
    measured at one step becomes one row, which is sent with the next step, at the end, or at once where rows are rare:
    the file is flushed every ``FLUSH_SECONDS``, nobody sees it later. Every row carries the time it was measured at.
    """

    def __init__(
        self,
        begun: "Future[wandb.Run]",
        *,
        name: str,
        directory: Path,
        say: Callable[[str], object],
        outage: Outage | None = None,
        kept_in: Path | None = None,
    ) -> None:
        self._begun, self._name, self._directory, self._say = begun, name, directory, say
        self._kept_in = directory if kept_in is None else kept_in  # what the user is told, not a scratch folder
        self._outage = Outage() if outage is None else outage
        self._curves: set[str] = set()
        self._row: dict[str, float] = {}
        self._waiting: list[dict[str, float]] = []
        self._sent_at, self._sent_step = -math.inf, -1
        self._broken, self._rows = False, 0

    @property
    def id(self) -> str | None:
        """Its id in W&B, waited for; None where wandb could not begin it."""
        run = self._arrived()
        return None if run is None else run.id

    def log(self, metrics: Mapping[str, float | None], *, step: int, epoch: float) -> None:
        """Add one point to curves, over ``trainer/step``: W&B's own step counts calls, and ``step=`` drops rows."""
        numbers = defined(metrics)
        is_rare = time.monotonic() - self._sent_at >= FLUSH_SECONDS or step == self._sent_step
        if self._row and (self._row[STEP], self._row[EPOCH]) != (step, epoch):
            self._send()
        self._row = {"_timestamp": time.time(), STEP: step, EPOCH: epoch} | self._row | numbers
        if is_rare:
            self._send()
            self._sent_step = step

    def replay(self, rows: Iterable[Mapping[str, Any]], *, config: Mapping[str, Any]) -> None:
        """Log rows of an earlier attempt to mirror this run, at the times they were measured, and tell its config."""
        self._attempt(lambda: self._run.config.update(dict(config), allow_val_change=True))  # type: ignore[no-untyped-call]
        for row in rows:
            kept = {key: value for key, value in row.items() if key not in _GIVEN_BY_WANDB}
            self._attempt(lambda kept=kept: self._log(kept))  # type: ignore[misc]

    def finish(
        self,
        summary: Mapping[str, float | None],
        *,
        tables: Mapping[str, Table],
        files: Mapping[str, str],
        failed: bool,
    ) -> None:
        """Write the flat final numbers, the files and the tables, note all of it, then end the run.

        Undefined numbers stay empty cells in W&B. While the server is gone a table and an end are each waited for in
        vain, run after run: so they are left out once one run found it gone. wandb ends what is open, all together and
        within one limit, when the process ends; the tables follow with a sync.
        """
        run = self._arrived()
        self._send()
        if run is None:
            return
        try:
            self._attempt(lambda: self._conclude(defined(summary), files))
            self._rows += bool(tables)
            if tables and not self._outage.is_on:
                self._attempt(lambda: self._show(tables))
            self._note(defined(summary), failed=failed)
        finally:
            if not self._outage.is_on:
                self._attempt(lambda: run.finish(exit_code=1 if failed else 0))

    def _send(self) -> None:
        """Hand the row that waits to wandb, as soon as its run has begun."""
        row, self._row, self._sent_at = self._row, {}, time.monotonic()
        if row:
            self._waiting.append(row)
        if not self._begun.done() or self._arrived() is None:
            return
        waiting, self._waiting = self._waiting, []
        for one in waiting:
            if not self._broken:
                self._attempt(lambda one=one: self._log(one))  # type: ignore[misc]

    def _log(self, row: Mapping[str, float]) -> None:
        for key in row:
            if key not in self._curves and key not in _AXES:  # no automatic summary: final numbers are written flat
                self._run.define_metric(key, step_metric=STEP, summary="none")
                self._curves.add(key)
        self._run.log(dict(row))
        self._rows += 1

    def _conclude(self, summary: Mapping[str, float], files: Mapping[str, str]) -> None:
        self._run.summary.update(dict(summary))
        for name, text in files.items():
            path = Path(self._run.dir) / name
            write_text(path, text)
            self._run.save(str(path), base_path=self._run.dir, policy="now")

    def _show(self, tables: Mapping[str, Table]) -> None:
        with _data_beside(self._directory):
            self._run.log({name: _shown(table) for name, table in tables.items()})

    def _note(self, summary: Mapping[str, float], *, failed: bool) -> None:
        folder = Path(self._run.dir).parent
        note = read_note(folder)
        if note is not None:
            write_note(folder, replace(note, summary=summary, rows=self._rows, failed=failed))

    @property
    def _run(self) -> "wandb.Run":
        return self._begun.result()

    def _arrived(self) -> "wandb.Run | None":
        """The run of wandb's, waited for; None where it could not begin, which is told once and stops nothing."""
        try:
            return self._begun.result()
        except Exception as error:  # whatever it is: of the mirror alone, and the training run goes on without one
            if not self._broken:
                self._say(f"run {self._name} is not mirrored in W&B: {first_line(error)}; its record is not affected")
            self._broken, self._waiting = True, []
            return None

    def _attempt(self, call: Callable[[], object]) -> None:
        """Call wandb; where the connection is gone say so, once for all runs, and leave the training run alone."""
        try:
            call()
        except wandb_errors() as error:
            if not self._broken and not self._outage.is_on:
                self._say(
                    f"W&B run {self.id}: {first_line(error)}; the record is not affected. What was mirrored of it, and "
                    f"of the runs open beside it, is in {self._kept_in} and can be sent with `kdlab sync`"
                )
            self._broken = self._outage.is_on = True


def _shown(table: Table) -> "wandb.Table | CustomChart":
    """A table as W&B shows it; a heat map is its chart of a confusion matrix, drawn there from the table.

    A drawn image would cost eight times a table, and the import of matplotlib.
    """
    import wandb

    data: list[Iterable[Any]] = [list(row) for row in table.rows]
    made = wandb.Table(columns=list(table.columns), data=data)
    if table.heat_map is None:
        return made
    fields = dict(zip(("Actual", "Predicted", "nPredictions"), table.columns, strict=False))
    return wandb.plot_table(HEAT_MAP, made, fields, {"title": table.heat_map})


@contextmanager
def _data_beside(directory: Path) -> Iterator[None]:
    """Keep what tables stage beside the runs, or they are lost when the folder moves; the environment is put back."""
    name = "WANDB_DATA_DIR"
    chosen = os.environ.get(name)
    os.environ[name] = chosen or str(directory / "data")
    try:
        yield
    finally:
        if chosen is None:
            del os.environ[name]
        else:
            os.environ[name] = chosen


def defined(metrics: Mapping[str, float | None]) -> dict[str, float]:
    """The metrics that are numbers."""
    return {key: float(value) for key, value in metrics.items() if value is not None and math.isfinite(value)}
