"""The heat map of a two-knob grid (T x alpha): chosen on validation, shown on test.

Left: validation accuracy, on which the best cell is chosen. Right: what every cell gains on the test set over its own
scratch twins, with the value of the chosen cell in words.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from kdlab.reporting.aggregate import ResultRow, Summary
from kdlab.reporting.canvas import INK, ink_on, new_figure, save
from kdlab.reporting.groups import number, parse_overrides, short_names, varied_knobs
from kdlab.reporting.table import show, show_difference

if TYPE_CHECKING:
    from matplotlib.axes import Axes

PREFERRED_AXES = ("objective.temperature", "objective.alpha")
MOST_PANELS = 4
MOST_WRITTEN = 12  # with more columns the numbers would not be readable


class Grid(NamedTuple):
    """Cells of a grid: ``cells[(x, y)]`` is the row of results of that point; ``rest`` names what is held fixed."""

    x: str
    y: str
    rest: str
    cells: Mapping[tuple[float, float], ResultRow]


def numeric_axes(summary: Summary, data: str) -> list[str]:
    """The knobs that take at least two numbers among the taught students; temperature and alpha first."""
    values: dict[str, set[float]] = {}
    for row in summary.rows_of(data):
        for point in row.group.points if row.group.role == "student" else ():
            for key, text in point.items():
                value = number(text)
                if value is not None:
                    values.setdefault(key, set()).add(value)
    varied = [key for key, found in values.items() if len(found) > 1]
    return [*(key for key in PREFERRED_AXES if key in varied), *(key for key in varied if key not in PREFERRED_AXES)]


def grids(summary: Summary, data: str) -> list[Grid]:
    """The grids over the first two numeric axes, one per setting of the other knobs that fills two cells each way."""
    axes = numeric_axes(summary, data)
    if len(axes) < 2:
        return []
    x, y = axes[0], axes[1]
    found: dict[str, dict[tuple[float, float], ResultRow]] = {}
    rows = sorted(summary.rows_of(data), key=lambda row: row.group.role == "scratch")
    varied = [key for key in varied_knobs((row.group for row in rows), header=summary.header) if key not in (x, y)]
    names = short_names(varied)
    arms = summary.header.get("arms") or {}
    for row in rows:
        for point in row.group.points if row.metrics else ():
            place = number(point.get(x, "")), number(point.get(y, ""))
            if place[0] is None or place[1] is None or not _fills(row, point):
                continue
            for arm in row.group.arms or ("",):
                of_arm = parse_overrides(arms.get(arm) or [])
                rest = [f"{names[key]}={point[key]}" for key in varied if key in point and key not in of_arm]
                title = ", ".join([*filter(None, [arm]), *rest])
                found.setdefault(title, {}).setdefault((place[0], place[1]), row)
    complete = {
        title: cells
        for title, cells in sorted(found.items())
        if len({place[0] for place in cells}) > 1 and len({place[1] for place in cells}) > 1
    }
    return [Grid(x, y, title, cells) for title, cells in complete.items()][:MOST_PANELS]


def _fills(row: ResultRow, point: Mapping[str, str]) -> bool:
    """A taught student fills its point; a scratch student only points at alpha 0, which are the scratch student."""
    return row.group.role == "student" or number(point.get("objective.alpha", "")) == 0


def draw_heat_maps(summary: Summary, data: str, folder: Path, name: str) -> list[tuple[list[Path], str]]:
    """Draw the heat map of every grid; returns files and caption of each."""
    drawn = []
    found = grids(summary, data)
    for place, grid in enumerate(found):
        suffix = "" if len(found) == 1 else f"_{place + 1}"
        drawn.append((_draw(grid, folder, name + suffix), _caption(grid)))
    return drawn


def best_cell(grid: Grid) -> tuple[float, float] | None:
    """The place of the highest mean validation accuracy, among taught students where there are any."""
    taught = {p: r for p, r in grid.cells.items() if r.group.has_teacher and "validation/accuracy" in r.metrics}
    return max(sorted(taught), key=lambda p: taught[p].metrics["validation/accuracy"].estimate, default=None)


def _caption(grid: Grid) -> str:
    names = short_names([grid.x, grid.y])
    text = f"{names[grid.x]} x {names[grid.y]}" + (f" ({grid.rest})" if grid.rest else "")
    chosen = ", on which the framed cell is chosen" if best_cell(grid) is not None else ""
    return f"{text}: validation accuracy{chosen}, and the test accuracy gained over scratch."


def _draw(grid: Grid, folder: Path, name: str) -> list[Path]:
    xs, ys = (sorted({place[axis] for place in grid.cells}) for axis in (0, 1))
    width = min(max(9.0, 2 * (1.6 + 0.78 * len(xs))), 20.0)
    figure, (left, right) = new_figure(width, 1.9 + min(0.46 * len(ys), 6.0), columns=2)
    validation = _matrix(grid, xs, ys, lambda row: row.metrics.get("validation/accuracy"))
    gains = _matrix(grid, xs, ys, _gain)
    best = best_cell(grid)
    _panel(left, grid, xs, ys, validation, best, title="Validation accuracy (chooses)", form="{:.3f}", diverging=False)
    _panel(right, grid, xs, ys, gains, best, title="Test accuracy minus scratch", form="{:+.3f}", diverging=True)
    if best is not None:
        figure.supxlabel(_words(grid, best), fontsize=9.5, x=0.01, ha="left", color=INK)
    return save(figure, folder, name)


def _gain(row: ResultRow) -> Any:
    against = row.against("scratch")
    return against.differences.get("test/accuracy") if against else None


def _words(grid: Grid, best: tuple[float, float]) -> str:
    row, names = grid.cells[best], short_names([grid.x, grid.y])
    gain = show_difference(_gain(row), digits=3)
    bold = (
        "\nBold: the interval of the difference excludes 0." if len({x for x, _ in grid.cells}) <= MOST_WRITTEN else ""
    )
    return (
        f"Framed: best on validation, {names[grid.x]} = {best[0]:g}, {names[grid.y]} = {best[1]:g}: test accuracy "
        f"{show(row.metrics.get('test/accuracy'), digits=3)}, {gain} to scratch.{bold}"
    )


def _matrix(grid: Grid, xs: Sequence[float], ys: Sequence[float], read: Any) -> list[list[Any]]:
    return [[read(grid.cells[(x, y)]) if (x, y) in grid.cells else None for x in xs] for y in ys]


def _panel(
    axes: "Axes",
    grid: Grid,
    xs: Sequence[float],
    ys: Sequence[float],
    found: list[list[Any]],
    best: tuple[float, float] | None,
    *,
    title: str,
    form: str,
    diverging: bool,
) -> None:
    from matplotlib import colormaps
    from matplotlib.patches import Rectangle

    values = np.array(
        [[np.nan if cell is None else cell.estimate for cell in line] for line in found], dtype=np.float64
    )
    colours = colormaps["PuOr_r" if diverging else "cividis"].with_extremes(bad="#EEEEEE")
    finite = values[np.isfinite(values)]
    if diverging:
        reach = max(float(np.abs(finite).max()) if finite.size else 0.0, 1e-3) * 1.25
        low, high = -reach, reach
    else:
        low, high = (float(finite.min()), float(finite.max())) if finite.size else (0.0, 1.0)
    axes.imshow(values, cmap=colours, vmin=low, vmax=high if high > low else low + 1e-3, origin="lower", aspect="auto")
    for row, line in enumerate(found if len(xs) <= MOST_WRITTEN else []):
        for column, cell in enumerate(line):
            if cell is None:
                here = grid.cells.get((xs[column], ys[row]))
                if here is not None and here.group.role == "scratch":
                    axes.text(column, row, "scratch", ha="center", va="center", fontsize=9, color="#777777")
                continue
            shade = colours((cell.estimate - low) / max(high - low, 1e-9))
            sure = diverging and cell.low is not None and (cell.low > 0 or cell.high < 0)
            axes.text(
                column,
                row,
                form.format(cell.estimate).replace("-", "−"),
                ha="center",
                va="center",
                fontsize=9,
                color=ink_on(shade),
                fontweight="bold" if sure else "normal",
            )
    names = short_names([grid.x, grid.y])
    axes.set_xticks(range(len(xs)), [f"{x:g}" for x in xs])
    axes.set_yticks(range(len(ys)), [f"{y:g}" for y in ys])
    axes.set_xlabel("temperature T" if names[grid.x] == "T" else names[grid.x])
    axes.set_ylabel("alpha (weight of the soft targets)" if names[grid.y] == "alpha" else names[grid.y])
    axes.set_title(title + (f" · {grid.rest}" if grid.rest else ""))
    axes.tick_params(length=0)
    for spine in axes.spines.values():
        spine.set_visible(False)
    if best is not None:
        corner = xs.index(best[0]) - 0.47, ys.index(best[1]) - 0.46
        for colour, line_width in (("white", 5.0), ("black", 2.4)):
            axes.add_patch(Rectangle(corner, 0.94, 0.92, fill=False, edgecolor=colour, linewidth=line_width))
