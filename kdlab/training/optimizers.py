"""Optimizers of a stack, over leaves that share the memory of the stack.

torch's optimizers know one learning rate for each group of parameters. Students with the same optimizer and schedule
therefore lie side by side in the stack and are stepped together, as slices of the stacked tensors, where the optimizer
treats every element by itself. Others (Adafactor, Muon, a user's own, which may look at all of its parameters at once)
are built once for every student, over its tensors. Both do what the student alone would have got.
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
        leaves: what the optimizer steps: ``[stop - start, ...]`` each, or the tensors of one student as it has them.
        whole: whether leaves keep the axis of the students.
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
    whole = [is_elementwise(recipe.optimizer) for recipe in recipes]
    starts = [at for at, key in enumerate(keys) if at == 0 or key != keys[at - 1] or not whole[at]]
    return [(start, stop, whole[start]) for start, stop in zip(starts, [*starts[1:], len(keys)], strict=True)]


def groups_of(stack: Stack, recipes: Sequence[Recipe]) -> list[Group]:
    """The groups of a stack, with their leaves."""
    found = []
    for start, stop, whole in spans_of(recipes):
        if whole:
            leaves = stack.trained() if stop - start == stack.size else stack.leaves(start, stop)
        else:
            leaves = [nn.Parameter(p.detach()[start]) for p in stack.trained()]
        found.append(Group(start, stop, leaves, whole))
    return found


def hand_gradients(parameters: Sequence[nn.Parameter], groups: Sequence[Group]) -> None:
    """Give the gradients of the stacked parameters that train to the leaves of the groups."""
    for group in groups:
        if group.leaves[0] is parameters[0]:
            continue
        where = slice(group.start, group.stop) if group.whole else group.start
        for leaf, parameter in zip(group.leaves, parameters, strict=True):
            leaf.grad = None if parameter.grad is None else parameter.grad[where]


def forget_student(groups: Sequence[Group], optimizers: Sequence[Any], *, at: int) -> None:
    """Zero what the optimizers remember of one student."""
    for group, optimizer in zip(groups, optimizers, strict=True):
        if not group.start <= at < group.stop:
            continue
        for leaf in group.leaves:
            for value in optimizer.state.get(leaf, {}).values():
                if isinstance(value, torch.Tensor) and value.shape == leaf.shape:
                    (value[at - group.start] if group.whole else value).zero_()
