"""The figure of predictions: a row for each, its effect with interval, the side that was predicted, the verdict.

Differences of fractions stand in points; where a row has another unit, every row stands in units of its own smallest
effect of interest, so that the band of what is too small to matter is the same for all.
"""

import statistics
import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from kdlab.reporting.aggregate import Summary
from kdlab.reporting.canvas import INK, SCRATCH, STUDENT, TEACHER, new_figure, save
from kdlab.reporting.prediction_tables import show_effect
from kdlab.reporting.predictions import Prediction, predictions_of

if TYPE_CHECKING:
    from matplotlib.axes import Axes

BAND, PREDICTED = "#E3E3E3", "#E2F1E6"
#: verdict -> (face, edge, marker), as in the figure of effects: hollow is what the pairs do not decide.
LOOKS = {
    "reproduced": (TEACHER, TEACHER, "o"),
    "opposite": (STUDENT, STUDENT, "o"),
    "null": (SCRATCH, SCRATCH, "s"),
    "inconclusive": ("white", SCRATCH, "o"),
}
LEGEND = "green: the side that was predicted   grey: too small to matter   hollow: inconclusive"
LINE = 44  # characters of a claim


class Bar(NamedTuple):
    """A row of the figure; numbers on the axis of the figure.

    Args:
        label: what stands on the left.
        told: what stands on the right.
        word: the verdict; empty without one.
        sign: what was predicted.
        estimate: of the effect.
        low: lower end of its interval, the estimate without one.
        high: upper end.
        smallest: the smallest effect of interest.
    """

    label: str
    told: str
    word: str
    sign: str
    estimate: float
    low: float
    high: float
    smallest: float


def draw_predictions(summary: Summary, data: str, folder: Path, name: str) -> tuple[list[Path], str] | None:
    """A row for each prediction that could be evaluated; None where there is none."""
    found = [one for one in predictions_of(summary, data) if one.effect is not None]
    if not found:
        return None
    in_points = all(one.in_points for one in found)
    bars = [bar_of(one, in_points=in_points, label=str(one.said["claim"]), told=_told(one)) for one in found]
    figure, axes = new_figure(9.0, 1.35 + sum(height_of(bar) for bar in bars))
    draw_bars(axes, bars)
    axes.set_title(f"What was predicted, and what was seen, {data}")
    axes.set_xlabel(f"{axis_label(in_points=in_points)}\n{LEGEND}", fontsize=9)
    level = f"{100 * summary.level:g} %"
    return save(figure, folder, name), f"{_told_of_all(in_points=in_points)} Bars are {level} intervals over pairs."


def axis_label(*, in_points: bool) -> str:
    """What is on the axis."""
    return "effect (points)" if in_points else "effect, in units of the smallest effect of interest (the band)"


def _told_of_all(*, in_points: bool) -> str:
    unit = "in points" if in_points else "each in units of its smallest effect of interest"
    return (
        f"Effects {unit}. Green is the side that was predicted, grey what is too small to matter (green where no "
        "difference is predicted). Blue: reproduced; orange: the opposite; a grey square: shown to be no difference "
        "where one was predicted; hollow: inconclusive, which is not no difference."
    )


def bar_of(one: Prediction, *, in_points: bool, label: str, told: str) -> Bar:
    """The row of a prediction that has an effect."""
    assert one.effect is not None
    effect = one.effect.scaled(100 if in_points else 1 / one.said["sesoi"])
    return Bar(
        "\n".join(textwrap.wrap(label.strip(), LINE)),
        told,
        one.outcome.word if one.outcome else "",
        one.said["sign"],
        effect.estimate,
        effect.estimate if effect.low is None else effect.low,
        effect.estimate if effect.high is None else effect.high,
        100 * one.said["sesoi"] if in_points else 1.0,
    )


def _told(one: Prediction) -> str:
    word = one.outcome.word if one.outcome else "no verdict"
    n = f", n = {one.effect.n}" if one.effect else ""
    return f"{word}{n}\n{show_effect(one)}"


def height_of(bar: Bar) -> float:
    """The height of a row in inches, by the lines of its texts."""
    return 0.2 + 0.16 * (max(bar.label.count("\n"), bar.told.count("\n")) + 1)


def limit_of(bars: Sequence[Bar]) -> float:
    """Where the axis ends on both sides: far enough for most, so that one large effect does not hide the others."""
    ends = [max(abs(bar.low), abs(bar.high)) for bar in bars]
    smallest = max(bar.smallest for bar in bars)
    return max(min(max(ends), 4 * statistics.median(ends)), 2 * smallest) * 1.06


def draw_bars(axes: "Axes", bars: Sequence[Bar]) -> None:
    """Rows from the top; what lies beyond the axis is an arrow at its end."""
    limit, heights = limit_of(bars), [height_of(bar) for bar in bars]
    places, top = [], 0.0
    for height in heights:
        places.append(top + height / 2)
        top += height
    for bar, place, height in zip(bars, places, heights, strict=True):
        _draw_ground(axes, bar, place, 0.46 * height, limit)
        _draw_effect(axes, bar, place, limit)
        axes.annotate(
            bar.told, (1.0, place), xycoords=("axes fraction", "data"), xytext=(8, 0), textcoords="offset points",
            va="center", fontsize=8.5, color=INK, annotation_clip=False,
        )  # fmt: skip
    axes.axvline(0, color=INK, linewidth=0.8, zorder=1)
    axes.set_xlim(-limit, limit)
    axes.set_ylim(top, 0.0)
    axes.set_yticks(places, [bar.label for bar in bars])
    axes.tick_params(axis="y", length=0, labelcolor=INK, labelsize=8.5)
    axes.spines["left"].set_visible(False)
    axes.grid(axis="x")


def _draw_ground(axes: "Axes", bar: Bar, place: float, half: float, limit: float) -> None:
    """What is too small to matter, and the side that was predicted."""
    sides = {"positive": (bar.smallest, limit), "negative": (-limit, -bar.smallest)}
    y = [place - half, place + half]
    axes.fill_betweenx(y, -bar.smallest, bar.smallest, color=PREDICTED if bar.sign == "zero" else BAND, linewidth=0)
    if bar.sign in sides:
        axes.fill_betweenx(y, *sides[bar.sign], color=PREDICTED, linewidth=0)


def _draw_effect(axes: "Axes", bar: Bar, place: float, limit: float) -> None:
    face, edge, marker = LOOKS.get(bar.word, (INK, INK, "o"))
    low, high = max(bar.low, -limit), min(bar.high, limit)
    if low < high:
        axes.plot([low, high], [place, place], color=edge, linewidth=1.6, zorder=3, solid_capstyle="butt")
    for end, is_cut, arrow in ((-limit, bar.low < -limit, "<"), (limit, bar.high > limit, ">")):
        if is_cut:
            axes.plot([end], [place], marker=arrow, color=edge, markersize=5.5, clip_on=False, zorder=4)
    if abs(bar.estimate) <= limit:
        axes.plot(
            [bar.estimate], [place], marker=marker, markerfacecolor=face, markeredgecolor=edge, markersize=6.5, zorder=5
        )
