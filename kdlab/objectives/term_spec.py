"""A term with its knobs bound and its weight: what an objective is made of."""

import inspect
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor

from kdlab import targets
from kdlab.objectives.layers import placed_knobs
from kdlab.objectives.marks import Reduction
from kdlab.objectives.schedules import Changing, Schedule, Scheduled, held

KEY = "objective.terms"


@dataclass(frozen=True)
class TermSpec:
    """A term with its knobs bound.

    Args:
        function: a ``functools.partial`` of a term; a knob may be a schedule, which the term gets as a number.
        weight: its absolute weight: a number, one per leading index, or a schedule.
        name: what it is called in overrides, logs and records.
    """

    function: Callable[..., Tensor]
    weight: float | Tensor | Changing
    name: str

    @property
    def marked(self) -> Any:
        """The function that carries the marks of ``@term``."""
        return self.function.func if isinstance(self.function, partial) else self.function

    @property
    def knobs(self) -> dict[str, Any]:
        """All knobs with their values, defaults included."""
        given = self.function.keywords if isinstance(self.function, partial) else {}
        return {**default_knobs(self.marked), **given}

    @property
    def needs(self) -> frozenset[str]:
        """What the teacher must provide."""
        return self._filled(self.marked.needs)

    @property
    def student_needs(self) -> frozenset[str]:
        """The features that the student must provide."""
        return self._filled(getattr(self.marked, "student_needs", ()))

    def _filled(self, names: Iterable[str]) -> frozenset[str]:
        """Names with the values of knobs in the place of ``{knob}``; a knob that is a list makes one name of each."""
        knobs = self.knobs
        lists = {knob: value for knob, value in knobs.items() if isinstance(value, list | tuple)}
        found = set()
        for name in names:
            several = next((knob for knob in lists if f"{{{knob}}}" in name), None)
            choices = [knobs] if several is None else [{**knobs, several: one} for one in lists[several]]
            found |= {name.format_map(chosen) for chosen in choices}
        return frozenset(found)

    @property
    def modules(self) -> dict[str, Callable[..., Any]]:
        """What builds its modules, by the name of the argument that each is passed as."""
        return dict(getattr(self.marked, "modules", {}))

    @property
    def built_with(self) -> set[str]:
        """The knobs that its modules are built with, once, before the first step."""
        return {knob for make in self.modules.values() for knob in targets.parameters(make)[0]}

    @property
    def shaping(self) -> set[str]:
        """The knobs that may shape its modules: all but those that may differ within a stack."""
        return set(self.knobs) - set(getattr(self.marked, "per_student", ()))

    @property
    def reduction(self) -> Reduction:
        """How per-example values are reduced."""
        found: Reduction = self.marked.reduction
        return found

    @property
    def is_active(self) -> bool:
        """Whether the weight is not 0 for every student in every step."""
        if isinstance(self.weight, Schedule):
            return held(self.weight.spec, num_steps=self.weight.num_steps) != 0
        return isinstance(self.weight, Scheduled) or bool((torch.as_tensor(self.weight) != 0).any())

    @property
    def changing(self) -> dict[str, Changing]:
        """The knobs that a schedule changes, and ``weight`` where that does."""
        every = {**self.knobs, "weight": self.weight}
        return {name: value for name, value in every.items() if isinstance(value, Schedule | Scheduled)}

    def at(self, step: int) -> "TermSpec":
        """The same with the numbers of a step in the place of schedules."""
        numbers: dict[str, Any] = {name: value(step) for name, value in self.changing.items()}
        if not numbers:
            return self
        weight = numbers.pop("weight", self.weight)
        return TermSpec(partial(self.function, **numbers), weight, self.name)

    def placed(self, stages: Mapping[str, Sequence[str]]) -> "TermSpec":
        """The same with names of layers in the place of words (``layers``)."""
        names = placed_knobs(self.knobs, stages=stages, key=f"{KEY}.{self.name}")
        return TermSpec(partial(self.function, **names), self.weight, self.name) if names else self


def default_knobs(function: Callable[..., Any]) -> dict[str, Any]:
    """The knobs of a term that have a default, with it."""
    named = targets.parameters(function)[0]
    return {name: p.default for name, p in named.items() if p.default is not inspect.Parameter.empty}
