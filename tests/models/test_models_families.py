import math
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.func import functional_call, stack_module_state, vmap

from kdlab.models import MLP, CNN1d, CNN2d
from kdlab.models.cnn2d import block_plan
from kdlab.outputs import ModelOutput

FAMILIES = [
    (MLP, (1, 40)),
    (MLP, (3, 5, 7)),
    (MLP, (9,)),
    (CNN1d, (1, 40)),
    (CNN1d, (6, 3)),
    (CNN2d, (1, 8, 8)),
    (CNN2d, (3, 32, 32)),
    (CNN2d, (2, 1, 5)),
    (CNN2d, (1, 28, 28)),
]
SMALL = [(MLP, (1, 12)), (CNN1d, (2, 12)), (CNN2d, (2, 6, 6))]
every_family = pytest.mark.parametrize(("family", "shape"), FAMILIES)
every_small = pytest.mark.parametrize(("family", "shape"), SMALL)


def examples(*shape: int, rows: int = 4, seed: int = 0) -> Tensor:
    return torch.randn(rows, *shape, generator=torch.Generator().manual_seed(seed))


@every_family
@pytest.mark.parametrize("num_classes", [1, 2, 10, 101])
@pytest.mark.parametrize("norm", ["none", "batch", "layer"])
def test_any_channel_and_class_count(family: Any, shape: tuple[int, ...], num_classes: int, norm: str) -> None:
    model = family(input_shape=shape, num_classes=num_classes, width=4, depth=3, norm=norm, dropout=0.1)
    output = model(examples(*shape))
    assert isinstance(output, ModelOutput)
    assert output.logits.shape == (4, num_classes)
    assert output.logits.isfinite().all()


@every_family
@pytest.mark.parametrize("depth", [1, 4])
def test_features_are_stable_and_named(family: Any, shape: tuple[int, ...], depth: int) -> None:
    model = family(input_shape=shape, num_classes=3, width=4, depth=depth)
    features = model(examples(*shape)).features
    stem = "hidden" if family is MLP else "block"
    assert tuple(features) == model.feature_names
    assert model.feature_names == (*(f"{stem}{number}" for number in range(1, depth + 1)), "penultimate")
    assert all(value.shape[0] == 4 for value in features.values())
    assert features["penultimate"].ndim == 2
    torch.testing.assert_close(model.head(features["penultimate"]), model(examples(*shape)).logits)


@every_small
def test_features_are_taken_before_dropout(family: Any, shape: tuple[int, ...]) -> None:
    model = family(input_shape=shape, num_classes=3, width=8, depth=1, dropout=0.5)
    inputs = examples(*shape)
    first, second = model(inputs), model(inputs)
    assert torch.equal(first.features["penultimate"], second.features["penultimate"])
    assert not torch.equal(first.logits, second.logits)
    model.eval()
    assert torch.equal(model(inputs).logits, model(inputs).logits)


@every_small
def test_width_and_depth_make_it_larger(family: Any, shape: tuple[int, ...]) -> None:
    def size(**knobs: int) -> int:
        model = family(input_shape=shape, num_classes=3, **knobs)
        return sum(parameter.numel() for parameter in model.parameters())

    assert size(width=2, depth=2) < size(width=4, depth=2) < size(width=8, depth=2)
    assert size(width=8, depth=2) != size(width=8, depth=3)


@every_small
@pytest.mark.parametrize("norm", ["none", "batch", "layer"])
@pytest.mark.parametrize("training", [True, False])
def test_a_stack_equals_each_alone(family: Any, shape: tuple[int, ...], norm: str, training: bool) -> None:
    models = [family(input_shape=shape, num_classes=3, width=4, norm=norm).double().train(training) for _ in range(3)]
    inputs = torch.stack([examples(*shape, rows=5, seed=k).double() for k in range(3)])
    parameters, buffers = stack_module_state(models)

    def run(weights: dict[str, Tensor], statistics: dict[str, Tensor], batch: Tensor) -> Tensor:
        return functional_call(models[0], (weights, statistics), (batch,)).logits

    stacked = vmap(run)(parameters, buffers, inputs)
    for k, model in enumerate(models):
        torch.testing.assert_close(stacked[k], model(inputs[k]).logits, rtol=1e-12, atol=1e-12)
        for name, value in model.named_buffers():
            torch.testing.assert_close(buffers[name][k], value, rtol=1e-12, atol=1e-12)


