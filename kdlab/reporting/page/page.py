"""The page as one file of HTML: question and verdicts as plain text, everything else packed for the script.

Question, verdicts and methods are readable without JavaScript. The data and the plotting library are gzip in base64: a
browser unpacks them in some 30 ms, and a page is a third of its size. A content security policy allows these very
scripts and no request at all, so a page that is opened can tell nobody.
"""

import base64
import gzip
import html
import json
import re
from pathlib import Path
from typing import Any

from kdlab.reporting.aggregate import ResultRow, Summary
from kdlab.reporting.page.data import payload
from kdlab.reporting.readme import methods, sentences
from kdlab.reporting.tables import num_units, show, show_difference
from kdlab.web import assets

HERE = Path(__file__).parent

#: One script, in this order; each file is one idea and sees the functions of the others.
SCRIPTS = (
    *("items.js", "state.js", "filters.js", "columns.js", "explorer.js", "figure.js", "parallel.js", "pareto.js"),
    *("reliability.js", "slices.js", "curves.js", "panel.js", "main.js"),
)


def page_text(summary: Summary) -> str:
    """The page of a study."""
    script = "\n".join([assets.script(), *(_read(name) for name in SCRIPTS)])
    style = assets.style() + _read("page.css")
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
        "head": _head(summary),
        "foot": _foot(summary),
        "payload": pack(json.dumps(payload(summary), separators=(",", ":"), ensure_ascii=False, allow_nan=False)),
        "library": pack(library),
        "script": script,
    }
    return re.sub(r"\{\{(\w+)\}\}", lambda match: parts[match.group(1)], _read("page.html"))


def _read(name: str) -> str:
    return (HERE / name).read_text(encoding="utf-8").replace("\r\n", "\n")


def pack(text: str) -> str:
    """Text as base64 of gzip, the same for the same text and zlib."""
    return base64.b64encode(gzip.compress(text.encode(), 9, mtime=0)).decode()


def unpack(page: str) -> dict[str, Any]:
    """The data of a page that was written: what :func:`payload` made."""
    found = re.search(r'<script id="payload"[^>]*>([^<]*)</script>', page)
    if found is None:
        raise ValueError("no data in this page: it was not written by kdlab report")
    data: dict[str, Any] = json.loads(gzip.decompress(base64.b64decode(found.group(1))))
    return data


def _head(summary: Summary) -> str:
    """Question, hypothesis, verdicts and what the sweep file says of the result."""
    header = summary.header
    name = str(header.get("name") or "study")
    parts = [f'<p class="kicker">{html.escape(_kicker(summary))}</p>']
    parts.append(f'<h1 id="question">{html.escape(str(header.get("question") or name))}</h1>')
    if header.get("hypothesis"):
        parts.append(f'<p class="hypothesis"><b>Hypothesis.</b> {html.escape(str(header["hypothesis"]))}</p>')
    cards = [card for data in summary.datasets if (card := _verdict_card(summary, data))]
    if not summary.rows and not summary.tuning:
        cards.append('<p class="card">No run of this study has finished yet.</p>')
    parts.append(f'<div class="verdicts">{"".join(cards)}</div>')
    if header.get("says"):
        parts.append(f'<p class="says"><b>What it says.</b> {html.escape(str(header["says"]).strip())}</p>')
    if header.get("command"):
        command = html.escape(str(header["command"]))
        parts.append(
            f'<div class="again"><span class="muted">Run it again</span><pre data-command>{command}</pre></div>'
        )
    return "\n".join(parts)


def _kicker(summary: Summary) -> str:
    runs = len(summary.by_id)
    on = f" on {', '.join(summary.datasets)}" if summary.datasets else ""
    failed = f", {summary.failed} failed" if summary.failed else ""
    return f"{summary.header.get('name') or 'study'}{on} · {runs} run{'' if runs == 1 else 's'}{failed}"


def _verdict_card(summary: Summary, data: str) -> str:
    """The configuration that is best on validation, and what it gains over its scratch twins."""
    best = summary.best(data)
    on = f" on {html.escape(data)}" if len(summary.datasets) > 1 else ""
    if best is None:
        tuned = summary.tuning_of(data)[:1]
        return f'<div class="card verdict-card">{_tuned(summary, tuned[0], data, on)}</div>' if tuned else ""
    place = next(number for number, row in enumerate(summary.rows) if row is best)
    against = best.against("scratch")
    gain = ""
    if against is not None and "test/accuracy" in against.differences:
        found, word = against.differences["test/accuracy"], against.verdicts["test/accuracy"]
        said = f'<span class="verdict" data-word="{word.word}">{html.escape(str(word))}</span>' if word else ""
        gain = (
            f'<p class="gain">{said} <span class="difference">{html.escape(show_difference(found))}</span></p>'
            f'<p class="muted">test accuracy against its scratch twins, n = {found.n}</p>'
            f'<div class="interval-plot" data-configuration="{place}"></div>'
        )
    told = "".join(f"<p>{_emphasised(text.strip())}</p>" for text in sentences(summary, data))
    return (
        f'<div class="card verdict-card"><div><p class="muted">Best on validation{on}</p>'
        f'<p class="winner">{html.escape(best.group.label)}</p>'
        f'<p class="muted">test accuracy {html.escape(show(best.metrics.get("test/accuracy")))}, '
        f"n = {num_units(best)}</p></div>"
        f'<div>{gain}</div><div class="note">{told}</div></div>'
    )


def _tuned(summary: Summary, row: ResultRow, data: str, on: str) -> str:
    accuracy = html.escape(show(row.metrics["validation/accuracy"]))
    return (
        f'<div><p class="muted">Best on validation{on}, in a tuning phase</p>'
        f'<p class="winner">{html.escape(row.group.label)}</p>'
        f'<p class="muted">validation accuracy {accuracy}, n = {num_units(row)}</p></div><div></div>'
        f'<div class="note"><p>Chosen among {len(summary.tuning_of(data))}. A tuning phase looks at train and '
        "validation alone: nothing here was measured on the test set.</p></div>"
    )


def _foot(summary: Summary) -> str:
    """How it was measured, as the README of the report has it."""
    points = [line.removeprefix("- ") for line in methods(summary).splitlines()]
    return f"<ul>{''.join(f'<li>{_emphasised(point)}</li>' for point in points)}</ul>"


def _emphasised(text: str) -> str:
    """A line of Markdown as it is used in a report: ``**strong**`` and nothing else."""
    return re.sub(r"\*\*(.+?)\*\*", r"<strong>\1</strong>", html.escape(text))
