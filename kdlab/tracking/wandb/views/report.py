"""The W&B report of a study: what it asks, the command that makes it, what came out, and panels over its runs."""

from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

from kdlab.tracking.wandb.views import panels
from kdlab.tracking.wandb.views.stable import key_of, settle
from kdlab.tracking.wandb.views.subject import Subject
from kdlab.tracking.wandb.views.workspace import columns_of, runs_of

if TYPE_CHECKING:
    import wandb_workspaces.reports.v2.interface as wr

_WIDTH = 24  # of a report, in units of its grid


def report_of(subject: Subject, *, entity: str, project: str, online: bool) -> "wr.Report":
    """The report of a study, with the same ids each time it is made.

    Args:
        subject: the study.
        entity: where it will be.
        project: where it will be.
        online: whether the server may be asked for the project's own number, which a run set that is sent carries.
    """
    import wandb_workspaces.reports.v2.interface as wr

    header = subject.header or {}
    grid = wr.PanelGrid(runsets=[_runs(subject, entity, project, online=online)], panels=_panels(subject))
    settle(grid.panels, within=f"report {subject.name}")
    blocks: list[wr.BlockTypes] = [
        *_said("Question", header.get("question")),
        *_said("Hypothesis", header.get("hypothesis")),
        *_said("What it says", header.get("says")),
        *_results(subject),
        wr.H2(text="The runs"),
        grid,
        *_commands(header),
    ]
    return wr.Report(
        entity=entity,
        project=project,
        title=subject.title,
        description=f"Made by kdlab view push {subject.name}, which overwrites it.",
        blocks=blocks,
        width="fluid",
    )


def _said(title: str, text: Any) -> "list[wr.H2 | wr.P]":
    import wandb_workspaces.reports.v2.interface as wr

    return [wr.H2(text=title), wr.P(text=str(text).strip())] if text else []


def _results(subject: Subject) -> "list[wr.H2 | wr.MarkdownBlock]":
    import wandb_workspaces.reports.v2.interface as wr

    return [wr.H2(text="Verdicts"), wr.MarkdownBlock(text=subject.results)] if subject.results else []


def _commands(header: Any) -> "list[wr.H2 | wr.P | wr.CodeBlock]":
    import wandb_workspaces.reports.v2.interface as wr

    lines = [*str(header.get("command") or "").splitlines(), f"kdlab report {header.get('name')}"]
    cost = f"It takes {header['cost']}." if header.get("cost") else ""
    return [
        wr.H2(text="Make it again"),
        wr.CodeBlock(code="\n".join(lines), language=None),
        *([wr.P(text=cost)] if cost else []),
    ]


def _runs(subject: Subject, entity: str, project: str, *, online: bool) -> "wr.Runset":
    import wandb_workspaces.reports.v2.interface as wr

    runs = wr.Runset(
        entity=entity if online else "",
        project=project if online else "",
        name="Students and scratch twins",
        filters=runs_of(subject),
        pinned_columns=columns_of(subject),
    )
    runs._id = key_of(f"runs of report {subject.name}")
    return runs


def _panels(subject: Subject) -> list[Any]:
    """In rows: each panel with the height of its row, rows one below the other."""
    charts = panels.reliability(subject)
    rows: list[tuple[int, Sequence[Any]]] = [
        (10, [panels.parallel_coordinates(subject)]),
        (9, panels.tradeoffs(subject)),
        (11, panels.gap_bars(subject)),
        (9, charts[:2]),
        (9, charts[2:]),
        (8, panels.curves()),
        (12, [panels.comparer()]),
    ]
    return list(_placed((height, row) for height, row in rows if row))


def _placed(rows: Iterable[tuple[int, Sequence[Any]]]) -> Iterator[Any]:
    import wandb_workspaces.reports.v2.interface as wr

    top = 0
    for height, row in rows:
        width = _WIDTH // len(row)
        for at, panel in enumerate(row):
            panel.layout = wr.Layout(x=at * width, y=top, w=width, h=height)
            yield panel
        top += height
