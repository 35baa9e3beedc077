"""``index.md`` of the benchmarks, written from ``bench.json`` and ``curves.json`` alone."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from plots import COST, SWEEPS

Entry = Mapping[str, Any]
BEGIN, END = "<!-- benchmarks -->", "<!-- /benchmarks -->"
_CURVES = {
    COST: (
        "by_size",
        "Milliseconds per student and step in a stack of K students, bands from the least to the largest of the "
        "repeats; the bare loop trains one student at a time on one thread.",
    ),
    SWEEPS: (
        "by_points",
        "Whole wall time of `kdlab run -m` with a finished teacher, latency off; one measurement a point.",
    ),
}  # fmt: skip


def page(entries: Sequence[Entry], curves: Mapping[str, Sequence[Entry]], files: Sequence[Path]) -> str:
    """The page."""
    parts = [
        "# How fast\n",
        "Every file here is written by `make bench`. Ratios come from both sides measured in turn in one run; values "
        "are medians, in brackets the least and the largest of the repeats. The task: MNIST-1D, student mlp "
        "40-100-100-10, batch 100, AdamW, a teacher (cnn1d of width 25 with BatchNorm) that exists beforehand on both "
        "sides.\n",
        _machines(entries),
        _table([entry for entry in entries if entry["must"] is not None]),
        "## Beside them\n",
        "What is told without a bar.\n",
        _table([entry for entry in entries if entry["must"] is None], bars=False),
        *_figures(curves, files),
        *_profiles(curves.get("profiles", ())),
        "## How each was measured\n",
        *[_how(entry) for entry in entries],
    ]
    return "\n".join(parts).rstrip() + "\n"


def in_readme(text: str, entries: Sequence[Entry], *, link: str) -> str:
    """The README with its block of benchmarks written anew: the lines that have a bar, and where the rest stands.

    Raises:
        ValueError: it has no block, or a line is no result.
    """
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not (begin and end):
        raise ValueError(f"no block {BEGIN} ... {END}")
    barred = [entry for entry in entries if entry["must"] is not None]
    if any(entry["quick"] for entry in barred):
        raise ValueError("tiny numbers are no result")
    words = (
        "`make bench` measures this, both sides of a ratio in turn in one run (medians, in brackets least and "
        "largest): MNIST-1D, student mlp 40-100-100-10, batch 100, 2,000 steps, teacher trained "
        "beforehand on both sides."
    )
    parts = [
        "",
        words,
        "",
        _machines(barred),
        _table(barred) + f"\n[How each was measured, and the curves]({link}).",
        "",
    ]
    return f"{before}{BEGIN}\n" + "\n".join(parts) + f"\n{END}{after}"


def _machines(entries: Sequence[Entry]) -> str:
    """One line for each distinct machine and set of versions, with the dates and the loads of its lines."""
    lines = []
    for key in dict.fromkeys((entry["machine"], entry["versions"]) for entry in entries):
        mine = [entry for entry in entries if (entry["machine"], entry["versions"]) == key]
        dates = sorted({entry["measured"][:10] for entry in mine})
        loads = [entry["load"] for entry in mine if entry["load"] is not None]
        load = f"others kept at most {max(loads):.2f} cores busy" if loads else "load of others unknown"
        discarded = sum(entry["discarded"] for entry in mine)
        again = f", {discarded} disturbed measurement{'s' if discarded > 1 else ''} taken again" if discarded else ""
        quick = " **Tiny numbers, for trying the harness: no result.**" if any(entry["quick"] for entry in mine) else ""
        lines.append(
            f"- {key[0]}; {key[1]}; {' to '.join(dict.fromkeys((dates[0], dates[-1])))}; {load}{again}.{quick}"
        )
    return "\n".join(lines) + "\n"


def _table(entries: Sequence[Entry], *, bars: bool = True) -> str:
    head = ["Figure", "Threads", "Measured", "Must", "Aim", "Met"] if bars else ["Figure", "Threads", "Measured"]
    rows = [head, [":--", "--:", *["--:"] * (3 if bars else 1), *([":--"] if bars else [])]]
    for entry in entries:
        row = [entry["title"], str(entry["threads"]), _measured(entry)]
        if bars:
            row += [_number(entry["must"]), _number(entry["aim"]), _met(entry)]
        rows.append(row)
    return "\n".join(f"| {' | '.join(row)} |" for row in rows) + "\n"


def _measured(entry: Entry) -> str:
    if entry["value"] is None:
        return f"**{entry['how']}**"
    unit = {"x": "x", "x faster": "x faster", "share": ""}.get(entry["unit"], entry["unit"])
    joint = "" if unit.startswith("x") else " "
    span = f" [{_number(entry['low'])}, {_number(entry['high'])}]" if entry["repeats"] > 1 else ""
    loaded = " **loaded**" if entry["loaded"] else ""
    return f"{_number(entry['value'])}{joint}{unit}{span}{loaded}".replace("  ", " ").strip()


def _met(entry: Entry) -> str:
    if entry["met"] is None:
        return "–"
    return ("yes, and the aim" if entry["aim_met"] else "yes") if entry["met"] else "**no**"


def _number(value: float | None) -> str:
    """Three significant digits, never an exponent.

    >>> _number(0.1372), _number(9), _number(123.4)
    ('0.137', '9', '123')
    """
    if value is None:
        return "–"
    if value == int(value) and abs(value) < 1e6:
        return str(int(value))
    return f"{value:.0f}" if abs(value) >= 100 else f"{value:.3g}"


def _figures(curves: Mapping[str, Sequence[Entry]], files: Sequence[Path]) -> list[str]:
    parts = []
    for name, (key, caption) in _CURVES.items():
        if f"{name}.png" in {file.name for file in files}:
            loaded = " **Some of it beside other load.**" if any(row["loaded"] for row in curves[key]) else ""
            parts.append(f"![{caption}]({name}.png)\n\n{caption}{loaded} Values: [curves.json](curves.json).\n")
    return parts


def _profiles(tables: Sequence[Entry]) -> list[str]:
    """What steps are made of, operation by operation."""
    if not tables:
        return []
    parts = [
        "## Where the time goes\n",
        "Microseconds by torch's profiler, of each operation by itself, one thread. The profiler makes small "
        "operations dearer than they are: read shares and differences.\n",
    ]
    for table in tables:
        rows = [["Operation", *table["columns"]], [":--", *["--:"] * len(table["columns"])]]
        rows += [[f"`{name}`" if ":" in name else name, *map(str, values)] for name, *values in table["rows"]]
        parts += [f"**{table['title']}**\n", "\n".join(f"| {' | '.join(row)} |" for row in rows) + "\n"]
    return parts


def _how(entry: Entry) -> str:
    repeats = f" {entry['repeats']} repeats." if entry["repeats"] > 1 else ""
    return f"- **{entry['title']}** (`{entry['figure']}`): {entry['how']}.{repeats}"
