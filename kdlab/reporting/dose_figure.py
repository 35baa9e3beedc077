"""The figure of a dose-response: a small panel for each metric, the student beside its twin and the uniform control."""

import itertools
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from kdlab.keys import last_part
from kdlab.reporting.aggregate import Summary
from kdlab.reporting.canvas import CYCLE, SCRATCH, STUDENT, TEACHER, UNIFORM, new_figure, save
from kdlab.reporting.doses import Response, asked_responses, better, series_of
from kdlab.reporting.intervals import Interval
from kdlab.reporting.keys import LABELS

if TYPE_CHECKING:
    from matplotlib.axes import Axes

COLUMNS = 3
NEAREST_TICKS = 0.14  # of the width of a panel; nearer ones are left out
TWIN, CONTROL = "scratch twin (labels alone)", "uniform control (a teacher that knows nothing)"
CYCLE_OF_ARMS = (STUDENT, TEACHER, *CYCLE[1:])


class Line(NamedTuple):
    """A line of a panel: its name, its look, its points (dose, value), and whether it has a band."""

    name: str
    colour: str
    style: str
    points: Sequence[tuple[float, Interval]]
    has_band: bool = False


def draw_doses(summary: Summary, data: str, folder: Path, name: str) -> tuple[list[Path], str] | None:
    """A panel for each response; None where fewer than two doses have been measured."""
    found = {response: lines_of(series_of(summary, data, response)) for response in asked_responses(summary)}
    panels = {response: lines for response, lines in found.items() if any(len(line.points) > 1 for line in lines)}
    if not panels:
        return None
    asked = summary.header["doses"]
    columns = 2 if len(panels) == 4 else min(COLUMNS, len(panels))
    rows = math.ceil(len(panels) / columns)
    figure, grid = new_figure(
        max(5.2, 3.3 * columns), 0.7 + 2.5 * rows, columns=columns, rows=rows, squeeze=False, sharex=True
    )
    for axes in grid.flat[len(panels) :]:
        axes.set_visible(False)
    for place, (axes, (response, lines)) in enumerate(zip(grid.flat, panels.items(), strict=False)):
        _draw_panel(axes, response, lines, is_log=bool(asked["log"]))
        if place >= len(panels) - columns:  # the lowest of its column
            axes.set_xlabel(str(asked["label"]) + (" (log scale)" if asked["log"] else ""))
            axes.tick_params(labelbottom=True)
    handles = {text: line for axes in grid.flat for line, text in zip(*axes.get_legend_handles_labels(), strict=True)}
    figure.legend(
        [*handles.values()][::-1], [*handles][::-1], loc="outside lower left", ncols=min(len(handles), 4),
        frameon=False, fontsize=8.5, handlelength=3.2,
    )  # fmt: skip
    figure.suptitle(f"Response to {asked['label']}, {data}", x=0.01, ha="left", fontsize=11, fontweight="bold")
    caption = (
        f"Means over pairs by {asked['label']}; the band is the {100 * summary.level:g} % interval of the students; "
        "differences, which are paired, stand in the table. Doses that have not been measured are left out."
    )
    return save(figure, folder, name), caption


def lines_of(series: Mapping[str, Sequence[Response]]) -> list[Line]:
    """The lines of a panel: every series with its band, the twins and the uniform control of the first one.

    Where arms are lines, a uniform control is one of them.
    """
    if not series:
        return []
    first = next(iter(series.values()))
    beside = [
        Line(TWIN, SCRATCH, "--", [(one.dose, one.scratch) for one in first if one.scratch is not None]),
        Line(CONTROL, UNIFORM, "--", [(one.dose, one.uniform) for one in first if one.uniform is not None]),
    ]
    taught = [name for name, points in series.items() if points[0].group.quality != "uniform"]
    colours = dict(zip(taught, itertools.cycle(CYCLE_OF_ARMS), strict=False))
    own = [
        Line(name, colours.get(name, UNIFORM), "-", [(one.dose, one.value) for one in points], name in colours)
        for name, points in series.items()
    ]
    others = beside if len(own) == len(colours) else beside[:1]
    return [*own, *(line for line in others if line.points)]


def _draw_panel(axes: "Axes", response: str, lines: Sequence[Line], *, is_log: bool) -> None:
    for line in reversed(lines):  # the students on top
        doses, found = [dose for dose, _ in line.points], [one for _, one in line.points]
        means = [one.estimate for one in found]
        marker = "o" if line.has_band else "s"
        axes.plot(doses, means, color=line.colour, linestyle=line.style, marker=marker, markersize=4, label=line.name)
        if line.has_band:
            low = [one.estimate if one.low is None else one.low for one in found]
            high = [one.estimate if one.high is None else one.high for one in found]
            axes.fill_between(doses, low, high, color=line.colour, alpha=0.16, linewidth=0)
    if is_log:
        axes.set_xscale("log")
    _set_ticks(axes, sorted({dose for line in lines for dose, _ in line.points}), is_log=is_log)
    named = {**LABELS, **{last_part(key): label for key, label in LABELS.items()}}
    axes.set_title(named.get(response, last_part(response).replace("_", " ").capitalize()), fontsize=9.5, pad=16)
    told = ", ".join(filter(None, [response if "/" in response else "on each slice", better(response)]))
    look: dict[str, Any] = {"xycoords": "axes fraction", "textcoords": "offset points"}
    look |= {"fontsize": 8, "color": "#555555"}
    axes.annotate(told, (0, 1), xytext=(0, 4), **look)
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
