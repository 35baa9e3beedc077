"""``kdlab pull``: the records of runs that other machines mirrored in Weights & Biases, for one report over all."""

from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from kdlab.commands.bars import bars
from kdlab.commands.membership import joined_header
from kdlab.commands.reading import parse, settings
from kdlab.commands.wording import counted
from kdlab.errors import UserError, WorkFailedError
from kdlab.records import studies
from kdlab.records.atomic import write_text
from kdlab.records.parsing import parse_json
from kdlab.records.record import RunRecord
from kdlab.records.store import PULLED, RECORD, Store, read_record
from kdlab.saying import say

if TYPE_CHECKING:
    from kdlab.tracking.wandb.pull import Carried

Taken = Literal["pulled", "here", "another", "repeated", "unfinished"]
_SHOWN = 8


def pull(words: list[str]) -> int:
    """``kdlab pull [ENTITY/]PROJECT [STUDY] [store.root=...] [tracker.*=...]``."""
    from kdlab.tracking.wandb.connection import check_project
    from kdlab.tracking.wandb.note import md5_of
    from kdlab.tracking.wandb.pull import carried
    from kdlab.tracking.wandb.server import Server

    asked = parse(words, command="pull", names=2)
    if not asked.names:
        raise UserError("pull: a W&B project is needed: kdlab pull [ENTITY/]PROJECT [STUDY]")
    entity, _, project = asked.names[0].rpartition("/")
    check_project(project, key="PROJECT")
    here = settings(asked.overrides, command="pull", reads=("store.root", "tracker."))
    store = Store(Path(here.store.root), say=say)
    store.check_writable()

    def has(run_id: str, name: str, md5: str) -> bool:
        if name == RECORD and store.own(run_id) is not None:
            return True
        kept = store.pulled(run_id) / name
        return kept.is_file() and md5_of(kept) == md5

    server = Server(timeout_seconds=here.tracker.init_timeout_seconds)
    path = server.path(project, entity or here.tracker.entity)
    study = asked.names[1] if len(asked.names) > 1 else None
    outcomes: Counter[Taken] = Counter()
    problems: dict[str, str] = {}
    joined: dict[str, list[studies.Study]] = {}
    with bars(unit="run") as advance:
        for one in carried(server, path, study=study, has=has, advance=lambda *done: advance("pulling", *done)):
            if one.problem:
                problems[one.tracker_id] = one.problem
                continue
            outcomes[_take(one, store)] += 1
            for name, membership in _memberships(one).items():
                joined.setdefault(name, []).append(membership)
    for name, pieces in sorted(joined.items()):
        _join(store.root, name, pieces)
    for name, pieces in (cut_off := _unjoined(store)).items():
        _join(store.root, name, pieces)
    if not outcomes and not problems:
        raise UserError(f"{path} holds no run" + (f" with the tag {study}" if study else ""))
    _tell(path, outcomes, joined=sorted({*joined, *cut_off}))
    if problems:
        lines = [f"  {run}: {why}" for run, why in list(problems.items())[:_SHOWN]]
        raise WorkFailedError("\n".join([f"{counted(len(problems), 'run')} of {path} could not be pulled", *lines]))
    return 0


def _take(one: "Carried", store: Store) -> Taken:
    """Keep what a run carries, and say what became of its record.

    Of one run that two machines made, the first one stays, unless it failed. Of one that a machine repeated
    (``force=true``) the last one counts, as it does there.
    """
    if one.is_unfinished:
        return "unfinished"
    folder = store.pulled(one.run_id)
    if RECORD in one.files:
        before = read_record(folder)
        new = RunRecord.from_json(parse_json(one.files[RECORD]))
        if before is not None and before.status == "finished" and before.tracker_id != new.tracker_id:
            attempts = [_attempt(record) for record in (before, new)]
            if new.status != "finished" or attempts[0] >= attempts[1]:
                return "another" if attempts[0] == attempts[1] else "repeated"
    for name, text in one.files.items():
        folder.mkdir(parents=True, exist_ok=True)
        write_text(folder / name, text)
    return "pulled" if RECORD in one.files else "here"


def _attempt(record: RunRecord) -> int:
    told = record.provenance.get("attempt")
    return told if isinstance(told, int) else 1


def _memberships(one: "Carried") -> dict[str, studies.Study]:
    from kdlab.tracking.travel import STUDIES

    return studies.read_memberships(one.files[STUDIES]) if STUDIES in one.files else {}


def _unjoined(store: Store) -> dict[str, list[studies.Study]]:
    """What earlier pulls brought and did not join, because they were cut off: memberships that no study here has."""
    from kdlab.tracking.travel import STUDIES

    found: dict[str, list[studies.Study]] = {}
    for path in sorted((store.root / PULLED).glob(f"*/{STUDIES}")):
        for name, piece in studies.read_memberships(path.read_text(encoding="utf-8")).items():
            found.setdefault(name, []).append(piece)
    return {name: new for name, pieces in found.items() if (new := _new(store.root, name, pieces))}


def _new(root: Path, name: str, pieces: list[studies.Study]) -> list[studies.Study]:
    """Those that tell of a member whom the study here does not have."""
    study = studies.read_study(root, name)
    there = {member.place for member in study.members} if study is not None else set()
    return [piece for piece in pieces if any(member.place not in there for member in piece.members)]


def _join(root: Path, name: str, pieces: list[studies.Study]) -> None:
    """Add the members that other machines planned; what the study asks is told as when a sweep is planned again.

    Arms, comparisons and data sets that only this store's study has stay beside those that come.
    """
    for header in {str(piece.header): piece.header for piece in pieces}.values():
        members = [member for piece in pieces if piece.header == header for member in piece.members]
        before = studies.read_study(root, name)
        whole = {"sesoi": {}, "command": "", "grid": {}, **header}
        joined = joined_header(whole, before, members)
        here = before.header if before is not None else {}
        if here.get("arms"):
            joined["arms"] = {**here["arms"], **(joined.get("arms") or {})}
        if here.get("predictions"):  # as they were fixed here
            joined["predictions"] = {**(joined.get("predictions") or {}), **here["predictions"]}
        for key in ("compare", "data"):
            if here.get(key):
                joined[key] = [*here[key], *(new for new in joined.get(key) or () if new not in here[key])]
        studies.plan(root, name, joined, members)


def _tell(path: str, outcomes: "Counter[Taken]", *, joined: list[str]) -> None:
    parts = [f"{counted(outcomes['pulled'], 'record')} pulled", f"{outcomes['here']} here before"]
    if outcomes["another"]:
        parts.append(f"{outcomes['another']} left out: another machine made the same run first")
    if outcomes["repeated"]:
        parts.append(f"{outcomes['repeated']} left out: another attempt at the same run counts")
    say(f"W&B {path}: {', '.join(parts)}")
    if outcomes["unfinished"]:
        say(f"note: {counted(outcomes['unfinished'], 'run')} without a record yet: still at work, or killed")
    for name in joined:
        say(f"  study {name}: kdlab report {name} covers them")
