"""The figures of a report; each is drawn only where the data for it exist."""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from kdlab.arrays import FloatArray
from kdlab.reporting.aggregate import ResultRow, Summary
from kdlab.reporting.canvas import (
    CYCLE,
    FAINT,
    INK,
    SCRATCH,
    STUDENT,
    TEACHER,
    UNIFORM,
    new_figure,
    save,
    spread_labels,
    style,
)
from kdlab.reporting.dark_knowledge import draw_dark_knowledge
from kdlab.reporting.dose_figure import draw_doses
from kdlab.reporting.effects import draw_effects
from kdlab.reporting.groups import number, seeds_of, short_names, varied_knobs
from kdlab.reporting.heat_map import draw_heat_maps, numeric_axes
from kdlab.reporting.intervals import Interval, Row, interval
from kdlab.reporting.matrix_figure import draw_matrix
from kdlab.reporting.prediction_figure import draw_predictions
from kdlab.reporting.tables import slice_columns, slice_names

if TYPE_CHECKING:
    from matplotlib.axes import Axes

MOST_CURVES = 6
CURVE = "validation/accuracy"


class Figure(NamedTuple):
    """A drawn figure: its files (PNG first) and what it shows."""

    files: list[Path]
    caption: str


def draw_figures(summary: Summary, folder: Path) -> list[Figure]:
    """Draw all figures of a study into ``folder``, per data set, in reading order."""
    found: list[Figure] = []
    with style():
        for data in summary.datasets:
            suffix = "" if len(summary.datasets) < 2 else "_" + re.sub(r"[^A-Za-z0-9_.-]", "_", data)
            predicted = draw_predictions(summary, data, folder, f"predictions{suffix}")
            found += [Figure(*predicted)] if predicted is not None else []
            matrix = draw_matrix(summary, data, folder, f"matrix{suffix}")
            found += [Figure(*matrix)] if matrix is not None else []
            doses = draw_doses(summary, data, folder, f"doses{suffix}")
            found += [Figure(*doses)] if doses is not None else []
            found += [Figure(*drawn) for drawn in draw_heat_maps(summary, data, folder, f"heat_map{suffix}")]
            effects = draw_effects(summary, data, folder, f"effects{suffix}")
            found += [Figure(*effects)] if effects is not None else []
            taught = draw_dark_knowledge(summary, data, folder, f"dark_knowledge{suffix}")
            found += [Figure(*taught)] if taught is not None else []
            for name, draw in (
                ("one_knob", draw_one_knob),
                ("accuracy_latency", draw_accuracy_latency),
                ("slice_gaps", draw_slice_gaps),
                ("reliability", draw_reliability),
                ("learning_curves", draw_learning_curves),
            ):
                figure = draw(summary, data, folder, name + suffix)
                found += [figure] if figure is not None else []
    return found


def _cast(summary: Summary, data: str) -> list[tuple[str, ResultRow, str]]:
    """Teacher, scratch and the best student on validation, as far as they exist: (name, row, colour)."""
    best = summary.best(data)
    if best is None:
        scratch = next((row for row in summary.rows_of(data) if row.group.role == "scratch" and row.metrics), None)
        return [("scratch", scratch, SCRATCH)] if scratch else []
    cast = [("teacher", summary.teacher_of(best), TEACHER), ("scratch", summary.scratch_of(best), SCRATCH)]
    return [
        (name, row, colour)
        for name, row, colour in [*cast, (f"student ({best.group.label})", best, STUDENT)]
        if row is not None
    ]


def _line_label(row: ResultRow, varied: Sequence[str]) -> str:
    """What a line of groups is called: the arm, or how they were taught, and the other knobs."""
    group, names = row.group, short_names(varied)
    taught = group.quality if group.quality not in (None, "standard") else "distilled"
    head = "scratch" if group.role == "scratch" else " ".join(group.arms) or str(taught)
    knobs = [f"{names[key]}={group.knobs[key]}" for key in varied if key in group.knobs and not group.arms]
    return ", ".join([head, *(knob for knob in knobs if knob.split("=")[1] != head)])


