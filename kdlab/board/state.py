"""What the board shows, as plain values that become JSON: all studies, one study, its members page by page.

The store is looked at when a browser asks, at most once in ``LOOK_EVERY_SECONDS`` however many ask, and not at all
while nobody watches.
"""

import heapq
import json
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kdlab.board.members import Listed, arms_in_order, facts_of, listed, matching, row_of
from kdlab.board.pace import expected_end
from kdlab.board.runs import STATES, Run, Runs, counted
from kdlab.errors import UserError, nearest
from kdlab.records.ongoing import Signature, signature
from kdlab.records.studies import Study, read_study, studies
from kdlab.reporting.report import RECORDS, find_reports

LOOK_EVERY_SECONDS = 1.0
MOST_RUNNING, MOST_FAILED, MOST_LATEST = 400, 50, 12
"""How many of a study are told one by one beside its counts; the others are found among its members."""
PAGE = 50
WORDS = ("question", "hypothesis", "cost", "command", "data", "grid")


@dataclass(frozen=True)
class Planned:
    """A study as its file lists it; one that is known from its report alone, or cannot be read, has no members.

    Args:
        name: the study.
        study: its header and members.
        members: these, as the board names them.
        reported: how many records its report has.
        problem: why its file cannot be read.
    """

    name: str
    study: Study
    members: Sequence[Listed] = ()
    reported: int = 0
    problem: str | None = None


