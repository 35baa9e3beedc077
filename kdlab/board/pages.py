"""The report page of a study: the file that was written where it is current, else made in memory of what there is."""

import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from kdlab.board.files import report_file
from kdlab.collector import collector_off
from kdlab.records.ongoing import signature

Words = Callable[[Mapping[str, Any]], Mapping[str, Any]]
PAGE = "index.html"


class Pages:
    """Report pages; the last one that was made is kept.

    Args:
        store_root: where runs are.
        report_root: where reports are.
        words: what the sweep file of a study says of it today, from its header.
    """

    def __init__(self, store_root: Path, report_root: Path, *, words: Words) -> None:
        self._store_root, self._report_root, self._words = store_root, report_root, words
        self._lock = threading.Lock()
        self._made: tuple[object, str] | None = None

    def of(self, name: str, *, newest: float | None) -> str:
        """The page of a study.

        Args:
            name: a study that is known.
            newest: when the last of its records was written, in seconds since 1970; None where the store has none.

        Raises:
            UserError: there is nothing to show yet, or something cannot be read.
        """
        written = report_file(self._report_root, f"{name}/{PAGE}")
        if written is not None and (newest is None or newest <= written.stat().st_mtime):
            return written.read_text(encoding="utf-8")
        version = name, newest, signature(self._report_root / name / "records.jsonl")
        with self._lock:
            if self._made is None or self._made[0] != version:
                self._made = version, self._page(name)
            return self._made[1]

    def _page(self, name: str) -> str:
        from kdlab.reporting.aggregate import summarize
        from kdlab.reporting.page.page import page_text
        from kdlab.reporting.sources import study_lines

        with collector_off():
            header, *lines = study_lines(self._store_root, self._report_root, name)
            return page_text(summarize([{**header, **self._words(header)}, *lines]))
