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
from kdlab.records.store import RECORD, Store, read_record
from kdlab.saying import say

if TYPE_CHECKING:
    from kdlab.tracking.wandb.pull import Carried

Taken = Literal["pulled", "here", "another"]
_SHOWN = 8


def pull(words: list[str]) -> int:
    """``kdlab pull [ENTITY/]PROJECT [STUDY] [store.root=...] [tracker.*=...]``."""
    from kdlab.tracking.wandb.note import md5_of
    from kdlab.tracking.wandb.pull import carried
    from kdlab.tracking.wandb.server import Server

    asked = parse(words, command="pull", names=2)
    if not asked.names:
        raise UserError("pull: a W&B project is needed: kdlab pull [ENTITY/]PROJECT [STUDY]")
    here = settings(asked.overrides, command="pull", reads=("store.root", "tracker."))
    store = Store(Path(here.store.root), say=say)
    store.check_writable()

    def has(run_id: str, name: str, md5: str) -> bool:
        if name == RECORD and store.own(run_id) is not None:
            return True
        kept = store.pulled(run_id) / name
        return kept.is_file() and md5_of(kept) == md5

    server = Server(timeout_seconds=here.tracker.init_timeout_seconds)
    entity, _, project = asked.names[0].rpartition("/")
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
    if not outcomes and not problems:
        raise UserError(f"{path} holds no run" + (f" with the tag {study}" if study else ""))
    _tell(path, outcomes, joined=sorted(joined))
    if problems:
        lines = [f"  {run}: {why}" for run, why in list(problems.items())[:_SHOWN]]
        raise WorkFailedError("\n".join([f"{counted(len(problems), 'run')} of {path} could not be pulled", *lines]))
    return 0


def _take(one: "Carried", store: Store) -> Taken:
    """Keep what a run carries, and say what became of its record.

    Of one run that two machines made, the first one stays, unless it failed.
    """
    folder = store.pulled(one.run_id)
    if RECORD in one.files:
        before = read_record(folder)
        new = RunRecord.from_json(parse_json(one.files[RECORD]))
        if before is not None and before.status == "finished" and before.tracker_id != new.tracker_id:
            return "another"
    for name, text in one.files.items():
        folder.mkdir(parents=True, exist_ok=True)
        write_text(folder / name, text)
    return "pulled" if RECORD in one.files else "here"


def _memberships(one: "Carried") -> dict[str, studies.Study]:
    from kdlab.tracking.travel import STUDIES

    return studies.read_memberships(one.files[STUDIES]) if STUDIES in one.files else {}


def _join(root: Path, name: str, pieces: list[studies.Study]) -> None:
    """Add the members that other machines planned; what the study asks is told as when a sweep is planned again."""
    for header in {str(piece.header): piece.header for piece in pieces}.values():
        members = [member for piece in pieces if piece.header == header for member in piece.members]
        before = studies.read_study(root, name)
        studies.plan(root, name, joined_header(dict(header), before, members), members)


def _tell(path: str, outcomes: "Counter[Taken]", *, joined: list[str]) -> None:
    parts = [f"{counted(outcomes['pulled'], 'record')} pulled", f"{outcomes['here']} here before"]
    if outcomes["another"]:
        parts.append(f"{outcomes['another']} left out: another machine made the same run first")
    say(f"W&B {path}: {', '.join(parts)}")
    for name in joined:
        say(f"  study {name}: kdlab report {name} covers them")
