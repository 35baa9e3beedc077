"""The saved workspace of a study, or of all studies of a project."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from kdlab.tracking.wandb.connection import clipped
from kdlab.tracking.wandb.views import panels
from kdlab.tracking.wandb.views.stable import key_of, settle
from kdlab.tracking.wandb.views.subject import Subject

if TYPE_CHECKING:
    import wandb_workspaces.expr as expr
    import wandb_workspaces.reports.v2.interface as wr
    import wandb_workspaces.workspaces.interface as ws

#: What a view compares; teachers are another kind of network.
JOB_TYPES = ["student", "scratch"]
_SHOWN_RUNS = 20


def workspace_of(subject: Subject, *, entity: str, project: str) -> "ws.Workspace":
    """The workspace of a subject, with the same ids each time it is made."""
    import wandb_workspaces.workspaces.interface as ws

    workspace = ws.Workspace(
        entity=entity,
        project=project,
        name=subject.title,
        sections=[_section(name, shown) for name, shown in _sections(subject) if shown],
        settings=ws.WorkspaceSettings(x_axis="trainer/step", max_runs=_SHOWN_RUNS),
        runset_settings=ws.RunsetSettings(filters=runs_of(subject), pinned_columns=columns_of(subject)),
    )
    settle((panel for section in workspace.sections for panel in section.panels), within=f"workspace {subject.name}")
    workspace._internal_name = f"nw-{key_of(f'workspace {subject.name}', length=11)}-v"  # the form of W&B's own
    workspace._internal_runset_id = key_of(f"runs of workspace {subject.name}")
    return workspace


def runs_of(subject: Subject) -> "list[expr.FilterExpr]":
    """Students and scratch twins, of the study alone where there is one."""
    import wandb_workspaces.expr as expr

    roles = expr.Metric("JobType").isin(JOB_TYPES)
    return [roles] if subject.name is None else [expr.Tags().isin(list(clipped([subject.name]))), roles]


def columns_of(subject: Subject) -> list[str]:
    """The columns of the table of runs that stand first: the knobs, then the results."""
    knobs = [f"config:{key.replace('.', '.value.', 1)}" for key in subject.axes]
    return ["run:displayName", *knobs, *(f"summary:{key}" for key, _ in reversed(panels.results_of(subject)))]


def _sections(subject: Subject) -> "list[tuple[str, Sequence[wr.PanelTypes]]]":
    return [
        ("From knobs to accuracy", [panels.parallel_coordinates(subject)]),
        ("Accuracy, latency, calibration", panels.tradeoffs(subject)),
        ("Under shift", panels.gap_bars(subject)),
        ("Reliability", panels.reliability(subject)),
        ("Curves", panels.curves()),
        ("Runs side by side", [panels.comparer()]),
    ]


def _section(name: str, shown: "Sequence[wr.PanelTypes]") -> "ws.Section":
    """A section that shows all its panels at once, two in a row."""
    import wandb_workspaces.workspaces.interface as ws

    layout = ws.SectionLayoutSettings(columns=min(2, len(shown)), rows=-(-len(shown) // 2))
    return ws.Section(name=name, panels=list(shown), is_open=True, layout_settings=layout)
