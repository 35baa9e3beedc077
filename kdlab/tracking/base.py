"""The tracker seam: what a run tells to whoever mirrors it. Records are the truth, a tracker only shows them."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, Protocol


class Table(NamedTuple):
    """A small table: column names, and rows of numbers, strings or None.

    Args:
        columns: their names.
        rows: what stands in them.
        heat_map: a title where it should be drawn as well: the first three columns are then row, column and value of a
            cell.
    """

    columns: Sequence[str]
    rows: Sequence[Sequence[float | str | None]]
    heat_map: str | None = None


class TrackedRun(Protocol):
    """One run while it is mirrored."""

    @property
    def id(self) -> str | None:
        """The run's id at the tracker, None where it is not mirrored (``RunRecord.tracker_id``)."""
        ...

    def log(self, metrics: Mapping[str, float | None], *, step: int, epoch: float) -> None:
        """Add one point to curves.

        Args:
            metrics: key -> value; undefined ones (None, NaN) are left out.
            step: optimizer steps done.
            epoch: epochs done, fractional.
        """
        ...

    def finish(
        self,
        summary: Mapping[str, float | None],
        *,
        tables: Mapping[str, Table],
        files: Mapping[str, str],
        failed: bool,
    ) -> None:
        """Write the final numbers and end the run; call it once, also when training failed.

        Args:
            summary: flat final numbers; None where undefined.
            tables: name -> table.
            files: name -> text of the files that travel with the run.
            failed: whether the run failed.
        """
        ...


class Tracker(Protocol):
    """Where runs are mirrored."""

    @property
    def is_online(self) -> bool:
        """Whether runs go to a server that answered."""
        ...

    def check(self) -> None:
        """Try the connection before any work, where there is one.

        Raises:
            UserError: there is none and the user insists on it.
        """
        ...

    def expect(self, run_id: str | None) -> None:
        """Hear which run is the one that this process was started for, where someone outside waits for it.

        Args:
            run_id: the run's id in the store; None where no single run is.
        """
        ...

    def awaits(self, run_id: str) -> bool:
        """Whether someone outside waits for this run, and it has not begun."""
        ...

    def start(
        self,
        *,
        run_id: str,
        name: str,
        group: str | None,
        job_type: str,
        tags: Sequence[str],
        config: Mapping[str, Any],
        notes: str | None,
        attempt: int = 1,
    ) -> TrackedRun:
        """Begin to mirror a run.

        Args:
            run_id: the run's id in the store.
            name: what people call it.
            group: the study it was first run for.
            job_type: its role.
            tags: words to find it by.
            config: the resolved config, whole.
            notes: free text.
            attempt: 1 the first time; more when a run of this id was mirrored before (repeated or retried).
        """
        ...


class NullRun:
    """A run that is mirrored nowhere."""

    id: str | None = None

    def log(self, metrics: Mapping[str, float | None], *, step: int, epoch: float) -> None:
        """Nothing."""

    def finish(
        self,
        summary: Mapping[str, float | None],
        *,
        tables: Mapping[str, Table],
        files: Mapping[str, str],
        failed: bool,
    ) -> None:
        """Nothing."""


class NullTracker:
    """Mirrors nothing: the tracker of ``tracker.mode=disabled`` and of tests."""

    is_online = False

    def check(self) -> None:
        """Nothing to try."""

    def expect(self, run_id: str | None) -> None:
        """Nobody waits."""

    def awaits(self, run_id: str) -> bool:
        """Nobody waits."""
        return False

    def start(
        self,
        *,
        run_id: str,
        name: str,
        group: str | None,
        job_type: str,
        tags: Sequence[str],
        config: Mapping[str, Any],
        notes: str | None,
        attempt: int = 1,
    ) -> TrackedRun:
        """A run that does nothing."""
        return NullRun()
