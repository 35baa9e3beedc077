"""How figures look and how they are written: colour-blind-safe, quiet, and the same bytes every time.

Figures are made without pyplot (no global state) under ``matplotlib.rcdefaults()``; SVG ids come from a fixed salt and
neither format carries a date or a program.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Okabe and Ito (2008), with greys for what is only there to compare with.
SCRATCH, TEACHER, STUDENT, UNIFORM = "#6F6F6F", "#0072B2", "#D55E00", "#CC79A7"
CYCLE = ("#D55E00", "#009E73", "#E69F00", "#56B4E9", "#7B3294", "#000000")
INK, FAINT = "#222222", "#DDDDDD"

STYLE: dict[str, Any] = {
    "axes.axisbelow": True,
    "axes.edgecolor": "#888888",
    "axes.labelcolor": INK,
    "axes.labelsize": 10,
    "axes.linewidth": 0.8,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.titlelocation": "left",
    "axes.titlesize": 11,
    "axes.titleweight": "bold",
    "figure.dpi": 100,
    "font.family": "DejaVu Sans",
    "font.size": 9.5,
    "grid.color": FAINT,
    "grid.linewidth": 0.7,
    "savefig.dpi": 150,
    "savefig.facecolor": "white",
    "svg.hashsalt": "kdlab",
    "text.color": INK,
    "xtick.color": "#555555",
    "ytick.color": "#555555",
}


@contextmanager
def style() -> Iterator[None]:
    """The style of kdlab on top of matplotlib's own defaults, whatever the user's configuration says."""
    import matplotlib

    with matplotlib.rc_context():
        matplotlib.rcdefaults()
        for key, value in STYLE.items():
            matplotlib.rcParams[key] = value  # type: ignore[index]
        yield


def new_figure(
    width: float, height: float, *, columns: int = 1, rows: int = 1, **keywords: Any
) -> "tuple[Figure, Any]":
    """A figure and its axes; ``width`` and ``height`` in inches."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure, figure.subplots(rows, columns, **keywords)


def save(figure: "Figure", folder: Path, name: str) -> list[Path]:
    """Write ``name.png`` and ``name.svg``."""
    folder.mkdir(parents=True, exist_ok=True)
    png, svg = folder / f"{name}.png", folder / f"{name}.svg"
    figure.savefig(png, metadata={"Software": None})
    figure.savefig(svg, metadata={"Date": None, "Creator": None})
    return [png, svg]


def ink_on(shade: Sequence[float]) -> str:
    """The ink that can be read on a colour (red, green, blue in 0 to 1): white on dark ones.

    >>> ink_on((0.0, 0.0, 0.4)), ink_on((1.0, 1.0, 1.0))
    ('white', '#222222')
    """
    return "white" if 0.299 * shade[0] + 0.587 * shade[1] + 0.114 * shade[2] < 0.5 else INK


def spread(values: list[float], *, gap: float) -> list[float]:
    """The nearest positions (least squares) to sorted values that keep a gap: pool adjacent violators.

    >>> spread([1.0, 1.0, 5.0], gap=1.0)
    [0.5, 1.5, 5.0]
    """
    pools: list[list[float]] = []
    for place, value in enumerate(values):
        pools.append([value - place * gap])
        while len(pools) > 1 and sum(pools[-2]) / len(pools[-2]) > sum(pools[-1]) / len(pools[-1]):
            pools[-2:] = [pools[-2] + pools[-1]]
    level = [sum(pool) / len(pool) for pool in pools for _ in pool]
    return [value + place * gap for place, value in enumerate(level)]


def spread_labels(axes: "Axes", labels: list[tuple[float, str, str]], *, x: float, size: float = 9) -> None:
    """Labels (y, text, colour) at the right end of lines, moved apart where they would overlap."""
    low, high = axes.get_ylim()
    inches = axes.get_window_extent().height / axes.figure.dpi
    gap = (high - low) * (size * 1.3 / 72) / max(inches, 0.1)
    labels = sorted(labels)
    for (_, text, colour), y in zip(labels, spread([y for y, _, _ in labels], gap=gap), strict=True):
        axes.annotate(
            text,
            (x, y),
            xytext=(6, 0),
            textcoords="offset points",
            color=colour,
            fontsize=size,
            va="center",
            annotation_clip=False,
        )
