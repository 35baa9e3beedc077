"""How W&B runs begin: one per record, offline unless asked otherwise.

wandb is never left to choose: the mode is passed explicitly (so it beats ``WANDB_MODE``), every run is owned and
finished here, every wait is bounded. A connection that breaks later costs the mirror, never the training run: the
record does not depend on it, what was logged is in a ``.wandb`` file on disk, and a line says so.
"""

import importlib
import itertools
import math
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

from kdlab.errors import UserError, nearest
from kdlab.tracking.base import NullRun, TrackedRun
from kdlab.tracking.wandb.agent import AgentRun
from kdlab.tracking.wandb.connection import (
    MAX_NAME_LENGTH,
    check_project,
    clipped,
    first_line,
    has_credentials,
    is_taken,
    quiet_settings,
    wandb_errors,
)
from kdlab.tracking.wandb.note import Note, write_note
from kdlab.tracking.wandb.run import EPOCH, STEP, Outage, WandbRun

if TYPE_CHECKING:
    import wandb

Mode = Literal["offline", "online", "auto", "disabled"]
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
        agent: what a ``wandb agent`` started this process for; its project and entity go before the others.

    Raises:
        UserError: an unknown mode, a name that no project has, a directory not named ``wandb`` (wandb insists on it).
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
        agent: AgentRun | None = None,
    ) -> None:
        if mode not in get_args(Mode):
            raise UserError(f"tracker.mode = {mode!r}: {nearest(str(mode), get_args(Mode))}")
        if directory.name != "wandb":
            raise UserError(f"the folder of W&B files must be named wandb, not {directory}")
        if mode != "disabled":
            check_project(project)
        self.mode: Mode = mode
        self.directory = directory.expanduser().absolute()
        self._project, self._entity, self._tags, self._notes = project, entity, tuple(tags), notes
        self._agent, self._awaited = agent, ""
        if agent is not None:
            self._project, self._entity = agent.project or project, agent.entity or entity
        self._init_timeout, self._finish_timeout = init_timeout_seconds, finish_timeout_seconds
        self._say, self._checked = say, False
        self._given: set[str] = set()
        self._outage = Outage()
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
            "tags": list(clipped([*self._tags, *tags])),
            "notes": notes or self._notes,
            "config": dict(config),
        }
        self.check()
        ids = self._free_ids(run_id, attempt)
        if self._agent is not None and self.awaits(run_id):
            ids, self._awaited = itertools.repeat(self._agent.id), ""
            arguments["config"] = {**config, **self._agent.parameters}
        begun: Future[wandb.Run] | None = None
        if self.mode != "offline":
            begun = self._online(ids, run_id, arguments)
        outage = self._outage if begun is not None else None
        if begun is None:
            wandb_id = next(ids)
            self._given.add(wandb_id)
            begun = self._worker.submit(self._init, wandb_id, run_id, mode="offline", arguments=arguments)
        return WandbRun(begun, name=run_id, directory=self.directory, say=self._say, outage=outage)

    def expect(self, run_id: str | None) -> None:
        """Hear which run answers the agent that started this process; where none did, nothing follows."""
        if self._agent is None:
            return
        if run_id is None:
            self._say("note: a W&B agent waits for one run, and these are several: its sweep gets no numbers")
        elif self.mode in ("offline", "disabled"):
            self._say(f"note: with tracker.mode = {self.mode} the sweep of the W&B agent that waits gets no numbers")
        else:
            self._awaited = run_id

    def awaits(self, run_id: str) -> bool:
        """Whether an agent waits for this run, and it has not begun."""
        return run_id == self._awaited

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
            if not has_credentials():
                raise UserError("no W&B credentials found; run `wandb login` or set WANDB_API_KEY")
            entity = wandb.Api(timeout=math.ceil(self._init_timeout)).default_entity
            self._checked = True
            if self.mode == "auto":
                self._say(f"tracker.mode = auto: online, W&B project {self._entity or entity}/{self._project}")
        except UserError as error:
            self._go_offline(error)
        except wandb_errors() as error:
            waited = f"W&B did not confirm the key within {self._init_timeout:g} s"
            self._go_offline(UserError(f"{waited}: {first_line(error)}"))

    @property
    def is_online(self) -> bool:
        """Whether runs go to a server that answered."""
        return self._checked and self.mode in ("online", "auto")

    def _online(self, ids: Iterator[str], run_id: str, arguments: Mapping[str, Any]) -> "Future[wandb.Run] | None":
        """A run that has begun; None where mode ``auto`` went offline."""
        begun = self._worker.submit(self._first_free, ids, run_id, arguments)
        try:
            begun.result()
        except UserError as error:
            self._go_offline(error)
            return None
        self._outage.is_on = False
        return begun

    def _go_offline(self, error: Exception) -> None:
        """Mode ``auto`` stays offline from now on; mode ``online`` is an error."""
        if self.mode == "online":
            raise UserError(
                f"tracker.mode = online: {first_line(error)} (tracker.mode=offline needs no server)"
            ) from error
        self._say(
            f"tracker.mode = auto: {first_line(error)}; going on offline, files in {self.directory}; "
            "kdlab sync sends them later"
        )
        self.mode = "offline"

    def _first_free(self, ids: Iterator[str], run_id: str, arguments: Mapping[str, Any]) -> "wandb.Run":
        """An online run under the first id that the server does not hold already."""
        for wandb_id in itertools.islice(ids, _MAX_SUFFIXES):
            try:
                resume = None if self._is_agents(wandb_id) else "never"  # the server makes an agent's run beforehand
                return self._init(wandb_id, run_id, mode="online", arguments={**arguments, "resume": resume})
            except wandb_errors() as error:
                for leftover in self.directory.glob(f"run-*-{wandb_id}"):  # holds nothing: the run never began
                    shutil.rmtree(leftover)
                if not is_taken(str(error)):
                    raise UserError(f"W&B did not start the run: {first_line(error)}") from error
        raise UserError(f"W&B holds the first {_MAX_SUFFIXES} ids of this run already")

    def _init(
        self, wandb_id: str, run_id: str, *, mode: Literal["offline", "online"], arguments: Mapping[str, Any]
    ) -> "wandb.Run":
        import wandb

        self.directory.mkdir(parents=True, exist_ok=True)  # else wandb warns and takes a temporary folder
        settings = quiet_settings(init_seconds=self._init_timeout, finish_seconds=self._finish_timeout)
        if self._agent is not None and self._is_agents(wandb_id):
            settings.sweep_id = self._agent.sweep
        run = wandb.init(
            id=wandb_id,
            mode=mode,
            dir=str(self.directory.parent),
            reinit="create_new",
            settings=settings,
            **arguments,
        )
        run.define_metric(STEP)
        run.define_metric(EPOCH, step_metric=STEP, summary="none")
        told = {name: arguments[name] for name in ("project", "entity", "config")}
        write_note(Path(run.dir).parent, Note(wandb_id, run_id, tags=tuple(arguments["tags"]), **told))
        return run

    def _is_agents(self, wandb_id: str) -> bool:
        return self._agent is not None and wandb_id == self._agent.id

    def _free_ids(self, run_id: str, attempt: int) -> Iterator[str]:
        """``run_id``, ``run_id-2``, ... from ``attempt`` on, without those that have a folder here, or will have."""
        entries = self.directory.iterdir() if self.directory.is_dir() else ()
        mine = [entry.name for entry in entries if run_id in entry.name]
        for number in itertools.count(attempt):
            wandb_id = run_id if number == 1 else f"{run_id}-{number}"
            if wandb_id not in self._given and not any(name.endswith(f"-{wandb_id}") for name in mine):
                yield wandb_id
