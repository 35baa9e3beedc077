"""The note beside a W&B run's files: what was handed to wandb, so that what arrived can be held against it.

wandb says that all went well when a file was lost, when the key was refused, when the server was gone. So kdlab keeps
its own count: ``kdlab.json`` in the run's folder, written when the run begins and again when it ends.
"""

import base64
import dataclasses
import hashlib
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from kdlab.records.atomic import write_text

NOTE = "kdlab.json"
#: Folders of wandb's: of a run begun offline, or online.
_FOLDER = re.compile(r"(offline-)?run-\d{8}_\d{6}-(?P<id>.+)")
_BEGIN = b":W&B"
"""How a ``.wandb`` file begins."""
#: Files that wandb makes of what it was told, and makes anew at each upload.
_OF_WANDB = ("config.yaml", "wandb-metadata.json", "wandb-summary.json", "output.log", "requirements.txt")


@dataclass(frozen=True)
class Note:
    """What a W&B run was told.

    Args:
        id: its id in W&B.
        run_id: the run it mirrors.
        project: the project.
        entity: the user or team; None leaves it to the account.
        tags: all its tags.
        config: its config.
        summary: the final numbers; None while it is open.
        rows: how many rows of history were handed over; None while it is open.
        failed: whether the run failed.
        arrived: the digest of all that was seen at the server; None where nothing was.
    """

    id: str
    run_id: str
    project: str
    entity: str | None = None
    tags: tuple[str, ...] = ()
    config: Mapping[str, Any] = field(default_factory=dict)
    summary: Mapping[str, float] | None = None
    rows: int | None = None
    failed: bool = False
    arrived: str | None = None

    def digest(self, files: Mapping[str, str]) -> str:
        """A hash of all that should be at the server: this note, and the files by their md5."""
        told = {**dataclasses.asdict(self), "arrived": None, "files": dict(files)}
        return hashlib.sha256(json.dumps(told, sort_keys=True, default=str).encode()).hexdigest()


def write_note(folder: Path, note: Note) -> None:
    """Write the note of the run in ``folder``."""
    write_text(folder / NOTE, json.dumps(dataclasses.asdict(note), default=str) + "\n")


def read_note(folder: Path) -> Note | None:
    """The note of the run in ``folder``; None where there is none, or none that can be read."""
    try:
        told = json.loads((folder / NOTE).read_text(encoding="utf-8"))
        return Note(**{**told, "tags": tuple(told["tags"])})
    except (OSError, ValueError, TypeError, KeyError):
        return None


def run_folders(directory: Path) -> Iterator[tuple[str, Path]]:
    """``(W&B id, folder)`` of the runs whose files lie in ``directory``, by name; the id is the one the note says."""
    for folder in sorted(directory.iterdir()) if directory.is_dir() else ():
        named = _FOLDER.fullmatch(folder.name)
        if named is not None and folder.is_dir():
            note = read_note(folder)
            yield (named["id"] if note is None else note.id), folder


def unreadable(folder: Path) -> str:
    """Why nothing can be sent of the run in ``folder``, one such run keeps ``wandb sync`` from all; empty where it can.

    A kill leaves a file that ends early, which is read up to there. A full disk leaves one that never began.
    """
    files = list(folder.glob("*.wandb"))
    if not files:
        return f"its .wandb file is gone from {folder.name}"
    with files[0].open("rb") as file:
        return "" if file.read(len(_BEGIN)) == _BEGIN else f"{folder.name}/{files[0].name} is empty or damaged"


def files_of(folder: Path) -> dict[str, str]:
    """The files that a run has at the server beside wandb's own: name -> md5."""
    root = folder / "files"
    paths = (path for path in root.rglob("*") if path.is_file())
    names = {path.relative_to(root).as_posix(): path for path in paths}
    return {name: md5_of(path) for name, path in sorted(names.items()) if name not in _OF_WANDB}


def md5_of(path: Path) -> str:
    """The md5 of a file as the server gives it, in base64."""
    return base64.b64encode(hashlib.md5(path.read_bytes(), usedforsecurity=False).digest()).decode()
