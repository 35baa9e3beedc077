"""The page as one file of HTML: question and verdicts as plain text, everything else packed for the script.

Question, verdicts and methods are readable without JavaScript. The data and the plotting library are gzip in base64: a
browser unpacks them in some 30 ms, and a page is a third of its size. A content security policy allows these very
scripts and no request at all, so a page that is opened can tell nobody.
"""

import base64
import functools
import gzip
import html
import json
import re
from pathlib import Path
from typing import Any

from kdlab.keys import sesoi_of
from kdlab.reporting.aggregate import ResultRow, Summary
from kdlab.reporting.page.data import payload
from kdlab.reporting.page.matrix import matrix_html
from kdlab.reporting.page.predictions import predictions_html
from kdlab.reporting.readme import methods, sentences
from kdlab.reporting.table import show, show_difference
from kdlab.reporting.tables import num_units
from kdlab.web import assets

HERE = Path(__file__).parent
LEVEL = 6  # 9 takes four to eight times as long, for three to five parts in a hundred

#: One script, in this order; each file is one idea and sees the functions of the others.
SCRIPTS = (
    *(
        "items.js",
        "state.js",
        "filters.js",
        "columns.js",
        "facets.js",
        "explorer.js",
        "figure.js",
        "parallel.js",
        "pareto.js",
    ),
    *(
        "reliability.js",
        "heat_map.js",
        "slices.js",
        "curves.js",
        "dark_knowledge.js",
        "panel_charts.js",
        "panel_metrics.js",
        "panel.js",
        "main.js",
    ),
)


def page_text(summary: Summary) -> str:
    """The page of a study."""
    script = "\n".join([assets.script(), *(_read(name) for name in SCRIPTS)])
    sections = {"predictions.css": predictions_html(summary), "matrix.css": matrix_html(summary)}
    style = assets.style() + _read("page.css") + "".join(_read(name) for name, text in sections.items() if text)
    library = assets.echarts()
    policy = [
        "default-src 'none'",
        f"script-src {assets.source_hash(script)} {assets.source_hash(library)}",
        f"style-src-elem {assets.source_hash(style)}",
        "style-src-attr 'unsafe-inline'",  # the plotting library sets styles of its elements
        "img-src data:",
        "base-uri 'none'",
        "form-action 'none'",
    ]
    parts = {
        "policy": "; ".join(policy),
        "title": html.escape(str(summary.header.get("name") or "study")),
        "notice": assets.ECHARTS_NOTICE,
        "style": style,
        "head": _head(summary) + "".join(f"\n{text}" for text in sections.values() if text),
        "foot": _foot(summary),
        "payload": pack(json.dumps(payload(summary), separators=(",", ":"), ensure_ascii=False, allow_nan=False)),
        "library": _library(),
        "script": script,
    }
    return re.sub(r"\{\{(\w+)\}\}", lambda match: parts[match.group(1)], _read("page.html"))


def _read(name: str) -> str:
    return (HERE / name).read_text(encoding="utf-8").replace("\r\n", "\n")


@functools.cache
def _library() -> str:
    return pack(assets.echarts())


def pack(text: str) -> str:
    """Text as base64 of gzip, the same for the same text and zlib."""
    return base64.b64encode(gzip.compress(text.encode(), LEVEL, mtime=0)).decode()


def unpack(page: str) -> dict[str, Any]:
    """The data of a page that was written: what :func:`payload` made."""
    found = re.search(r'<script id="payload"[^>]*>([^<]*)</script>', page)
    if found is None:
        raise ValueError("no data in this page: it was not written by kdlab report")
    data: dict[str, Any] = json.loads(gzip.decompress(base64.b64decode(found.group(1))))
    return data


