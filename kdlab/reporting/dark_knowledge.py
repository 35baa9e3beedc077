"""The heat map of dark knowledge: what the teachers of a study say of the wrong classes, true class by other class.

Every panel is the mean over the teachers of one group, all panels of a figure at one temperature and on one scale.
Reference: Hinton, Vinyals & Dean, arXiv:1503.02531, 2015, section 1.
"""

import textwrap
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from kdlab.arrays import FloatArray
from kdlab.reporting.aggregate import ResultRow, Summary
from kdlab.reporting.canvas import FAINT, ink_on, new_figure, save

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.image import AxesImage

MOST_PANELS = 4
MOST_WRITTEN = 12  # with more classes the numbers would not be readable
LEAST_REACH = 1e-3  # of the colours, where a teacher prefers nothing
TITLE_WIDTH = 46  # characters of a line above a panel
MOST_LINES = 3
LONG_NAME = 3  # characters; longer names of columns stand upright


class Measure(NamedTuple):
    """What the panels of a figure have in common: the set, the temperature, the names of the classes."""

    set_name: str
    temperature: float
    class_names: tuple[str, ...]

    @property
    def even_share(self) -> float:
        """The share of every other class where none is preferred."""
        return 1 / (len(self.class_names) - 1)


class Panel(NamedTuple):
    """The mean over the teachers of a group: ``shares`` ``[C, C]``, true class by other class, NaN where undefined."""

    row: ResultRow
    shares: FloatArray
    num_teachers: int


class Confusion(NamedTuple):
    """Which other class takes the largest share of a true class."""

    true: int
    other: int
    share: float


def measure_of(rows: Sequence[ResultRow]) -> Measure | None:
    """What most teachers were measured by, the test set before validation; None where no record says."""
    found = Counter(_measure(run) for row in rows for run in row.group.runs if "dark_knowledge" in run)
    return max(found, key=lambda one: (one.set_name == "test", found[one], -one.temperature), default=None)


def mean_shares(row: ResultRow, measure: Measure) -> Panel | None:
    """The mean over the teachers of a group, a class that one of them has no examples of over the others."""
    runs = [run for run in row.group.runs if "dark_knowledge" in run and _measure(run) == measure]
    if not runs:
        return None
    every = np.array([run["dark_knowledge"]["probabilities"] for run in runs], dtype=np.float64)
    defined = np.isfinite(every)
    count, total = defined.sum(axis=0), np.where(defined, every, 0.0).sum(axis=0)
    return Panel(row, np.where(count > 0, total / np.maximum(count, 1), np.nan), len(runs))


def panels(summary: Summary, data: str) -> tuple[Measure, list[Panel]] | None:
    """What the teachers of a data set say, a panel for each of their groups; None where no record holds it."""
    rows = [row for row in summary.teachers if row.group.data == data]
    measure = measure_of(rows)
    if measure is None:
        return None
    return measure, [panel for row in rows if (panel := mean_shares(row, measure)) is not None]


def chosen(every: Sequence[Panel], *, most: int = MOST_PANELS) -> list[Panel]:
    """At most so many panels in their order: one of every quality before a second dose of any."""
    doses: Counter[str | None] = Counter()
    ranks = []
    for panel in every:
        doses[panel.row.group.quality] += 1
        ranks.append(doses[panel.row.group.quality])
    first = sorted(range(len(every)), key=ranks.__getitem__)[:most]
    return [every[place] for place in sorted(first)]


def strongest(shares: FloatArray) -> Confusion:
    """The pair with the largest share; of equal ones the first.

    >>> strongest(np.array([[np.nan, 0.7, 0.3], [0.9, np.nan, 0.1], [0.5, 0.5, np.nan]]))
    Confusion(true=1, other=0, share=0.9)
    """
    true, other = np.unravel_index(np.nanargmax(shares), shares.shape)
    return Confusion(int(true), int(other), float(shares[true, other]))


def _measure(run: dict[str, Any]) -> Measure:
    told = run["dark_knowledge"]
    return Measure(str(told["set"]), float(told["temperature"]), tuple(map(str, told["class_names"])))


