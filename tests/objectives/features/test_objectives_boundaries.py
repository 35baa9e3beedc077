"""Activation boundaries beside a loop over units."""

import math

import pytest
import torch
from equipped_terms import ROWS, draw, equipped, modules_in, setting_of, step_of

from kdlab.objectives.features.boundaries import activation_boundaries

LAYERS = {"student_layers": ["a", "b"], "teacher_layers": ["c", "d"]}
SETTING = setting_of({"a": (3, 8), "b": (5,)}, {"c": (4, 4), "d": (2,)})


@pytest.mark.parametrize("margin", [1, 0.3])
def test_equals_the_slow_loop(margin: float) -> None:
    network = equipped(activation_boundaries, SETTING, **LAYERS)
    said, taught, batch = step_of(SETTING)
    found = activation_boundaries(said, taught, batch, 0, margin=margin, **modules_in(network), **LAYERS)
    connected = modules_in(network)["connectors"]([said.features[name] for name in "ab"])
    for row in range(ROWS):
        expected = []
        for weight, source, name in zip((0.5, 1.0), connected, "cd", strict=True):
            units = zip(source[row].flatten().tolist(), taught.features[name][row].flatten().tolist(), strict=True)
            for own, target in units:
                if target > 0 and own < margin:
                    expected.append(weight * (own - margin) ** 2)
                if target <= 0 and own > -margin:
                    expected.append(weight * (own + margin) ** 2)
        assert found[row].item() == pytest.approx(math.fsum(expected), rel=1e-12)


def test_a_relu_of_the_teacher_changes_nothing() -> None:
    network = equipped(activation_boundaries, SETTING, **LAYERS).eval()
    said, taught, batch = step_of(SETTING)
    behind = taught._replace(features={name: value.relu() for name, value in taught.features.items()})
    both = [activation_boundaries(said, one, batch, 0, **modules_in(network), **LAYERS) for one in (taught, behind)]
    assert torch.equal(*both)


def test_only_the_side_of_a_boundary_counts() -> None:
    network = equipped(activation_boundaries, SETTING, **LAYERS).eval()
    said, taught, batch = step_of(SETTING)
    far = taught._replace(features={name: 100 * value for name, value in taught.features.items()})
    both = [activation_boundaries(said, one, batch, 0, **modules_in(network), **LAYERS) for one in (taught, far)]
    assert torch.equal(*both)


def test_is_zero_where_every_unit_is_on_its_side_by_the_margin() -> None:
    setting = setting_of({"a": (4,)}, {"c": (4,)})
    layers = {"student_layers": ["a"], "teacher_layers": ["c"]}
    network = equipped(activation_boundaries, setting, **layers).eval()
    (connector,) = modules_in(network)["connectors"]
    with torch.no_grad():
        connector.layers[0].weight.copy_(torch.eye(4))
    said, taught, batch = step_of(setting)
    own = 1.01 * taught.features["c"].sign() + 0.5 * taught.features["c"]
    agreeing = said._replace(features={"a": own})
    assert not activation_boundaries(agreeing, taught, batch, 0, **modules_in(network), **layers).any()
    crossed = said._replace(features={"a": -own})
    assert (activation_boundaries(crossed, taught, batch, 0, **modules_in(network), **layers) > 4).all()


def test_layers_before_the_last_count_half() -> None:
    network = equipped(activation_boundaries, SETTING, **LAYERS)
    said, taught, batch = step_of(SETTING)
    whole = activation_boundaries(said, taught, batch, 0, **modules_in(network), **LAYERS)
    connectors = modules_in(network)["connectors"]
    parts = []
    for at, (own, other) in enumerate([("a", "c"), ("b", "d")]):
        part = activation_boundaries(said, taught, batch, 0, student_layers=[own], teacher_layers=[other],
                                     connectors=lambda features, at=at: [connectors[at](*features)])  # fmt: skip
        parts.append(part)
    torch.testing.assert_close(whole, parts[0] / 2 + parts[1])


def test_connectors_have_the_shape_of_the_teacher() -> None:
    network = equipped(activation_boundaries, SETTING, **LAYERS)
    found = modules_in(network)["connectors"]([draw(2, 3, 8), draw(2, 5)])
    assert [tuple(one.shape) for one in found] == [(2, 4, 4), (2, 2)]
