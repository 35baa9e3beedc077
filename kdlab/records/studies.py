"""Studies: which runs belong to which sweep, written with every planned point before the first one trains.

``<root>/studies/<STUDY>.jsonl`` opens with one line of kind ``study`` (what the sweep asks: arms, comparisons, ...) and
goes on with one line of kind ``member`` per planned run. A run trained once may be a member of many studies.
"""

import dataclasses
import functools
import itertools
import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kdlab.errors import UserError
from kdlab.records.atomic import write_text
from kdlab.records.store import locked

_PART = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.+-]*")


@dataclass(frozen=True)
class Member:
    """One planned run of a study.

    Args:
        run_id: which run.
        role: ``student``, ``scratch`` or ``teacher``.
        arm: the arm of the sweep it belongs to; None where the sweep has none.
        phase: the phase of the study; None where it has one only.
        overrides: the overrides that made this point.
    """

    run_id: str
    role: str
    arm: str | None = None
    phase: str | None = None
    overrides: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        object.__setattr__(self, "overrides", tuple(self.overrides))  # JSON and callers bring lists

    @property
    def place(self) -> tuple[str, str | None, str | None, tuple[str, ...]]:
        """What makes two memberships the same."""
        return self.run_id, self.arm, self.phase, self.overrides


@dataclass(frozen=True)
class Study:
    """A study: its header (what the sweep file says of it) and its members in the order they were planned."""

    header: Mapping[str, Any]
    members: list[Member]


def check_study_name(name: str) -> str:
    """``name`` itself: one or more parts of letters, digits and ``_ . + -``, joined by ``/``.

    Raises:
        UserError: naming ``study.name`` and what is allowed; a study never leaves its folder.
    """
    if not isinstance(name, str) or not all(_PART.fullmatch(part) for part in name.split("/")):
        raise UserError(
            f"study.name = {name!r}: a name like quickstart or fashion_mnist/temperature_alpha is needed (letters, "
            "digits, _ . + -, parts joined by /, none of them empty or opening with a dot)"
        )
    return name


def plan(store_root: Path, name: str, header: Mapping[str, Any], members: Iterable[Member]) -> Study:
    """Add what is not yet there to a study, atomically, and give the study as it stands now.

    The newest header takes the place of the old one; members only ever join. Several processes may plan at once.

    Raises:
        UserError: a wrong name, or a damaged file.
    """
    path = _path(store_root, name)
    with locked(Path(store_root), f"studies/{name}"):
        before = _read(path)
        places = {member.place: member for member in (before.members if before else [])}
        for member in members:
            places.setdefault(member.place, member)
        after = Study(json.loads(json.dumps(dict(header), allow_nan=False)), list(places.values()))
        if after != before:
            path.parent.mkdir(parents=True, exist_ok=True)
            write_text(path, _lines(after))
    return after


def read_study(store_root: Path, name: str) -> Study | None:
    """A study by name, None where none of that name was planned.

    Raises:
        UserError: a wrong name, or a damaged file.
    """
    return _read(_path(store_root, name))


def memberships(store_root: Path, run_id: str) -> dict[str, Study]:
    """The studies that a run belongs to, by name; each with the memberships of that run alone.

    Raises:
        UserError: a damaged file.
    """
    found = {}
    for name in studies(store_root):
        path = _path(store_root, name)
        stat = path.stat()
        header, by_run = _by_run(path, stat.st_mtime_ns, stat.st_size)
        if run_id in by_run:
            found[name] = Study(header, by_run[run_id])
    return found


@functools.lru_cache(maxsize=64)  # asked for every run of a sweep; the signature tells a file that was written since
def _by_run(path: Path, *signature: int) -> tuple[Mapping[str, Any], dict[str, list[Member]]]:
    study = _read(path)
    by_run: dict[str, list[Member]] = {}
    for member in study.members if study is not None else []:
        by_run.setdefault(member.run_id, []).append(member)
    return (study.header if study is not None else {}), by_run


def memberships_json(found: Mapping[str, Study]) -> str:
    """Memberships as the text of a file that travels with a run."""
    rows = [{"name": name, **dataclasses.asdict(study)} for name, study in sorted(found.items())]
    return json.dumps(rows, allow_nan=False, indent=1) + "\n"


def read_memberships(text: str) -> dict[str, Study]:
    """What :func:`memberships_json` wrote.

    Raises:
        ValueError: it is not that, or names a study as no study is named.
    """
    try:
        found = {
            check_study_name(row["name"]): Study(dict(row["header"]), [Member(**member) for member in row["members"]])
            for row in json.loads(text)
        }
        for member in itertools.chain.from_iterable(study.members for study in found.values()):
            if not all(word is None or isinstance(word, str) for word in (*member.place[:3], *member.overrides)):
                raise TypeError(f"{member.place} holds what is no word")
        return found
    except (TypeError, KeyError, AttributeError) as error:
        raise ValueError(f"not a list of memberships: {error}") from error


def studies(store_root: Path) -> list[str]:
    """The names of all studies of a store, sorted."""
    folder = Path(store_root) / "studies"
    return sorted(path.relative_to(folder).as_posix().removesuffix(".jsonl") for path in folder.rglob("*.jsonl"))


def _path(store_root: Path, name: str) -> Path:
    return Path(store_root) / "studies" / f"{check_study_name(name)}.jsonl"


def _lines(study: Study) -> str:
    rows = [{"kind": "study", "header": study.header}]
    rows += [{"kind": "member", **dataclasses.asdict(member)} for member in study.members]
    return "".join(json.dumps(row, allow_nan=False) + "\n" for row in rows)


def _read(path: Path) -> Study | None:
    if not path.is_file():
        return None
    header: dict[str, Any] = {}
    members: list[Member] = []
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
        try:
            row = json.loads(line)
            kind = row.pop("kind")
            if kind == "study":
                header = row["header"]
            elif kind == "member":
                members.append(Member(**row))
            else:
                raise ValueError(f"kind {kind!r}")
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise UserError(f"{path}, line {number} is not a line of a study ({error})") from error
    return Study(header, members)
