"""The figure of a dose-response: a small panel for each metric, the student beside its twin and the uniform control."""

import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from kdlab.keys import last_part
from kdlab.reporting.aggregate import Summary
from kdlab.reporting.canvas import SCRATCH, STUDENT, UNIFORM, new_figure, save
from kdlab.reporting.doses import Response, asked_responses, better, responses_of
from kdlab.reporting.intervals import Interval
from kdlab.reporting.keys import LABELS

if TYPE_CHECKING:
    from matplotlib.axes import Axes

COLUMNS = 3
NEAREST_TICKS = 0.09  # of the width of a panel; nearer ones are left out
Line = tuple[str, str, str, str, Callable[[Response], Interval | None]]
LINES: tuple[Line, ...] = (
    ("uniform control (a teacher that knows nothing)", UNIFORM, "--", "s", lambda one: one.uniform),
    ("scratch twin (labels alone)", SCRATCH, "--", "s", lambda one: one.scratch),
    ("student", STUDENT, "-", "o", lambda one: one.value),
)


def draw_doses(summary: Summary, data: str, folder: Path, name: str) -> tuple[list[Path], str] | None:
    """A panel for each response; None where fewer than two doses have been measured."""
    found = {metric: responses_of(summary, data, metric) for metric in asked_responses(summary)}
    panels = {metric: points for metric, points in found.items() if len({one.dose for one in points}) > 1}
    if not panels:
        return None
    asked = summary.header["doses"]
    columns = min(COLUMNS, len(panels))
    rows = math.ceil(len(panels) / columns)
    figure, grid = new_figure(
        max(5.2, 3.3 * columns), 0.7 + 2.5 * rows, columns=columns, rows=rows, squeeze=False, sharex=True
    )
    for axes in grid.flat[len(panels) :]:
        axes.set_visible(False)
    for place, (axes, (metric, points)) in enumerate(zip(grid.flat, panels.items(), strict=False)):
        _draw_panel(axes, metric, points, is_log=bool(asked["log"]))
        if place >= len(panels) - columns:  # the lowest of its column
            axes.set_xlabel(str(asked["label"]) + (" (log scale)" if asked["log"] else ""))
            axes.tick_params(labelbottom=True)
    handles = {text: line for axes in grid.flat for line, text in zip(*axes.get_legend_handles_labels(), strict=True)}
    figure.legend(
        [*handles.values()][::-1], [*handles][::-1], loc="outside lower left", ncols=len(handles), frameon=False,
        fontsize=8.5, handlelength=3.2,
    )  # fmt: skip
    figure.suptitle(f"Response to {asked['label']}, {data}", x=0.01, ha="left", fontsize=11, fontweight="bold")
    caption = (
        f"Means over pairs by {asked['label']}; the band is the {100 * summary.level:g} % interval of the students; "
        "differences, which are paired, stand in the table. Doses that have not been measured are left out."
    )
    return save(figure, folder, name), caption


def _draw_panel(axes: "Axes", metric: str, points: Sequence[Response], *, is_log: bool) -> None:
    for label, colour, style, marker, read in LINES:
        told = [(one.dose, found) for one in points if (found := read(one)) is not None]
        if told:
            doses, means = [dose for dose, _ in told], [found.estimate for _, found in told]
            axes.plot(doses, means, color=colour, linestyle=style, marker=marker, markersize=4, label=label)
    banded = [one for one in points if one.value.low is not None and one.value.high is not None]
    low, high = ([getattr(one.value, end) for one in banded] for end in ("low", "high"))
    axes.fill_between([one.dose for one in banded], low, high, color=STUDENT, alpha=0.16, linewidth=0)
    if is_log:
        axes.set_xscale("log")
    _set_ticks(axes, sorted({one.dose for one in points}), is_log=is_log)
    axes.set_title(LABELS.get(metric, last_part(metric).replace("_", " ").capitalize()), fontsize=9.5, pad=16)
    axes.annotate(
        ", ".join(filter(None, [metric, better(metric)])), (0, 1), xycoords="axes fraction", xytext=(0, 4),
        textcoords="offset points", fontsize=8, color="#555555",
    )  # fmt: skip
    axes.grid(axis="y")


def _set_ticks(axes: "Axes", doses: Sequence[float], *, is_log: bool) -> None:
    """A tick at every dose; numbers where there is room for them."""
    place = [math.log(dose) if is_log else dose for dose in doses]
    gap, kept = NEAREST_TICKS * (place[-1] - place[0]), [0]
    for at in range(1, len(place)):
        if place[at] - place[kept[-1]] >= gap:
            kept.append(at)
    axes.set_xticks(doses, [f"{dose:g}" if at in kept else "" for at, dose in enumerate(doses)])
    axes.minorticks_off()
