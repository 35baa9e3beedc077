"""The average of a student's weights as its teacher."""

import copy

import pytest
import torch
from equipped_terms import assert_stack_is_a_loop, draw, equipped, modules_in, setting_of, step_of
from torch import nn

from kdlab.models.stacking import Stack
from kdlab.objectives.averaged import WeightAverage, averaged_teacher
from kdlab.objectives.terms import soft_targets
from kdlab.outputs import ModelOutput, TeacherOutput
from kdlab.training.equipped import after_step


def student(seed: int = 0) -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return nn.Sequential(nn.Linear(3, 5), nn.BatchNorm1d(5), nn.Dropout(0.5), nn.Linear(5, 4)).double()


def walk(network: nn.Module, *, seed: int) -> None:
    """A step of an optimizer and a batch, as far as an average can tell."""
    with torch.no_grad():
        for at, parameter in enumerate(network.parameters()):
            parameter += 0.1 * draw(*parameter.shape, seed=seed + at)
        network.train()(draw(9, 3, seed=seed))


def test_is_the_recursion_of_the_paper() -> None:
    network = student()
    average = WeightAverage(network, decay=0.7)
    expected = {name: value.detach().clone() for name, value in network.named_parameters()}
    for step in range(1, 9):
        walk(network, seed=step)
        average.after_step(network)
        decay = min(0.7, 1 - 1 / (step + 1))
        for name, value in network.named_parameters():
            expected[name] = decay * expected[name] + (1 - decay) * value.detach()
        for name, value in average.network.named_parameters():
            torch.testing.assert_close(value, expected[name], rtol=1e-12, atol=1e-12)
        for (_, one), (_, other) in zip(network.named_buffers(), average.network.named_buffers(), strict=True):
            assert torch.equal(one, other)


def test_begins_as_a_plain_mean() -> None:
    network = nn.Linear(2, 2)
    average = WeightAverage(network, decay=0.999)
    seen = [network.weight.detach().clone()]
    for step in range(1, 20):
        with torch.no_grad():
            network.weight += step
        average.after_step(network)
        seen.append(network.weight.detach().clone())
    torch.testing.assert_close(average.network.weight, torch.stack(seen).mean(0))


def test_is_in_eval_mode_does_not_train_and_leaves_the_student_alone() -> None:
    network = student()
    before = copy.deepcopy(network.state_dict())
    average = WeightAverage(network, decay=0.9).train()
    assert network.training
    assert not any(module.training for module in average.network.modules())
    assert not any(parameter.requires_grad for parameter in average.parameters())
    inputs = draw(7, 3)
    assert torch.equal(average(inputs), average(inputs))
    torch.testing.assert_close(average(inputs), network.eval()(inputs))
    assert not average(inputs.requires_grad_()).requires_grad
    for name, value in network.state_dict().items():
        assert torch.equal(value, before[name])


def test_the_term_is_distillation_from_the_average() -> None:
    setting = setting_of({}, {}, network=student())
    network = equipped(averaged_teacher, setting, decay=0.9)
    walk(network.student, seed=1)
    after_step(network)
    said, _, batch = step_of(setting)
    found = averaged_teacher(said, None, batch, 0, temperature=3.0, decay=0.9, **modules_in(network))
    (average,) = network.beside.children()
    taught = TeacherOutput(average.network(batch.inputs), {})
    assert torch.equal(found, soft_targets(said, taught, batch, 0, temperature=3.0))
    assert averaged_teacher.needs == frozenset()


def test_is_zero_before_the_first_step() -> None:
    setting = setting_of({}, {}, network=student().eval())
    network = equipped(averaged_teacher, setting)
    _, _, batch = step_of(setting)
    said = ModelOutput(network.student.eval()(batch.inputs), {})
    assert averaged_teacher(said, None, batch, 0, temperature=4.0, **modules_in(network)).abs().max() < 1e-14


def test_a_student_that_gives_more_than_logits() -> None:
    class Wrapped(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.linear = nn.Linear(3, 4)

        def forward(self, inputs: torch.Tensor) -> ModelOutput:
            return ModelOutput(self.linear(inputs), {"inputs": inputs})

    network = Wrapped()
    inputs = torch.randn(5, 3)
    assert torch.equal(WeightAverage(network, decay=0.5)(inputs), network.linear(inputs))


@pytest.mark.parametrize("temperature", [3.0, torch.tensor([1.0, 2.0, 5.0])])
def test_a_stack_is_a_loop(temperature: float | torch.Tensor) -> None:
    settings = [setting_of({}, {}, network=student(seed=at)) for at in range(3)]
    if isinstance(temperature, float):
        assert_stack_is_a_loop(averaged_teacher, settings, steps=4, temperature=temperature, decay=0.6)
        return
    networks = [equipped(averaged_teacher, setting) for setting in settings]
    stack, (said, _, batch) = Stack(networks), step_of(settings[0], 3)
    whole = averaged_teacher(said, None, batch, 0, temperature=temperature, **modules_in(stack))
    for at, network in enumerate(networks):
        rows = batch.mapped(lambda part, at=at: part[at])
        own = ModelOutput(said.logits[at], {})
        alone = averaged_teacher(own, None, rows, 0, temperature=float(temperature[at]), **modules_in(network))
        torch.testing.assert_close(whole[at], alone)


def test_is_taken_up_again_from_a_state_dict() -> None:
    network = student()
    average = WeightAverage(network, decay=0.9)
    for step in range(3):
        walk(network, seed=step)
        average.after_step(network)
    again = WeightAverage(student(seed=1), decay=0.9).double()
    again.load_state_dict(average.state_dict())
    walk(network, seed=9)
    for one in (average, again):
        one.after_step(network)
    inputs = draw(4, 3)
    assert torch.equal(average(inputs), again(inputs))
