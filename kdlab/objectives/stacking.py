"""The objectives of K students as one: what they share is computed once, what differs is a value per student.

Weights may differ, and the knobs that a term says may (``@term(per_student=...)``: T). Students whose objectives differ
in anything else (terms, a switch, a layer's name) have another ``structure`` and are computed in a pass of their own.
"""

from collections.abc import Sequence
from functools import partial
from typing import Any

import torch

from kdlab.objectives.objective import Objective
from kdlab.objectives.schedules import Schedule, Scheduled
from kdlab.objectives.term_spec import TermSpec

Structure = tuple[tuple[str, Any, tuple[tuple[str, str], ...]], ...]


def structure(objective: Objective) -> Structure:
    """What two objectives must have in common to be computed in one pass: names, terms, and knobs that are not values.

    Terms of weight 0 are no part of an objective.
    """
    found = []
    for spec in objective.active:
        fixed = sorted((knob, repr(value)) for knob, value in spec.knobs.items() if knob not in _per_student(spec))
        found.append((spec.name, spec.marked, tuple(fixed)))  # itself: two closures may have one name
    return tuple(found)


def merged(objectives: Sequence[Objective], *, device: torch.device | None = None) -> Objective:
    """One objective for K students: weights and values ``[K]`` where they differ.

    Args:
        objectives: of one structure.
        device: where the values are kept.

    Raises:
        ValueError: they have several structures.
    """
    if len({structure(objective) for objective in objectives}) != 1:
        raise ValueError("objectives of several structures cannot be computed in one pass")
    columns = zip(*(objective.active for objective in objectives), strict=True)
    return Objective({specs[0].name: _merged_term(specs, device=device) for specs in columns})


def _merged_term(specs: Sequence[TermSpec], *, device: torch.device | None) -> TermSpec:
    knobs = specs[0].knobs
    for knob in _per_student(specs[0]) & set(knobs):
        knobs[knob] = _column([spec.knobs[knob] for spec in specs], device=device)
    weight = _column([spec.weight for spec in specs], device=device)
    return TermSpec(function=partial(specs[0].marked, **knobs), weight=weight, name=specs[0].name)


def _column(values: Sequence[Any], *, device: torch.device | None) -> Any:
    """The value that all share, or ``[K]``; where one of them has a schedule, ``[K]`` at each step."""
    if len(set(values)) == 1:
        return values[0]
    if any(isinstance(value, Schedule) for value in values):
        return Scheduled(tuple(values), device)
    return torch.tensor([float(value) for value in values], dtype=torch.float64, device=device)


def _per_student(spec: TermSpec) -> frozenset[str]:
    found: frozenset[str] = getattr(spec.marked, "per_student", frozenset())
    return found