def draw_one_knob(summary: Summary, data: str, folder: Path, name: str) -> Figure | None:
    """Test accuracy against the only numeric knob of the study, students beside their scratch twins."""
    axes_found = numeric_axes(summary, data)
    if len(axes_found) != 1:
        return None
    key = axes_found[0]
    lines: dict[tuple[str, str], list[tuple[float | None, Interval]]] = {}
    varied = [
        name
        for name in varied_knobs((row.group for row in summary.rows_of(data)), header=summary.header)
        if name != key
    ]
    for row in summary.rows_of(data):
        if "test/accuracy" in row.metrics:
            place = (_kind(row), _line_label(row, varied))
            lines.setdefault(place, []).append((number(row.group.knobs.get(key, "")), row.metrics["test/accuracy"]))
    everything = sorted(
        {value for points in lines.values() if len(points) > 1 for value, _ in points if value is not None}
    )
    if len(everything) < 2:
        return None
    figure, axes = new_figure(6.6, 4.0)
    colours, labels = iter(CYCLE * len(lines)), []
    for (kind, label), found in lines.items():
        level = len(found) == 1
        if level:  # a control that does not have the knob, or only one value of it: a level to compare with
            if kind == "student":
                continue
            found = [(value, found[0][1]) for value in everything]
        colour = {"scratch": SCRATCH, "uniform": UNIFORM}.get(kind) or next(colours)
        points = sorted(((value, one) for value, one in found if value is not None), key=lambda point: point[0])
        _draw_line(axes, points, colour=colour, dashed=kind != "student", marker="" if level else "o")
        labels.append((points[-1][1].estimate, label, colour))
    if everything[0] > 0 and everything[-1] / everything[0] >= 4:
        axes.set_xscale("log", base=2)
    axes.set_xticks(everything, [f"{value:g}" for value in everything])
    axes.minorticks_off()
    axes.grid(axis="y")
    short = short_names([key])[key]
    axes.set_xlabel(
        "temperature T" if short == "T" else short + (" of the student" if key.startswith("student.") else "")
    )
    axes.set_ylabel("test accuracy (fraction)")
    axes.set_title(f"Accuracy by {short}, {data}")
    figure.draw_without_rendering()
    spread_labels(axes, labels, x=everything[-1])
    caption = f"Test accuracy by {key}, mean and {summary.level:.0%} interval over units."
    return Figure(save(figure, folder, name), caption)


def _draw_line(
    axes: "Axes", points: Sequence[tuple[float, Interval]], *, colour: str, dashed: bool, marker: str
) -> None:
    """Estimates as a line with its band."""
    xs, ys = [value for value, _ in points], np.array([found.estimate for _, found in points])
    half = np.array([found.half_width or 0.0 for _, found in points])
    axes.fill_between(xs, ys - half, ys + half, color=colour, alpha=0.11, linewidth=0)
    line, order = ("--", 3) if dashed else ("-", 2)
    axes.plot(xs, ys, color=colour, marker=marker, markersize=5, linewidth=2, linestyle=line, zorder=order)


def pareto_front(points: Sequence[tuple[float, float]]) -> list[int]:
    """Positions of the points (cost, gain) that no other point beats in both, by rising cost.

    >>> pareto_front([(1.0, 0.5), (2.0, 0.4), (3.0, 0.9)])
    [0, 2]
    """
    front: list[int] = []
    for place in sorted(range(len(points)), key=lambda i: (points[i][0], -points[i][1], i)):
        if not front or points[place][1] > points[front[-1]][1]:
            front.append(place)
    return front


