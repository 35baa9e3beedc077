"""From references to values: which group an arm is, what its runs, their twins and their teachers measured, by pair."""

from collections.abc import Iterable, Sequence

import numpy as np

from kdlab.arrays import FloatArray
from kdlab.references import Reference, parse_reference
from kdlab.reporting.aggregate import Summary, metric_rows, seed_means
from kdlab.reporting.compact import Line
from kdlab.reporting.groups import TUNE, Group
from kdlab.reporting.intervals import Row, Seeds
from kdlab.reporting.statistics import Column


class UnresolvedError(LookupError):
    """A reference that has no value: nothing ran, nothing was measured, or it is not clear what is meant."""


def group_of(summary: Summary, data: str, arm: str) -> Group:
    """The one group of an arm on a data set.

    Raises:
        UnresolvedError: no run of the arm has finished, or it stands in several groups.
    """
    there = [
        row.group
        for row in summary.rows_of(data)
        if arm in row.group.arms and row.group.phase != TUNE and row.group.runs
    ]
    taught = [group for group in there if group.role == "student"]
    found = taught or there  # an arm on labels alone is recorded as the scratch twin that it is
    if not found:
        raise UnresolvedError(f"no run of {arm} has finished")
    if len(found) > 1:
        raise UnresolvedError(f"{arm} stands in {len(found)} groups: {', '.join(group.label for group in found)}")
    return found[0]


def rows_of(summary: Summary, group: Group, reference: Reference, metric: str) -> list[Row]:
    """What a reference measured, a row for each run of its arm, with the seeds of that run.

    Raises:
        UnresolvedError: the metric is defined for none of them.
    """
    if reference.who == "arm":
        rows = metric_rows(group, metric)
    else:
        others = (_other(summary, run, reference) for run in group.runs)
        rows = [
            Row(*seeds, value)
            for seeds, other in zip(group.units, others, strict=True)
            if other is not None and (value := other["metrics"].get(metric)) is not None
        ]
    if not rows:
        raise UnresolvedError(f"{reference._replace(metric=None)} has no {metric}")
    return rows


def _other(summary: Summary, run: Line, reference: Reference) -> Line | None:
    """The finished twin of a run (a network on labels alone is its own), or its finished teacher."""
    if reference.who == "scratch" and run["role"] == "scratch":
        return run
    name = run.get("twin") if reference.who == "scratch" else (run.get("teacher") or {}).get("id")
    other = summary.by_id.get(name or "")
    return other if other is not None and other["status"] == "finished" else None


def groups_read(summary: Summary, data: str, references: Iterable[str]) -> list[Group]:
    """The groups of the arms that references name, each once.

    Raises:
        UnresolvedError: as :func:`group_of`.
    """
    arms = dict.fromkeys(parse_reference(text).arm for text in references)
    return [group_of(summary, data, arm) for arm in arms]


def columns_by_pair(summary: Summary, data: str, columns: Sequence[Column]) -> tuple[list[Seeds], FloatArray]:
    """The values of columns in every pair that has all of them: its seeds, and ``[columns, pairs]``.

    Raises:
        UnresolvedError: a reference has no value, or no pair has all of them.
    """
    asked = list(dict.fromkeys((text, column.metric) for column in columns for text in column.references))
    found = []
    for text, metric in asked:
        reference = parse_reference(text)
        found.append(rows_of(summary, group_of(summary, data, reference.arm), reference, reference.metric or metric))
    seeds, values = paired(found)
    if not seeds:
        raise UnresolvedError("no pair has all the values: the arms share no seeds")
    places = {key: place for place, key in enumerate(asked)}
    means = [values[[places[text, column.metric] for text in column.references]].mean(axis=0) for column in columns]
    return seeds, np.stack(means)


def paired(columns: Sequence[Sequence[Row]]) -> tuple[list[Seeds], FloatArray]:
    """Rows of several columns joined on (data seed, teacher seed, student seed), as differences are paired.

    Rows without a teacher join on the student seed (with the data seed, where that is told apart).
    """
    taught = [any(row.teacher_seed is not None for row in rows) for rows in columns]
    means = [seed_means(rows, full=full) for rows, full in zip(columns, taught, strict=True)]
    first = taught.index(True) if any(taught) else 0
    seeds, values = [], []
    for key in sorted(means[first][0], key=lambda key: tuple((seed is not None, seed or 0) for seed in key)):
        data, _, student = key
        line = [
            exact.get(key) if full else exact.get((data, None, student), loose.get(student))
            for (exact, loose), full in zip(means, taught, strict=True)
        ]
        told = [value for value in line if value is not None]
        if len(told) == len(line):
            seeds.append(key)
            values.append(told)
    return seeds, np.array(values, dtype=np.float64).T


def rows_by_pair(seeds: Sequence[Seeds], values: FloatArray) -> list[Row]:
    """One value a pair, ``[pairs]``, as the rows that intervals are taken of."""
    return [Row(*seed, float(value)) for seed, value in zip(seeds, values, strict=True)]
