"""The regressor of a hint: FitNets' convolution, and what stands in its place for vectors."""

import pytest
import torch
import torch.nn.functional as F
from equipped_terms import draw, equipped, modules_in, setting_of, step_of

from kdlab.errors import UserError
from kdlab.objectives.features.hint import Regressor, hint
from kdlab.objectives.setting import Shape

LAYERS = {"student_layer": "a", "teacher_layer": "a"}


@pytest.mark.parametrize(
    ("student", "teacher", "weight"),
    [
        ((3, 8, 6), (5, 4, 6), (5, 3, 5, 1)),  # kernel 8 - 4 + 1 by 1, as in FitNets
        ((3, 4), (5, 4), (5, 3, 1)),
        ((3, 9), (5, 2), (5, 3, 8)),
        ((3, 2, 2), (5, 4, 4), (5, 3, 1, 1)),  # repeated onto the teacher's positions
        ((3, 2, 6), (5, 4, 4), (5, 3, 1, 3)),
        ((3, 4, 4), (5,), (5, 3, 4, 4)),  # a vector: linear in everything
        ((3,), (5, 4), (20, 3)),
        ((3,), (5,), (5, 3)),
    ],
)
def test_the_kernel_turns_positions_into_those_of_the_teacher(student: Shape, teacher: Shape, weight: Shape) -> None:
    regressor = Regressor(student, teacher, rectified=False)
    assert {name: tuple(value.shape) for name, value in regressor.named_parameters()}["linear.weight"] == weight
    assert regressor(torch.randn(2, *student)).shape == (2, torch.Size(teacher).numel())


def test_is_the_convolution_of_the_paper() -> None:
    """``mean (u - r(v))^2``, r a convolution of 3 x 3 that makes 6 x 6 positions 4 x 4, and a ReLU."""
    setting = setting_of({"a": (2, 6, 6)}, {"a": (3, 4, 4)})
    network = equipped(hint, setting, **LAYERS)
    said, taught, batch = step_of(setting)
    kernels, bias = network.beside.parameters()
    assert bias.shape == (3,)
    expected = torch.zeros(len(batch.labels), dtype=torch.float64)
    for row, features in enumerate(said.features["a"].detach()):
        for channel, kernel in enumerate(bias):
            for i in range(4):
                for j in range(4):
                    seen = features[:, i : i + 3, j : j + 3]
                    guess = torch.relu((kernels[channel] * seen).sum() + kernel)
                    expected[row] += (taught.features["a"][row, channel, i, j] - guess) ** 2 / 48
    found = hint(said, taught, batch, 0, **LAYERS, **modules_in(network))
    torch.testing.assert_close(found, expected)


def test_a_student_with_fewer_positions_is_repeated() -> None:
    regressor = Regressor((2, 2), (3, 4), rectified=False).double()
    features = draw(5, 2, 2)
    expected = F.conv1d(features.repeat_interleave(2, dim=-1), *regressor.parameters())
    torch.testing.assert_close(regressor(features), expected.flatten(1))


@pytest.mark.parametrize("rectified", [True, False])
def test_ends_as_the_hint_does(rectified: bool) -> None:
    found = Regressor((3,), (50,), rectified=rectified)(torch.randn(20, 3))
    assert bool((found < 0).any()) != rectified


def test_regression_finds_a_hint_that_is_linear() -> None:
    """Trained beside a fixed student, the regressor of a hint that can be said reaches it."""
    setting = setting_of({"a": (4, 5)}, {"a": (3, 3)})
    network = equipped(hint, setting, rectified=False, **LAYERS)
    said, taught, batch = step_of(setting)
    wanted = F.conv1d(said.features["a"].detach(), draw(3, 4, 3, seed=9))
    taught = taught._replace(features={"a": wanted})
    optimizer = torch.optim.LBFGS(network.beside.parameters(), max_iter=200, tolerance_grad=1e-12, tolerance_change=0)

    def loss() -> torch.Tensor:
        optimizer.zero_grad()
        value = hint(said, taught, batch, 0, rectified=False, **LAYERS, **modules_in(network)).mean()
        value.backward()
        return value

    assert loss() > 0.1
    optimizer.step(loss)
    assert loss() < 1e-8


def test_signals_beside_images_are_refused() -> None:
    setting = setting_of({"a": (3, 8)}, {"a": (3, 8, 8)})
    with pytest.raises(UserError, match=r"objective.terms.hint: features.a of the student \[3, 8\] and features.a"):
        equipped(hint, setting, **LAYERS)
