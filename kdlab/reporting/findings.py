"""The index of findings: every claim of the literature in a line, with what was seen of it here, as one family.

Made from the reports under ``finding/``: the primary prediction of each. A finding without a report says why.
"""

import functools
import re
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from kdlab.records.atomic import write_text
from kdlab.reporting.aggregate import summarize
from kdlab.reporting.canvas import new_figure, save, style
from kdlab.reporting.compact import read_lines
from kdlab.reporting.families import AFTER_HOLM, Judged, judged
from kdlab.reporting.prediction_figure import Bar, bar_of, draw_bars, height_of
from kdlab.reporting.prediction_tables import show_effect, verdict_text
from kdlab.reporting.predictions import WORDS, Prediction, predictions_of
from kdlab.reporting.report import RECORDS, find_reports
from kdlab.reporting.table import NOTHING, Table, csv_text, markdown, parts

FOLDER = "finding"
FIGURE = "overview"
COLUMNS = ("Finding", "Claim", "Reference", "Effect", "n", "Verdict", "After Holm")


@dataclass(frozen=True)
class Finding:
    """A finding that has a report: its name, and its primary prediction on a data set as a member of the family."""

    name: str
    reference: str
    judged: Judged


@functools.cache
def catalogue() -> Mapping[str, Mapping[str, str]]:
    """Every finding: its claim, and where it is exact or cannot be tried yet."""
    import yaml

    found: dict[str, dict[str, str]] = yaml.safe_load((Path(__file__).parent / "findings.yaml").read_text("utf-8"))
    return found


def write_findings(reports: Path, *, sweeps: Collection[str]) -> list[Path]:
    """Write ``finding/README.md``, its table as CSV and its figure; nothing where no finding has a report.

    Args:
        reports: the root of the reports.
        sweeps: the findings that have a sweep file.

    Returns:
        The files written.
    """
    found = findings_in(reports)
    if not found:
        return []
    folder = reports / FOLDER
    drawn = draw_findings(found, folder)
    table = findings_table(found, sweeps=sweeps)
    write_text(folder / "findings.csv", csv_text(table))
    write_text(folder / "README.md", _text(found, table, is_drawn=bool(drawn)))
    return [folder / "README.md", folder / "findings.csv", *drawn]


def findings_in(reports: Path) -> list[Finding]:
    """The primary predictions of all reports under ``finding/``, corrected as one family."""
    folder = reports / FOLDER
    names = find_reports(folder) if folder.is_dir() else []
    primaries: list[tuple[str, str, Prediction]] = []
    for name in sorted(names, key=_order):
        summary = summarize(read_lines(folder / name / RECORDS))
        reference = str(summary.header.get("reference") or "").strip()
        every = [one for data in summary.datasets for one in predictions_of(summary, data)]
        primaries += [(name, reference, one) for one in every if one.said["primary"]]
    family = judged([one for *_, one in primaries])
    return [Finding(name, reference, one) for (name, reference, _), one in zip(primaries, family, strict=True)]


def _order(name: str) -> tuple[int, str]:
    number = re.match(r"F(\d+)", name)
    return int(number[1]) if number else 10_000, name


def findings_table(found: Sequence[Finding], *, sweeps: Collection[str]) -> Table:
    """A line for each finding, in the order of their numbers; what has no report says why."""
    reported = {one.name for one in found}
    lines: list[tuple[str, Sequence[str], Mapping[str, object]]] = [_line(one, found) for one in found]
    for name in {*catalogue(), *sweeps} - reported:
        about = catalogue().get(name, {})
        why = _why(name, about, sweeps=sweeps)
        claim = about.get("claim", NOTHING)
        cells = [name, claim, NOTHING, NOTHING, NOTHING, why, NOTHING]
        lines.append((name, cells, {"finding": name, "claim": claim, "status": why}))
    lines.sort(key=lambda line: _order(line[0]))
    commands = [f"kdlab sweep {FOLDER}/{name}" if name in {*reported, *sweeps} else "" for name, *_ in lines]
    rows, records = [cells for _, cells, _ in lines], [record for *_, record in lines]
    return Table("findings", "Findings of the literature", COLUMNS, rows, commands, records)


def _why(name: str, about: Mapping[str, str], *, sweeps: Collection[str]) -> str:
    """Why a finding has no report."""
    if name in sweeps:
        return f"not run: `kdlab sweep {FOLDER}/{name}`"
    if "exact" in about:
        return f"exact: {about['exact']}"
    return f"not built: needs {about['needs']}" if "needs" in about else "no sweep yet"


