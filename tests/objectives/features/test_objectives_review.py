"""Knowledge review beside numpy: the fusion of signals position by position, and the pyramid of pooled maps."""

import numpy as np
import pytest
import torch
from equipped_terms import ROWS, draw, equipped, modules_in, setting_of, step_of
from torch import nn

from kdlab.objectives.features.review import hierarchical_context, review

LAYERS = {"student_layers": ["a", "b"], "teacher_layers": ["c", "d"]}
SETTING = setting_of({"a": (3, 8), "b": (5, 4)}, {"c": (4, 8), "d": (2, 4)})


def convolved(layer: nn.Conv1d, rows: np.ndarray) -> np.ndarray:
    weight = layer.weight.detach().numpy()
    reach = weight.shape[2] // 2
    padded = np.pad(rows, ((0, 0), (reach, reach)))
    found = np.zeros((len(weight), rows.shape[1]))
    for position in range(rows.shape[1]):
        for channel in range(len(weight)):
            found[channel, position] = (weight[channel] * padded[:, position : position + 2 * reach + 1]).sum()
    return found if layer.bias is None else found + layer.bias.detach().numpy()[:, None]


def normalised(layers: nn.Sequential, rows: np.ndarray) -> np.ndarray:
    """A convolution and batch normalisation in eval mode, running mean 0 and variance 1."""
    return convolved(layers[0], rows) / np.sqrt(1 + layers[1].eps)


def fused(fusions: nn.ModuleList, shallow: np.ndarray, deep: np.ndarray) -> list[np.ndarray]:
    """The deepest layer by itself; the one above it with that, repeated to its positions, by attention."""
    first, last = fusions
    handed = normalised(last.reduce, deep)
    found = [normalised(last.expand, handed)]
    repeated = np.repeat(handed, shallow.shape[1] // deep.shape[1], axis=1)
    own = normalised(first.reduce, shallow)
    attention = 1 / (1 + np.exp(-convolved(first.attention, np.concatenate([own, repeated]))))
    return [normalised(first.expand, own * attention[0] + repeated * attention[1]), *found]


def pyramid(student: np.ndarray, teacher: np.ndarray) -> float:
    """HCL as in the authors' code, ``[C, *positions]`` each; sizes that 4, 2 and 1 divide."""
    size = student.shape[1]
    total, weight, weights = np.mean((student - teacher) ** 2), 1.0, 1.0
    for level in (4, 2, 1):
        if level >= size:
            continue
        weight /= 2
        pooled = []
        for one in (student, teacher):
            for axis in range(1, one.ndim):
                one = np.stack([block.mean(axis) for block in np.split(one, level, axis)], axis)
            pooled.append(one)
        total += weight * np.mean((pooled[0] - pooled[1]) ** 2)
        weights += weight
    return float(total / weights)


def test_equals_the_slow_computation() -> None:
    network = equipped(review, SETTING, **LAYERS).eval()
    said, taught, batch = step_of(SETTING)
    found = review(said, taught, batch, 0, **modules_in(network), **LAYERS)
    for row in range(ROWS):
        own = fused(modules_in(network)["fusions"], *(said.features[name][row].detach().numpy() for name in "ab"))
        wanted = [taught.features[name][row].numpy() for name in "cd"]
        expected = sum(pyramid(one, other) for one, other in zip(own, wanted, strict=True))
        assert found[row].item() == pytest.approx(expected, rel=1e-10)


@pytest.mark.parametrize("positions", [(), (1,), (4,), (8,), (2, 2), (8, 8), (16, 16)])
def test_pyramid(positions: tuple[int, ...]) -> None:
    student, teacher = draw(2, 3, *positions), draw(2, 3, *positions, seed=1)
    found = hierarchical_context(student - teacher, rows=1)
    for row in range(2):
        shaped = [one[row].numpy().reshape(3, *(positions or (1,))) for one in (student, teacher)]
        assert found[row].item() == pytest.approx(pyramid(*shaped), rel=1e-12)


def test_pyramid_of_a_constant_is_that_constant_squared() -> None:
    torch.testing.assert_close(hierarchical_context(torch.full((2, 3, 7, 5), 3.0), rows=1), torch.full((2,), 9.0))


def test_the_first_layer_hears_the_last_but_not_the_other_way_round() -> None:
    network = equipped(review, SETTING, **LAYERS)
    features = [draw(ROWS, 3, 8).requires_grad_(), draw(ROWS, 5, 4).requires_grad_()]
    first, last = modules_in(network)["fusions"](features)
    assert all(
        gradient.abs().max() > 0 for gradient in torch.autograd.grad(first.square().sum(), features, retain_graph=True)
    )
    of_first, of_last = torch.autograd.grad(last.square().sum(), features, allow_unused=True)
    assert of_first is None
    assert of_last.abs().max() > 0


def test_the_last_layer_has_nothing_to_fuse() -> None:
    first, last = modules_in(equipped(review, SETTING, **LAYERS))["fusions"]
    assert last.attention is None
    assert first.attention is not None
