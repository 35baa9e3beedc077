"""A learned temperature: its range, its reversed gradient, and stacks."""

import math

import pytest
import torch
from equipped_terms import assert_stack_is_a_loop, equipped, modules_in, setting_of, step_of
from torch import nn

from kdlab.objectives.logits.learned_temperature import learned_temperature, reversed_gradient
from kdlab.objectives.terms import soft_targets

SETTING = setting_of({}, {})


def term_and_theta(strength: float, *, theta: float = 1.0, **knobs: float) -> tuple[torch.Tensor, nn.Parameter, tuple]:
    network = equipped(learned_temperature, SETTING, **knobs)
    (module,) = network.beside.children()
    with torch.no_grad():
        module.theta.fill_(theta)
    step = step_of(SETTING)
    value = learned_temperature(*step, 0, strength=strength, **modules_in(network), **knobs).mean()
    return value, module.theta, step


@pytest.mark.parametrize("theta", [-50.0, -1.0, 0.0, 1.0, 50.0])
def test_is_distillation_at_that_temperature(theta: float) -> None:
    value, _, step = term_and_theta(0.7, theta=theta, lowest=2.0, span=5.0)
    temperature = 2 + 5 / (1 + math.exp(-theta))
    torch.testing.assert_close(value, soft_targets(*step, 0, temperature=temperature).mean())


def test_begins_between_1_and_21() -> None:
    (module,) = equipped(learned_temperature, SETTING).beside.children()
    assert module.told()["temperature"].item() == pytest.approx(1 + 20 / (1 + math.exp(-1)))


@pytest.mark.parametrize("strength", [0.0, 0.3, 1.0])
def test_the_temperature_climbs_what_the_student_descends(strength: float) -> None:
    """Its gradient is ``-strength`` times the slope of the loss along T, by a difference quotient."""
    value, theta, step = term_and_theta(strength)
    found, of_student = torch.autograd.grad(value, [theta, step[0].logits])

    def loss(at: float) -> float:
        return float(soft_targets(*step, 0, temperature=1 + 20 / (1 + math.exp(-at))).mean().detach())

    slope = (loss(1 + 1e-5) - loss(1 - 1e-5)) / 2e-5
    assert abs(slope) > 1e-4
    assert found.item() == pytest.approx(-strength * slope, rel=1e-5)
    plain = soft_targets(*step, 0, temperature=1 + 20 / (1 + math.exp(-1))).mean()
    torch.testing.assert_close(of_student, torch.autograd.grad(plain, step[0].logits)[0])


def test_reversal_changes_no_value() -> None:
    value = torch.tensor(15.62117, requires_grad=True)
    assert torch.equal(reversed_gradient(value, strength=0.123), value)


def test_descending_raises_the_loss_along_the_temperature() -> None:
    """Where the student is fixed, steps of an optimizer make the term larger, and T stays in its range."""
    network = equipped(learned_temperature, SETTING)
    step = step_of(SETTING)
    optimizer = torch.optim.SGD(list(network.beside.parameters()), lr=0.5)
    values = []
    for _ in range(30):
        value = learned_temperature(*step, 0, **modules_in(network)).mean()
        optimizer.zero_grad()
        value.backward()
        optimizer.step()
        values.append(value.item())
    assert values == sorted(values)
    assert values[-1] > values[0]


def test_without_scaling_it_is_unscaled() -> None:
    step = step_of(SETTING)
    modules = modules_in(equipped(learned_temperature, SETTING))
    found = learned_temperature(*step, 0, t2_scaling=False, **modules)
    temperature = modules["temperature"]()
    torch.testing.assert_close(found * temperature**2, learned_temperature(*step, 0, **modules))


def test_a_stack_is_a_loop() -> None:
    assert_stack_is_a_loop(learned_temperature, [setting_of({}, {}, network=nn.Linear(3, 4)) for _ in range(3)],
                           strength=0.6)  # fmt: skip
