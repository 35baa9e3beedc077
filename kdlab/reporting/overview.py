"""The figure of the first screen: when does distillation help? Made from the committed records of a few studies.

One panel per study, declared in ``PANELS``; a study that has no report yet is left out. Everything shown is the same
quantity: test accuracy minus that of the scratch twin, in points, with its interval.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from kdlab.reporting.aggregate import ResultRow, Summary, summarize
from kdlab.reporting.canvas import INK, SCRATCH, TEACHER, new_figure, save, spread_labels, style
from kdlab.reporting.compact import read_lines
from kdlab.reporting.gains import draw_gain, span_of
from kdlab.reporting.groups import CONTROLS, number, parse_overrides
from kdlab.reporting.heat_map import numeric_axes
from kdlab.reporting.intervals import Interval

if TYPE_CHECKING:
    from matplotlib.axes import Axes

NAME = "overview"
METRIC = "test/accuracy"
MOST_PANELS = 2  # more would not be readable at the width of a README
WIDTH = 9.2  # inches; shown about 900 pixels wide

QUALITIES: Mapping[str, str] = {
    "standard": "as trained",
    "calibrated": "calibrated",
    "overconfident": "confidence scaled",
    "label_smoothed": "smoothed labels",
    "label_noise": "noisy labels",
    "shifted": "shifted data",
    "low_bit": "few bits",
    "weak": "stopped early",
    "permuted": "wrong classes shuffled",
    "virtual": "no teacher: smoothed labels",
    "untrained": "untrained",
    "uniform": "no teacher: uniform targets",
}
SHORT = {QUALITIES["standard"]: "taught", QUALITIES["uniform"]: "uniform\ntargets"}  # at the end of a line
DOSES: Mapping[str, Callable[[float], str]] = {
    "steps": lambda value: f"{value:g} steps",
    "scale": lambda value: f"logits × {value:g}",
    "epsilon": lambda value: f"ε = {value:g}",
    "label_noise": lambda value: f"{value:.0%}".replace("%", " %"),
    "severity": lambda value: f"× {value:g}",
    "bits": lambda value: f"{value:g} bits",
}


@dataclass(frozen=True)
class Panel:
    """A panel: the study it is made from, its title, and the knob on its axis; without one, a line for each arm."""

    study: str
    title: str
    knob: str | None = None
    label: str = ""


PANELS = (
    Panel("teacher_quality", "Which teacher teaches?"),
    Panel("student_size", "How small a student?", "student.width", "width of the student (log scale)"),
    Panel("temperature_alpha", "How soft the targets?", "objective.temperature", "temperature T (log scale)"),
)


@dataclass(frozen=True)
class Gain:
    """What one kind of student gains over its scratch twins.

    Args:
        label: the teacher it had, in plain words.
        dose: how much of the fault, in words; empty without one.
        control: whether nothing was learned from a teacher's knowledge.
        difference: test accuracy minus that of the scratch twin (fraction).
        at: the value of the panel's knob.
    """

    label: str
    dose: str
    control: bool
    difference: Interval
    at: float | None = None


def draw_overview(reports: Path) -> list[Path]:
    """Write ``overview.png`` and ``overview.svg`` beside the reports; nothing where no study of a panel is there."""
    found: list[tuple[Panel, Summary, list[Gain]]] = []
    for panel in PANELS:
        path = reports / panel.study / "records.jsonl"
        if len(found) == MOST_PANELS or not path.is_file():
            continue
        summary = summarize(read_lines(path))
        gains = gains_of(panel, summary)
        found += [(panel, summary, gains)] if len(gains) > 1 else []
    if not found:
        return []
    with style():
        lines = max((len(gains) for panel, _, gains in found if panel.knob is None), default=0)
        height = 1.75 + max(0.165 * lines, 2.6)
        ratios = [1.35 if panel.knob is None else 1.0 for panel, *_ in found]
        figure, grid = new_figure(
            WIDTH, height, columns=len(found), squeeze=False, gridspec_kw={"width_ratios": ratios}
        )
        for axes, (panel, _, gains) in zip(grid[0], found, strict=True):
            (_draw_arms if panel.knob is None else _draw_knob)(axes, gains)
            axes.set_title(panel.title)
            if panel.knob is not None:
                axes.set_xlabel(panel.label)
        figure.suptitle("When does distillation help?", x=0.01, ha="left", fontsize=14, fontweight="bold")
        figure.supxlabel(_legend(found), x=0.01, ha="left", fontsize=8.5, color=INK)
        return save(figure, reports, NAME)


def _legend(found: Sequence[tuple[Panel, Summary, list[Gain]]]) -> str:
    """What the panels show, in words, and where their numbers come from."""
    sources = "; ".join(f"{panel.study} ({data_of(summary)}, {_units(gains)})" for panel, summary, gains in found)
    level = f"{100 * found[0][1].level:g} %"
    return (
        f"Points of test accuracy minus those of the same student trained on the labels alone, {level} intervals: "
        "beyond 0 distillation helps.\nBlue: taught by a teacher. Grey: controls, whose targets say nothing of how "
        f"classes resemble each other.\nFrom the studies {sources}."
    )


def data_of(summary: Summary) -> str:
    """The data set a panel shows: the first of its study."""
    return summary.datasets[0]


def gains_of(panel: Panel, summary: Summary) -> list[Gain]:
    """What a panel shows: a gain for each arm, or for each value of its knob.

    With a knob, other knobs of the grid stand where validation chose them.
    """
    data = data_of(summary)
    best = summary.best(data)
    held = [key for key in numeric_axes(summary, data) if key != panel.knob] if panel.knob else []
    rows = [row for row in summary.rows_of(data) if row.group.role == "student"]
    arms = summary.header.get("arms") or {}
    found = []
    for row in rows:
        against = row.against("scratch")
        if against is None or METRIC not in against.differences:
            continue
        if best is not None and any(row.group.knobs.get(key) != best.group.knobs.get(key) for key in held):
            continue
        at = number(row.group.knobs.get(panel.knob, "")) if panel.knob else None
        if panel.knob and at is None:
            continue
        label, dose = _words(row, arms)
        control = row.group.quality in CONTROLS
        found.append(Gain(label, dose, control, against.differences[METRIC], at))
    if panel.knob is None:  # controls below, doses of one quality together
        first = {gain.label: place for place, gain in reversed(list(enumerate(found)))}
        return sorted(found, key=lambda gain: (gain.control, first[gain.label]))
    return sorted(found, key=lambda gain: (gain.control, gain.label, gain.at or 0.0))


def _words(row: ResultRow, arms: Mapping[str, Sequence[str]]) -> tuple[str, str]:
    """A row's teacher and its dose in plain words."""
    quality = row.group.quality or "standard"
    label = QUALITIES.get(quality, quality.replace("_", "-"))
    told = {key: value for arm in row.group.arms for key, value in parse_overrides(arms.get(arm) or []).items()}
    told = {**row.group.knobs, **told}
    words = []
    for name, form in DOSES.items():
        value = number(told.get(f"teacher.quality.{name}", ""))
        words += [form(value)] if value is not None else []
    granularity = told.get("teacher.quality.granularity")
    words += ["per channel"] if granularity == "channel" else []
    return label, ", ".join(words)


