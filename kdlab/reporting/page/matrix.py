"""The failure x fix matrix as the page shows it: a table whose cells have the colours of the figure.

Plain HTML, readable without the script; empty for a study without a matrix.
"""

import html

from kdlab.reporting.aggregate import Summary
from kdlab.reporting.canvas import ink_on
from kdlab.reporting.matrix import Cell, FailureRow, Matrix, matrix_of
from kdlab.reporting.matrix_figure import caption_of, look_of, texts_of
from kdlab.reporting.matrix_table import points, verdict_words
from kdlab.reporting.table import NOTHING


def matrix_html(summary: Summary) -> str:
    """The section of the page; empty where there is no matrix."""
    found = [matrix for data in summary.datasets if (matrix := matrix_of(summary, data)) is not None]
    if not found:
        return ""
    tables = "".join(_table(matrix, named=len(summary.datasets) > 1) for matrix in found)
    return (
        '<section class="matrix" aria-labelledby="matrix"><h2 id="matrix">Which fix repairs which failure</h2>'
        f"{tables}</section>"
    )


def _table(matrix: Matrix, *, named: bool) -> str:
    on = f"On {html.escape(matrix.data)}. " if named else ""
    heads = "".join(
        f'<th scope="col">{html.escape(label)}{"<br>(control)" if fix == matrix.control else ""}</th>'
        for fix, label in matrix.fixes.items()
    )
    rows = "".join(_row(line) for line in matrix.lines)
    return (
        f'<div class="table-frame"><table class="data"><caption>{on}{html.escape(caption_of(matrix))}</caption>'
        f'<thead><tr><th scope="col">Failure</th>{heads}</tr></thead><tbody>{rows}</tbody></table></div>'
    )


def _row(line: FailureRow) -> str:
    told = NOTHING if line.harm is None else f"harm {points(line.harm)} points{'' if line.is_shown else ', not shown'}"
    cells = "".join(_cell(line, cell) for cell in line.cells)
    return f'<tr><th scope="row">{html.escape(line.label)}<span>{html.escape(told)}</span></th>{cells}</tr>'


def _cell(line: FailureRow, cell: Cell) -> str:
    face, hatch = look_of(line, cell)
    large, small = texts_of(line, cell)
    colour = "#" + "".join(f"{round(255 * part):02x}" for part in face)
    classes = ' class="undecided"' if hatch else ""
    told = html.escape(f"fixed − failing: {points(cell.gain)} points; {verdict_words(cell)}")
    style = f"background-color:{colour};color:{ink_on(face)}"
    return f'<td{classes} style="{style}" title="{told}"><b>{large}</b><span>{html.escape(small)}</span></td>'