def draw_accuracy_latency(summary: Summary, data: str, folder: Path, name: str) -> Figure | None:
    """Test accuracy against p99 latency with the Pareto front of students and teachers."""
    rows = [
        row
        for row in (*summary.rows_of(data), *summary.teachers)
        if row.group.data == data and {"test/accuracy", "latency/p99_ms"} <= row.metrics.keys()
    ]
    if len(rows) < 2:
        return None
    points = [(row.metrics["latency/p99_ms"].estimate, row.metrics["test/accuracy"].estimate) for row in rows]
    front = pareto_front(points)
    figure, axes = new_figure(7.0, 4.4)
    for kind in [kind for kind in _MARKS if any(_kind(row) == kind for row in rows)]:
        here = [place for place, row in enumerate(rows) if _kind(row) == kind]
        half = [rows[place].metrics["test/accuracy"].half_width or 0.0 for place in here]
        marker, colour = _MARKS[kind]
        axes.errorbar(
            *zip(*(points[place] for place in here), strict=True),
            yerr=half,
            fmt=marker,
            color=colour,
            ecolor=colour,
            elinewidth=1,
            alpha=0.9,
            markersize=6.5,
            markeredgecolor="white",
            markeredgewidth=0.6,
            label=kind,
            zorder=2 if kind == "scratch" else 3,
        )
    highest = dict(sorted((x, (y, place)) for place, (x, y) in enumerate(points)))
    for y, row in ((y, rows[place]) for y, place in highest.values()):
        ends = [summary.interval_of(row.group, f"latency/p99_ms_{end}") for end in ("low", "high")]
        if ends[0] and ends[1]:  # one measurement per architecture: drawn once, at its most accurate point
            axes.plot([ends[0].estimate, ends[1].estimate], [y, y], color="#AAAAAA", linewidth=1.2, zorder=1)
    steps = [points[place] for place in front]
    axes.step(
        [x for x, _ in steps], [y for _, y in steps], where="post", color=INK, linewidth=1, linestyle=":", zorder=0
    )
    axes.set_xscale("log")
    axes.grid()
    axes.margins(x=0.28, y=0.14)
    _plain_log_ticks(axes)
    axes.set_xlabel("p99 latency of one call (ms, batch size 1, log scale)")
    axes.set_ylabel("test accuracy (fraction)")
    axes.set_title(f"Accuracy against tail latency, {data}")
    for place in front:  # nothing lies above and left of the front
        axes.annotate(
            rows[place].group.label,
            points[place],
            xytext=(-7, 4),
            textcoords="offset points",
            ha="right",
            va="bottom",
            fontsize=8.5,
        )
    axes.legend(frameon=False, loc="lower right", fontsize=9)
    caption = (
        f"Test accuracy against p99 latency; bars are {summary.level:.0%} intervals; the dotted line is the Pareto "
        "front (nothing is both faster and more accurate)."
    )
    return Figure(save(figure, folder, name), caption)


_MARKS = {"teacher": ("s", TEACHER), "student": ("o", STUDENT), "uniform": ("^", UNIFORM), "scratch": ("D", SCRATCH)}


def _kind(row: ResultRow) -> str:
    return "uniform" if row.group.quality == "uniform" else row.group.role


def _plain_log_ticks(axes: "Axes") -> None:
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    axes.xaxis.set_major_locator(LogLocator(base=10, subs=(1.0, 2.0, 5.0)))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.xaxis.set_minor_formatter(NullFormatter())


def pooled_bins(row: ResultRow) -> tuple[FloatArray, FloatArray, FloatArray] | None:
    """Count, confidence and accuracy of every bin, pooled over the runs of a row; NaN where a bin is empty."""
    found = [run["bins"]["test"] for run in row.group.runs if run["bins"].get("test")]
    if not found:
        return None
    counts = np.array([one["count"] for one in found], dtype=np.float64)
    total = counts.sum(axis=0)
    pooled = []
    for part in ("confidence", "accuracy"):
        values = np.array([[0.0 if value is None else value for value in one[part]] for one in found])
        pooled.append(np.divide((counts * values).sum(axis=0), total, out=np.full_like(total, np.nan), where=total > 0))
    return total, pooled[0], pooled[1]


