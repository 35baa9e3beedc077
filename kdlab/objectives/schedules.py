"""Knobs and weights that change during a run: temperature annealing, warm-up, stages, early-stopped distillation.

A schedule is a pure function of the share of the run that is done, ``s`` in [0, 1]: 0 at the first optimizer step, 1 at
the last. So it means the same for every length of run, and a resumed run goes on where it was. In a config it stands in
the place of a number::

    objective.temperature: {_target_: kdlab.objectives.schedules.linear, start: 8.0, end: 1.0}

Written so it passes through every term that reads ``${objective.temperature}``; what a term is given at each step, a
number, is logged beside its value.

Between two breakpoints a schedule only rises or only falls, and at a jump it has the number it goes on with: what holds
at every breakpoint holds at every step of every run.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

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
    return float(values[sum(share >= mark for mark in _marks(values, at))])


def window(share: float, *, value: float, begin: float = 0.0, until: float = 1.0, outside: float = 0.0) -> float:
    """``value`` from the share ``begin`` to before ``until``, ``outside`` elsewhere: a stage; ``until: 1`` has no end.

    >>> [window(share, value=0.9, until=0.25) for share in (0, 0.2, 0.25, 1)]
    [0.9, 0.9, 0.0, 0.0]
    """
    inside = begin <= share and (share < until or until >= 1)
    return float(value if inside else outside)


def remainder(share: float, *, of: Mapping[str, Any]) -> float:
    """1 minus another schedule: the weight of the labels where that of the soft targets is one."""
    return round(1 - number_at(of, share), 12)


def _marks(values: Sequence[float], at: Sequence[float]) -> Sequence[float]:
    """The shares at which each value but the first begins."""
    return at or [number / len(values) for number in range(1, len(values))]


def _between(share: float, begin: float, until: float) -> float:
    """How far ``share`` is from ``begin`` to ``until``, in [0, 1]."""
    if until <= begin:
        return float(share >= until)
    return min(max((share - begin) / (until - begin), 0.0), 1.0)


SCHEDULES: Mapping[str, Callable[..., float]] = {
    MODULE + function.__name__: function for function in (linear, cosine, steps, window, remainder)
}
"""What may stand in the place of a number: import path -> function of the share of the run."""


def number_at(spec: Mapping[str, Any], share: float) -> float:
    """What a sound spec says at a share of the run."""
    knobs = {name: value for name, value in spec.items() if name != "_target_"}
    return float(SCHEDULES[spec["_target_"]](share, **knobs))


def breakpoints(spec: Mapping[str, Any]) -> set[float]:
    """The shares at which a schedule may turn or jump, the first and the last among them."""
    if "of" in spec:
        return breakpoints(spec["of"])
    marks = _marks(spec["values"], spec.get("at", ())) if "values" in spec else ()
    return {0.0, 1.0, *marks, *(spec[name] for name in ("begin", "until") if name in spec)}


def held(spec: Mapping[str, Any], *, num_steps: int) -> float | None:
    """The number that a schedule says at all steps of a run; None where it changes.

    >>> [held({"_target_": MODULE + "window", "value": 1, "begin": 0.4, "until": 0.5}, num_steps=n) for n in (3, 6, 9)]
    [0.0, None, 0.0]
    """
    schedule, last = Schedule(spec, num_steps), num_steps - 1
    beside = {math.floor(share * last) + off for share in breakpoints(spec) for off in (-1, 0, 1, 2)}
    said = {schedule(step) for step in beside if 0 <= step <= last}
    return said.pop() if len(said) == 1 else None


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
        return number_at(self.spec, min(step / max(self.num_steps - 1, 1), 1.0))

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