class Board:
    """All that the board knows.

    Args:
        store_root: the store; it need not exist yet.
        report_root: where the reports are; it need not exist either.
        clock: seconds that never go back.
        now: seconds since 1970.
    """

    def __init__(
        self,
        store_root: Path,
        report_root: Path,
        *,
        clock: Callable[[], float] = time.monotonic,
        now: Callable[[], float] = time.time,
    ) -> None:
        self.store_root, self.report_root = store_root, report_root
        self.runs = Runs(store_root, clock=clock)
        self._clock, self._now = clock, now
        self._looked = float("-inf")
        self._lock = threading.Lock()
        self._read: dict[str, tuple[tuple[Signature, Signature], Planned]] = {}
        self.planned: dict[str, Planned] = {}

    def look(self) -> None:
        """Look at the store, unless somebody just did."""
        with self._lock:
            if self._clock() - self._looked < LOOK_EVERY_SECONDS:
                return
            self.planned = {name: self._planned(name) for name in self._names()}
            roles = {one.run_id: one.role for planned in self.planned.values() for one in planned.members}
            self.runs.look(roles)
            self._looked = self._clock()

    def _names(self) -> list[str]:
        known = studies(self.store_root) if (self.store_root / "studies").is_dir() else []
        reports = find_reports(self.report_root) if self.report_root.is_dir() else []
        return sorted({*known, *reports})

    def _planned(self, name: str) -> Planned:
        report = self.report_root / name / RECORDS
        written = signature(self.store_root / "studies" / f"{name}.jsonl"), signature(report)
        if name not in self._read or self._read[name][0] != written:
            self._read[name] = written, _read(self.store_root, name, report)
        return self._read[name][1]

    def known(self, name: str) -> Planned:
        """A study by name.

        Raises:
            UserError: there is none of that name.
        """
        self.look()
        if name not in self.planned:
            hint = nearest(name, self.planned) or "there is none yet"
            raise UserError(f"no study '{name}' in the store or among the reports; {hint}")
        return self.planned[name]

    # --- what is shown ------------------------------------------------------------------------------------------------

    def overview(self) -> dict[str, Any]:
        """Every study on one line: what it asks, how far it is, when it will be through."""
        self.look()
        return {"studies": [self._summary(planned) for planned in list(self.planned.values())]}

    def _summary(self, planned: Planned) -> dict[str, Any]:
        runs = self._runs(planned)
        return {
            "name": planned.name,
            "question": planned.study.header.get("question"),
            "data": planned.study.header.get("data") or [],
            "problem": planned.problem,
            **self._progress(runs),
            "reported": planned.reported,
        }

    def _progress(self, runs: Sequence[Run]) -> dict[str, Any]:
        ends = expected_end(runs, self._now())
        active = max((run.active for run in runs if run.active is not None), default=None)
        return {
            "counts": counted(runs),
            "total": len(runs),
            "ends": None if ends is None else round(ends),
            "active": None if active is None else round(active),
        }

    def _runs(self, planned: Planned) -> list[Run]:
        return [self.runs[run_id] for run_id in dict.fromkeys(one.run_id for one in planned.members)]

    def study(self, name: str) -> dict[str, Any]:
        """One study: progress by arm, the runs that go on, those that failed or stopped."""
        planned = self.known(name)
        header, members = planned.study.header, planned.members
        once = list({one.run_id: one for one in reversed(members)}.values())[::-1]
        by_state = {state: [one for one in once if self.runs[one.run_id].state == state] for state in STATES}
        return {
            **self._summary(planned),
            **{word: header.get(word) for word in WORDS},
            "arms": self._arms(planned),
            "running": self._rows(by_state["running"][:MOST_RUNNING]),
            "failed": self._rows(by_state["failed"][:MOST_FAILED]),
            "latest": self._rows(self._latest(once)),
        }

    def _latest(self, members: Sequence[Listed]) -> list[Listed]:
        """Those that ended last, the newest first."""
        ended = [(run.ended, at) for at, one in enumerate(members) if (run := self.runs[one.run_id]).ended is not None]
        return [members[at] for _, at in heapq.nlargest(MOST_LATEST, ended)]

    def _arms(self, planned: Planned) -> list[dict[str, Any]]:
        arms: dict[str, list[Run]] = {arm: [] for arm in arms_in_order(planned.study, planned.members)}
        roles: dict[str, str] = {}
        for one in planned.members:
            arms[one.arm].append(self.runs[one.run_id])
            roles.setdefault(one.arm, one.role)
        return [
            {"arm": arm, "role": roles[arm], "counts": counted(runs), "total": len(runs)}
            for arm, runs in arms.items()
            if runs
        ]

    def _rows(self, members: Sequence[Listed]) -> list[dict[str, Any]]:
        return [row_of(one, self.runs[one.run_id], self.store_root) for one in members]

    def members(self, name: str, *, state: str = "", text: str = "", page: int = 0) -> dict[str, Any]:
        """A page of the members of a study, in the order they were planned.

        Args:
            name: the study.
            state: those in this state alone; "" for all.
            text: those whose id, arm or label has every word of it.
            page: which fifty of them.
        """
        planned = self.known(name)
        found = list(matching(planned.members, text))
        counts = counted(self.runs[one.run_id] for one in found)
        kept = [one for one in found if not state or self.runs[one.run_id].state == state]
        page = max(0, min(page, (len(kept) - 1) // PAGE))
        shown = kept[page * PAGE : (page + 1) * PAGE]
        return {"rows": self._rows(shown), "counts": counts, "total": len(kept), "page": page, "size": PAGE}

    def member(self, run_id: str) -> Listed | None:
        """Where a run is listed first; None where no study lists it."""
        self.look()
        every = (one for planned in self.planned.values() for one in planned.members)
        return next((one for one in every if one.run_id == run_id), None)

    def facts(self, run_id: str) -> dict[str, Any] | None:
        """What is known of one run; None where no study lists it."""
        member = self.member(run_id)
        if member is None:
            return None
        known: Mapping[str, Any] = {"role": member.role, "arm": member.arm, "label": member.label}
        return {**known, **facts_of(run_id, self.runs[run_id], self.store_root)}


def _read(store_root: Path, name: str, report: Path) -> Planned:
    header, reported = _reported(report)
    try:
        study = read_study(store_root, name) or Study(header, [])
    except UserError as error:
        return Planned(name, Study(header, []), reported=reported, problem=str(error))
    return Planned(name, study, listed(study), reported)


def _reported(path: Path) -> tuple[Mapping[str, Any], int]:
    """The header of a report and how many records it has, without reading them."""
    try:
        with path.open("rb") as file:
            header = json.loads(next(file, b"{}"))
            return (header if isinstance(header, dict) else {}), sum(1 for _ in file)
    except (OSError, ValueError):  # none yet, or a damaged one: kdlab report says what is wrong with it
        return {}, 0
