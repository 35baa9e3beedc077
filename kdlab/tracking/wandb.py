"""The mirror in Weights & Biases: one W&B run per record, offline unless asked otherwise. Only this file imports wandb.

wandb is never left to choose: the mode is passed explicitly (so it beats ``WANDB_MODE``), every run is owned and
finished here, every wait is bounded. A connection that breaks later costs the mirror, never the training run: the
record does not depend on it, what was logged is in a ``.wandb`` file on disk, and a line says so.
"""

import functools
import importlib
import itertools
import math
import os
import shutil
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

from kdlab.errors import UserError, nearest
from kdlab.tracking.base import NullRun, Table, TrackedRun

if TYPE_CHECKING:
    import wandb

Mode = Literal["offline", "online", "auto", "disabled"]
STEP, EPOCH = "trainer/step", "trainer/epoch"
_AXES = (STEP, EPOCH, "_timestamp")
MAX_NAME_LENGTH = 128  # W&B refuses longer names
#: Seconds between two flushes to the ``.wandb`` file: what a killed run loses of its mirror.
FLUSH_SECONDS = 2.0
#: In a refusal of W&B: the id exists there already, or existed and was deleted.
_TAKEN = ("already exists, but your `resume` setting", "previously created and deleted")
_MAX_SUFFIXES = 20


