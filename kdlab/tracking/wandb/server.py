"""What the server holds of runs, read through ``wandb.Api``, and what of it is set there without an upload."""

import json
import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kdlab.errors import UserError, WorkFailedError
from kdlab.tracking.base import Table
from kdlab.tracking.wandb.connection import first_line, has_credentials, wandb_errors
from kdlab.tracking.wandb.note import Note
from kdlab.tracking.wandb.resume import send_rest

if TYPE_CHECKING:
    import wandb

_PAGE = 100


@dataclass(frozen=True)
class Remote:
    """A run as the server shows it.

    Args:
        run: the public API's run.
        files: name -> md5 of its files.
    """

    run: Any
    files: Mapping[str, str]

    @property
    def config(self) -> Mapping[str, Any]:
        """Its config, flat values of W&B's own left out."""
        return dict(self.run.config)

    @property
    def num_rows(self) -> int:
        """How many rows of history it holds."""
        return int(self.run.historyLineCount)

    @property
    def tags(self) -> list[str]:
        """Its tags."""
        return list(self.run.tags)


class Server:
    """The W&B server that the user's key belongs to.

    Args:
        timeout_seconds: how long a request may take.

    Raises:
        UserError: there is no key.
        WorkFailedError: the server does not answer, or refuses the key.
    """

    def __init__(self, *, timeout_seconds: float) -> None:
        import wandb

        if not has_credentials():
            raise UserError("no W&B credentials found; run `wandb login` or set WANDB_API_KEY")
        try:
            self._timeout = timeout_seconds
            self._api = wandb.Api(timeout=math.ceil(timeout_seconds))
            self.entity = str(self._api.default_entity)
        except wandb_errors() as error:
            raise WorkFailedError(f"W&B did not answer within {timeout_seconds:g} s: {first_line(error)}") from error

    def path(self, project: str, entity: str | None) -> str:
        """``entity/project``; the account's own entity where none is told."""
        return f"{entity or self.entity}/{project}"

    def runs(self, path: str, filters: Mapping[str, Any]) -> "list[wandb.apis.public.Run]":
        """The runs of a project that match; none where there is no such project.

        Raises:
            WorkFailedError: the server does not answer.
        """
        self._api.flush()  # type: ignore[no-untyped-call]  # it would tell what it was told before
        try:
            return list(self._api.runs(path, filters=dict(filters), per_page=_PAGE, lazy=False))
        except ValueError as error:
            if "not find" in str(error):
                return []
            raise
        except wandb_errors() as error:
            raise WorkFailedError(f"W&B did not list the runs of {path}: {first_line(error)}") from error

    def by_id(self, path: str, ids: Iterable[str]) -> "dict[str, wandb.apis.public.Run]":
        """The runs of these ids that the server holds."""
        wanted = sorted(ids)
        pages = (wanted[at : at + _PAGE] for at in range(0, len(wanted), _PAGE))
        return {run.id: run for page in pages for run in self.runs(path, {"name": {"$in": page}})}

    def look(self, run: "wandb.apis.public.Run") -> Remote:
        """A run with its files."""
        return Remote(run, {file.name: file.md5 for file in run.files(per_page=_PAGE)})

    def send_rest(
        self, note: Note, folder: Path, rows_there: int, tables: Mapping[str, Table], *, say: Callable[[str], object]
    ) -> None:
        """Log to a run of which a part is there what it lacks."""
        send_rest(
            note,
            folder,
            path=self.path(note.project, note.entity),
            rows_there=rows_there,
            tables=tables,
            timeout_seconds=self._timeout,
            say=say,
        )

    def mend(self, remote: Remote, note: Note, *, folder: Path, files: Mapping[str, str]) -> None:
        """Set what changed after a run was sent: tags gained, numbers measured again, files rewritten."""
        run = remote.run
        for name, md5 in files.items():
            if remote.files.get(name) != md5:
                run.upload_file(str(folder / "files" / name), root=str(folder / "files"))
        run.tags = [*dict.fromkeys([*remote.tags, *note.tags])]
        run.summary.update(dict(note.summary or {}))
        run.update()


def lacking(note: Note, remote: Remote | None, files: Mapping[str, str]) -> list[str]:
    """What of a run did not arrive, in words; empty where all of it did.

    Args:
        note: what wandb was told.
        remote: what the server shows; None where it holds no such run.
        files: name -> md5 of the files that should be there.
    """
    if remote is None:
        return ["the run"]
    run, found = remote.run, []
    state = "failed" if note.failed else "finished"
    if run.state != state:
        found.append(f"its end (the server says {run.state})")
    told, shown = json.loads(json.dumps(note.config, default=str)), remote.config
    if wrong := [key for key in told if _kept(told[key]) != _kept(shown.get(key, {}))]:
        found.append(f"config ({_some(wrong)})")
    if note.rows is not None and remote.num_rows != note.rows:
        found.append(f"history ({remote.num_rows} of {note.rows} rows)")
    return found + lacking_beside(note, remote, files)


def lacking_beside(note: Note, remote: Remote, files: Mapping[str, str]) -> list[str]:
    """The part that :meth:`Server.mend` can set: final numbers, tags, files."""
    found = []
    summary = remote.run.summary_metrics
    wrong = [key for key, value in (note.summary or {}).items() if not _equal(summary.get(key), value)]
    if wrong:
        found.append(f"summary ({_some(wrong)})")
    if absent := [tag for tag in note.tags if tag not in remote.tags]:
        found.append(f"tags ({_some(absent)})")
    if lost := [name for name, md5 in files.items() if remote.files.get(name) != md5]:
        found.append(f"files ({_some(lost)})")
    return found


def _kept(value: Any) -> Any:
    """What W&B keeps of a part of a config: it leaves empty mappings out."""
    if not isinstance(value, Mapping):
        return value
    kept = {key: _kept(item) for key, item in value.items()}
    return {key: item for key, item in kept.items() if item != {}}


def _equal(shown: Any, told: float) -> bool:
    return isinstance(shown, int | float) and math.isclose(shown, told, rel_tol=1e-9, abs_tol=1e-12)


def _some(names: list[str]) -> str:
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
