"""``kdlab report``: tables, figures and page of one study, or of all, and the tables of the README beside them."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from kdlab.commands.places import resource
from kdlab.commands.reading import parse, settings
from kdlab.errors import UserError
from kdlab.saying import say

WORDS = ("question", "hypothesis", "cost", "says", "reference", "caveats")


def report(words: list[str]) -> int:
    """``kdlab report [STUDY] [--prune] [store.root=...] [report.root=...]``."""
    from kdlab.reporting.findings import FOLDER, write_findings
    from kdlab.reporting.overview import draw_overview
    from kdlab.reporting.report import PAGE

    asked = parse(words, command="report", flags=("--prune",))
    here = settings(asked.overrides, command="report", reads=("store.root", "report.root"))
    store, root = Path(here.store.root).expanduser().absolute(), Path(here.report.root).expanduser().absolute()
    if not (names := asked.names[:1] or _known(store, root)):
        raise UserError(
            f"no study in {here.store.root} and no report in {here.report.root}: kdlab sweep NAME makes one"
        )
    for name in names:
        text = write(name, store_root=store, report_root=root, prune="--prune" in asked.flags)
        if asked.names:
            say(f"{text}\n")
        for file in ("README.md", PAGE):
            say(str(Path(here.report.root) / name / file))
    if asked.names and not names[0].startswith(f"{FOLDER}/"):
        return 0
    beside = [] if asked.names else draw_overview(root)
    for path in [*beside, *write_findings(root, sweeps=_finding_sweeps())]:
        say(str(Path(here.report.root) / path.relative_to(root)))
    for page in pages_beside(root):
        if rebuild_page(page, root):
            say(f"{page.relative_to(root.parent)}: numbers rebuilt")
    return 0


def _known(store: Path, root: Path) -> list[str]:
    """Every study of the store and every report there is."""
    from kdlab.records.studies import studies
    from kdlab.reporting.report import find_reports

    return sorted({*(find_reports(root) if root.is_dir() else []), *(studies(store) if store.is_dir() else [])})


def _finding_sweeps() -> list[str]:
    """The findings that have a sweep file."""
    from kdlab.reporting.findings import FOLDER

    return sorted(path.stem for path in (resource("sweeps") / FOLDER).glob("*.yaml"))


def pages_beside(report_root: Path) -> list[Path]:
    """The pages that may quote reports: the README beside their folder, and those in ``docs``."""
    project = report_root.parent
    return [page for page in (project / "README.md", *sorted((project / "docs").glob("*.md"))) if page.is_file()]


def write(name: str, *, store_root: Path, report_root: Path, prune: bool = False) -> str:
    """Write the report of a study; returns the short table for the terminal."""
    from kdlab.collector import collector_off
    from kdlab.reporting.report import write_report
    from kdlab.reporting.sources import study_lines

    with collector_off():
        lines = study_lines(store_root, report_root, name, prune=prune)
    lines = [{**lines[0], **words_of(lines[0])}, *lines[1:]]
    return str(write_report(report_root / name, lines=lines).summary_text)


def words_of(header: Mapping[str, Any]) -> dict[str, Any]:
    """What the sweep file says of its study today: words about a result stand there, and nowhere in a report folder.

    What it says of the result (``says``) speaks of the study as the file makes it. A study that was made with other
    data, another grid or another value keeps the question and loses the answer.
    """
    sweep = header.get("sweep")
    path = resource("sweeps") / f"{sweep}.yaml"
    if sweep is None or not path.is_file():
        return {}
    study = yaml.safe_load(path.read_text(encoding="utf-8")).get("study", {})
    words = {key: study[key] for key in WORDS if key in study}
    as_the_file_makes_it = str(header.get("command") or "").splitlines() == [f"kdlab sweep {sweep}"]
    return words if as_the_file_makes_it else {**words, "says": None}


def rebuild_page(page: Path, report_root: Path) -> bool:
    """Rebuild what a page quotes of reports, and the table of keys; True if that changed it."""
    from kdlab.keys import table_markdown
    from kdlab.records.atomic import write_text
    from kdlab.reporting.quoting import rebuild_quotes

    changed = rebuild_quotes(page, report_root)
    before = page.read_text(encoding="utf-8")
    start, end = "<!-- kdlab:keys -->", "<!-- /kdlab:keys -->"
    if start not in before or end not in before:
        return changed
    head, rest = before.split(start, 1)
    after = f"{head}{start}\n{table_markdown().rstrip()}\n{end}{rest.split(end, 1)[1]}"
    if after != before:
        write_text(page, after)
    return changed or after != before