def _units(gains: Sequence[Gain]) -> str:
    numbers = {gain.difference.n for gain in gains}
    return f"{min(numbers)} pairs" if len(numbers) == 1 else f"{min(numbers)} to {max(numbers)} pairs"


def _draw_arms(axes: "Axes", gains: Sequence[Gain]) -> None:
    """A line for each arm, its dose written beside it; doses of one quality share a label."""
    axes.axvline(0, color=INK, linewidth=0.9)
    names: list[tuple[float, str]] = []
    place, before = 0.0, None
    span = span_of([gain.difference for gain in gains])
    if span.cut is not None:
        axes.set_xlim(1.06 * span.cut, span.right + 0.02 * (span.right - span.left))
    for gain in gains:
        if before is not None:
            place += 1.0 if gain.label == before else 1.45
        if gain.label != before:
            names.append((place, gain.label))
        before = gain.label
        colour = SCRATCH if gain.control else TEACHER
        marker = "s" if gain.control else "o"
        draw_gain(axes, gain.difference, place, span=span, colour=colour, fmt=marker, markersize=4.5, elinewidth=1.5)
        beside = span.right + 0.04 * (span.right - span.left)
        axes.text(beside, place, gain.dose, va="center", fontsize=8, color="#555555")
    axes.set_yticks([at for at, _ in names], [name for _, name in names])
    axes.set_ylim(place + 0.8, -0.8)
    axes.tick_params(axis="y", length=0, labelcolor=INK)
    axes.grid(axis="x")
    axes.set_xlabel("points of accuracy over the scratch twin")


def _draw_knob(axes: "Axes", gains: Sequence[Gain]) -> None:
    """A line with its band for each kind of teacher."""
    axes.axhline(0, color=INK, linewidth=0.9)
    labels, values = [], sorted({gain.at for gain in gains if gain.at is not None})
    for label in dict.fromkeys(gain.label for gain in gains):
        points = [gain for gain in gains if gain.label == label]
        xs = [gain.at or 0.0 for gain in points]
        ys = [100 * gain.difference.estimate for gain in points]
        half = [100 * (gain.difference.half_width or 0.0) for gain in points]
        control = points[0].control
        colour = SCRATCH if control else TEACHER
        low, high = ([y + sign * h for y, h in zip(ys, half, strict=True)] for sign in (-1, 1))
        axes.fill_between(xs, low, high, color=colour, alpha=0.16, linewidth=0)
        axes.plot(
            xs,
            ys,
            color=colour,
            marker="s" if control else "o",
            markersize=4.5,
            linewidth=1.8,
            linestyle="--" if control else "-",
        )
        labels.append((ys[-1], SHORT.get(label, label), colour))
    axes.set_xscale("log", base=2)
    axes.set_xticks(values, [f"{value:g}" for value in values])
    axes.minorticks_off()
    axes.grid(axis="y")
    axes.set_ylabel("points of accuracy over the scratch twin")
    axes.figure.draw_without_rendering()  # type: ignore[union-attr]
    spread_labels(axes, labels, x=values[-1], size=8.5)
