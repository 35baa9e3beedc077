"""The effects figure: what every arm gains over its scratch twins, with intervals, coloured by verdict.

For studies whose arms are named and not points of a grid (teacher qualities, failure modes), where a table of many rows
hides the pattern.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from kdlab.reporting.aggregate import Comparison, ResultRow, Summary
from kdlab.reporting.canvas import INK, SCRATCH, STUDENT, TEACHER, new_figure, save
from kdlab.reporting.gains import draw_gain, span_of
from kdlab.reporting.intervals import Interval

if TYPE_CHECKING:
    from matplotlib.axes import Axes

METRIC = "test/accuracy"
FEWEST_ARMS = 4
#: verdict -> (face, edge, marker). Hollow is what the pairs do not decide: not the same as no difference.
LOOKS = {
    "better": (TEACHER, TEACHER, "o"),
    "worse": (STUDENT, STUDENT, "o"),
    "no difference": (SCRATCH, SCRATCH, "s"),
    "inconclusive": ("white", SCRATCH, "o"),
}


def draw_effects(summary: Summary, data: str, folder: Path, name: str) -> tuple[list[Path], str] | None:
    """The difference to scratch of every arm, a line each; None for a study of few arms, or of arms times a grid."""
    found = effects(summary, data)
    arms = {name for row, _ in found for name in row.group.arms}
    if not FEWEST_ARMS <= len(found) <= len(arms):
        return None
    figure, axes = new_figure(7.0, 1.1 + 0.235 * len(found))
    sesoi = (summary.header.get("sesoi") or {}).get(METRIC)
    draw_forest(axes, [(row.group.label, *_effect(against)) for row, against in found], sesoi=sesoi)
    axes.set_xlabel("test accuracy minus that of the scratch twin (points)")
    axes.set_title(f"What each arm gains over its scratch twin, {data}")
    band = f"; the band is the smallest effect of interest ({100 * sesoi:g} points)" if sesoi else ""
    caption = (
        f"Paired difference to the scratch twin, with {summary.level:.0%} intervals. Blue is better, orange worse, "
        f"a grey square no difference; hollow is inconclusive; an arrow lies beyond the axis{band}."
    )
    return save(figure, folder, name), caption


def effects(summary: Summary, data: str) -> list[tuple[ResultRow, Comparison]]:
    """The student rows that are compared with scratch twins, in the order of the study's arms."""
    return [
        (row, against)
        for row in summary.rows_of(data)
        for against in row.comparisons
        if against.kind == "scratch" and METRIC in against.differences and row.group.role == "student"
    ]


def _effect(against: Comparison) -> tuple[Interval, str | None]:
    told = against.verdicts.get(METRIC)
    return against.differences[METRIC], None if told is None else told.word


def draw_forest(axes: "Axes", lines: Sequence[tuple[str, Interval, str | None]], *, sesoi: float | None = None) -> None:
    """One line per (label, difference, verdict), first on top, in points; without a verdict the marker is plain."""
    if sesoi:
        axes.axvspan(-100 * sesoi, 100 * sesoi, color="#EEEEEE", zorder=0, linewidth=0)
    axes.axvline(0, color=INK, linewidth=0.8, zorder=1)
    span = span_of([difference for _, difference, _ in lines])
    if span.cut is not None:
        axes.set_xlim(1.06 * span.cut, max(span.right, 100 * (sesoi or 0.0)) - 0.05 * span.cut)
    for place, (_, difference, verdict) in enumerate(lines):
        face, edge, marker = LOOKS.get(verdict or "", (INK, INK, "o"))
        draw_gain(
            axes,
            difference,
            place,
            span=span,
            colour=edge,
            fmt=marker,
            markerfacecolor=face,
            markeredgecolor=edge,
            markersize=5.5,
            elinewidth=1.4,
            zorder=3,
        )
    axes.set_yticks(range(len(lines)), [label for label, *_ in lines])
    axes.set_ylim(len(lines) - 0.4, -0.6)
    axes.tick_params(axis="y", length=0)
    axes.grid(axis="x")
