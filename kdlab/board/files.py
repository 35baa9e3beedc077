"""Which files the board hands out: a few texts of runs, what a report is made of, and nothing else whatever is asked.

Nothing is joined to a path before it matched a pattern without ``..``, leading dots, backslashes and NUL; and what is
found must be a file itself, not a link, in folders that are none either.
"""

import re
from pathlib import Path

from kdlab.board.members import FILES
from kdlab.errors import UserError
from kdlab.records.identity import RUN_ID_LENGTH
from kdlab.records.store import PULLED
from kdlab.records.studies import check_study_name
from kdlab.reporting.report import RECORDS

_RUN_ID = re.compile(rf"[0-9a-f]{{{RUN_ID_LENGTH}}}")
_FILE = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.+-]*\.(md|csv|tex|png|svg)")
_IN_A_REPORT = ("README.md", "index.html", RECORDS)
_FOLDERS = ("tables", "figures")
TYPES = {
    ".html": "text/html",
    ".svg": "image/svg+xml",
    ".png": "image/png",
    ".json": "application/json",
    ".jsonl": "text/plain",
    ".yaml": "text/plain",
    ".txt": "text/plain",
    ".md": "text/plain",
    ".csv": "text/plain",
    ".tex": "text/plain",
}
"""What a browser is told; a text is shown, not downloaded, and never taken for a page."""


def is_run_id(text: str) -> bool:
    """Whether this is the name of a run."""
    return _RUN_ID.fullmatch(text) is not None


def run_file(store_root: Path, run_id: str, name: str) -> Path | None:
    """A file of a run, of a pulled one where there is none of its own; None where there is nothing to hand out."""
    if not is_run_id(run_id) or name not in FILES:
        return None
    places = (store_root / run_id / name, store_root / PULLED / run_id / name)
    return next((found for path in places if (found := _below(store_root, path)) is not None), None)


def report_file(report_root: Path, path: str) -> Path | None:
    """A file of a report, by its path below the reports; None where there is nothing to hand out."""
    *parts, name = path.split("/")
    folder = parts.pop() if len(parts) > 1 and parts[-1] in _FOLDERS and name not in _IN_A_REPORT else ""
    study = "/".join(parts)
    try:
        check_study_name(study)
    except UserError:
        return None
    if (_FILE.fullmatch(name) is None) if folder else (name not in _IN_A_REPORT):
        return None
    if _below(report_root, report_root / study / RECORDS) is None:  # a folder without records is no report
        return None
    return _below(report_root, report_root / study / folder / name)


def _below(root: Path, path: Path) -> Path | None:
    """The file, if it is one and no link leads to it below the root (which may be a link itself)."""
    there = root.resolve() / path.relative_to(root)
    try:
        found = path.resolve(strict=True)
    except (OSError, RuntimeError):  # not there, or links in a circle
        return None
    return found if found == there and found.is_file() else None