def test_cnn1d_is_the_mnist1d_papers_network() -> None:
    """Rebuilt layer by layer from the paper's description: same weights, same logits."""
    model = CNN1d(input_shape=(1, 40), num_classes=10, width=25, depth=3)
    reference = nn.Sequential(
        nn.Conv1d(1, 25, 5, stride=2, padding=1),
        nn.ReLU(),
        nn.Conv1d(25, 25, 3, stride=2, padding=1),
        nn.ReLU(),
        nn.Conv1d(25, 25, 3, stride=2, padding=1),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(125, 10),
    )
    reference.load_state_dict(dict(zip(reference.state_dict(), model.state_dict().values(), strict=True)))
    assert sum(parameter.numel() for parameter in model.parameters()) == 5210
    torch.testing.assert_close(model(examples(1, 40)).logits, reference(examples(1, 40)))
    assert [value.shape[-1] for name, value in model(examples(1, 40)).features.items() if "block" in name] == [
        19,
        10,
        5,
    ]


def test_mlp_is_a_plain_perceptron() -> None:
    model = MLP(input_shape=(1, 40), num_classes=10, width=100, depth=2)
    assert sum(parameter.numel() for parameter in model.parameters()) == 40 * 100 + 100 + 100 * 100 + 100 + 1010
    inputs, (first, second) = examples(1, 40), model.blocks
    hidden = (inputs[:, 0] @ first.affine.weight.T + first.affine.bias).clamp(min=0)
    hidden = (hidden @ second.affine.weight.T + second.affine.bias).clamp(min=0)
    torch.testing.assert_close(model(inputs).logits, hidden @ model.head.weight.T + model.head.bias)


@pytest.mark.parametrize(("shape", "sides"), [((1, 8, 8), [8, 4, 2]), ((1, 28, 28), [28, 14, 7]), ((3, 3, 3), [3] * 3)])
def test_cnn2d_halves_while_there_is_room(shape: tuple[int, ...], sides: list[int]) -> None:
    features = CNN2d(input_shape=shape, num_classes=10, width=4, depth=3)(examples(*shape)).features
    plan = block_plan(side=shape[1], width=4, depth=3)
    blocks = [value for name, value in features.items() if name.startswith("block")]
    assert [value.shape[-1] for value in blocks] == sides
    assert [value.shape[1] for value in blocks] == [channels for channels, _ in plan]
    assert features["penultimate"].shape == (4, plan[-1][0])


@pytest.mark.parametrize("norm", ["batch", "layer"])
@every_small
def test_norm_layers_normalise(family: Any, shape: tuple[int, ...], norm: str) -> None:
    model = family(input_shape=shape, num_classes=3, width=16, norm=norm)
    seen: list[Tensor] = []
    model.blocks[0].norm.register_forward_hook(lambda module, inputs, output: seen.append(output.clone()))
    model(100 * examples(*shape, rows=64) + 50)
    axes = (0, *range(2, seen[0].ndim)) if norm == "batch" else tuple(range(1, seen[0].ndim))
    assert seen[0].mean(axes).abs().max() < 1e-3
    assert (seen[0].std(axes, unbiased=False) - 1).abs().max() < 1e-2


@every_small
@pytest.mark.parametrize(
    ("knob", "value", "allowed"),
    [
        ("width", 0, ">= 1"),
        ("width", 8.0, "integer"),
        ("width", True, "integer"),
        ("depth", 0, ">= 1"),
        ("depth", -1, ">= 1"),
        ("num_classes", 0, ">= 1"),
        ("norm", "group", "none, batch, layer"),
        ("norm", None, "none, batch, layer"),
        ("dropout", 1.0, r"\[0, 1\)"),
        ("dropout", -0.1, r"\[0, 1\)"),
        ("dropout", math.nan, r"\[0, 1\)"),
        ("dropout", "0.1", r"\[0, 1\)"),
    ],
)
def test_wrong_knobs_are_named(family: Any, shape: tuple[int, ...], knob: str, value: Any, allowed: str) -> None:
    with pytest.raises(ValueError, match=f"^{knob} = .*{allowed}"):
        family(**{"input_shape": shape, "num_classes": 3, knob: value})


@pytest.mark.parametrize(
    ("family", "shape"), [(CNN1d, (40,)), (CNN1d, (1, 8, 8)), (CNN1d, (1, 2)), (CNN2d, (1, 40)), (CNN2d, (0, 8, 8))]
)
def test_shapes_a_family_cannot_read_are_named(family: Any, shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="input_shape"):
        family(input_shape=shape, num_classes=3)
