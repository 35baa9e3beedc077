"""Factor transfer beside numpy, and who learns from which part of it."""

import numpy as np
import pytest
import torch
from equipped_terms import ROWS, equipped, modules_in, setting_of, step_of
from torch import nn

from kdlab.objectives.features.factor import factor_transfer, make_paraphraser, make_translator

LAYERS = {"student_layer": "a", "teacher_layer": "c"}
VECTORS = setting_of({"a": (5,)}, {"c": (6,)})
SIGNALS = setting_of({"a": (5, 8)}, {"c": (6, 4)})


def through(layers: nn.Sequential, vector: np.ndarray) -> np.ndarray:
    for layer in layers:
        if isinstance(layer, nn.Linear):
            vector = layer.weight.detach().numpy() @ vector + layer.bias.detach().numpy()
        else:
            vector = np.where(vector > 0, vector, 0.1 * vector)
    return vector


@pytest.mark.parametrize("power", [1, 2])
def test_equals_the_equations(power: int) -> None:
    network = equipped(factor_transfer, VECTORS, **LAYERS)
    said, taught, batch = step_of(VECTORS)
    modules = modules_in(network)
    found = factor_transfer(said, taught, batch, 0, power=power, reconstruction=0.3, **modules, **LAYERS)
    for row in range(ROWS):
        target = taught.features["c"][row].numpy()
        factor = through(modules["paraphraser"].encoder, target)
        own = through(modules["translator"], said.features["a"][row].detach().numpy())
        assert factor.shape == own.shape == (3,)
        apart = np.abs(factor / np.linalg.norm(factor) - own / np.linalg.norm(own)) ** power
        lost = (through(modules["paraphraser"].decoder, factor) - target) ** 2
        assert found[row].item() == pytest.approx(apart.mean() + 0.3 * lost.mean(), rel=1e-12)


def test_the_factor_with_more_positions_is_pooled() -> None:
    network = equipped(factor_transfer, SIGNALS, **LAYERS)
    said, taught, batch = step_of(SIGNALS)
    modules = modules_in(network)
    own = modules["translator"](said.features["a"]).unflatten(-1, (4, 2)).mean(-1).flatten(1)
    factor = modules["paraphraser"](taught.features["c"])[0].flatten(1)
    units = [one / one.norm(dim=1, keepdim=True) for one in (own, factor)]
    found = factor_transfer(said, taught, batch, 0, reconstruction=0.0, **modules, **LAYERS)
    torch.testing.assert_close(found, (units[0] - units[1]).abs().mean(1))


def gradients(*, reconstruction: float) -> dict[str, float]:
    network = equipped(factor_transfer, SIGNALS, **LAYERS)
    said, taught, batch = step_of(SIGNALS)
    value = factor_transfer(said, taught, batch, 0, reconstruction=reconstruction, **modules_in(network), **LAYERS)
    value.sum().backward()
    parts = {name: module.parameters() for name, module in modules_in(network).items()}
    found = {name: sum(float(p.grad.norm()) for p in one if p.grad is not None) for name, one in parts.items()}
    return {**found, "student": float(said.features["a"].grad.norm())}


def test_the_paraphraser_learns_by_reconstruction_alone() -> None:
    without, little, much = (gradients(reconstruction=share) for share in (0.0, 0.1, 1.0))
    assert without["paraphraser"] == 0
    assert much["paraphraser"] == pytest.approx(10 * little["paraphraser"])
    for one in ("student", "translator"):
        assert without[one] > 0
        assert without[one] == little[one] == much[one]


@pytest.mark.parametrize(("share", "channels"), [(0.5, 3), (0.01, 1), (1.5, 9)])
def test_the_share_of_the_teachers_channels(share: float, channels: int) -> None:
    for make, features in ((make_translator, torch.randn(2, 5, 8)), (make_paraphraser, torch.randn(2, 6, 4))):
        found = make(SIGNALS, factor_share=share, **LAYERS)(features)
        factor = found[0] if isinstance(found, tuple) else found
        assert factor.shape == (2, channels, features.shape[-1])