def _line(one: Finding, found: Sequence[Finding]) -> tuple[str, Sequence[str], Mapping[str, object]]:
    """A finding that has a report, with the data set where it has several."""
    seen = one.judged.prediction
    on = f" ({seen.data})" if sum(other.name == one.name for other in found) > 1 else ""
    n = str(seen.effect.n) if seen.effect else NOTHING
    claim, told = str(seen.said["claim"]).strip(), verdict_text(seen)
    cells = [f"[{one.name}]({one.name}/README.md){on}", claim, one.reference or NOTHING, show_effect(seen), n, told]
    record: dict[str, object] = {"finding": one.name, "claim": claim, "status": "run", "data": seen.data}
    record |= {"prediction": seen.name, "metric": ", ".join(seen.metrics), "predicted": seen.said["sign"]}
    record |= {"sesoi": seen.said["sesoi"], **parts("effect", seen.effect), "p": seen.p_value}
    record |= {"verdict": told, "adjusted p": one.judged.adjusted, "verdict after Holm": one.judged.word}
    return one.name, [*cells, one.judged.word], record


def score_text(found: Sequence[Finding]) -> str:
    """``9 reproduced, 2 opposite, 3 null, 6 inconclusive``, after Holm, and how many were corrected."""
    if not found:
        return "No finding has been run yet."
    after = Counter(_short(one.judged.word) for one in found)
    before = Counter(one.judged.prediction.outcome.word for one in found if one.judged.prediction.outcome)
    findings, listed = len({one.name for one in found}), len({_order(name)[0] for name in catalogue()})
    told = ", ".join(f"{after[word]} {word}" for word in WORDS)
    unread = len(found) - sum(after[word] for word in WORDS)
    left = f", {unread} without a verdict" if unread else ""
    family = sum(one.judged.adjusted is not None for one in found)
    return (
        f"Of {listed} findings of the literature {findings} have been run: **{told}**{left}, by the primary prediction "
        f"of each after Holm over {family} (before: {before['reproduced']} reproduced, {before['opposite']} opposite)."
    )


def _short(word: str) -> str:
    return "inconclusive" if word == AFTER_HOLM else word


def _text(found: Sequence[Finding], table: Table, *, is_drawn: bool) -> str:
    counted = Counter(str(row[5]).split(":")[0] for row in table.rows)
    rest = [f"{counted[word]} {said}" for word, said in _REST.items() if counted[word]]
    parts_of_page = [
        "<!-- Generated by `kdlab report`; every number comes from the records of the findings. Do not edit. -->\n",
        "# Findings of the literature, tried again\n",
        f"{score_text(found)}{' Of the others: ' + ', '.join(rest) + '.' if rest else ''}\n",
        *([f"![{_CAPTION}]({FIGURE}.png)\n\n*{_CAPTION}*\n"] if is_drawn else []),
        f"{_HOW}\n",
        f"{markdown(table)}\nThe same as [csv](findings.csv), with p, intervals and the command behind every row.\n",
    ]
    return "\n".join(parts_of_page)


_REST = {
    "exact": "exact and held by a test",
    "not run": "not run yet",
    "not built": "not built for want of what they need",
    "no sweep yet": "without a sweep",
}
_CAPTION = (
    "The primary effect of every finding in the direction that was predicted, in units of its smallest effect of "
    "interest, with its interval over pairs: in the green part it is as predicted, left of the band the opposite. "
    "Colours are verdicts after Holm: blue reproduced, orange opposite, a grey square no difference, hollow "
    "inconclusive."
)
_HOW = (
    "Each finding names its prediction, its statistic and its smallest effect of interest before it is run. "
    "reproduced: a difference is shown on the predicted side; opposite: on the other; null: shown to be no difference; "
    "inconclusive: none of these, with the number of pairs that would decide. Where no difference is predicted, a "
    "shown no difference is reproduced. After Holm: a shown difference whose p, adjusted over all of this page, "
    "exceeds .05 reads inconclusive. What is not reproduced with small networks on small data may hold for larger ones."
)


def draw_findings(found: Iterable[Finding], folder: Path) -> list[Path]:
    """The forest of all primary effects; nothing where none has an effect."""
    bars = [_bar(one) for one in found if one.judged.prediction.effect is not None]
    if not bars:
        return []
    with style():
        figure, axes = new_figure(9.4, 1.4 + sum(height_of(bar) for bar in bars))
        draw_bars(axes, bars)
        axes.set_title("Findings of the literature, tried again")
        axes.set_xlabel(
            "effect in the predicted direction, in units of its smallest effect of interest\n"
            "green: as predicted   grey: too small to matter   hollow: inconclusive after Holm",
            fontsize=9,
        )
        return save(figure, folder, FIGURE)


def _bar(one: Finding) -> Bar:
    """The row of a finding, turned so that the predicted side is on the right."""
    seen = one.judged.prediction
    bar = bar_of(seen, in_points=False, label=f"{one.name}  {seen.said['claim']}", told="")
    n = seen.effect.n if seen.effect else 0
    bar = bar._replace(word=_short(one.judged.word), told=f"{_short(one.judged.word)}, n = {n}\n{show_effect(seen)}")
    if bar.sign != "negative":
        return bar
    return bar._replace(sign="positive", estimate=-bar.estimate, low=-bar.high, high=-bar.low)
