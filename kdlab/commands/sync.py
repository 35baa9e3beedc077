"""``kdlab sync``: bring the mirror in Weights & Biases in line with the store, and see that all of it arrived."""

import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from kdlab.commands.bars import Advance, bars
from kdlab.commands.reading import parse, settings
from kdlab.commands.wording import counted
from kdlab.errors import UserError, WorkFailedError, nearest
from kdlab.records import studies
from kdlab.records.record import RunRecord
from kdlab.records.store import Store, locked
from kdlab.saying import say
from kdlab.schema.bookkeeping import TrackerConfig

if TYPE_CHECKING:
    from kdlab.experiments.lab import Lab
    from kdlab.tracking.wandb.sync import Outcome, Wanted

_SHOWN = 8


def sync(words: list[str]) -> int:
    """``kdlab sync [STUDY] [store.root=...] [tracker.*=...]``."""
    asked = parse(words, command="sync")
    here = settings(asked.overrides, command="sync", reads=("store.root", "tracker."))
    store = Store(Path(here.store.root), say=say)
    name = asked.names[0] if asked.names else None
    records = list(_records(store, name))
    if not records:
        raise UserError(f"{store.root} holds no record" + (f" of study {name}" if name else ": kdlab run makes one"))
    with bars(unit="run") as advance:
        outcome = send(store, records, here.tracker, advance=advance)
    _tell(outcome, records, store)
    if outcome.problems:
        raise WorkFailedError("\n".join(problem_lines(outcome.problems)))
    return 0


def send(store: Store, records: Sequence[RunRecord], tracker: TrackerConfig, *, advance: Advance) -> "Outcome":
    """Bring the mirror of these runs up to date; one process at a time.

    Raises:
        UserError: there is no key.
        WorkFailedError: the server cannot be asked.
    """
    from kdlab.tracking.travel import travelling_files
    from kdlab.tracking.wandb.server import Server
    from kdlab.tracking.wandb.sync import sync as sync_runs

    def rename(run_id: str, tracker_id: str) -> Mapping[str, str]:
        with store.lock(run_id):
            store.write(replace(store.load(run_id), tracker_id=tracker_id))
        return travelling_files(store, run_id)

    with locked(store.root, "wandb/sync", say=say):
        return sync_runs(
            store.root / "wandb",
            [_wanted(one, store) for one in records if one.tracker_id is not None and not store.is_held(one.run_id)],
            project=tracker.project,
            entity=tracker.entity,
            open_server=lambda: Server(timeout_seconds=tracker.init_timeout_seconds),
            stall_seconds=tracker.sync_timeout_seconds,
            advance=advance,
            rename=rename,
            say=say,
        )


@contextmanager
def kept_up(lab: "Lab", run_ids: Iterable[str], tracker: TrackerConfig) -> Iterator[None]:
    """Where runs go online: what those that are finished already gain is set while the others train inside.

    Tags of a new study are set at once, in the background; what is measured again inside follows at the end. Nothing
    that goes wrong with the mirror fails the sweep, and a sweep that is interrupted does not wait for it.
    """
    known = [record for run_id in run_ids if (record := lab.store.finished(run_id)) is not None]
    if not lab.tracker.is_online or not known:
        yield
        return
    is_over = threading.Event()
    with ThreadPoolExecutor(max_workers=1) as worker:
        tags = worker.submit(bring_up, lab.store, known, tracker, is_over=is_over)
        try:
            yield
        except BaseException:
            is_over.set()
            raise
        tags.result()
    now = [record for one in known if (record := lab.store.own(one.run_id)) is not None]
    bring_up(lab.store, now, tracker, is_over=is_over)


def bring_up(
    store: Store, records: Sequence[RunRecord], tracker: TrackerConfig, *, is_over: threading.Event | None = None
) -> None:
    """Bring the mirror of finished runs up to date where it is behind; what cannot be is said, and left to a sync."""

    def advance(what: str, done: int, total: int) -> None:
        if is_over is not None and is_over.is_set():
            raise WorkFailedError("interrupted; kdlab sync does it later")

    try:
        problems = send(store, records, tracker, advance=advance).problems
    except (UserError, OSError) as error:
        say(f"note: the mirror of {counted(len(records), 'run')} was not brought up to date: {error}")
    else:
        if problems:
            say("note: " + "\n".join(problem_lines(problems)))


def problem_lines(problems: Mapping[str, Sequence[str]]) -> list[str]:
    """What did not arrive, in a few lines."""
    lines = [f"{counted(len(problems), 'run')} did not arrive whole; kdlab sync tries the rest again"]
    lines += [f"  {run_id} lacks {'; '.join(lacks)}" for run_id, lacks in list(problems.items())[:_SHOWN]]
    return lines + ([f"  ... and {len(problems) - _SHOWN} more"] if len(problems) > _SHOWN else [])


def _records(store: Store, name: str | None) -> Iterator[RunRecord]:
    """The records of the runs that were made here, of a study or all."""
    for run_id in store.own_ids() if name is None else sorted(_ids_of(store, name)):
        record = store.own(run_id)
        if record is not None:
            yield record


def _ids_of(store: Store, name: str) -> set[str]:
    study = studies.read_study(store.root, name)
    if study is None:
        known = studies.studies(store.root)
        raise UserError(f"no study '{name}' in {store.root}; {nearest(name, known) or 'it holds none'}")
    return {member.run_id for member in study.members}


def _wanted(record: RunRecord, store: Store) -> "Wanted":
    from kdlab.tracking.tables import run_tables
    from kdlab.tracking.travel import membership_tags, travelling_files
    from kdlab.tracking.wandb.sync import Wanted

    assert record.tracker_id is not None
    return Wanted(
        record.run_id,
        record.tracker_id,
        tuple(membership_tags(store, record.run_id, role=record.role)),
        record.metrics,
        record.status == "failed",
        record.provenance.get("started"),
        run_tables(record) if record.status == "finished" else {},
        travelling_files(store, record.run_id),
    )


def _tell(outcome: "Outcome", records: Sequence[RunRecord], store: Store) -> None:
    parts = [f"{counted(outcome.sent, 'run')} sent", f"{outcome.mended} brought up to date"]
    say(f"W&B: {', '.join(parts)}, {outcome.before} there before")
    for run_id, tracker_id in list(outcome.renamed.items())[:_SHOWN]:
        say(f"  run {run_id} is {tracker_id} in W&B: another machine's run has its id there")
    if len(outcome.renamed) > _SHOWN:
        say(f"  ... and {len(outcome.renamed) - _SHOWN} more")
    if outcome.absent:
        say(f"note: the W&B files of {counted(len(outcome.absent), 'run')} are not in this store: nothing to send")
    if held := sum(store.is_held(record.run_id) for record in records):
        say(f"note: {counted(held, 'run')} left out: another process works on them now")
    unmirrored = sum(record.tracker_id is None for record in records)
    if unmirrored:
        say(f"note: {counted(unmirrored, 'run')} of {len(records)} were made with tracker.mode=disabled")
