"""Gains as dots with intervals on one axis, in points; what lies far outside is an arrow and does not hide the rest."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from kdlab.reporting.intervals import Interval

if TYPE_CHECKING:
    from matplotlib.axes import Axes


class Span(NamedTuple):
    """Where gains lie, in points; ``cut`` is where the axis is cut off on the left, None for nowhere."""

    left: float
    right: float
    cut: float | None


def span_of(differences: Sequence[Interval]) -> Span:
    """The span of the intervals, cut off at three times the largest gain (and at -3) where one lies further left."""
    lows = [100 * (one.estimate if one.low is None else one.low) for one in differences]
    highs = [100 * (one.estimate if one.high is None else one.high) for one in differences]
    edge = -3.0 * max([*highs, 1.0])
    cut = edge if min(lows) < edge else None
    return Span(min(lows) if cut is None else cut, max(highs), cut)


def draw_gain(axes: "Axes", difference: Interval, place: float, *, span: Span, colour: str, **look: Any) -> None:
    """A difference as a dot with its interval (no bar where it has none); beyond the cut an arrow with its number.

    Args:
        axes: where.
        difference: as a fraction.
        place: its height.
        span: of all that is drawn there.
        colour: of dot and bar.
        **look: what else ``Axes.errorbar`` is told.
    """
    points = 100 * difference.estimate
    if span.cut is not None and points < span.cut:
        axes.plot([span.cut], [place], marker="<", color=colour, markersize=5, clip_on=False, zorder=4)
        axes.annotate(
            f"{points:+.0f}".replace("-", "\N{MINUS SIGN}"),
            (span.cut, place),
            xytext=(7, 0),
            textcoords="offset points",
            va="center",
            fontsize=8,
            color=colour,
        )
        return
    half = None if difference.half_width is None else 100 * difference.half_width
    axes.errorbar(points, place, xerr=half, color=colour, **look)
