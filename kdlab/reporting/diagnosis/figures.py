"""The figures of a study of planted failures: the confusion matrix, and detection by severity."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kdlab.reporting.canvas import SCRATCH, STUDENT, TEACHER, ink_on, new_figure, save, style
from kdlab.reporting.diagnosis.planted import FAILURES
from kdlab.reporting.diagnosis.scores import CLASSES, HARMFUL, Detection
from kdlab.reporting.diagnosis.tables import words

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def draw_confusion(counts: Mapping[tuple[str, str], int], folder: Path, name: str) -> list[Path]:
    """Planted by named, each row as shares of its cases, the numbers written in."""
    from matplotlib import colormaps

    shades = colormaps["Blues"]
    planted = [one for one in CLASSES if any(counts[one, said] for said in CLASSES)]
    totals = {one: sum(counts[one, said] for said in CLASSES) for one in planted}
    shares = [[counts[one, said] / totals[one] for said in CLASSES] for one in planted]
    with style():
        figure, axes = new_figure(7.4, 1.6 + 0.42 * len(planted))
        axes.imshow(shares, cmap=shades, vmin=0.0, vmax=1.0, aspect="auto")
        for row, one in enumerate(planted):
            for column, said in enumerate(CLASSES):
                if counts[one, said]:
                    ink = ink_on(shades(shares[row][column])[:3])
                    axes.text(column, row, str(counts[one, said]), ha="center", va="center", color=ink)
        axes.set_xticks(range(len(CLASSES)), [words(said).replace(" ", "\n") for said in CLASSES], fontsize=8)
        axes.set_yticks(range(len(planted)), [words(one) for one in planted])
        axes.set_xlabel("named")
        axes.set_ylabel("planted")
        axes.set_title("What was planted and what was named")
        return save(figure, folder, name)


def draw_detection(found: Sequence[Detection], folder: Path, name: str) -> list[Path]:
    """Of every failure, from what gains to what costs most: the share of runs in which it was seen, and its effect."""
    panels = [
        sorted((one for one in found if one.failures == (failure,)), key=lambda one: -(one.effect or 0.0))
        for failure in FAILURES
    ]
    panels = [panel for panel in panels if panel]
    sizes = [max(2, len(panel)) for panel in panels]
    with style():
        figure, grid = new_figure(
            1.0 + 0.46 * sum(sizes),
            4.8,
            rows=2,
            columns=len(panels),
            squeeze=False,
            sharey="row",
            width_ratios=sizes,
        )
        for column, panel in enumerate(panels):
            _draw_shares(grid[0][column], panel, title=words(panel[0].failures[0]))
            _draw_effects(grid[1][column], panel)
        grid[0][0].set_ylabel("share of runs")
        grid[1][0].set_ylabel("effect on accuracy (points)")
        handles, labels = grid[0][0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside lower center", ncols=2, frameon=False)
        return save(figure, folder, name)


def _draw_shares(axes: "Axes", mine: Sequence[Detection], *, title: str) -> None:
    places = range(len(mine))
    for label, colour, chosen, moved in (
        ("seen", TEACHER, [one.fired for one in mine], -0.08),
        ("named first", STUDENT, [one.first for one in mine], 0.08),
    ):
        values = [one.value for one in chosen]
        below = [one.value - one.low for one in chosen]
        above = [one.high - one.value for one in chosen]
        at = [place + moved for place in places]
        axes.errorbar(
            at, values, yerr=[below, above], color=colour, marker="o", ms=4, lw=1.2, elinewidth=0.8, label=label
        )
    axes.set_ylim(-0.05, 1.05)
    axes.set_title(title.replace(" ", "\n", 1), fontsize=9)
    axes.set_xticks(range(len(mine)), [])  # they are named below
    axes.set_xlim(-0.5, len(mine) - 0.5)


def _draw_effects(axes: "Axes", mine: Sequence[Detection]) -> None:
    known: list[Any] = [0.0 if one.effect is None else 100 * one.effect for one in mine]
    axes.bar(range(len(mine)), known, color=SCRATCH, width=0.6)
    for bar in (100 * HARMFUL, -100 * HARMFUL):
        axes.axhline(bar, color=STUDENT, lw=0.8, ls="--")
    axes.set_xticks(range(len(mine)), [one.severity for one in mine], fontsize=7, rotation=90)
    axes.set_xlim(-0.5, len(mine) - 0.5)
