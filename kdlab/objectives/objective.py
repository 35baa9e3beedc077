"""The objective: a named, weighted sum of terms, ``loss = sum_name weight * term``, with absolute weights.

A term whose weight is 0 for the whole run is no part of it: it is not computed, needs nothing of the teacher and stays
out of the run's identity together with its knobs. So alpha = 0 *is* the scratch student, and the loss is continuous at
alpha 0 and 1 because nothing else changes there.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor

from kdlab.errors import UserError, nearest
from kdlab.objectives.marks import reduce_rows
from kdlab.objectives.schedules import Changing, Schedule, Scheduled, is_schedule
from kdlab.objectives.specs import objective_errors, term_spec, value_errors
from kdlab.objectives.term_spec import KEY, TermSpec
from kdlab.outputs import Batch, ModelOutput, TeacherOutput
from kdlab.rounding import one_minus as one_minus

Modules = Mapping[str, Mapping[str, Callable[..., Any]]]
"""What terms learn or remember beside the student: term -> name of the argument -> module, or a stack of them."""
FEW = 8
"""How many things that a network provides a message lists; of more it names the nearest."""


class ObjectiveValue(NamedTuple):
    """The loss and its parts, ``[...]`` each (one number per student of a stack). Parts are unweighted."""

    loss: Tensor
    terms: dict[str, Tensor]


class Objective:
    """A mapping of named terms, called with the outputs of a step.

    Args:
        terms: name -> TermSpec.

    Raises:
        UserError: a weight or a knob is out of its range, or every weight is 0.
    """

    def __init__(self, terms: Mapping[str, TermSpec]) -> None:
        problems = [problem for name, spec in terms.items() for problem in value_errors(spec, name=name)]
        if not problems and not any(spec.is_active for spec in terms.values()):
            problems = [f"{KEY}: at least one term with a weight above 0 is needed, got {sorted(terms) or 'none'}"]
        if problems:
            raise UserError("\n".join(problems))
        # sorted, so that the order of a config changes no bit of the sum
        self.terms: dict[str, TermSpec] = {name: terms[name] for name in sorted(terms)}
        #: The terms whose weight is not 0 for every student.
        self.active = [spec for spec in self.terms.values() if spec.is_active]
        self._is_scheduled = any(spec.changing for spec in self.active)

    @classmethod
    def from_specs(cls, specs: Mapping[str, Mapping[str, Any]], *, num_steps: int | None = None) -> "Objective":
        """The objective of a config: ``{name: {"_target_": path, "weight": w, **knobs}}``.

        Args:
            specs: a knob or a weight may be the spec of a schedule.
            num_steps: optimizer steps of the run, which schedules are spread over; needed where there is one.

        Raises:
            UserError: listing every mistake in the specs.
        """
        problems = objective_errors(specs)
        if num_steps is None and any(is_schedule(value) for spec in specs.values() for value in spec.values()):
            problems.append(f"{KEY} has a schedule: num_steps, the optimizer steps of the run, is needed")
        if problems:
            raise UserError("\n".join(problems))
        return cls({name: term_spec(name, spec, num_steps=num_steps or 1) for name, spec in specs.items()})

    def placed(self, *, student: Sequence[str], teacher: Sequence[str]) -> "Objective":
        """The same objective with names of layers in the place of ``first``, ``middle``, ``last`` and ``all``.

        Args:
            student: the stages of the student.
            teacher: the stages of the teacher.

        Raises:
            UserError: a word stands for a layer of a network that names no stages, or layers do not pair up.
        """
        stages = {"student": student, "teacher": teacher}
        return Objective({spec.name: spec.placed(stages) if spec.is_active else spec for spec in self.terms.values()})

    @property
    def layers(self) -> dict[str, Any]:
        """Which layers the terms that count compare: ``<term>.<knob>`` -> name, or names."""
        return {
            f"{spec.name}.{knob}": value
            for spec in self.active
            for knob, value in spec.knobs.items()
            if knob.endswith(("_layer", "_layers"))
        }

    @property
    def builders(self) -> dict[str, dict[str, Callable[..., Any]]]:
        """What builds the modules of the terms that count, for one student: term -> argument -> ``make(setting)``."""
        return {
            spec.name: {name: partial(make, **spec.at(0).knobs) for name, make in spec.modules.items()}
            for spec in self.active
            if spec.modules
        }

    @property
    def fixed_modules(self) -> list[tuple[str, Any, list[tuple[str, str]]]]:
        """What students of one stack must share of the terms that learn: names, terms, knobs that shape modules."""
        return [
            (spec.name, spec.marked, sorted((knob, repr(spec.knobs[knob])) for knob in spec.shaping))
            for spec in self.active
            if spec.modules
        ]

    def scheduled(self, step: int) -> dict[str, float | Tensor]:
        """What schedules say at a step: ``<term>.<knob>`` -> number, or one per leading index."""
        return {f"{spec.name}.{name}": value(step) for spec in self.active for name, value in spec.changing.items()}

    @property
    def needs(self) -> frozenset[str]:
        """What the teacher must provide for the terms that count."""
        return frozenset().union(*(spec.needs for spec in self.active))

    @property
    def teacher_features(self) -> frozenset[str]:
        """The names of the features that the terms that count read of the teacher."""
        return _features(self.needs)

    @property
    def student_features(self) -> frozenset[str]:
        """The names of the features that they read of the student."""
        return _features(frozenset().union(*(spec.student_needs for spec in self.active)))

    def check(self, provides: frozenset[str], *, student: frozenset[str] | None = None) -> None:
        """Refuse networks that cannot give what the terms need, before any work.

        Args:
            provides: what the teacher provides.
            student: what the student provides; None where that is not known.

        Raises:
            UserError: naming each term and what it misses.
        """
        problems = []
        for spec in self.active:
            asked = [("teacher", spec.needs, provides)]
            if student is not None:
                asked.append(("student", spec.student_needs, student))
            for who, needs, given in asked:
                missing = sorted(needs - given)
                if missing:
                    told = ", ".join(sorted(given)) if len(given) <= FEW else nearest(missing[0], given)
                    what = f"which provides {told or 'nothing'}" if len(given) <= FEW else told
                    problems.append(f"{KEY}.{spec.name} needs {', '.join(missing)} of the {who}, {what}")
        if problems:
            raise UserError("\n".join(problems))

    def weights(self) -> dict[str, Any]:
        """Effective weight of every term that counts; of a scheduled one at the first, a middle and the last step."""
        return {spec.name: _told(spec.weight) for spec in self.active}

    def __call__(
        self,
        student: ModelOutput,
        teacher: TeacherOutput | None,
        batch: Batch,
        step: int,
        modules: Modules | None = None,
    ) -> ObjectiveValue:
        """The loss of a step.

        Args:
            student: logits ``[..., B, C]`` and features.
            teacher: the same of the teacher, or None where no term needs it.
            batch: labels, index and the mask of labelled rows.
            step: number of optimizer steps done, for scheduled terms.
            modules: what the terms learn or remember beside the student, as ``builders`` made it.
        """
        labelled = None if batch.all_labelled else batch.labelled
        specs = [spec.at(step) for spec in self.active] if self._is_scheduled else self.active
        values = {}
        for spec in specs:
            own = {} if modules is None else modules.get(spec.name, {})
            rows = spec.function(student, teacher, batch, step, **own)
            values[spec.name] = reduce_rows(rows, labelled, reduction=spec.reduction)
        first, *others = specs
        loss = weighted(values[first.name], weight=_number(first))
        for spec in others:
            loss = plus_weighted(loss, values[spec.name], weight=_number(spec))
        return ObjectiveValue(loss, values)


def _number(spec: TermSpec) -> float | Tensor:
    """The weight of a term at a step, where no schedule is left."""
    assert not isinstance(spec.weight, Schedule | Scheduled)
    return spec.weight


def _told(weight: float | Tensor | Changing) -> Any:
    """A weight as plain Python."""
    if isinstance(weight, Schedule):
        return weight.ends
    if isinstance(weight, Scheduled):
        return weight(0).tolist()
    return weight.tolist() if isinstance(weight, Tensor) else float(weight)


def _features(names: Iterable[str]) -> frozenset[str]:
    return frozenset(name.removeprefix("features.") for name in names if name.startswith("features."))


def weighted(value: Tensor, *, weight: float | Tensor) -> Tensor:
    """``weight * value``; a student of weight 0 gets exactly 0, even where the value is not finite."""
    if not isinstance(weight, Tensor):
        return weight * value
    weight = weight.to(device=value.device, dtype=value.dtype)
    return weight * torch.where(weight == 0, 0, value)


def plus_weighted(total: Tensor, value: Tensor, *, weight: float | Tensor) -> Tensor:
    """``total + weight * value``, a plain number in one operation: of a small student each is a hundredth of a step."""
    return total + weighted(value, weight=weight) if isinstance(weight, Tensor) else total.add(value, alpha=weight)


def distillation(*, temperature: float, alpha: float, t2_scaling: bool = True) -> Objective:
    """``(1 - alpha) * CE(labels, student) + alpha * T^2 * KL(teacher_T || student_T)``, as an objective.

    Args:
        temperature: T > 0, of teacher and student.
        alpha: weight of the soft targets, in [0, 1]; the labels have the rest.
        t2_scaling: whether the KL is multiplied by T^2.

    >>> distillation(temperature=4, alpha=0.9).weights()
    {'hard_labels': 0.1, 'soft_targets': 0.9}
    """
    if isinstance(alpha, bool) or not isinstance(alpha, int | float) or not 0 <= alpha <= 1:
        raise UserError(f"alpha = {alpha!r}: a number in [0, 1] is needed")
    soft = {"temperature": temperature, "t2_scaling": t2_scaling, "weight": alpha}
    return Objective.from_specs(
        {
            "hard_labels": {"_target_": "kdlab.objectives.terms.hard_labels", "weight": one_minus(alpha)},
            "soft_targets": {"_target_": "kdlab.objectives.terms.soft_targets", **soft},
        }
    )
