"""A student beside what its terms learn or remember: projections, memories, averages.

They are one network while it is trained, so what is true of a student (its optimizer, clipping, checkpoint, place in a
stack, last finite weights) is true of its projections. The student inside is trained in place and knows nothing of it:
what is saved and deployed is that student alone.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from kdlab.data.dataset import Examples
from kdlab.models import as_output
from kdlab.models.stacking import Stack
from kdlab.objectives import Objective
from kdlab.objectives.setting import Setting, Shape
from kdlab.outputs import NO_LABEL
from kdlab.streams import Role, global_stream, stream_seed
from kdlab.teachers import Teacher
from kdlab.training.learner import Learner
from kdlab.training.listening import listen, placed

SEPARATOR = ":"
"""Between the name of a term and that of its module; a module's name may hold no dot."""
SHOWN = 2
"""Examples that are shown to learn the shapes of features."""


class Beside(nn.Module):
    """The modules of terms: term -> argument -> module."""

    def __init__(self, modules: Mapping[str, Mapping[str, nn.Module]]) -> None:
        super().__init__()
        for term, owned in modules.items():
            for name, module in owned.items():
                self.add_module(f"{term}{SEPARATOR}{name}", module)


class Equipped(nn.Module):
    """A student and its modules, called as the student is.

    Args:
        student: the network; it is held, not copied.
        modules: term -> argument -> module.
    """

    def __init__(self, student: nn.Module, modules: Mapping[str, Mapping[str, nn.Module]]) -> None:
        super().__init__()
        self.student = student
        self.beside = Beside(modules)

    def forward(self, inputs: Tensor) -> Any:
        """What the student says."""
        return self.student(inputs)


def made_ready(learner: Learner) -> Learner:
    """The learner with its layers found and tapped, and its network beside the modules of its terms.

    Raises:
        UserError: a network cannot give what a term needs, or a module cannot be built for what they give.
    """
    objective, network = prepared(
        learner.objective,
        student=learner.network,
        teacher=learner.teacher,
        examples=_as_labelled(learner),
        role=learner.role,
        seed=learner.seed,
    )
    return replace(learner, objective=objective, network=network)


def _as_labelled(learner: Learner) -> Examples:
    """Its training set; the rows of a transfer set keep their labels for measurements, not for what terms remember."""
    if learner.mixture is None:
        return learner.train
    return replace(learner.train, labels=torch.where(learner.mixture.labelled(), learner.train.labels, NO_LABEL))


def prepared(
    objective: Objective,
    *,
    student: nn.Module,
    teacher: Teacher | None,
    examples: Examples,
    role: Role = "student",
    seed: int = 0,
) -> tuple[Objective, nn.Module]:
    """The objective with names of layers, and the student beside the modules of its terms; itself where it has none.

    Args:
        objective: of the student; its layers may be words.
        student: is tapped where a term reads a layer that it does not name.
        teacher: likewise; None where no term needs it.
        examples: the training set.
        role: whose stream the modules are drawn from.
        seed: the seed of that stream.

    Raises:
        UserError: a network cannot give what a term needs, or a module cannot be built for what they give.
    """
    found = placed(objective, student=bare(student), teacher=teacher)
    listen(found, student=bare(student), teacher=teacher)
    if isinstance(student, Equipped) or not found.builders:
        return found, student
    modules = modules_for(found, student=student, teacher=teacher, examples=examples, role=role, seed=seed)
    return found, Equipped(student, modules)


def modules_for(
    objective: Objective, *, student: nn.Module, teacher: Teacher | None, examples: Examples, role: Role, seed: int
) -> dict[str, dict[str, nn.Module]]:
    """What the terms of a placed objective learn or remember beside a student, each from a stream of its own."""
    setting = _setting(objective, student, teacher, examples)
    return {
        term: {name: _built(make, setting, f"{term}/{name}", role, seed) for name, make in builders.items()}
        for term, builders in objective.builders.items()
    }


def _built(make: Callable[..., nn.Module], setting: Setting, part: str, role: Role, seed: int) -> nn.Module:
    with global_stream(stream_seed(role, "projection", seed, part=part)):
        return make(setting)


def _setting(objective: Objective, student: nn.Module, teacher: Teacher | None, examples: Examples) -> Setting:
    """What some examples show of the shapes of both networks' features."""
    inputs, index = examples.inputs[:SHOWN], examples.index[:SHOWN]
    was_training = student.training
    with torch.no_grad():
        said = as_output(student.eval()(inputs))
        taught = teacher(inputs, index) if teacher is not None and objective.needs else None
    student.train(was_training)
    shapes = _shapes(said.logits, said.features)
    of_teacher = {} if taught is None else _shapes(taught.logits, taught.features)
    return Setting(shapes, of_teacher, int(said.logits.shape[-1]), examples.labels, examples.index, student)


def _shapes(logits: Tensor, features: Mapping[str, Tensor]) -> dict[str, Shape]:
    return {name: tuple(value.shape[1:]) for name, value in {"logits": logits, **features}.items()}


def bare(network: nn.Module) -> nn.Module:
    """The student itself."""
    if not isinstance(getattr(network, "beside", None), Beside):
        return network
    student = network.student
    assert isinstance(student, nn.Module)
    return student


def modules_of(student: nn.Module, where: slice) -> dict[str, dict[str, Callable[..., Any]]]:
    """The modules that terms are called with: those of a network, or of some students of a stack of such."""
    found: dict[str, dict[str, Callable[..., Any]]] = {}
    for term, name, module in _beside(student):
        path = f"beside.{term}{SEPARATOR}{name}"
        found.setdefault(term, {})[name] = student.part(path, where) if isinstance(student, Stack) else module
    return found


def remembers(student: nn.Module) -> bool:
    """Whether a module follows the student's steps."""
    return any(hasattr(module, "after_step") for _, _, module in _beside(student))


def after_step(student: nn.Module) -> None:
    """Let modules that remember (averages, memories) follow an optimizer step; of a stack all students at once."""
    for _, _, module in _beside(student):
        follow = getattr(module, "after_step", None)
        if follow is not None:
            follow(bare(_one_network(student)))


def learned(student: nn.Module) -> dict[str, Tensor]:
    """What modules tell of themselves for the curves: ``<term>.<name>`` -> a number, or ``[K]`` of a stack."""
    found: dict[str, Tensor] = {}
    for term, _, module in _beside(student):
        tell = getattr(module, "told", None)
        if tell is not None:
            found |= {f"{term}.{name}": value for name, value in tell().items()}
    return found


def _one_network(student: nn.Module) -> nn.Module:
    """The network itself; of a stack the one that holds the tensors of all."""
    return student.network if isinstance(student, Stack) else student


def _beside(student: nn.Module) -> Iterator[tuple[str, str, nn.Module]]:
    """What stands beside a student, or a stack of them: term, argument, module."""
    beside = getattr(_one_network(student), "beside", None)
    if isinstance(beside, Beside):
        for key, module in beside.named_children():
            term, _, name = key.partition(SEPARATOR)
            yield term, name, module
