"""Optimizers of a stack: one for all students that share a recipe, over leaves that share the memory of the stack.

torch's optimizers know one learning rate for each group of parameters. Students with the same optimizer and schedule
therefore lie side by side in the stack and are stepped together, as slices of the stacked tensors, where the optimizer
treats every element by itself; others (Adafactor, Muon, a user's own) get every student's tensors one by one. Both are
what the student alone would have got.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch import nn

from kdlab import targets
from kdlab.models.stacking import Stack
from kdlab.targets import build
from kdlab.training.checkpoints import Span
from kdlab.training.learner import Recipe

#: torch's optimizers whose update of an element depends on that element alone.
ELEMENTWISE = (
    *("SGD", "Adam", "AdamW", "NAdam", "RAdam", "Adamax"),
    *("Adagrad", "Adadelta", "RMSprop", "ASGD", "Rprop"),
)


class Group(NamedTuple):
    """The students ``start`` to ``stop`` of a stack, who share optimizer and schedule.

    Args:
        leaves: what the optimizer steps: ``[stop - start, ...]`` each, or one for each student and parameter in turn.
        whole: whether leaves hold all students of the group.
    """

    start: int
    stop: int
    leaves: list[nn.Parameter]
    whole: bool


def build_optimizer(
    parameters: Iterable[nn.Parameter], optimizer: Any, schedule: Any, *, steps: int, fused: bool = False
) -> tuple[Any, Any]:
    """The optimizer of a recipe over some parameters, and its schedule over ``steps``, None where it has none.

    ``fused``: in one kernel, where torch has one and the spec does not say.
    """
    offered = {"fused": True} if fused and isinstance(optimizer, Mapping) and "foreach" not in optimizer else {}
    built = build(optimizer, parameters, **offered) if isinstance(optimizer, Mapping) else optimizer(parameters)
    if schedule is None:
        return built, None
    if not isinstance(schedule, Mapping):
        return built, schedule(built)
    return built, build(schedule, built, T_max=steps, total_steps=steps, total_iters=steps)


def is_elementwise(optimizer: Mapping[str, Any]) -> bool:
    """Whether an optimizer treats every element by itself, so that a slice of a stack is as good as its students."""
    kind = targets.resolve(optimizer["_target_"])
    return any(kind is getattr(torch.optim, name) for name in ELEMENTWISE)


def recipe_key(recipe: Recipe) -> str:
    """What two students must share to be stepped by one optimizer."""
    return repr((sorted(recipe.optimizer.items(), key=str), sorted(recipe.schedule.items(), key=str)))


def spans_of(recipes: Sequence[Recipe]) -> list[Span]:
    """The groups of learners ordered by ``recipe_key``, one optimizer and one schedule each."""
    keys = [recipe_key(recipe) for recipe in recipes]
    starts = [at for at, key in enumerate(keys) if at == 0 or key != keys[at - 1]]
    stops = [*starts[1:], len(keys)]
    return [(start, stop, is_elementwise(recipes[start].optimizer)) for start, stop in zip(starts, stops, strict=True)]


def groups_of(stack: Stack, recipes: Sequence[Recipe]) -> list[Group]:
    """The groups of a stack, with their leaves."""
    found = []
    for start, stop, whole in spans_of(recipes):
        if whole:
            leaves = stack.trained() if stop - start == stack.size else stack.leaves(start, stop)
        else:
            leaves = [nn.Parameter(p.detach()[at]) for at in range(start, stop) for p in stack.trained()]
        found.append(Group(start, stop, leaves, whole))
    return found


def hand_gradients(stack: Stack, groups: Sequence[Group]) -> None:
    """Give the gradients of the stack to the leaves of its groups."""
    parameters = stack.trained()
    for group in groups:
        if group.leaves[0] is parameters[0]:
            continue
        for leaf, parameter, where in _pairs(group, parameters):
            leaf.grad = None if parameter.grad is None else parameter.grad[where]


def forget_student(stack: Stack, groups: Sequence[Group], optimizers: Sequence[Any], *, at: int) -> None:
    """Zero what the optimizers remember of one student."""
    parameters = stack.trained()
    for group, optimizer in zip(groups, optimizers, strict=True):
        if not group.start <= at < group.stop:
            continue
        for leaf, _, where in _pairs(group, parameters):
            for value in optimizer.state.get(leaf, {}).values():
                if isinstance(value, torch.Tensor) and value.shape == leaf.shape:
                    if group.whole:
                        value[at - group.start].zero_()
                    elif where == at:
                        value.zero_()


def _pairs(group: Group, parameters: Sequence[nn.Parameter]) -> list[tuple[nn.Parameter, nn.Parameter, Any]]:
    """Every leaf of a group with its stacked parameter and where it lies in it."""
    if group.whole:
        where = slice(group.start, group.stop)
        return [(leaf, parameter, where) for leaf, parameter in zip(group.leaves, parameters, strict=True)]
    students = [(at, parameter) for at in range(group.start, group.stop) for parameter in parameters]
    return [(leaf, parameter, at) for leaf, (at, parameter) in zip(group.leaves, students, strict=True)]