def draw_reliability(summary: Summary, data: str, folder: Path, name: str) -> Figure | None:
    """Reliability diagrams of teacher, scratch and best student, bins pooled over seeds."""
    cast = [
        (who, row, colour, bins) for who, row, colour in _cast(summary, data) if (bins := pooled_bins(row)) is not None
    ]
    if not cast:
        return None
    figure, grid = new_figure(
        3.3 * len(cast) + 0.4,
        4.2,
        rows=2,
        columns=len(cast),
        squeeze=False,
        sharex=True,
        gridspec_kw={"height_ratios": [4, 1]},
    )
    for place, (who, row, colour, (count, confidence, accuracy)) in enumerate(cast):
        top, bottom = grid[0][place], grid[1][place]
        filled = count > 0
        edges = (np.arange(len(count)) + 0.5) / len(count)
        width = 0.92 / len(count)
        top.bar(edges[filled], accuracy[filled], width=width, color=colour, alpha=0.8)
        for x, y, z in zip(edges[filled], accuracy[filled], confidence[filled], strict=True):
            top.plot([x - width / 2, x + width / 2], [z, z], color=INK, linewidth=1.4)
            top.plot([x, x], [min(y, z), max(y, z)], color=INK, linewidth=0.8, alpha=0.6)
        top.plot([0, 1], [0, 1], color="#999999", linewidth=1, linestyle="--", zorder=0)
        top.set(xlim=(0, 1), ylim=(0, 1), title=who.replace("student (", "best student\n(") if len(who) > 24 else who)
        ece = row.metrics.get("test/ece")
        if ece is not None:
            top.text(0.04, 0.95, f"ECE {ece.estimate:.3f}", va="top", transform=top.transAxes, fontweight="bold")
        bottom.bar(edges, count / count.sum(), width=width, color=colour, alpha=0.5)
        bottom.set_xlabel("confidence")
        bottom.grid(axis="y")
        if place == 0:
            top.set_ylabel("accuracy in the bin (fraction)")
            bottom.set_ylabel("share")
    shared = max(axes.get_ylim()[1] for axes in grid[1])
    for axes in grid[1]:
        axes.set_ylim(0, shared)
    caption = (
        f"Reliability on the test set of {data}: bars are the accuracy in 15 equal-width confidence bins pooled over "
        "seeds, dark ticks the mean confidence; below, the share of examples in each bin."
    )
    return Figure(save(figure, folder, name), caption)


