"""What a study's file says of a sweep: its header, and who belongs to it through which point."""

import os
import shlex
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from kdlab.commands.grid import Axis, key_of
from kdlab.commands.planning import Point, Sweep
from kdlab.commands.predicting import predicted
from kdlab.experiments.planned import PlannedRun
from kdlab.records import studies
from kdlab.schema.bookkeeping import EVERY_ARM


def members_of(point: Point, *, kind: str = "run") -> list[studies.Member]:
    """Who belongs to the study through this point: the run, its scratch twin, its teacher and all behind it."""
    phase = point.config.study.phase

    def member(planned: PlannedRun, arm: str | None) -> studies.Member:
        return studies.Member(planned.run_id, planned.role, arm, phase, planned.overrides)

    found = []
    if kind == "run":
        found += [] if point.arm == "scratch" else [member(point.plan.run, point.arm)]
        found += [member(point.plan.twin, "scratch")]
    if (teacher := point.plan.teacher) is not None:
        found += [member(planned, "teacher") for planned in teacher.lineage()]
    return found


def joined_header(
    header: dict[str, Any], before: studies.Study | None, members: Sequence[studies.Member]
) -> dict[str, Any]:
    """The header of a study that is planned again: what adds nothing changes nothing, what adds is told beside it.

    A row that is run again by its own command must not leave its narrow grid as the command of the whole study.
    """
    if before is None or not before.header:
        return header
    header = {**header, "sesoi": before.header.get("sesoi", header["sesoi"])}  # fixed before the first runs
    there = {member.place for member in before.members}
    commands = str(before.header.get("command") or "").splitlines()
    if all(member.place in there for member in members):
        return {**header, "command": "\n".join(commands) or header["command"], "grid": before.header.get("grid", {})}
    grid = {key: list(values) for key, values in (before.header.get("grid") or {}).items()}
    for key, values in header["grid"].items():
        grid[key] = list(dict.fromkeys([*grid.get(key, []), *values]))
    return {**header, "command": "\n".join(dict.fromkeys([*commands, header["command"]])), "grid": grid}


def compared(pairs: Sequence[Sequence[str]], arms: Iterable[str]) -> list[list[str]]:
    """The comparisons of a study with ``*`` written out: every arm but the reference, each pair once.

    >>> compared([["*", "a"], ["b", "a"]], ["a", "b", "c"])
    [['b', 'a'], ['c', 'a']]
    """
    names = list(arms)
    every = [
        (arm, reference)
        for first, reference in pairs
        for arm in (names if first == EVERY_ARM else [first])
        if first != EVERY_ARM or arm != reference
    ]
    return [list(pair) for pair in dict.fromkeys(every)]


def study_header(
    sweep: Sweep,
    *,
    points: Sequence[Point],
    axes: Sequence[Axis],
    arguments: Sequence[str],
    config_dir: Path | None = None,
) -> dict[str, Any]:
    """The line a study opens with: its question, arms, comparisons and the command that makes it.

    The folder of the user's configs is told from where the user stands: a study names no path of a machine.
    """
    first = points[0].config
    words = [shlex.quote(line) for line in arguments if key_of(line) != "sweeps"]
    words += ["--config-dir", shlex.quote(os.path.relpath(config_dir))] if config_dir is not None else []
    plain = "kdlab teacher -m" if sweep.kind == "teacher" else "kdlab run -m"
    asked = first.study
    return {
        "name": sweep.name,
        "sweep": sweep.file,
        "command": " ".join([f"kdlab sweep {sweep.file}" if sweep.file else plain, *words]),
        "question": asked.question,
        "hypothesis": asked.hypothesis,
        "cost": asked.cost,
        "says": asked.says,
        **predicted(asked, first.report),
        "arms": asked.arms,
        "compare": compared(asked.compare, asked.arms),
        "sesoi": first.report.sesoi,
        "data": sorted({point.config.data.name for point in points}),
        "grid": {axis.key: [choice.split("=", 1)[1] for choice in axis.choices] for axis in axes},
    }
