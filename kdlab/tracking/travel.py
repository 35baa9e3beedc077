"""What travels with a mirrored run, so that it can be told elsewhere: its record, and the studies it belongs to."""

from kdlab.records.store import RECORD, Store
from kdlab.records.studies import memberships, memberships_json

STUDIES = "studies.json"


def travelling_files(store: Store, run_id: str) -> dict[str, str]:
    """Name -> text of the files that a mirrored run carries: ``record.json`` and ``studies.json``."""
    record = (store.folder(run_id) / RECORD).read_text(encoding="utf-8")
    return {RECORD: record, STUDIES: memberships_json(memberships(store.root, run_id))}


def membership_tags(store: Store, run_id: str, *, role: str) -> list[str]:
    """The tags that a run's memberships give it: every study, and every arm that a student has there."""
    found = memberships(store.root, run_id)
    arms = {member.arm for study in found.values() for member in study.members if role == "student"}
    return [*sorted(found), *sorted(arm for arm in arms if arm)]
