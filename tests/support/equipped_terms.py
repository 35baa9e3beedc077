"""Terms that learn or remember something beside the student: their modules, alone and in a stack."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from kdlab.models.stacking import Stack
from kdlab.objectives.setting import Setting, Shape
from kdlab.outputs import Batch, ModelOutput, TeacherOutput
from kdlab.training.equipped import Equipped, after_step, modules_of

CLASSES, ROWS, EXAMPLES = 4, 6, 40
TERM = "term"


def draw(*shape: int, seed: int = 0, scale: float = 1.0) -> Tensor:
    return scale * torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def setting_of(
    student: Mapping[str, Shape], teacher: Mapping[str, Shape], *, network: nn.Module | None = None
) -> Setting:
    """Of 40 examples of 4 classes, whose indices are neither small nor in order."""
    stream = torch.Generator().manual_seed(5)
    labels = torch.arange(EXAMPLES) % CLASSES
    index = torch.randperm(10**6, generator=stream)[:EXAMPLES] * 7 - 1000
    plain = nn.Linear(3, CLASSES)
    return Setting({**student, "logits": (CLASSES,)}, dict(teacher), CLASSES, labels, index, network or plain)


def equipped(function: Any, setting: Setting, *, seed: int = 0, **knobs: Any) -> Equipped:
    """The setting's student with the modules of a term, in float64 and train mode."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        modules = {name: make(setting, **knobs) for name, make in function.modules.items()}
    return Equipped(setting.student_network, {TERM: modules}).double()


def modules_in(network: nn.Module) -> dict[str, Callable[..., Any]]:
    """What a term of that network, or of a stack of such, is called with."""
    where = slice(0, network.size) if isinstance(network, Stack) else slice(None)
    return modules_of(network, where).get(TERM, {})


def step_of(setting: Setting, *leading: int, seed: int = 0) -> tuple[ModelOutput, TeacherOutput, Batch]:
    """A batch of 6 examples for each student, and what both networks say; student features want a gradient."""
    shape = (*leading, ROWS)
    said = {
        name: draw(*shape, *one, seed=seed + at).requires_grad_()
        for at, (name, one) in enumerate(setting.student.items())
    }
    taught = {name: draw(*shape, *one, seed=seed + 100 + at) for at, (name, one) in enumerate(setting.teacher.items())}
    stream = torch.Generator().manual_seed(seed)
    flat = [torch.randperm(EXAMPLES, generator=stream)[:ROWS] for _ in range(max(1, *leading) if leading else 1)]
    rows = torch.stack(flat).reshape(shape)
    batch = Batch(
        draw(*shape, 3, seed=seed + 200), setting.labels[rows], setting.index[rows], torch.ones(shape, dtype=torch.bool)
    )
    logits = taught.pop("logits", draw(*shape, CLASSES, seed=seed + 300))
    return ModelOutput(said["logits"], said), TeacherOutput(logits, taught), batch


def of_student(at: int, student: ModelOutput, teacher: TeacherOutput, batch: Batch) -> Any:
    """The part of one student of a stack, its features as leaves of their own."""
    features = {name: value[at].detach().requires_grad_() for name, value in student.features.items()}
    taught = TeacherOutput(teacher.logits[at], {name: value[at] for name, value in teacher.features.items()})
    return ModelOutput(features["logits"], features), taught, batch.mapped(lambda part: part[at])


def assert_stack_is_a_loop(function: Any, settings: Sequence[Setting], *, steps: int = 3, **knobs: Any) -> None:
    """K students in one call equal each alone, over some steps: values, gradients, parameters, buffers."""
    alone = [equipped(function, setting, seed=at, **knobs) for at, setting in enumerate(settings)]
    stack = Stack(alone)
    for step in range(steps):
        student, teacher, batch = step_of(settings[0], len(alone), seed=step)
        values = function(student, teacher, batch, step, **modules_in(stack), **knobs)
        assert values.shape == student.logits.shape[:-1]
        values.sum().backward()
        for at, network in enumerate(alone):
            said, taught, rows = of_student(at, student, teacher, batch)
            value = function(said, taught, rows, step, **modules_in(network), **knobs)
            value.sum().backward()
            _same(values[at], value)
            for name, feature in said.features.items():
                _same_or_none(student.features[name].grad, feature.grad, at)
        _step(stack, alone)


def _step(stack: Stack, alone: Sequence[Equipped]) -> None:
    """Gradients, buffers and parameters agree; then everyone goes down a little and forgets the gradient."""
    for network in (stack.network, *alone):
        with torch.no_grad():
            for parameter in network.parameters():
                if parameter.grad is not None:
                    parameter -= 0.01 * parameter.grad
    for network in (stack, *alone):
        after_step(network)
    whole = {**dict(stack.network.named_parameters()), **dict(stack.network.named_buffers())}
    for at, network in enumerate(alone):
        own = {**dict(network.named_parameters()), **dict(network.named_buffers())}
        assert own.keys() == whole.keys()
        for name, tensor in own.items():
            _same(whole[name][at], tensor)
            _same_or_none(whole[name].grad, tensor.grad, at)
    for network in (stack.network, *alone):
        network.zero_grad()


def _same(whole: Tensor, one: Tensor) -> None:
    torch.testing.assert_close(whole, one, rtol=1e-10, atol=1e-12)


def _same_or_none(whole: Tensor | None, one: Tensor | None, at: int) -> None:
    assert (whole is None) == (one is None)
    if whole is not None and one is not None:
        _same(whole[at], one)
