"""What the pages of a project quote of its reports: a study's main table, or one measured line of an arm.

Between ``<!-- kdlab:findings -->`` and ``<!-- /kdlab:findings -->`` stands the score of the findings. Between
``<!-- kdlab:table STUDY -->`` and ``<!-- /kdlab:table -->`` stands the table; between
``<!-- kdlab:measured STUDY ARM REFERENCE -->`` and ``<!-- /kdlab:measured -->`` the accuracy of the arm minus that of
the reference, which may stand inside a line or a cell. ``kdlab report`` writes both anew.
"""

import os
import re
from pathlib import Path

from kdlab.errors import UserError, nearest
from kdlab.records.atomic import write_text
from kdlab.reporting.aggregate import Comparison, ResultRow, Summary, summarize
from kdlab.reporting.compact import read_lines
from kdlab.reporting.findings import FOLDER, findings_in, score_text
from kdlab.reporting.report import RECORDS, find_reports
from kdlab.reporting.table import markdown, show_difference
from kdlab.reporting.tables import headline_rows, results_table, show_metric

_TABLE = re.compile(r"(<!-- kdlab:table (\S+) -->\n).*?(<!-- /kdlab:table -->)", re.DOTALL)
_MEASURED = re.compile(r"(<!-- kdlab:measured (\S+) (\S+) (\S+) -->).*?(<!-- /kdlab:measured -->)")

_FINDINGS = re.compile(r"(<!-- kdlab:findings -->).*?(<!-- /kdlab:findings -->)", re.DOTALL)


def rebuild_quotes(page: Path, reports_root: Path) -> bool:
    """Write every quote of a page anew; True if that changed it.

    Raises:
        UserError: a quote names a study without a ``records.jsonl`` under ``reports_root``, or an arm that the study
            has not measured against the reference.
    """
    before = page.read_text(encoding="utf-8")
    known: dict[str, Summary] = {}

    def summary_of(study: str) -> Summary:
        if study not in known:
            known[study] = summarize(read_lines(_records(study, page, reports_root)))
        return known[study]

    def table(match: re.Match[str]) -> str:
        start, study, end = match.groups()
        link = Path(os.path.relpath(reports_root / study / "README.md", page.parent)).as_posix()
        return start + headline_text(summary_of(study), link) + end

    def measured(match: re.Match[str]) -> str:
        start, study, arm, reference, end = match.groups()
        try:
            return start + measured_text(summary_of(study), arm=arm, reference=reference) + end
        except LookupError as error:
            told = f"{page.name} quotes {arm} against {reference}: study '{study}' has {error.args[0]}"
            raise UserError(told) from None

    def findings(match: re.Match[str]) -> str:
        start, end = match.groups()
        return start + findings_text(reports_root, page) + end

    after = _FINDINGS.sub(findings, _MEASURED.sub(measured, _TABLE.sub(table, before)))
    if after != before:
        write_text(page, after)
    return after != before


def _records(study: str, page: Path, reports_root: Path) -> Path:
    path = reports_root / study / RECORDS
    if not path.is_file():
        known = nearest(study, find_reports(reports_root)) or "no report"
        raise UserError(f"{page.name} shows study '{study}', which has no {RECORDS} in {reports_root.name}; {known}")
    return path


def findings_text(reports_root: Path, page: Path) -> str:
    """The score of the findings, with a link to their index where there is one."""
    found = findings_in(reports_root)
    link = Path(os.path.relpath(reports_root / FOLDER / "README.md", page.parent)).as_posix()
    return score_text(found) + (f" [Every finding]({link})" if found else "")


def headline_text(summary: Summary, link: str) -> str:
    """The table of a study as the top README shows it, with a line on what its numbers are and a link to the report."""
    parts = []
    for data in summary.datasets:
        rows = headline_rows(summary, data)
        if not rows:
            continue
        parts.append(markdown(results_table(summary, data, rows=rows)))
        hidden = len(summary.rows_of(data)) - len(rows)
        note = f"On {data}; ± and brackets: {100 * summary.level:g} % intervals over n units; differences are paired."
        parts.append(f"{note} [{f'{hidden} more rows, figures' if hidden else 'Figures'} and every command]({link}).\n")
    return "\n" + "\n".join(parts) + "\n"


def measured_text(summary: Summary, *, arm: str, reference: str) -> str:
    """``+0.0042 [−0.0030, +0.0114], inconclusive; 1.31 x``: accuracy minus the reference's, verdict, price of a step.

    Raises:
        LookupError: no such pair, or several of which none is meant.
    """
    row, against = _pair(summary, arm, reference)
    word = against.verdicts["test/accuracy"]
    said = show_difference(against.differences["test/accuracy"]) + (f", {word}" if word else "")
    price = "cost/step_ms_ratio"
    return said + (f"; {show_metric(summary, row, price)} ×" if price in row.metrics else "")


def _pair(summary: Summary, arm: str, reference: str) -> tuple[ResultRow, Comparison]:
    """The one row of the arm, and its comparison: a grid, or a second data set, makes several of them."""
    pairs = [
        (row, against)
        for row in summary.rows
        if row.group.arm == arm and (against := row.against("arm", reference) or row.against(reference)) is not None
    ]
    found = [(row, against) for row, against in pairs if "test/accuracy" in against.differences]
    if len(found) != 1:
        rows = ", ".join(f"'{row.group.label}' on {row.group.data}" for row, _ in found)
        raise LookupError(
            f"{len(found)} such pairs, of which a quote can show one: {rows}" if found else "no such pair"
        )
    return found[0]
