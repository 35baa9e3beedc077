"""What a term is: a pure, unreduced function with a note of what it needs and how its values are reduced.

Adding a term is one function, one file in ``conf/objective/term`` and one row in the contract test::

    @term(needs=("logits",), reduction="mean", knobs={"temperature": positive})
    def soft_targets(student, teacher, batch, step, *, temperature, t2_scaling=True): ...
"""

import sys
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Literal, NamedTuple, TypeVar

import torch
from torch import Tensor, nn

Reduction = Literal["mean", "mean_labelled", "sum"]
REDUCTIONS: tuple[Reduction, ...] = ("mean", "mean_labelled", "sum")


class Rule(NamedTuple):
    """What values a knob may have.

    Args:
        holds: whether a value is one of them.
        words: for the message.
        may_change: whether a schedule may stand in the place of the value: it says numbers between others.
    """

    holds: Callable[[Any], bool]
    words: str
    may_change: bool = True


def is_number(value: Any) -> bool:
    """Whether a value of a config is a finite number that a float can hold; true and false are none."""
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) <= sys.float_info.max


number = Rule(is_number, "a finite number")
positive = Rule(lambda value: is_number(value) and value > 0, "a finite number > 0")
non_negative = Rule(lambda value: is_number(value) and value >= 0, "a finite number >= 0")
fraction = Rule(lambda value: is_number(value) and 0 <= value < 1, "a number in [0, 1)")
inside = Rule(lambda value: is_number(value) and 0 < value < 1, "a number between 0 and 1, and neither")
at_least_one = Rule(lambda value: is_number(value) and value >= 1, "a finite number >= 1")
boolean = Rule(lambda value: isinstance(value, bool), "true or false", may_change=False)
count = Rule(lambda value: is_number(value) and isinstance(value, int) and value >= 1, "an integer >= 1", False)
reduction_of_classes = Rule(lambda value: value in ("sum", "mean"), "sum or mean", may_change=False)


def rule_errors(value: Any, rule: Rule, *, key: str) -> list[str]:
    """What is wrong with the value of a knob; every element of a tensor (one value per student of a stack) is held to
    the rule.
    """
    values = value.flatten().tolist() if isinstance(value, Tensor) else [value]
    return [f"{key} = {item!r}: {rule.words} is needed" for item in values if not rule.holds(item)][:1]


Function = TypeVar("Function", bound=Callable[..., Tensor])


def term(
    *,
    needs: Iterable[str] = (),
    student_needs: Iterable[str] = (),
    reduction: Reduction = "mean",
    knobs: Mapping[str, Rule] | None = None,
    per_student: Iterable[str] = (),
    modules: Mapping[str, Callable[..., nn.Module]] | None = None,
    added_later: Mapping[str, Any] | None = None,
    labelled_only: bool = False,
) -> Callable[[Function], Function]:
    """Mark a function as a term.

    Args:
        needs: what the teacher must provide: ``logits``, or ``features.<name>`` with the name of a feature or the path
            of a submodule. A knob in braces stands for its value, or each of its values:
            ``features.{teacher_layer}``, ``features.{teacher_layers}``.
        student_needs: the features that the student must provide, likewise.
        reduction: how per-example values become the term: ``mean`` over all rows, ``mean_labelled`` over the labelled
            rows, or ``sum`` where each row holds its share of a batch value (relational terms).
        knobs: the rule of each knob, checked when the objective is built.
        per_student: the knobs that may be a tensor with one value per leading index, so that students who differ in
            them are trained in one pass.
        modules: what it learns or remembers beside the student (projections, memories): the name of the argument it is
            passed as, and what builds it for one student: ``make(setting, **knobs) -> nn.Module``. It is trained,
            clipped and saved with the student, and is no part of the student that is deployed.
        added_later: knobs that did not exist when the first runs were made, with the value that trains as if they still
            did not; at that value they stay out of the identity.
        labelled_only: whether nothing is learned from a row without a label, as ``mean_labelled`` says by itself.
    """
    if reduction not in REDUCTIONS:
        raise ValueError(f"reduction = {reduction!r}: one of {', '.join(REDUCTIONS)} is needed")

    def mark(function: Function) -> Function:
        marks = {
            "needs": frozenset(needs),
            "student_needs": frozenset(student_needs),
            "reduction": reduction,
            "knob_rules": dict(knobs or {}),
            "per_student": frozenset(per_student),
            "modules": dict(modules or {}),
            "added_later": dict(added_later or {}),
            "reads_unlabelled": not (labelled_only or reduction == "mean_labelled"),
        }
        for name, value in marks.items():
            setattr(function, name, value)
        return function

    return mark


def reduce_rows(values: Tensor, labelled: Tensor | None, *, reduction: Reduction) -> Tensor:
    """Per-example values ``[..., B]`` to one number per leading index ``[...]``, sums divided once by counts.

    A batch without a labelled row has a ``mean_labelled`` of 0, not 0 / 0. ``labelled`` is None where all rows are.
    """
    if reduction == "sum":
        return values.sum(-1)
    if reduction == "mean" or labelled is None:
        return values.mean(-1)
    total = torch.where(labelled, values, 0).sum(-1)
    return total / labelled.sum(-1).clamp(min=1)
