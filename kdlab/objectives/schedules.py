"""Knobs and weights that change during a run: temperature annealing, warm-up, stages, early-stopped distillation.

A schedule is a pure function of the share of the run that is done, ``s`` in [0, 1]: 0 at the first optimizer step, 1 at
the last. So it means the same for every length of run, and a resumed run goes on where it was. In a config it stands in
the place of a number::

    objective.temperature: {_target_: kdlab.objectives.schedules.linear, start: 8.0, end: 1.0}

Written so it passes through every term that reads ``${objective.temperature}``; what a term is given at each step, a
number, is logged beside its value.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from kdlab import targets
from kdlab.errors import UserError

MODULE = "kdlab.objectives.schedules."


def linear(share: float, *, start: float, end: float, begin: float = 0.0, until: float = 1.0) -> float:
    """``start`` up to the share ``begin`` of the run, ``end`` from ``until`` on, a straight line between.

    >>> [linear(share, start=8, end=1) for share in (0, 0.5, 1)]
    [8.0, 4.5, 1.0]
    """
    return start + (end - start) * _between(share, begin, until)


def cosine(share: float, *, start: float, end: float, begin: float = 0.0, until: float = 1.0) -> float:
    """The same along half a cosine: flat at both ends (Loshchilov & Hutter 2017, arXiv:1608.03983).

    >>> [round(cosine(share, start=8, end=1), 3) for share in (0, 0.25, 1)]
    [8.0, 6.975, 1.0]
    """
    return end + (start - end) * (1 + math.cos(math.pi * _between(share, begin, until))) / 2


def steps(share: float, *, values: Sequence[float], at: Sequence[float] = ()) -> float:
    """``values[0]``, and the next one from each share in ``at`` on; without ``at`` each holds equally long.

    >>> [steps(share, values=[8, 4, 1], at=[0.5, 0.75]) for share in (0, 0.5, 0.8)]
    [8.0, 4.0, 1.0]
    """
    marks = at or [number / len(values) for number in range(1, len(values))]
    return float(values[sum(share >= mark for mark in marks)])


def window(share: float, *, value: float, begin: float = 0.0, until: float = 1.0, outside: float = 0.0) -> float:
    """``value`` from the share ``begin`` to before ``until``, ``outside`` elsewhere: a stage; ``until: 1`` has no end.

    >>> [window(share, value=0.9, until=0.25) for share in (0, 0.2, 0.25, 1)]
    [0.9, 0.9, 0.0, 0.0]
    """
    inside = begin <= share and (share < until or until >= 1)
    return float(value if inside else outside)


def remainder(share: float, *, of: Mapping[str, Any]) -> float:
    """1 minus another schedule: the weight of the labels where that of the soft targets is one."""
    return round(1 - _call(of, share), 12)


def _between(share: float, begin: float, until: float) -> float:
    """How far ``share`` is from ``begin`` to ``until``, in [0, 1]."""
    if until <= begin:
        return float(share >= until)
    return min(max((share - begin) / (until - begin), 0.0), 1.0)


SCHEDULES: Mapping[str, Callable[..., float]] = {
    MODULE + function.__name__: function for function in (linear, cosine, steps, window, remainder)
}
"""What may stand in the place of a number: import path -> function of the share of the run."""


def _call(spec: Mapping[str, Any], share: float) -> float:
    knobs = {name: value for name, value in spec.items() if name != "_target_"}
    return float(SCHEDULES[spec["_target_"]](share, **knobs))


@dataclass(frozen=True)
class Schedule:
    """A scheduled number of a run: called with the optimizer step, gives the number.

    Args:
        spec: ``_target_`` and knobs.
        num_steps: of the run.
    """

    spec: Mapping[str, Any]
    num_steps: int

    def __call__(self, step: int) -> float:
        """The number at an optimizer step, counted from 0."""
        return _call(self.spec, min(step / max(self.num_steps - 1, 1), 1.0))

    def __hash__(self) -> int:
        return hash(repr(self))

    @property
    def ends(self) -> list[float]:
        """The number at the first step, in the middle and at the last step."""
        return [self(step) for step in (0, self.num_steps // 2, self.num_steps - 1)]


@dataclass(frozen=True)
class Scheduled:
    """The numbers of K students at a step, ``[K]``, some of which change."""

    values: tuple[float | Schedule, ...]
    device: torch.device | None = None

    def __call__(self, step: int) -> Tensor:
        """``[K]`` float64."""
        numbers = [value(step) if isinstance(value, Schedule) else float(value) for value in self.values]
        return torch.tensor(numbers, dtype=torch.float64, device=self.device)


Changing = Schedule | Scheduled


def is_schedule(value: Any) -> bool:
    """Whether a value of a config is a schedule: a mapping that names code."""
    return isinstance(value, Mapping) and "_target_" in value


def schedule_errors(spec: Mapping[str, Any], *, key: str, holds: Callable[[Any], bool], words: str) -> list[str]:
    """What is wrong with a schedule at a key whose numbers are held to a rule: its target, its knobs, its numbers."""
    path = str(spec["_target_"])
    if path not in SCHEDULES:
        return [f"{key}._target_ = '{path}': no schedule; allowed: {', '.join(SCHEDULES)}"]
    inner = spec.get("of")
    if isinstance(inner, Mapping) and is_schedule(inner):
        return schedule_errors(inner, key=key, holds=lambda number: holds(1 - number), words=f"1 minus {words}")
    flat = {name: value for name, value in spec.items() if not isinstance(value, Mapping)}
    if problems := targets.spec_errors(flat, key=key, provided=("share", *(set(spec) - set(flat)))):
        return problems
    try:
        numbers = [_call(spec, at / 64) for at in range(65)]
    except (TypeError, ValueError, IndexError, KeyError, UserError) as error:
        return [f"{key} = {dict(spec)!r}: {error}"]
    bad = next((number for number in numbers if not holds(number)), None)
    return [] if bad is None else [f"{key} is {bad:g} at some step: {words} is needed"]
