"""The objective: a named, weighted sum of terms, ``loss = sum_name weight * term``, with absolute weights.

A term whose weight is 0 for the whole run is no part of it: it is not computed, needs nothing of the teacher and stays
out of the run's identity together with its knobs. So alpha = 0 *is* the scratch student, and the loss is continuous at
alpha 0 and 1 because nothing else changes there.
"""

import inspect
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor

from kdlab import targets
from kdlab.errors import UserError, nearest
from kdlab.objectives.marks import Reduction, non_negative, reduce_rows, rule_errors
from kdlab.outputs import Batch, ModelOutput, TeacherOutput
from kdlab.rounding import one_minus as one_minus

PROVIDED = ("student", "teacher", "batch", "step")
KEY = "objective.terms"
FEW = 8
"""How many things that a network provides a message lists; of more it names the nearest."""


class ObjectiveValue(NamedTuple):
    """The loss and its parts, ``[...]`` each (one number per student of a stack). Parts are unweighted."""

    loss: Tensor
    terms: dict[str, Tensor]


@dataclass(frozen=True)
class TermSpec:
    """A term with its knobs bound.

    Args:
        function: a ``functools.partial`` of a term.
        weight: its absolute weight, a number, or one per leading index.
        name: what it is called in overrides, logs and records.
    """

    function: Callable[..., Tensor]
    weight: float | Tensor
    name: str

    @property
    def marked(self) -> Any:
        """The function that carries the marks of ``@term``."""
        return self.function.func if isinstance(self.function, partial) else self.function

    @property
    def knobs(self) -> dict[str, Any]:
        """All knobs with their values, defaults included."""
        given = self.function.keywords if isinstance(self.function, partial) else {}
        return {**_defaults(self.marked), **given}

    @property
    def needs(self) -> frozenset[str]:
        """What the teacher must provide."""
        return self._filled(self.marked.needs)

    @property
    def student_needs(self) -> frozenset[str]:
        """The features that the student must provide."""
        return self._filled(getattr(self.marked, "student_needs", ()))

    def _filled(self, names: Iterable[str]) -> frozenset[str]:
        """Names with the values of knobs in the place of ``{knob}``."""
        return frozenset(name.format_map(self.knobs) for name in names)

    @property
    def reduction(self) -> Reduction:
        """How per-example values are reduced."""
        found: Reduction = self.marked.reduction
        return found

    @property
    def is_active(self) -> bool:
        """Whether the weight is not 0 for every student."""
        return bool((torch.as_tensor(self.weight) != 0).any())


class Objective:
    """A mapping of named terms, called with the outputs of a step.

    Args:
        terms: name -> TermSpec.

    Raises:
        UserError: a weight or a knob is out of its range, or every weight is 0.
    """

    def __init__(self, terms: Mapping[str, TermSpec]) -> None:
        problems = [problem for name, spec in terms.items() for problem in _value_errors(spec, name=name)]
        if not problems and not any(spec.is_active for spec in terms.values()):
            problems = [f"{KEY}: at least one term with a weight above 0 is needed, got {sorted(terms) or 'none'}"]
        if problems:
            raise UserError("\n".join(problems))
        # sorted, so that the order of a config changes no bit of the sum
        self.terms: dict[str, TermSpec] = {name: terms[name] for name in sorted(terms)}
        #: The terms whose weight is not 0 for every student.
        self.active = [spec for spec in self.terms.values() if spec.is_active]

    @classmethod
    def from_specs(cls, specs: Mapping[str, Mapping[str, Any]]) -> "Objective":
        """The objective of a config: ``{name: {"_target_": path, "weight": w, **knobs}}``.

        Raises:
            UserError: listing every mistake in the specs.
        """
        problems = objective_errors(specs)
        if problems:
            raise UserError("\n".join(problems))
        return cls({name: _term_spec(name, spec) for name, spec in specs.items()})

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

    def weights(self) -> dict[str, float | list[float]]:
        """Effective weight of every term that counts."""
        return {
            spec.name: spec.weight.tolist() if isinstance(spec.weight, Tensor) else float(spec.weight)
            for spec in self.active
        }

    def __call__(self, student: ModelOutput, teacher: TeacherOutput | None, batch: Batch, step: int) -> ObjectiveValue:
        """The loss of a step.

        Args:
            student: logits ``[..., B, C]`` and features.
            teacher: the same of the teacher, or None where no term needs it.
            batch: labels, index and the mask of labelled rows.
            step: number of optimizer steps done, for scheduled terms.
        """
        labelled = None if batch.all_labelled else batch.labelled
        values = {
            spec.name: reduce_rows(spec.function(student, teacher, batch, step), labelled, reduction=spec.reduction)
            for spec in self.active
        }
        first, *others = self.active
        loss = weighted(values[first.name], weight=first.weight)
        for spec in others:
            loss = plus_weighted(loss, values[spec.name], weight=spec.weight)
        return ObjectiveValue(loss, values)