def draw_dark_knowledge(summary: Summary, data: str, folder: Path, name: str) -> tuple[list[Path], str] | None:
    """Draw the heat map of a data set; returns files and caption."""
    found = panels(summary, data)
    if found is None:
        return None
    measure, every = found
    shown = chosen(every)
    columns = min(2, len(shown))
    rows = -(-len(shown) // columns)
    side = 1.6 + min(0.44 * len(measure.class_names), 6.0)
    figure, axes = new_figure(columns * side + 1.3, rows * side + 0.5, columns=columns, rows=rows, squeeze=False)
    reach = max(LEAST_REACH, *(float(np.nanmax(np.abs(panel.shares - measure.even_share))) for panel in shown))
    images = [_panel(place, panel, measure, reach=reach) for place, panel in zip(axes.flat, shown, strict=False)]
    for empty in axes.flat[len(shown) :]:
        empty.set_axis_off()
    figure.suptitle(f"What a teacher says of the wrong classes, {data}", x=0.01, ha="left", fontweight="bold")
    bar = figure.colorbar(images[0], ax=axes, shrink=0.8, pad=0.02)
    bar.ax.set_ylim(max(0.0, measure.even_share - reach), measure.even_share + reach)
    bar.set_label(f"share among the wrong classes (T = {measure.temperature:g})")
    bar.outline.set_visible(False)
    return save(figure, folder, name), caption(data, measure, every)


def _panel(axes: "Axes", panel: Panel, measure: Measure, *, reach: float) -> "AxesImage":
    """One panel, its colours pale where a share is that of no preference."""
    from matplotlib import colormaps

    names, even = measure.class_names, measure.even_share
    colours = colormaps["PuOr_r"].with_extremes(bad=FAINT)
    image = axes.imshow(panel.shares, cmap=colours, vmin=even - reach, vmax=even + reach)
    if len(names) <= MOST_WRITTEN:
        _write(axes, panel.shares, image)
    axes.set_xticks(range(len(names)), names, rotation=90 if max(map(len, names)) > LONG_NAME else 0, parse_math=False)
    axes.set_yticks(range(len(names)), names, parse_math=False)
    axes.set_xlabel("other class")
    axes.set_ylabel("true class")
    axes.set_title(_title(panel), fontsize=10, parse_math=False)
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    return image


def _title(panel: Panel) -> str:
    """A few lines no wider than a panel: a label names every value in which its teachers differ."""
    label, count = panel.row.group.label, f"(n\N{NO-BREAK SPACE}=\N{NO-BREAK SPACE}{panel.num_teachers})"
    lines = textwrap.wrap(f"{label} {count}", TITLE_WIDTH)
    if len(lines) > MOST_LINES:
        lines = [*textwrap.wrap(label, TITLE_WIDTH, max_lines=MOST_LINES - 1, placeholder=" …"), count]
    return "\n".join(lines)


def _write(axes: "Axes", shares: FloatArray, image: "AxesImage") -> None:
    """The shares as numbers in the cells, the largest of every row in bold."""
    for (true, other), share in np.ndenumerate(shares):
        if np.isfinite(share):
            weight = "bold" if share == np.nanmax(shares[true]) else "normal"
            ink = ink_on(image.to_rgba(np.array([share]))[0].tolist())
            axes.text(other, true, f"{share:.2f}", ha="center", va="center", fontsize=7.5, color=ink, fontweight=weight)


def caption(data: str, measure: Measure, every: Sequence[Panel]) -> str:
    """What the figure shows, how to read it, and the strongest confusion of its first panel in words."""
    pair, names = strongest(every[0].shares), measure.class_names
    of_first = f" ({every[0].row.group.label})" if len(every) > 1 else ""
    some = f" {MOST_PANELS} of {len(every)} kinds of teachers are drawn." if len(every) > MOST_PANELS else ""
    return (
        f"Dark knowledge of the teachers on the {measure.set_name} set of {data} at T = {measure.temperature:g}. A row "
        "is a true class; its cells say how the probability that is left for the wrong classes is shared among them "
        "(mean over teachers, a row sums to 1): orange is more, purple less than "
        f"{measure.even_share:.2f}, the share of each without any preference. "
        f"The strongest{of_first}: {names[pair.true]} looks like {names[pair.other]} ({pair.share:.2f}).{some}"
    )
