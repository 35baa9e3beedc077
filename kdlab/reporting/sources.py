"""From the store to the lines of a report: the glue between full records and compact ones."""

from collections.abc import Iterable, Iterator
from pathlib import Path

from kdlab.errors import UserError, nearest
from kdlab.records.record import RunRecord
from kdlab.records.store import Store
from kdlab.records.studies import read_study, studies
from kdlab.reporting.compact import Line, compact, merge, read_lines
from kdlab.reporting.report import RECORDS, find_reports


def study_lines(store_root: Path, report_root: Path, name: str, *, prune: bool = False) -> list[Line]:
    """The lines of a study: its ``records.jsonl`` merged with what the store holds.

    Members that have no record yet are left out; twins and teachers (and their parents) that a member refers to come
    along whether or not they are members.

    Args:
        store_root: the store; it need not exist.
        report_root: where the report folders are.
        name: the study; any folder with a ``records.jsonl``, nested ones too.
        prune: drop runs that the store's study does not hold.

    Raises:
        UserError: neither the store nor the reports know the study.
    """
    study = read_study(store_root, name)
    path = report_root / name / RECORDS
    existing = read_lines(path) if path.is_file() else []
    if study is None:
        if not existing:
            known = sorted({*studies(store_root), *(find_reports(report_root) if report_root.is_dir() else [])})
            hint = nearest(name, known) or "there is none yet: run one with kdlab sweep NAME"
            raise UserError(f"no study '{name}' in the store or among the reports; {hint}")
        return merge(existing, None, [], prune=False)
    members: dict[str, list[dict[str, object]]] = {}
    for member in study.members:
        place: dict[str, object] = {"arm": member.arm, "phase": member.phase, "overrides": list(member.overrides)}
        members.setdefault(member.run_id, []).append(place)
    compacts = [
        compact(record, members.get(record.run_id, [])) for record in _with_relatives(Store(store_root), members)
    ]
    return merge(existing, {"name": name, **study.header}, compacts, prune=prune)


def _with_relatives(store: Store, run_ids: Iterable[str]) -> Iterator[RunRecord]:
    """The records of these runs that exist and of all that they refer to (twins, teachers, parents), one at a time.

    A record is ten times its compact line: ten thousand of them are not held at once.
    """
    found: set[str] = set()
    waiting = list(run_ids)
    while waiting:
        run_id = waiting.pop()
        if run_id in found or (record := store.find(run_id)) is None:
            continue
        found.add(run_id)
        yield record
        teacher = (record.teacher or {}).get("id")
        waiting += [other for other in (record.twin, record.parent, teacher, *record.members) if other]
