"""The residual networks of the distillation literature: published sizes, and the equation written out a second time."""

from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from torch import Tensor
from torch.func import functional_call, stack_module_state, vmap
from torch.nn import functional as F

from kdlab.models import ResNet, build_model
from kdlab.outputs import ModelOutput

CONF = Path(__file__).parents[2] / "conf"
#: Parameters at 3x32x32 and 100 classes, as published (RepDistiller).
PUBLISHED = {
    "resnet8x4": 1_233_540, "resnet20": 278_324, "resnet32": 472_756, "resnet56": 861_620, "resnet110": 1_736_564,
    "resnet32x4": 7_433_860,
}  # fmt: skip


def examples(*shape: int, rows: int = 3, seed: int = 0) -> Tensor:
    return torch.randn(rows, *shape, generator=torch.Generator().manual_seed(seed))


def counted(depth: int, width: int, stem: int, *, channels: int, num_classes: int) -> int:
    """Parameters by pencil and paper: convolutions without bias, two numbers a channel for each BatchNorm."""
    total, fan_in = channels * stem * 9 + 2 * stem, stem
    for planned in (width, 2 * width, 4 * width):
        for _ in range((depth - 2) // 6):
            total += fan_in * planned * 9 + 2 * planned + planned * planned * 9 + 2 * planned
            total += fan_in * planned + 2 * planned if fan_in != planned else 0
            fan_in = planned
    return total + 4 * width * num_classes + num_classes


@pytest.mark.parametrize("group", ["student", "teacher/model"])
@pytest.mark.parametrize("name", PUBLISHED)
def test_sizes_are_the_published_ones(name: str, group: str) -> None:
    spec = yaml.safe_load((CONF / group / f"{name}.yaml").read_text())
    with torch.device("meta"):
        model = build_model(spec, input_shape=(3, 32, 32), num_classes=100, seed_value=0)
    found = sum(parameter.numel() for parameter in model.parameters())
    depth, width, stem = spec["depth"], spec["width"], spec["stem"] or spec["width"]
    assert found == PUBLISHED[name] == counted(depth, width, stem, channels=3, num_classes=100)


def straight_line(weights: dict[str, Tensor], inputs: Tensor, *, training: bool) -> dict[str, Tensor]:
    """He et al. 2016 written out once more over the names of RepDistiller's weights, functions alone."""
    w = {name: value.clone() for name, value in weights.items()}

    def norm(x: Tensor, name: str) -> Tensor:
        statistics = (None, None) if training else (w[f"{name}.running_mean"], w[f"{name}.running_var"])
        return F.batch_norm(x, *statistics, w[f"{name}.weight"], w[f"{name}.bias"], training=training)

    x = F.relu(norm(F.conv2d(inputs, w["conv1.weight"], padding=1), "bn1"))
    found = {"stem": x}
    for stage in (1, 2, 3):
        block = 0
        while f"layer{stage}.{block}.conv1.weight" in w:
            at, stride = f"layer{stage}.{block}", 2 if stage > 1 and block == 0 else 1
            y = F.relu(norm(F.conv2d(x, w[f"{at}.conv1.weight"], stride=stride, padding=1), f"{at}.bn1"))
            y = norm(F.conv2d(y, w[f"{at}.conv2.weight"], padding=1), f"{at}.bn2")
            if f"{at}.downsample.0.weight" in w:
                x = norm(F.conv2d(x, w[f"{at}.downsample.0.weight"], stride=stride), f"{at}.downsample.1")
            found[f"stage{stage}_preactivation"] = x + y
            x = found[f"stage{stage}"] = F.relu(x + y)
            block += 1
    found["penultimate"] = F.adaptive_avg_pool2d(x, 1).flatten(1)
    found["logits"] = F.linear(found["penultimate"], w["fc.weight"], w["fc.bias"])
    return found


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize(
    ("knobs", "shape"), [({"depth": 14, "width": 4}, (3, 32, 32)), ({"depth": 8, "width": 8, "stem": 4}, (1, 8, 8))]
)
def test_equals_a_second_implementation(knobs: dict[str, int], shape: tuple[int, ...], training: bool) -> None:
    torch.manual_seed(0)
    model = ResNet(input_shape=shape, num_classes=7, **knobs).double().train(training)
    for name, value in model.named_buffers():  # statistics that matter
        if "running" in name:
            value.uniform_(0.5, 1.5)
    inputs = examples(*shape).double()
    expected = straight_line(model.state_dict(), inputs, training=training)
    output = model(inputs)
    torch.testing.assert_close(output.logits, expected.pop("logits"), rtol=1e-10, atol=1e-10)
    assert set(output.features) == set(expected)
    assert tuple(output.features) == model.feature_names
    for name, value in expected.items():
        torch.testing.assert_close(output.features[name], value, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("shape", [(1, 8, 8), (3, 32, 32), (5, 1, 1), (2, 7, 13), (1, 28, 28)])
@pytest.mark.parametrize("norm", ["batch", "layer", "none"])
def test_any_image(shape: tuple[int, ...], norm: str) -> None:
    model = ResNet(input_shape=shape, num_classes=3, width=2, depth=8, norm=norm, dropout=0.1)
    output = model(examples(*shape))
    assert isinstance(output, ModelOutput)
    assert output.logits.shape == (3, 3)
    assert output.features["penultimate"].shape == (3, 8)
    output = model.eval()(examples(*shape))
    torch.testing.assert_close(model.fc(output.features["penultimate"]), output.logits)


def test_initialisation_keeps_the_scale_over_fan_out() -> None:
    torch.manual_seed(0)
    model = ResNet(input_shape=(3, 8, 8), num_classes=3, width=64, depth=8)
    for weight in (model.layer2[0].conv1.weight, model.layer2[0].downsample[0].weight):
        fan_out = weight.shape[0] * weight.shape[2] * weight.shape[3]
        assert float(weight.detach().std()) == pytest.approx((2 / fan_out) ** 0.5, rel=0.03)
    assert torch.equal(model.bn1.weight, torch.ones(64))


@pytest.mark.parametrize("training", [True, False])
def test_a_stack_equals_each_alone(training: bool) -> None:
    models = [ResNet(input_shape=(2, 6, 6), num_classes=3, width=2, depth=8).double().train(training) for _ in range(3)]
    inputs = torch.stack([examples(2, 6, 6, rows=5, seed=k).double() for k in range(3)])
    parameters, buffers = stack_module_state(models)

    def run(weights: Any, statistics: Any, batch: Tensor) -> Any:
        output = functional_call(models[0], (weights, statistics), (batch,))
        return output.logits, dict(output.features)

    logits, features = vmap(run)(parameters, buffers, inputs)
    for k, model in enumerate(models):
        alone = model(inputs[k])
        torch.testing.assert_close(logits[k], alone.logits, rtol=1e-12, atol=1e-12)
        for name, value in alone.features.items():
            torch.testing.assert_close(features[name][k], value, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize(
    ("knobs", "told"),
    [
        ({"depth": 18}, r"depth = 18: 6 n \+ 2 is needed"),
        ({"depth": 2}, r"depth = 2: 6 n \+ 2"),
        ({"width": 0}, "width = 0"),
        ({"stem": 0}, "stem = 0"),
        ({"stem": True}, "stem = True"),
        ({"norm": "group"}, "norm = 'group'"),
        ({"input_shape": (1, 40)}, "input_shape"),
    ],
)
def test_what_no_residual_network_can_have_is_refused(knobs: dict[str, Any], told: str) -> None:
    with pytest.raises(ValueError, match=told):
        ResNet(**{"input_shape": (1, 8, 8), "num_classes": 3, **knobs})