class WandbTracker:
    """Mirrors runs in W&B.

    Args:
        mode: ``offline`` writes files alone; ``online`` needs the server and fails at the start of a run without it;
            ``auto`` is online where credentials and server are there, else offline from then on, with a message;
            ``disabled`` does not even import wandb.
        project: the W&B project.
        directory: ``<store.root>/wandb``; all runs lie there side by side, for ``wandb leet`` and ``wandb sync``.
        entity: the W&B user or team; None leaves it to the account.
        tags: tags of every run.
        notes: notes of every run that has none of its own.
        init_timeout_seconds: how long to wait for the server at the start of a run.
        finish_timeout_seconds: how long to wait for the upload at its end.
        say: gets the lines that the user should see.

    Raises:
        UserError: an unknown mode, or a directory not named ``wandb`` (wandb insists on the name).
    """

    def __init__(
        self,
        *,
        mode: Mode,
        project: str,
        directory: Path,
        entity: str | None = None,
        tags: Sequence[str] = (),
        notes: str | None = None,
        init_timeout_seconds: float = 20.0,
        finish_timeout_seconds: float = 60.0,
        say: Callable[[str], object] = print,
    ) -> None:
        if mode not in get_args(Mode):
            raise UserError(f"tracker.mode = {mode!r}: {nearest(str(mode), get_args(Mode))}")
        if directory.name != "wandb":
            raise UserError(f"the folder of W&B files must be named wandb, not {directory}")
        self.mode: Mode = mode
        self.directory = directory.expanduser().absolute()
        self._project, self._entity, self._tags, self._notes = project, entity, tuple(tags), notes
        self._init_timeout, self._finish_timeout = init_timeout_seconds, finish_timeout_seconds
        self._say, self._checked = say, False
        self._given: set[str] = set()
        # wandb is imported and its runs begin on a thread of its own. Offline nobody waits for that. Online it saves
        # seconds too: classes of wandb's look for their docstrings up the whole stack, all loaded modules a frame.
        self._worker = ThreadPoolExecutor(max_workers=1, thread_name_prefix="kdlab-wandb")

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
        """Begin a W&B run whose id is ``run_id``, with a suffix where that id is taken; offline in the background.

        Raises:
            UserError: mode ``online`` and no credentials, no answer within the time limit, or a refusal.
        """
        if self.mode == "disabled":
            return NullRun()
        arguments = {
            "project": self._project,
            "entity": self._entity,
            "name": name[:MAX_NAME_LENGTH],
            "group": group,
            "job_type": job_type,
            "tags": list(dict.fromkeys([*self._tags, *tags])),
            "notes": notes or self._notes,
            "config": dict(config),
        }
        self.check()
        ids = self._free_ids(run_id, attempt)
        begun: Future[wandb.Run] | None = None
        if self.mode != "offline":
            begun = self._online(ids, arguments)
        if begun is None:
            wandb_id = next(ids)
            self._given.add(wandb_id)
            begun = self._worker.submit(self._init, wandb_id, mode="offline", arguments=arguments)
        return WandbRun(begun, name=run_id, directory=self.directory, say=self._say)

    def check(self) -> None:
        """Ask the server, once, whether it is there and knows the key; nothing for the modes without a server.

        Raises:
            UserError: mode ``online`` and no credentials, no answer within the time limit, or a refusal. Mode ``auto``
                says so and goes on offline.
        """
        if self._checked or self.mode not in ("online", "auto"):
            return
        self._worker.submit(importlib.import_module, "wandb.apis.public").result()
        import wandb

        try:
            if not _has_credentials():
                raise UserError("no W&B credentials found; run `wandb login` or set WANDB_API_KEY")
            wandb.Api(timeout=math.ceil(self._init_timeout)).default_entity  # noqa: B018  asking is the point
            self._checked = True
        except UserError as error:
            self._go_offline(error)
        except _wandb_errors() as error:
            waited = f"W&B did not confirm the key within {self._init_timeout:g} s"
            self._go_offline(UserError(f"{waited}: {_first_line(error)}"))

    def _online(self, ids: Iterator[str], arguments: Mapping[str, Any]) -> "Future[wandb.Run] | None":
        """A run that has begun; None where mode ``auto`` went offline."""
        begun = self._worker.submit(self._first_free, ids, arguments)
        try:
            begun.result()
        except UserError as error:
            self._go_offline(error)
            return None
        return begun

    def _go_offline(self, error: Exception) -> None:
        """Mode ``auto`` stays offline from now on; mode ``online`` is an error."""
        if self.mode == "online":
            raise UserError(
                f"tracker.mode = online: {_first_line(error)} (tracker.mode=offline needs no server)"
            ) from error
        self._say(f"tracker.mode = auto: {_first_line(error)}; going on offline, files in {self.directory}")
        self.mode = "offline"

    def _first_free(self, ids: Iterator[str], arguments: Mapping[str, Any]) -> "wandb.Run":
        """An online run under the first id that the server does not hold already."""
        for wandb_id in itertools.islice(ids, _MAX_SUFFIXES):
            try:
                return self._init(wandb_id, mode="online", arguments={**arguments, "resume": "never"})
            except _wandb_errors() as error:
                for leftover in self.directory.glob(f"run-*-{wandb_id}"):  # holds nothing: the run never began
                    shutil.rmtree(leftover)
                if not any(sign in str(error) for sign in _TAKEN):
                    raise UserError(f"W&B did not start the run: {_first_line(error)}") from error
        raise UserError(f"W&B holds the first {_MAX_SUFFIXES} ids of this run already")

    def _init(self, wandb_id: str, *, mode: Literal["offline", "online"], arguments: Mapping[str, Any]) -> "wandb.Run":
        import wandb

        self.directory.mkdir(parents=True, exist_ok=True)  # else wandb warns and takes a temporary folder
        run = wandb.init(
            id=wandb_id,
            mode=mode,
            dir=str(self.directory.parent),
            reinit="create_new",
            settings=self._settings,
            **arguments,
        )
        run.define_metric(STEP)
        run.define_metric(EPOCH, step_metric=STEP, summary="none")
        return run

    @functools.cached_property
    def _settings(self) -> "wandb.Settings":
        """One for all runs: wandb copies them, and making them costs a few ms."""
        import wandb

        return wandb.Settings(
            silent=True,
            console="off",
            disable_git=True,
            disable_code=True,
            save_code=False,
            x_disable_stats=True,
            x_save_requirements=False,
            x_transaction_log_flush_interval=FLUSH_SECONDS,
            init_timeout=self._init_timeout,
            finish_timeout=self._finish_timeout,
            finish_timeout_raises=True,
        )

    def _free_ids(self, run_id: str, attempt: int) -> Iterator[str]:
        """``run_id``, ``run_id-2``, ... from ``attempt`` on, without those that have a folder here, or will have."""
        entries = self.directory.iterdir() if self.directory.is_dir() else ()
        mine = [entry.name for entry in entries if run_id in entry.name]
        for number in itertools.count(attempt):
            wandb_id = run_id if number == 1 else f"{run_id}-{number}"
            if wandb_id not in self._given and not any(name.endswith(f"-{wandb_id}") for name in mine):
                yield wandb_id


