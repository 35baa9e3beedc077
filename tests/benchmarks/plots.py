"""The two figures of the page: what a student-step costs in stacks of K, and what a sweep of N points takes.

Drawn from ``curves.json`` alone, the same bytes every time.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from kdlab.reporting.canvas import INK, SCRATCH, STUDENT, TEACHER, new_figure, save, style

COST, SWEEPS = "cost_by_size", "time_by_points"


def draw(folder: Path, curves: Mapping[str, Any]) -> list[Path]:
    """Write the figures there is data for."""
    files = []
    with style():
        if rows := curves.get("by_size"):
            files += _cost(folder, rows)
        if rows := curves.get("by_points"):
            files += _sweeps(folder, rows)
    return files


def _cost(folder: Path, rows: Sequence[Mapping[str, Any]]) -> list[Path]:
    figure, axes = new_figure(7.2, 4.4)
    numbers = sorted({row["threads"] for row in rows})
    bare = sorted(row["bare_ms"] for row in rows)[len(rows) // 2]
    axes.axhline(bare, color=SCRATCH, linewidth=1.4, linestyle=(0, (5, 3)))
    places = [("bare cached loop,\none student at a time", bare, SCRATCH)]
    for number, colour in zip(numbers, (STUDENT, TEACHER), strict=False):
        mine = sorted((row for row in rows if row["threads"] == number), key=lambda row: row["K"])
        sizes = [row["K"] for row in mine]
        axes.fill_between(sizes, [row["low"] for row in mine], [row["high"] for row in mine], color=colour, alpha=0.15,
                          linewidth=0)  # fmt: skip
        axes.plot(sizes, [row["ms"] for row in mine], color=colour, marker="o", markersize=4.5, linewidth=1.8)
        places.append((f"kdlab, {number} thread{'s' if number > 1 else ''}", mine[-1]["ms"], colour))
    axes.set_xscale("log")
    axes.set_ylim(bottom=0)
    sizes = sorted({row["K"] for row in rows})
    axes.set_xticks(sizes, [str(size) for size in sizes])
    axes.minorticks_off()
    axes.set_xlabel("Students in the stack (K)")
    axes.set_ylabel("ms per student and step")
    axes.set_title("What a step of one student costs, trained together with K - 1 others")
    axes.grid(axis="y")
    for text, value, colour in places:
        axes.annotate(text, (sizes[-1], value), xytext=(10, 0), textcoords="offset points", color=colour, va="center",
                      fontsize=9, annotation_clip=False)  # fmt: skip
    return save(figure, folder, COST)


def _sweeps(folder: Path, rows: Sequence[Mapping[str, Any]]) -> list[Path]:
    figure, axes = new_figure(7.2, 4.4)
    counts = sorted({row["points"] for row in rows})
    named = {"basic": ("one by one", SCRATCH), "stacked": ("stacked", STUDENT)}
    for launcher, (text, colour) in named.items():
        mine = sorted((row for row in rows if row["launcher"] == launcher), key=lambda row: row["points"])
        axes.plot([row["points"] for row in mine], [row["seconds"] for row in mine], color=colour, marker="o",
                  markersize=4.5, linewidth=1.8)  # fmt: skip
        axes.annotate(f"{text}\n{mine[-1]['seconds']:.0f} s", (mine[-1]["points"], mine[-1]["seconds"]), xytext=(10, 0),
                      textcoords="offset points", color=colour, va="center", fontsize=9,
                      annotation_clip=False)  # fmt: skip
    axes.set_xlim(left=0)
    axes.set_ylim(bottom=0)
    axes.set_xticks([count for count in counts if count != 5 or len(counts) < 4], minor=False)
    axes.set_xlabel("Points of the sweep")
    axes.set_ylabel("Seconds, from start to end of the command")
    axes.set_title(f"A T x alpha sweep of {rows[0]['steps']} steps, evaluation and records included")
    axes.grid(axis="y")
    axes.tick_params(axis="x", colors=INK)
    return save(figure, folder, SWEEPS)
