"""The runs of a study by columns: all that the compact record of each of them knows."""

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from kdlab.reporting.aggregate import Summary
from kdlab.reporting.compact import Line
from kdlab.reporting.groups import Group, group_runs, is_seed, parse_overrides, quality_of, rerun_command
from kdlab.reporting.page.columns import Column, column, numbers, short

#: What a record says of a run as it is, beside what has columns of its own.
FACTS = ("run_id", "role", "status", "data", "members", "undefined", "sizes", "slices", "commit", "dirty", "versions")


def runs_by_columns(summary: Summary, groups: Sequence[Group], *, curves: Sequence[str], metrics: Sequence[str],
                    whole: bool) -> dict[str, Any]:  # fmt: skip
    """Every run, finished or failed.

    Args:
        summary: the study.
        groups: its configurations, in the order in which the page has them.
        curves: the keys of the curves that are kept.
        metrics: the keys of the metrics that are kept.
        whole: False leaves out the config that trains the network and the bins of the reliability diagram.
    """
    runs = list(summary.by_id.values())
    mine = places(summary, groups)
    made: dict[str, Any] = {name: column(run.get(name) for run in runs) for name in FACTS}
    made |= {
        "quality": column(quality_of(run) for run in runs),
        "configurations": column(mine.get(run["run_id"], []) for run in runs),
        "command": column(_command(run, mine, groups, summary.header) for run in runs),
        "error": column(run.get("error") for run in runs),
        "twin": column(run.get("twin") for run in runs),
        "parent": column(run.get("parent") for run in runs),
        "teacher": column(short(run.get("teacher")) for run in runs),
        "seeds": {
            name: column((run.get("seeds") or {}).get(name) for run in runs) for name in ("student", "teacher", "data")
        },
        "metrics": _metrics(runs, metrics),
        "curves": {key: _curve(runs, key) for key in curves},
    }
    if whole:
        made["identity"] = column(short(run.get("identity")) for run in runs)
        made["bins"] = column(short((run.get("bins") or {}).get("test")) for run in runs)
    return made


def _metrics(runs: Iterable[Line], keys: Sequence[str]) -> dict[str, Column]:
    """The metrics, each a column; a record is walked once for all of its keys, as memory likes it in a large study."""
    rows = [list(map(run["metrics"].get, keys)) for run in runs]
    return {key: numbers(values) for key, values in zip(keys, zip(*rows, strict=True), strict=True)} if rows else {}


def _curve(runs: Iterable[Line], key: str) -> dict[str, Column]:
    """The steps, which many runs share, and the values of a curve."""
    points = [run["curves"].get(key) or [] for run in runs]
    return {
        "steps": column([step for step, _ in one] for one in points),
        "values": [[short(value) for _, value in one] for one in points],
    }


def places(summary: Summary, groups: Sequence[Group]) -> dict[str, list[int]]:
    """Run id -> the configurations it belongs to; a failed run belongs to the one it would have had a place in."""
    known = {(group.data, group.label): place for place, group in enumerate(groups)}
    whole = groups
    if summary.failed:  # groups know their failed runs by number alone
        as_finished = ({**run, "status": "finished"} for run in summary.by_id.values())
        whole = group_runs(as_finished, header=summary.header)
    found: dict[str, list[int]] = {}
    for group in whole:
        for run in group.runs:
            found.setdefault(run["run_id"], []).append(known[group.data, group.label])
    return found


def _command(
    run: Line, mine: Mapping[str, list[int]], groups: Sequence[Group], header: Mapping[str, Any]
) -> str | None:
    """The command that makes this run again: that of its configuration with its own seeds."""
    place = mine.get(run["run_id"])
    if not place:
        return None
    group = groups[place[0]]
    asked = [parse_overrides(member["overrides"]) for member in run["members"]]
    own = {key: (value,) for key, value in (asked[0] if asked else {}).items() if is_seed(key)}
    seed = run["seeds"].get("teacher" if run["role"] == "teacher" else "student")
    if not own and seed is not None:
        own = {"teacher.seed" if run["role"] == "teacher" else "seed": (str(seed),)}
    return rerun_command(dataclasses.replace(group, seeds=own), header=header)
