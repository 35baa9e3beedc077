"""What was predicted and what was seen, as the page shows it: a table with every effect drawn in its row.

Plain HTML and drawings that stand in it, readable without the script; empty for a study that predicts nothing.
"""

import html

from kdlab.reporting.aggregate import Summary
from kdlab.reporting.prediction_figure import Bar, bar_of, limit_of
from kdlab.reporting.prediction_tables import SIGNS, in_its_unit, metric_words, show_effect, verdict_text
from kdlab.reporting.predictions import Prediction, predictions_of
from kdlab.reporting.table import NOTHING

WIDTH, HEIGHT = 240, 26  # pixels of a drawing
HEADS = ("Claim", "Predicted", "", "Effect", "n", "Verdict", "Found with 80 % power")


def predictions_html(summary: Summary) -> str:
    """The section of the page; empty where nothing is predicted."""
    if not summary.header.get("predictions"):
        return ""
    header = summary.header
    words = [
        f'<p class="words"><b>{name}.</b> {html.escape(str(header[key]).strip())}</p>'
        for name, key in (("Reference", "reference"), ("Caveats", "caveats"))
        if header.get(key)
    ]
    tables = "".join(_table(summary, data) for data in summary.datasets)
    return (
        '<section class="predictions" aria-labelledby="predicted">'
        f'<h2 id="predicted">What was predicted, and what was seen</h2>{"".join(words)}{tables}</section>'
    )


def _table(summary: Summary, data: str) -> str:
    found = predictions_of(summary, data)
    in_points = all(one.in_points for one in found if one.effect is not None)
    bars = {one.name: bar_of(one, in_points=in_points, label="", told="") for one in found if one.effect is not None}
    limit = limit_of(list(bars.values())) if bars else 1.0
    rows = "".join(_row(one, bars.get(one.name), limit) for one in found)
    heads = "".join(f'<th scope="col">{head}</th>' for head in HEADS)
    on = f" on {html.escape(data)}" if len(summary.datasets) > 1 else ""
    unit = "in points" if in_points else "each in units of its smallest effect of interest"
    note = (
        f"Effects{on} with {100 * summary.level:g} % intervals over pairs, drawn {unit}. Green: the side that was "
        "predicted; the band: too small to matter; hollow: inconclusive, which is not no difference."
    )
    return (
        f'<div class="table-frame"><table class="data"><caption>{note}</caption>'
        f"<thead><tr>{heads}</tr></thead><tbody>{rows}</tbody></table></div>"
    )


def _row(one: Prediction, bar: Bar | None, limit: float) -> str:
    word = one.outcome.word if one.outcome else ""
    kind = f"{'primary, ' if one.said['primary'] else ''}{one.said['recipe']} recipe"
    told = html.escape("; ".join(filter(None, [kind, f"{one.words} of {metric_words(one)}", one.note])))
    verdict = html.escape(verdict_text(one))
    cells = [
        f'<th scope="row" class="claim">{html.escape(str(one.said["claim"]).strip())}<span>{told}</span></th>',
        f"<td>{SIGNS[one.said['sign']]}</td>",
        f"<td>{_drawn(bar, limit) if bar else ''}</td>",
        f'<td class="number">{html.escape(show_effect(one))}</td>',
        f'<td class="number">{one.effect.n if one.effect else NOTHING}</td>',
        f'<td><span class="verdict" data-word="{word}">{verdict}</span></td>'
        if word
        else f'<td class="why">{verdict}</td>',
        f'<td class="number">{NOTHING if one.detectable is None else in_its_unit(one, one.detectable)}</td>',
    ]
    return f'<tr data-outcome="{word}">{"".join(cells)}</tr>'


def _drawn(bar: Bar, limit: float) -> str:
    """The row of the figure as a drawing: ground, zero, interval, dot; an arrow for what lies beyond."""

    def x(value: float) -> float:
        return round(WIDTH / 2 * (1 + max(-1.0, min(1.0, value / limit))), 1)

    def ground(low: float, high: float, name: str) -> str:
        return f'<rect class="{name}" x="{x(low)}" y="2" width="{round(x(high) - x(low), 1)}" height="{HEIGHT - 4}"/>'

    sides = {"positive": (bar.smallest, limit), "negative": (-limit, -bar.smallest)}
    middle = HEIGHT / 2
    parts = [ground(-bar.smallest, bar.smallest, "side" if bar.sign == "zero" else "plot-band")]
    parts += [ground(*sides[bar.sign], "side")] if bar.sign in sides else []
    parts.append(f'<line class="plot-zero" x1="{x(0)}" y1="0" x2="{x(0)}" y2="{HEIGHT}"/>')
    parts.append(f'<line class="bar" x1="{x(bar.low)}" y1="{middle}" x2="{x(bar.high)}" y2="{middle}"/>')
    if bar.low < -limit:
        parts.append(f'<path class="arrow" d="M0 {middle}l7 -5v10z"/>')
    if bar.high > limit:
        parts.append(f'<path class="arrow" d="M{WIDTH} {middle}l-7 -5v10z"/>')
    if abs(bar.estimate) <= limit:
        shape = (
            f'<rect class="dot" x="{x(bar.estimate) - 4}" y="{middle - 4}" width="8" height="8"/>'
            if bar.word == "null"
            else f'<circle class="dot" cx="{x(bar.estimate)}" cy="{middle}" r="4.5"/>'
        )
        parts.append(shape)
    return f'<svg class="plot" width="{WIDTH}" height="{HEIGHT}" aria-hidden="true">{"".join(parts)}</svg>'
