"""The panels of a view, each as wandb-workspaces describes it: what W&B draws of the runs that the view shows.

All of them read the final numbers, the config, the curves and the tables that every run carries; nothing is logged for
their sake. Titles say what is better, for whoever opens the view without this file.
"""

from typing import TYPE_CHECKING

from kdlab.tracking.wandb.views.subject import Subject

if TYPE_CHECKING:
    import wandb_workspaces.reports.v2.interface as wr

GAP, P99 = "ood/mean_gap", "latency/p99_ms"
#: The tables that a run logs (kdlab.tracking.tables).
RELIABILITY, SLICES = "reliability", "slices"
_SPREAD_EVENLY = ("objective.temperature", "training.optimizer.lr")
"""Knobs whose values are chosen by factors, not by steps."""
_NOT_OF_TWINS = ("study.", "objective.", "teacher.")
_MOST_BARS = 100
_LABELS = {
    "study.arm": "arm",
    "objective.temperature": "T",
    "objective.alpha": "alpha",
    "student.width": "student width",
    "teacher.quality.name": "teacher quality",
    "training.optimizer.lr": "learning rate",
}


def label(key: str) -> str:
    """What people call a key of the config."""
    return _LABELS.get(key, key)


def results_of(subject: Subject) -> list[tuple[str, str]]:
    """Key and label of the numbers that runs are compared by, the most important one last."""
    on = subject.place
    found = [(GAP, "mean OOD gap"), (f"{on}/ece", f"{on} ECE"), (f"{on}/accuracy", f"{on} accuracy")]
    return [(key, name) for key, name in found if subject.has(key)]


def parallel_coordinates(subject: Subject) -> "wr.ParallelCoordinatesPlot":
    """A line for every student, over its knobs to gap, calibration and accuracy: the last axis, which colours it."""
    import wandb_workspaces.reports.v2.interface as wr

    knobs = [
        wr.ParallelCoordinatesPlotColumn(wr.Config(key), display_name=label(key), log=key in _SPREAD_EVENLY or None)
        for key in subject.axes
    ]
    results = [
        wr.ParallelCoordinatesPlotColumn(wr.SummaryMetric(key), display_name=name) for key, name in results_of(subject)
    ]
    title = f"Students: from their knobs to {subject.place} accuracy"
    return wr.ParallelCoordinatesPlot(title=title, columns=[*knobs, *results])


def tradeoffs(subject: Subject) -> "list[wr.ScatterPlot]":
    """Accuracy against p99 latency where that was measured, and ECE against accuracy: a dot for every run."""
    import wandb_workspaces.reports.v2.interface as wr

    on = subject.place
    accuracy, ece = wr.SummaryMetric(f"{on}/accuracy"), wr.SummaryMetric(f"{on}/ece")
    timed = wr.ScatterPlot(
        title=f"{on.capitalize()} accuracy against p99 latency (ms): up and left is better",
        x=wr.SummaryMetric(P99),
        y=accuracy,
    )
    calibrated = wr.ScatterPlot(title=f"ECE against {on} accuracy: down and right is better", x=accuracy, y=ece)
    return [*([timed] if subject.has(P99) else []), calibrated]


def gap_bars(subject: Subject) -> "list[wr.BarPlot]":
    """What a shift costs: the mean gap of each group of students, and every slice for students beside their twins."""
    import wandb_workspaces.reports.v2.interface as wr

    if not subject.has(GAP):
        return []
    by = subject.grouped_by
    twins = "; null: scratch twins" if by.startswith(_NOT_OF_TWINS) else ""
    means = wr.BarPlot(
        title=f"Accuracy lost under shift by {label(by)} (mean OOD gap; less is better{twins})",
        metrics=[GAP],
        groupby=wr.Config(by),
        groupby_aggfunc="mean",
        groupby_rangefunc="stderr",
        max_bars_to_show=_MOST_BARS,
    )
    every = wr.BarPlot(
        title="The same by test set: students beside scratch twins",
        metrics=list(subject.gaps) or [GAP, "ood/worst_gap"],
        groupby=wr.Metric("JobType"),
        groupby_aggfunc="mean",
        groupby_rangefunc="stderr",
        max_bars_to_show=_MOST_BARS,
    )
    return [means, every]


def reliability(subject: Subject) -> "list[wr.CustomChart | wr.WeavePanelSummaryTable]":
    """Reliability diagrams that W&B draws of the table of bins, and the tables themselves.

    A drawn image would cost eight times a table, for every run of every sweep.
    """
    import wandb_workspaces.reports.v2.interface as wr

    charts = []
    for value, title in (
        ("accuracy", "Reliability: accuracy over confidence (calibrated: the diagonal)"),
        ("overconfidence", "Confidence minus accuracy over confidence (calibrated: 0)"),
    ):
        chart = wr.CustomChart.from_table(
            RELIABILITY, chart_fields={"x": "confidence", "y": value}, chart_strings={"title": title}
        )
        chart.chart_name = "wandb/line/v0"
        charts.append(chart)
    tables = [RELIABILITY, *([SLICES] if subject.has(GAP) else [])]
    return [*charts, *(wr.WeavePanelSummaryTable(table_name=name) for name in tables)]


def curves() -> "list[wr.LinePlot]":
    """Validation accuracy and training loss over optimizer steps."""
    import wandb_workspaces.reports.v2.interface as wr

    return [
        wr.LinePlot(title=title, x="trainer/step", y=[key], title_x="step")
        for key, title in (("validation/accuracy", "Validation accuracy"), ("train/loss", "Training loss"))
    ]


def comparer() -> "wr.RunComparer":
    """Runs side by side, what differs between them alone."""
    import wandb_workspaces.reports.v2.interface as wr

    return wr.RunComparer(diff_only="split")
