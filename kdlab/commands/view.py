"""``kdlab view``: the workspace and the report of a study in Weights & Biases, saved there or written to a file."""

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from kdlab.commands.completion.candidates import VIEW_ACTIONS
from kdlab.commands.reading import parse, settings, value_of
from kdlab.errors import UserError, nearest
from kdlab.saying import say
from kdlab.schema.config import RunConfig

if TYPE_CHECKING:
    from kdlab.tracking.wandb.views.subject import Subject

OUTPUT = "--output"


def view(words: list[str]) -> int:
    """``kdlab view push|dump [STUDY] [--output FILE] [store.root=...] [report.root=...] [tracker.*=...]``."""
    from kdlab.tracking.wandb.views.push import check_installed

    rest, told = value_of(words, OUTPUT, command="view dump", what="a file")
    output = None if told is None else Path(told).expanduser()
    asked = parse(rest, command="view", names=2)
    action, *names = asked.names or [""]
    if action not in VIEW_ACTIONS:
        wrong = f"'{action}' is no action; {nearest(action, VIEW_ACTIONS)}" if action else "push or dump is needed"
        raise UserError(f"view: {wrong} (kdlab view push [STUDY])")
    if action == "push" and output is not None:
        raise UserError(f"view push: {OUTPUT} is for kdlab view dump")
    here = settings(asked.overrides, command="view", reads=("store.root", "report.root", "tracker."))
    check_installed()
    subjects = list(_subjects(here, names[0] if names else None))
    return _push(subjects, here) if action == "push" else _dump(subjects, output)


def _push(subjects: "list[Subject]", here: RunConfig) -> int:
    from kdlab.tracking.wandb.server import Server
    from kdlab.tracking.wandb.views.push import push

    server = Server(timeout_seconds=here.tracker.init_timeout_seconds)
    for what, address in push(subjects, server, project=here.tracker.project, entity=here.tracker.entity):
        say(f"{what}: {address}")
    return 0


def _dump(subjects: "list[Subject]", output: Path | None) -> int:
    from kdlab.records.atomic import write_text
    from kdlab.tracking.wandb.views.push import described
    from kdlab.tracking.wandb.views.stable import dumped

    text = dumped([described(subject) for subject in subjects])
    if output is None:
        sys.stdout.write(text)
        return 0
    output.parent.mkdir(parents=True, exist_ok=True)
    write_text(output, text)
    say(str(output))
    return 0


def _subjects(here: RunConfig, name: str | None) -> "Iterator[Subject]":
    """The study that was named; or all runs of the project, and each study of the store."""
    from kdlab.records.studies import studies
    from kdlab.tracking.wandb.views.subject import Subject

    store, reports = (Path(root).expanduser().absolute() for root in (here.store.root, here.report.root))
    if name is None:
        yield Subject(None)
    for study in studies(store) if name is None else [name]:
        yield _study(study, store, reports)


def _study(name: str, store: Path, reports: Path) -> "Subject":
    from kdlab.commands.reports import words_of
    from kdlab.reporting.aggregate import summarize
    from kdlab.reporting.sources import study_lines
    from kdlab.reporting.table import markdown
    from kdlab.reporting.tables import headline_rows, results_table
    from kdlab.tracking.wandb.views.subject import study_subject

    header, *lines = study_lines(store, reports, name)
    header = {**header, **words_of(header)}
    summary = summarize([header, *lines])
    rows = {data: headline_rows(summary, data) for data in summary.datasets}
    note = f"± and brackets: {100 * summary.level:g} % intervals over n units; differences are paired."
    tables = [
        f"On {data}; {note}\n\n{markdown(results_table(summary, data, rows=shown))}"
        for data, shown in rows.items()
        if shown
    ]
    return study_subject(header, lines, results="\n".join(tables))
