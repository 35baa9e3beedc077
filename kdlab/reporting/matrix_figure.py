"""The failure x fix matrix as a picture: green repairs, orange harms more, white does nothing, hatched is undecided."""

from pathlib import Path
from typing import TYPE_CHECKING

from kdlab.reporting.aggregate import Summary
from kdlab.reporting.canvas import INK, ink_on, new_figure, save
from kdlab.reporting.intervals import Interval
from kdlab.reporting.matrix import Cell, FailureRow, Matrix, matrix_of

if TYPE_CHECKING:
    from matplotlib.axes import Axes

REPAIRS, HARMS, UNDECIDED, PLAIN = (0.0, 0.47, 0.36), (0.835, 0.369, 0.0), (0.93, 0.93, 0.93), (1.0, 1.0, 1.0)
LEGEND = (
    "share of the lost accuracy that comes back (100 %: as good as without a teacher)\n"
    "green: repairs   orange: harms more   white 0: no effect   hatched: these pairs do not decide"
)
FULL = 1.0
"""The share at which a colour is at its darkest: all of the harm."""


def draw_matrix(summary: Summary, data: str, folder: Path, name: str) -> tuple[list[Path], str] | None:
    """Draw the matrix of a study that has one: a row for each failure, a column for each fix."""
    found = matrix_of(summary, data)
    if found is None:
        return None
    columns, rows = len(found.fixes), len(found.lines)
    figure, axes = new_figure(3.1 + 0.98 * columns, 1.5 + 0.62 * rows)
    for place, line in enumerate(found.lines):
        for column, cell in enumerate(line.cells):
            _draw_cell(axes, column, place, line, cell)
    _label(axes, found)
    figure.suptitle("Which fix repairs which failure of distillation", x=0.01, ha="left", fontsize=12, weight="bold")
    axes.set_xlabel(LEGEND, fontsize=8.5, labelpad=8)
    return save(figure, folder, name), caption_of(found)


def caption_of(matrix: Matrix) -> str:
    """What the picture shows, for its report."""
    control = f" The column '{matrix.fixes[matrix.control]}' is a control." if matrix.control else ""
    return (
        "Share of the harm that a fix repairs (100 %: as good as without a teacher; above: better), with its 95 % "
        "interval. Green repairs, orange harms more, a white 0 is shown to do nothing, hatched is not decided by these "
        f"pairs; grey rows have no shown harm and give plain differences in points. After Holm over all cells.{control}"
    )


def _draw_cell(axes: "Axes", column: int, row: int, line: FailureRow, cell: Cell) -> None:
    from matplotlib.patches import Rectangle

    face, hatch = look_of(line, cell)
    axes.add_patch(Rectangle((column - 0.5, row - 0.5), 1, 1, facecolor=face, edgecolor="white", linewidth=2, zorder=1))
    if hatch:
        axes.add_patch(
            Rectangle(
                (column - 0.48, row - 0.48), 0.96, 0.96, fill=False, hatch=hatch, edgecolor="#C9C9C9", linewidth=0
            )
        )
    large, small = texts_of(line, cell)
    ink = ink_on(face)
    axes.text(column, row - 0.1, large, ha="center", va="center", fontsize=10, color=ink, weight="bold", zorder=3)
    axes.text(column, row + 0.24, small, ha="center", va="center", fontsize=6.8, color=ink, zorder=3)


def look_of(line: FailureRow, cell: Cell) -> tuple[tuple[float, float, float], str | None]:
    """The colour of a cell and its hatching."""
    if cell.word is None or cell.word == "no effect" or (not line.is_shown and cell.word != "inconclusive"):
        return (PLAIN if line.is_shown or cell.word is None else UNDECIDED), None
    if cell.word == "inconclusive" or cell.repaired is None:
        return UNDECIDED, "////"
    share = min(abs(cell.repaired.estimate) / FULL, 1.0)
    full = REPAIRS if cell.word == "repairs" else HARMS
    depth = 0.25 + 0.75 * share
    red, green, blue = (1 - depth * (1 - part) for part in full)
    return (red, green, blue), None


def texts_of(line: FailureRow, cell: Cell) -> tuple[str, str]:
    """What stands in a cell: the number, and its interval below."""
    if cell.gain is None:
        return "", "does not apply"
    if not line.is_shown:
        return _signed(cell.gain, 100, "{:+.1f}"), _between(cell.gain, 100, "{:+.1f}")
    if cell.word == "no effect":
        return "0", "no effect"
    if cell.repaired is None:
        return "?", ""
    large = _signed(cell.repaired, 100, "{:.0f} %")
    return ("?" if cell.word == "inconclusive" else large), _between(cell.repaired, 100, "{:.0f}")


def _signed(found: Interval, factor: float, form: str) -> str:
    return form.format(factor * found.estimate).replace("-", "\N{MINUS SIGN}")


def _between(found: Interval, factor: float, form: str) -> str:
    if found.low is None or found.high is None:
        return ""
    low, high = (form.format(factor * end).replace("-", "\N{MINUS SIGN}") for end in (found.low, found.high))
    return f"{low} to {high}"


def _label(axes: "Axes", matrix: Matrix) -> None:
    axes.set_xlim(-0.5, len(matrix.fixes) - 0.5)
    axes.set_ylim(len(matrix.lines) - 0.5, -0.5)
    axes.set_xticks(range(len(matrix.fixes)), [_column(name, label, matrix) for name, label in matrix.fixes.items()])
    axes.set_yticks(range(len(matrix.lines)), [_row(line) for line in matrix.lines])
    axes.xaxis.tick_top()
    axes.tick_params(length=0, labelcolor=INK, labelsize=8.5)
    for side in axes.spines.values():
        side.set_visible(False)


def _column(name: str, label: str, matrix: Matrix) -> str:
    text = "\n".join(_wrapped(label))
    return f"{text}\n(control)" if name == matrix.control else text


def _wrapped(label: str) -> list[str]:
    import textwrap

    return textwrap.wrap(label, 13)


def _row(line: FailureRow) -> str:
    if line.harm is None:
        return line.label
    points = f"{100 * line.harm.estimate:.1f}".replace("-", "\N{MINUS SIGN}")
    told = f"costs {points} points" if line.is_shown else f"no harm shown ({points} points)"
    return f"{line.label}\n{told}"
