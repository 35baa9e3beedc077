"""The part of a report that says how often the diagnosis was right, made of ``diagnoses.jsonl`` alone."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from kdlab.records.atomic import write_text
from kdlab.reporting.diagnosis.rows import DIAGNOSES, Case, by_arm, effects, poor_recipes, read_cases
from kdlab.reporting.diagnosis.scores import (
    HARMFUL,
    LEAST_F1,
    MOST_FALSE_ALARMS,
    Detection,
    confusion,
    counting,
    detections,
    false_alarms,
    macro_f1,
    share,
    without_labels,
)
from kdlab.reporting.diagnosis.tables import confusion_table, detection_table, healthy_table, percent
from kdlab.reporting.table import Table, csv_text, markdown


class Pages(NamedTuple):
    """What was written, and the section of the README that shows it."""

    files: list[Path]
    text: str


def diagnosis_pages(folder: Path, *, figures: bool = True) -> Pages:
    """Tables, figures and text; nothing where the folder has no ``diagnoses.jsonl`` of planted failures.

    Args:
        folder: of the report.
        figures: False leaves them out.
    """
    path = folder / DIAGNOSES
    cases = read_cases(path) if path.is_file() else []
    if not cases:
        return Pages([], "")
    arms, effect = by_arm(cases), effects(cases)
    scored, found = counting(cases, effect), detections(arms, effect)
    tables = [confusion_table(scored), detection_table(found), healthy_table(arms)]
    files, drawn = _write_tables(tables, folder / "tables"), ["", ""]
    if figures:
        from kdlab.reporting.diagnosis.figures import draw_confusion, draw_detection

        for at, made in enumerate(
            (
                draw_confusion(confusion(scored), folder / "figures", "diagnosis_confusion"),
                draw_detection(found, folder / "figures", "diagnosis_detection"),
            )
        ):
            files += made
            drawn[at] = f"![](figures/{made[0].name})\n"
    return Pages(files, "\n".join(_text(cases, effect, scored, found, tables, drawn)))


def _write_tables(tables: Sequence[Table], folder: Path) -> list[Path]:
    folder.mkdir(parents=True, exist_ok=True)
    files = []
    for table in tables:
        for suffix, text in (("md", f"# {table.title}\n\n{markdown(table)}"), ("csv", csv_text(table))):
            files.append(folder / f"{table.name}.{suffix}")
            write_text(files[-1], text)
    return files


def _text(
    cases: Sequence[Case],
    effect: Mapping[str, float],
    scored: Sequence[Case],
    found: Sequence[Detection],
    tables: Sequence[Table],
    drawn: Sequence[str],
) -> list[str]:
    confused, detected, healthy = (markdown(table) for table in tables)
    return [
        "## Diagnosis\n",
        *_headline(cases, effect),
        f"Counted are healthy runs and single failures whose arm changes accuracy by more than {100 * HARMFUL:g} "
        "points against the healthy arm of the same recipe and seeds (on the shifted sample where a shift was "
        "planted).\n",
        drawn[0],
        confused,
        f"### Detection by severity, {len(cases)} diagnosed runs\n",
        "All seen: every planted failure fired. Named first: one of them is the primary diagnosis. Effect: points "
        "against the healthy arm of its recipe. To scratch: points against the scratch twins, the harm that the "
        "diagnosis can see.\n",
        drawn[1],
        detected,
        "### False alarms on healthy recipes\n",
        healthy,
    ]


def _headline(cases: Sequence[Case], effect: Mapping[str, float]) -> list[str]:
    """The two bars, met or not, and the pairs."""
    lines, alarms = [], false_alarms(cases)
    for costs_alone, told in ((False, "change"), (True, "cost")):
        scored = counting(cases, effect, costs_alone=costs_alone)
        score = macro_f1(confusion(scored))
        met = "met" if score >= LEAST_F1 else "not met"
        which = f"where failures {told} more than {100 * HARMFUL:g} points ({len(scored)} runs)"
        lines.append(f"- Macro-F1 {score:.3f} {which}; the bar of {LEAST_F1:g} is {met}.")
    if alarms is not None:
        met = "met" if alarms.value <= MOST_FALSE_ALARMS else "not met"
        told = f"; the bar of {100 * MOST_FALSE_ALARMS:g} % is {met}"
        lines.append(f"- False alarms on healthy runs: {percent(alarms)}{told}.")
        lines += _without_poor(cases)
    pairs = [case for case in cases if len(case.planted.names) > 1]
    if pairs:
        first = share(sum(case.primary in case.planted.names for case in pairs), len(pairs))
        both = share(sum(set(case.planted.names) <= set(case.fired) for case in pairs), len(pairs))
        lines.append(f"- Pairs: one of the two is named first in {percent(first)}, both are seen in {percent(both)}.")
    if (blind := without_labels(cases, effect)) is not None:
        lines.append(
            f"- A shift, in arms that lose more than {100 * HARMFUL:g} points, is seen without labels, by agreement "
            f"with the teacher alone, in {percent(blind.seen)}; in {percent(blind.false)} where none was planted."
        )
    open_ones = sum(bool(case.undecided) for case in cases)
    lines += [f"- In {open_ones} runs a rule lacked a measurement."] if open_ones else []
    return ["\n".join(lines) + "\n"]


def _without_poor(cases: Sequence[Case]) -> list[str]:
    """The same without recipes that are none to be called healthy; they count above all the same."""
    poor = poor_recipes(cases, beyond=HARMFUL)
    rest = false_alarms([case for case in cases if case.arm not in poor])
    if not poor or rest is None:
        return []
    named = ", ".join(sorted(f"`{arm}`" for arm in poor))
    which = f"{named}, which cost{'s' * (len(poor) == 1)} more than {100 * HARMFUL:g} points against `healthy_recipe`"
    return [f"- Without {which}: {percent(rest)}."]
