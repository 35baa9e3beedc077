"""VID beside a loop over examples, layers, channels and positions."""

import math

import numpy as np
import pytest
import torch
from equipped_terms import ROWS, equipped, modules_in, setting_of, step_of

from kdlab.objectives.features.variational import Gaussian, variational

LAYERS = {"student_layers": ["a", "b"], "teacher_layers": ["c", "d"]}
SETTING = setting_of({"a": (3, 8), "b": (5, 2)}, {"c": (4, 4), "d": (2, 6)})


def averaged(rows: np.ndarray, positions: int) -> np.ndarray:
    """Blocks of neighbours, for numbers of positions that divide."""
    return np.array([[np.mean(block) for block in np.split(row, positions)] for row in rows])


def slow(network: torch.nn.Module, student: list[np.ndarray], teacher: list[np.ndarray]) -> float:
    """The negative log-density without its constant, sums over units as means: one example."""
    total = 0.0
    (regressor,) = network.beside.children()
    for gaussian, own, target in zip(regressor, student, teacher, strict=True):
        positions = min(own.shape[1], target.shape[1])
        own, target = averaged(own, positions), averaged(target, positions)
        first, second, third = (gaussian.mean[at].weight.detach().numpy()[:, :, 0] for at in (0, 2, 4))
        raw = gaussian.raw.detach().numpy()
        terms = []
        for position in range(positions):
            mean = third @ np.maximum(second @ np.maximum(first @ own[:, position], 0), 0)
            for channel in range(len(target)):
                variance = math.log(1 + math.exp(raw[channel])) + 1e-5
                gap = target[channel, position] - mean[channel]
                terms.append(0.5 * (gap**2 / variance + math.log(variance)))
        total += math.fsum(terms) / len(terms)
    return total


def test_equals_the_slow_loop() -> None:
    network = equipped(variational, SETTING, **LAYERS)
    with torch.no_grad():
        for gaussian in next(network.beside.children()):
            gaussian.raw += torch.linspace(-4, 4, len(gaussian.raw))
    said, taught, batch = step_of(SETTING)
    found = variational(said, taught, batch, 0, **modules_in(network), **LAYERS)
    for row in range(ROWS):
        own = [said.features[name][row].detach().numpy() for name in "ab"]
        expected = slow(network, own, [taught.features[name][row].numpy() for name in "cd"])
        assert found[row].item() == pytest.approx(expected, rel=1e-12)


def test_every_variance_begins_at_5() -> None:
    _, variance = Gaussian((3, 8), (4, 4))(torch.randn(2, 3, 8))
    torch.testing.assert_close(variance, torch.full((4,), 5.0))


def test_the_best_variance_is_the_mean_squared_error() -> None:
    """What maximum likelihood says: there the gradient of the variance vanishes, channel by channel."""
    setting = setting_of({"a": (3,)}, {"c": (4,)})
    layers = {"student_layers": ["a"], "teacher_layers": ["c"]}
    network = equipped(variational, setting, **layers)
    said, taught, batch = step_of(setting)
    (gaussian,) = next(network.beside.children())
    errors = (gaussian(said.features["a"])[0] - taught.features["c"]).square().mean(0)
    with torch.no_grad():
        gaussian.raw.copy_((errors - 1e-5).expm1().log())
    variational(said, taught, batch, 0, **modules_in(network), **layers).mean().backward()
    assert gaussian.raw.grad.abs().max() < 1e-12
    value = variational(said, taught, batch, 0, **modules_in(network), **layers).mean()
    torch.testing.assert_close(value, (1 + errors.log()).mean() / 2)
