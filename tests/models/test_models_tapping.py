"""Features by module path: the same values as a layer called by hand, nothing else changed."""

import copy
import gc
import pickle
import weakref
from collections import OrderedDict
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.func import functional_call, stack_module_state, vmap

from kdlab.errors import UserError
from kdlab.models import MLP, CNN2d, ResNet, as_output, feature_names, tap, untap
from kdlab.outputs import ModelOutput


class InPlace(nn.Module):
    """What torchvision's and timm's networks do: a layer's output is changed in place a line later."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.bn, self.act = nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(inplace=True)
        self.fc = nn.Linear(4, 3)

    def forward(self, inputs: Tensor) -> Tensor:
        shortcut = self.conv(inputs)
        hidden = self.bn(shortcut)
        hidden += shortcut
        hidden = self.act(0.5 - self.act(hidden))  # the same module twice
        return self.fc(hidden.mean((-2, -1)))


class Gives(nn.Module):
    """A layer whose output is whatever it is told, around a layer that is never called as one."""

    def __init__(self, make: Any) -> None:
        super().__init__()
        self.inner, self.unused, self.make = Plain(make), nn.Linear(2, 2), make

    def forward(self, inputs: Tensor) -> Tensor:
        self.inner(inputs)
        return inputs[:, :2]


class Plain(nn.Module):
    def __init__(self, make: Any) -> None:
        super().__init__()
        self.make = make

    def forward(self, inputs: Tensor) -> Any:
        return self.make(inputs)


def inputs_of(*shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(0))


def test_a_layers_output_is_a_feature_beside_the_networks_own() -> None:
    model, inputs = ResNet(input_shape=(1, 8, 8), num_classes=3, width=2, depth=14).eval(), inputs_of(4, 1, 8, 8)
    before, plain = {name: id(value) for name, value in model.state_dict(keep_vars=True).items()}, model(inputs)
    assert tap(model, ["layer2.0.conv1", "layer1", "stage1"]) is model
    output = model(inputs)
    assert set(output.features) == {*model.feature_names, "layer2.0.conv1", "layer1"}
    torch.testing.assert_close(output.features["layer2.0.conv1"], model.layer2[0].conv1(output.features["stage1"]))
    assert torch.equal(output.features["layer1"], output.features["stage1"])  # of (output, pre-activation) the first
    assert torch.equal(output.logits, plain.logits)
    assert {name: id(value) for name, value in model.state_dict(keep_vars=True).items()} == before


def test_only_what_is_asked_for_and_nothing_kept_after_the_forward() -> None:
    model = tap(nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2)), ["0"])
    output = model(inputs_of(5, 3))
    assert isinstance(output, ModelOutput)
    assert set(output.features) == {"0"}
    assert output.features["0"].requires_grad
    held = weakref.ref(output.features["0"])
    del output
    gc.collect()
    assert held() is None
    model[0](inputs_of(5, 3))  # a layer called by itself is no forward of the network
    (finish,) = model._forward_hooks.values()
    assert finish.capture.values == {}


def test_taps_add_up_and_come_off() -> None:
    model, inputs = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2)), inputs_of(5, 3)
    plain = model(inputs)
    for paths in (["0"], ["0", "1"], [], ["1", "1"]):
        tap(model, paths)
    assert set(model(inputs).features) == {"0", "1"}
    assert sum(len(module._forward_hooks) + len(module._forward_pre_hooks) for module in model.modules()) == 4
    mine = model[0].register_forward_hook(lambda module, given, output: None)
    assert untap(model) is model
    assert torch.equal(model(inputs), plain)
    assert list(model[0]._forward_hooks) == [mine.id]
    assert set(tap(model, ["2"])(inputs).features) == {"2"}


def test_a_copy_has_a_capture_of_its_own() -> None:
    model = tap(nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2)), ["1"])
    for other in (copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        with torch.no_grad():
            other[0].weight.zero_()
            other[0].bias.fill_(7.0)
        tap(other, ["0"])
        assert torch.equal(other(inputs_of(5, 3)).features["1"], torch.full((5, 4), 7.0))
        assert set(model(inputs_of(5, 3)).features) == {"1"}
        assert not torch.equal(model(inputs_of(5, 3)).features["1"], torch.full((5, 4), 7.0))


def test_in_place_changes_do_not_reach_a_feature_nor_a_gradient() -> None:
    torch.manual_seed(0)
    model, inputs = InPlace(), inputs_of(6, 1, 5, 5)
    expected = model.bn(model.conv(inputs))
    plain = torch.autograd.grad(model(inputs).sum(), model.conv.weight)[0]
    output = tap(model, ["bn", "act"])(inputs)
    torch.testing.assert_close(output.features["bn"], expected)
    torch.testing.assert_close(
        output.features["act"], (0.5 - (expected + model.conv(inputs)).relu()).relu()
    )  # as it was called last
    torch.testing.assert_close(torch.autograd.grad(output.logits.sum(), model.conv.weight, retain_graph=True)[0], plain)
    by_hand = torch.autograd.grad(model.bn(model.conv(inputs)).square().sum(), model.conv.weight)[0]
    found = torch.autograd.grad(output.features["bn"].square().sum(), model.conv.weight)[0]
    torch.testing.assert_close(found, by_hand, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("training", [True, False])
def test_functional_calls_and_stacks(training: bool) -> None:
    models = [CNN2d(input_shape=(1, 6, 6), num_classes=3, width=2, norm="batch").double() for _ in range(3)]
    models = [tap(model, ["blocks.1.affine"]).train(training) for model in models]
    inputs = torch.stack([inputs_of(5, 1, 6, 6).double() + k for k in range(3)])
    parameters, buffers = stack_module_state(models)

    def run(weights: Any, statistics: Any, batch: Tensor) -> Tensor:
        return functional_call(models[0], (weights, statistics), (batch,)).features["blocks.1.affine"]

    stacked = vmap(run)(parameters, buffers, inputs)
    for k, model in enumerate(models):
        torch.testing.assert_close(stacked[k], model(inputs[k]).features["blocks.1.affine"], rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize(
    "make",
    [
        lambda x: x,
        lambda x: (None, x, x + 1),
        lambda x: [x],
        lambda x: SimpleNamespace(last_hidden_state=x, pooler_output=x + 1),
        lambda x: OrderedDict(pooled=x + 1, last_hidden_state=x),
        lambda x: {"attention": None, "hidden": x},
        lambda x: ModelOutput(x, {}),
    ],
)
def test_outputs_of_layers_are_read_as_one_tensor(make: Any) -> None:
    inputs = inputs_of(4, 3)
    output = tap(Gives(make), ["inner"])(inputs)
    assert torch.equal(output.features["inner"], inputs)


@pytest.mark.parametrize("make", [lambda x: None, lambda x: (), lambda x: "text", lambda x: {"a": 1}])
def test_a_layer_without_a_tensor_is_named(make: Any) -> None:
    with pytest.raises(UserError, match=r"features\.inner: the module gives \w+ without a tensor"):
        tap(Gives(make), ["inner"])(inputs_of(4, 3))


def test_wrong_paths_are_refused_with_the_nearest_names() -> None:
    model = MLP(input_shape=(4,), num_classes=3)
    with pytest.raises(UserError) as caught:
        tap(model, ["blocks.0.afine", "hiden1", "", "blocks.0"])
    assert str(caught.value).splitlines() == [
        "features.blocks.0.afine: MLP has no such feature or submodule; "
        "did you mean blocks.0.affine, blocks.1.affine, blocks.0.norm?",
        *(line for line in str(caught.value).splitlines() if line.startswith("features.hiden1: ")),
        *(line for line in str(caught.value).splitlines() if line.startswith("features.: ")),
    ]
    assert "hidden1" in str(caught.value)
    assert not any(module._forward_hooks for module in model.modules())
    assert feature_names(model) == {*model.feature_names, *(name for name, _ in model.named_modules() if name)}


def test_a_module_that_is_not_called_is_named_and_a_failed_forward_keeps_nothing() -> None:
    with pytest.raises(UserError, match=r"features\.unused: this module takes no part in the forward"):
        tap(Gives(lambda x: x), ["inner", "unused"])(inputs_of(4, 3))
    model = tap(nn.Sequential(nn.Linear(3, 4), nn.Linear(5, 2)), ["0"])
    with pytest.raises(RuntimeError, match="shapes cannot be multiplied"):
        model(inputs_of(4, 3))
    finish = next(iter(model._forward_hooks.values()))
    assert finish.capture.values == {}
    assert not finish.capture.active


def test_what_a_network_returns_otherwise_is_still_read() -> None:
    model = tap(Plain(lambda x: SimpleNamespace(logits=x, features={"own": x + 1})), [])
    assert set(as_output(model(inputs_of(2, 3))).features) == {"own"}
    outer = nn.ModuleDict({"body": nn.Identity()})
    outer.forward = lambda x: SimpleNamespace(logits=outer["body"](x), features={"own": x + 1})
    assert set(as_output(tap(outer, ["body"])(inputs_of(2, 3))).features) == {"own", "body"}