class WandbRun:
    """One W&B run, open until ``finish``; many may be open side by side, each logged in turn.

    A call of wandb's costs half a millisecond or more (it waits for another thread), whatever it carries. So what was
    measured at one step becomes one row, which is sent with the next step, at the end, or at once where rows are rare:
    the file is flushed every ``FLUSH_SECONDS``, nobody sees it later. Every row carries the time it was measured at.
    """

    def __init__(self, begun: "Future[wandb.Run]", *, name: str, directory: Path, say: Callable[[str], object]) -> None:
        self._begun, self._name, self._directory, self._say = begun, name, directory, say
        self._curves: set[str] = set()
        self._row: dict[str, float] = {}
        self._waiting: list[dict[str, float]] = []
        self._sent_at, self._sent_step = -math.inf, -1
        self._broken = False

    @property
    def id(self) -> str | None:
        """Its id in W&B, waited for; None where wandb could not begin it."""
        run = self._arrived()
        return None if run is None else run.id

    def log(self, metrics: Mapping[str, float | None], *, step: int, epoch: float) -> None:
        """Add one point to curves, over ``trainer/step``: W&B's own step counts calls, and ``step=`` drops rows."""
        defined = _defined(metrics)
        is_rare = time.monotonic() - self._sent_at >= FLUSH_SECONDS or step == self._sent_step
        if self._row and (self._row[STEP], self._row[EPOCH]) != (step, epoch):
            self._send()
        self._row = {"_timestamp": time.time(), STEP: step, EPOCH: epoch} | self._row | defined
        if is_rare:
            self._send()
            self._sent_step = step

    def finish(self, summary: Mapping[str, float | None], *, tables: Mapping[str, Table], failed: bool) -> None:
        """Write the flat final numbers and the tables, then end the run; undefined numbers stay empty cells in W&B."""
        run = self._arrived()
        self._send()
        if run is None:
            return
        try:
            self._attempt(lambda: self._conclude(_defined(summary), tables))
        finally:
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

    def _conclude(self, summary: Mapping[str, float], tables: Mapping[str, Table]) -> None:
        import wandb

        shown = {}
        with _data_beside(self._directory):
            for name, table in tables.items():
                data: list[Iterable[Any]] = [list(row) for row in table.rows]
                shown[name] = wandb.Table(columns=list(table.columns), data=data)
            if shown:
                self._run.log(shown)
        self._run.summary.update(dict(summary))

    @property
    def _run(self) -> "wandb.Run":
        return self._begun.result()

    def _arrived(self) -> "wandb.Run | None":
        """The run of wandb's, waited for; None where it could not begin, which is told once and stops nothing."""
        try:
            return self._begun.result()
        except Exception as error:  # whatever it is: of the mirror alone, and the training run goes on without one
            if not self._broken:
                self._say(f"run {self._name} is not mirrored in W&B: {_first_line(error)}; its record is not affected")
            self._broken, self._waiting = True, []
            return None

    def _attempt(self, call: Callable[[], object]) -> None:
        """Call wandb; where the connection is gone say so, once, and leave the training run alone."""
        try:
            call()
        except _wandb_errors() as error:
            if not self._broken:
                self._say(
                    f"W&B run {self.id}: {_first_line(error)}; the record is not affected. What was mirrored is in "
                    f"{self._directory} and can be sent with `wandb sync {self._run.settings.sync_dir}`"
                )
            self._broken = True


def _wandb_errors() -> tuple[type[Exception], ...]:
    """What wandb raises when its server or its own background process is gone or refuses."""
    from wandb.errors import Error
    from wandb.sdk.mailbox import HandleAbandonedError, MailboxClosedError
    from wandb.sdk.mailbox.mailbox_handle import ServerResponseError

    return Error, HandleAbandonedError, MailboxClosedError, ServerResponseError, OSError


def _has_credentials() -> bool:
    """Whether wandb finds an API key, without asking the user or the server."""
    import wandb

    settings = wandb.setup(settings=wandb.Settings(mode="online", silent=True)).settings
    settings.mode, settings.silent = "online", True  # set up earlier in this process, the line above changed nothing
    return bool(wandb.login(prompt=False, verify=False))


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


def _defined(metrics: Mapping[str, float | None]) -> dict[str, float]:
    return {key: float(value) for key, value in metrics.items() if value is not None and math.isfinite(value)}


def _first_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