def draw_slice_gaps(summary: Summary, data: str, folder: Path, name: str) -> Figure | None:
    """The gap of every slice for teacher, scratch and students, with intervals."""
    rows, names = slice_columns(summary, data), slice_names(summary, data)
    found = {
        (name, place): summary.interval_of(row.group, f"{name}/gap") for name in names for place, row in enumerate(rows)
    }
    names = [name for name in names if any(found[name, place] for place in range(len(rows)))]
    if not names:
        return None
    taught = iter(CYCLE * 2)
    colours = [{"teacher": TEACHER, "scratch": SCRATCH}.get(row.group.role) or next(taught) for row in rows]
    figure, axes = new_figure(7.4, 1.3 + 0.115 * len(names) * (len(rows) + 1.2))
    thick = 0.84 / len(rows)
    for place, (row, colour) in enumerate(zip(rows, colours, strict=True)):
        values = [found[name, place] for name in names]
        where = [len(names) - 1 - i + 0.42 - thick * (place + 0.5) for i, one in enumerate(values) if one]
        kept = [one for one in values if one]
        axes.barh(
            where,
            [one.estimate for one in kept],
            height=thick * 0.9,
            color=colour,
            label=row.group.label,
            xerr=[one.half_width or 0.0 for one in kept],
            error_kw={"elinewidth": 0.9, "ecolor": INK},
        )
    axes.set_yticks(range(len(names)), names[::-1])
    axes.set_ylim(-0.55, len(names) - 0.45)
    axes.axvline(0, color="#888888", linewidth=0.8)
    axes.grid(axis="x")
    axes.tick_params(axis="y", length=0)
    axes.set_xlabel("accuracy lost against the slice's reference (fraction)")
    low, high = axes.get_xlim()
    axes.set_xlim(max(low, -1.0), min(high, 1.0))  # a gap of accuracies lies between them, whatever few seeds allow
    columns = min(3, len(rows))
    axes.set_title(f"Gap by slice, {data}", pad=9 + 17 * -(-len(rows) // columns))
    axes.legend(frameon=False, ncols=columns, loc="lower left", bbox_to_anchor=(0, 1), borderaxespad=0.2, fontsize=9)
    caption = f"Accuracy lost on every slice of {data}; bars are means, whiskers {summary.level:.0%} intervals."
    return Figure(save(figure, folder, name), caption)


def _curve(row: ResultRow, level: float) -> tuple[list[float], list[Interval]] | None:
    """Steps that all runs of a row share, and the interval at each."""
    curves = [(run, dict(map(tuple, run["curves"][CURVE]))) for run in row.group.runs if run["curves"].get(CURVE)]
    if not curves:
        return None
    steps = sorted(set.intersection(*(set(points) for _, points in curves)))
    if len(steps) < 2:
        return None
    seeds = [seeds_of(run) for run, _ in curves]
    has_teacher = row.group.has_teacher
    bands = [
        interval(
            [
                Row(data, teacher if has_teacher else None, student, points[step])
                for (data, teacher, student), (_, points) in zip(seeds, curves, strict=True)
            ],
            level=level,
        )
        for step in steps
    ]
    return steps, bands


def draw_learning_curves(summary: Summary, data: str, folder: Path, name: str) -> Figure | None:
    """Validation accuracy over steps, mean and band by group."""
    students = [
        row for row in summary.rows_of(data) if row.group.role == "student" and "validation/accuracy" in row.metrics
    ]
    scratch = [row for row in summary.rows_of(data) if row.group.role == "scratch"]
    chosen = scratch + students
    if len(chosen) > MOST_CURVES:  # the best, the median and the worst on validation stand for the rest
        order = sorted(students, key=lambda row: row.metrics["validation/accuracy"].estimate)
        picked = list({id(row): row for row in (order[-1], order[len(order) // 2], order[0])}.values()) if order else []
        twins = [summary.scratch_of(row) for row in picked]
        chosen = [*{id(row): row for row in twins if row is not None}.values(), *picked]
    drawn = [(row, found) for row in chosen if (found := _curve(row, summary.level)) is not None]
    if not drawn:
        return None
    figure, axes = new_figure(7.0, 4.2)
    colours, greys, labels = iter(CYCLE), iter((SCRATCH, "#A5A5A5", "#444444", "#BBBBBB", "#888888", "#333333")), []
    for row, (steps, bands) in drawn:
        alone = row.group.role == "scratch"
        colour = next(greys) if alone else next(colours)
        middle = np.array([band.estimate for band in bands])
        half = np.array([band.half_width or 0.0 for band in bands])
        axes.fill_between(steps, middle - half, middle + half, color=colour, alpha=0.14, linewidth=0)
        axes.plot(steps, middle, color=colour, linewidth=1.8, linestyle="--" if alone else "-")
        labels.append((float(middle[-1]), row.group.label, colour))
    axes.grid(axis="y", color=FAINT)
    axes.set_xlabel("optimizer step")
    axes.set_ylabel("validation accuracy (fraction)")
    axes.set_title(f"Learning curves, {data}")
    figure.draw_without_rendering()
    spread_labels(axes, labels, x=max(steps[-1] for _, (steps, _) in drawn))
    caption = f"Validation accuracy on {data} while training: mean and {summary.level:.0%} interval over units."
    return Figure(save(figure, folder, name), caption)
