"""Tables: drawn by ``rich`` on a terminal and fitted to its width; plain aligned text, whole, everywhere else."""

import shutil
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

NARROWEST = 6
NOTHING = "-"  # an empty cell would shift the columns that awk counts


@dataclass(frozen=True)
class Column:
    """A column of a table.

    Args:
        title: its heading.
        align: where its cells stand.
        yields: whether it is cut when the terminal is too narrow; those that yield are cut before the others.
    """

    title: str
    align: Literal["left", "right"] = "left"
    yields: bool = False


def on_terminal() -> bool:
    """Whether what is said goes to a terminal."""
    return bool(sys.stdout.isatty())


def table_text(columns: Sequence[Column], rows: Sequence[Sequence[str]], *, width: int | None = None) -> str:
    """The lines of a table.

    Args:
        columns: the headings.
        rows: one cell per column; an empty one is shown as ``-``.
        width: cut cells so that lines have at most so many characters; None cuts nothing.
    """
    cells = _filled(rows)
    widths, gap = layout(columns, cells, width=width)
    return "\n".join(_line(line, columns, widths, gap) for line in ([column.title for column in columns], *cells))


def _filled(rows: Sequence[Sequence[str]]) -> list[list[str]]:
    return [[cell or NOTHING for cell in row] for row in rows]


def _line(cells: Sequence[str], columns: Sequence[Column], widths: Sequence[int], gap: int) -> str:
    parts = []
    for cell, column, width in zip(cells, columns, widths, strict=True):
        cut = cell if len(cell) <= width else cell[: max(width - 1, 0)] + "…"
        parts.append(cut.ljust(width) if column.align == "left" else cut.rjust(width))
    return (" " * gap).join(parts).rstrip()


def layout(
    columns: Sequence[Column], cells: Sequence[Sequence[str]], *, width: int | None = None
) -> tuple[list[int], int]:
    """The width of every column, and the gap between two.

    Where it does not fit, first the columns that yield are cut (the widest first), then headings longer than what
    stands below them, then the gap, and the other columns last.
    """
    natural = [max([len(column.title), *(len(line[at]) for line in cells)]) for at, column in enumerate(columns)]
    if width is None:
        return natural, 2
    below = [max([1, *(len(line[at]) for line in cells)]) for at in range(len(columns))]
    floors = [min(NARROWEST, wide) if column.yields else wide for column, wide in zip(columns, natural, strict=True)]
    found = cut(natural, floors, width=width - 2 * (len(natural) - 1))
    found = cut(found, [min(*pair) for pair in zip(found, below, strict=True)], width=width - 2 * (len(found) - 1))
    gap = 2 if sum(found) + 2 * (len(found) - 1) <= width else 1
    return cut(found, [min(NARROWEST, wide) for wide in found], width=width - gap * (len(found) - 1)), gap


def cut(widths: Sequence[int], floors: Sequence[int], *, width: int) -> list[int]:
    """Widths whose sum fits, taken from the widest; none below its floor.

    >>> cut([10, 30, 20], [10, 6, 6], width=40)
    [10, 15, 15]
    """
    found = list(widths)
    while sum(found) > width:
        able = [at for at in range(len(found)) if found[at] > floors[at]]
        if not able:
            break
        found[max(able, key=lambda at: found[at])] -= 1
    return found


def show(columns: Sequence[Column], rows: Sequence[Sequence[str]]) -> None:
    """Print a table: drawn by rich and cut to the terminal's width, or plain and whole where nobody sees it."""
    from kdlab.saying import say

    if not on_terminal():
        say(table_text(columns, rows))
        return
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    width = shutil.get_terminal_size().columns
    cells = _filled(rows)
    widths, gap = layout(columns, cells, width=width)
    drawn = Table(box=None, padding=(0, gap, 0, 0), pad_edge=False, header_style="bold")
    for column, wide in zip(columns, widths, strict=True):
        title = Text(column.title, no_wrap=True, overflow="ellipsis")
        drawn.add_column(title, justify=column.align, width=wide, no_wrap=True, overflow="ellipsis")
    for line in cells:
        drawn.add_row(*(Text(cell) for cell in line))
    Console(file=sys.stdout, width=width, highlight=False).print(drawn)