def _head(summary: Summary) -> str:
    """Question, hypothesis and what the sweep file says of the result; the verdicts beside them."""
    header = summary.header
    words = [
        f'<p class="kicker">{html.escape(_kicker(summary))}</p>',
        f'<h1 id="question">{html.escape(str(header.get("question") or header.get("name") or "study"))}</h1>',
    ]
    for name, key in (("Hypothesis", "hypothesis"), ("What it says", "says")):
        if header.get(key):
            words.append(f'<p class="words"><b>{name}.</b> {html.escape(str(header[key]).strip())}</p>')
    if header.get("command"):
        command = html.escape(str(header["command"]))
        words.append(f'<div class="again"><p class="muted">Run it again</p><pre data-command>{command}</pre></div>')
    cards = [card for data in summary.datasets if (card := _verdict_card(summary, data))]
    if not summary.rows and not summary.tuning:
        cards.append('<p class="card">No run of this study has finished yet.</p>')
    return f'<div class="words-column">{"".join(words)}</div>\n<div class="verdicts">{"".join(cards)}</div>'


def _kicker(summary: Summary) -> str:
    runs = len(summary.by_id)
    on = f" on {', '.join(summary.datasets)}" if summary.datasets else ""
    failed = f", {summary.failed} failed" if summary.failed else ""
    return f"{summary.header.get('name') or 'study'}{on} · {runs} run{'' if runs == 1 else 's'}{failed}"


def _verdict_card(summary: Summary, data: str) -> str:
    """The configuration that is best on validation, and what it gains over its scratch twins."""
    best, tuned = summary.best(data), summary.tuning_of(data)
    on = f" on {html.escape(data)}" if len(summary.datasets) > 1 else ""
    notes = [text for text in sentences(summary, data) if not text.startswith("Best on validation")]
    if best is not None:
        among = sum(row.group.has_teacher for row in summary.rows_of(data))
        notes.insert(0, f"Chosen among {among} on the validation accuracy of the same networks.")
        said = _winner(f"Best on validation{on}", best, "test/accuracy") + _gain(summary, best)
    elif tuned:
        notes = [f"Chosen among {len(tuned)} on validation; nothing in a tuning phase was measured on the test set."]
        said = _winner(f"Best on validation{on}, in a tuning phase", tuned[0], "validation/accuracy")
    elif notes:
        said = f'<p class="muted">No student was taught{on}.</p>'
    else:
        return ""
    told = "".join(f"<p>{_emphasised(text.strip())}</p>" for text in notes)
    return f'<div class="card verdict-card">{said}<div class="note">{told}</div></div>'


def _winner(title: str, row: ResultRow, metric: str) -> str:
    accuracy = html.escape(show(row.metrics.get(metric)))
    return (
        f'<p class="muted">{title}</p><p class="winner">{html.escape(row.group.label)}</p>'
        f"<p>{metric.replace('/', ' ')} {accuracy}, n = {num_units(row)}</p>"
    )


def _gain(summary: Summary, best: ResultRow) -> str:
    """The paired difference to the scratch twins in numbers, as a verdict, and where the script draws it."""
    against = best.against("scratch")
    found = against.differences.get("test/accuracy") if against else None
    if against is None or found is None:
        return ""
    word, smallest = against.verdicts["test/accuracy"], sesoi_of("test/accuracy", summary.header.get("sesoi") or {})
    said = f'<span class="verdict" data-word="{word.word}">{html.escape(str(word))}</span> ' if word else ""
    band = f"; the band is the smallest effect of interest, ±{smallest:g}" if smallest else ""
    place = next(number for number, row in enumerate(summary.rows) if row is best)
    return (
        f'<p class="gain">{said}<span class="difference">{html.escape(show_difference(found))}</span></p>'
        f'<div class="interval-plot" data-configuration="{place}"></div>'
        f'<p class="muted">test accuracy against its scratch twins, n = {found.n}{band}</p>'
    )


def _foot(summary: Summary) -> str:
    """How it was measured, as the README of the report has it."""
    points = [line.removeprefix("- ") for line in methods(summary).splitlines()]
    return f"<ul>{''.join(f'<li>{_emphasised(point)}</li>' for point in points)}</ul>"


def _emphasised(text: str) -> str:
    """A line of Markdown as it is used in a report: ``**strong**`` and nothing else."""
    return re.sub(r"\*\*(.+?)\*\*", r"<strong>\1</strong>", html.escape(text))