def _features(names: Iterable[str]) -> frozenset[str]:
    return frozenset(name.removeprefix("features.") for name in names if name.startswith("features."))


def _defaults(function: Callable[..., Any]) -> dict[str, Any]:
    named = targets.parameters(function)[0]
    return {name: p.default for name, p in named.items() if p.default is not inspect.Parameter.empty}


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


def objective_errors(specs: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """Every mistake in the specs of an objective: targets, knobs and their ranges, weights."""
    problems: list[str] = []
    for name, spec in specs.items():
        found = _shape_errors(name, spec)
        problems += found or _value_errors(_term_spec(name, spec), name=name)
    return problems


def effective_terms(specs: Mapping[str, Mapping[str, Any]]) -> dict[str, dict[str, Any]]:
    """What of an objective trains the network: the terms of weight != 0 with weight and all knobs, defaults filled in.

    >>> effective_terms({"ce": {"_target_": "kdlab.objectives.hard_labels", "weight": 1}})
    {'ce': {'_target_': 'kdlab.objectives.terms.hard_labels', 'label_smoothing': 0.0, 'weight': 1.0}}
    """
    terms = {}
    for name in sorted(specs):
        spec = specs[name]
        if float(spec["weight"]) == 0:
            continue
        function = targets.resolve(spec["_target_"])
        knobs = {knob: value for knob, value in spec.items() if knob != "weight"}
        path = f"{function.__module__}.{function.__qualname__}"  # one identity, by whatever path it was named
        terms[name] = {**_defaults(function), **knobs, "_target_": path, "weight": float(spec["weight"])}
        terms[name] = dict(sorted(terms[name].items()))
    return terms


def _term_spec(name: str, spec: Mapping[str, Any]) -> TermSpec:
    knobs = {key: value for key, value in spec.items() if key != "weight"}
    return TermSpec(function=targets.build({**knobs, "_partial_": True}), weight=spec["weight"], name=name)


def _shape_errors(name: str, spec: Mapping[str, Any]) -> list[str]:
    """Whether a spec names a term and gives it the right keys."""
    knobs = {key: value for key, value in spec.items() if key != "weight"}
    problems = targets.spec_errors(knobs, key=f"{KEY}.{name}", provided=PROVIDED)
    if not problems and not hasattr(targets.resolve(knobs["_target_"]), "needs"):
        problems = [f"{KEY}.{name}._target_ = '{knobs['_target_']}' is no term: mark it with @kdlab.objectives.term"]
    if "weight" not in spec:
        problems.append(f"missing key {KEY}.{name}.weight")
    return problems


def _value_errors(spec: TermSpec, *, name: str) -> list[str]:
    """Whether the weight and the knobs of a term are in range."""
    given = spec.function.keywords if isinstance(spec.function, partial) else {}
    problems = rule_errors(spec.weight, non_negative, key=f"{KEY}.{name}.weight")
    for knob, rule in spec.marked.knob_rules.items():
        if knob in given:
            problems += rule_errors(given[knob], rule, key=f"{KEY}.{name}.{knob}")
    return problems
