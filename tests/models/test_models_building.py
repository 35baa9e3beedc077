from collections import OrderedDict
from collections.abc import Mapping
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from kdlab.errors import UserError
from kdlab.models import MLP, as_output, build_model, check_model
from kdlab.outputs import ModelOutput
from kdlab.streams import stream_seed

SPECS = [
    ({"_target_": "kdlab.models.MLP", "width": 8, "norm": "batch"}, (1, 40)),
    ({"_target_": "kdlab.models.CNN1d", "width": 8}, (1, 40)),
    ({"_target_": "kdlab.models.CNN2d", "width": 4}, (3, 9, 8)),
]


def flat_net(num_classes: int, *, width: int = 4) -> nn.Module:
    """A user's network: no channel axis, no features, no kdlab."""
    return nn.Sequential(nn.Flatten(), nn.LazyLinear(width), nn.ReLU(), nn.Linear(width, num_classes))


def timm_like(model_name: str, pretrained: bool = False, **kwargs: Any) -> nn.Module:
    """The signature of ``timm.create_model``: what it does not name goes on to the network's constructor."""
    return flat_net(**kwargs)


def half_built() -> object:
    return object()


def angry(num_classes: int) -> nn.Module:
    raise ValueError("width = -1: an integer >= 1 is needed")


@pytest.fixture
def here(monkeypatch: pytest.MonkeyPatch) -> str:
    """This module, importable by the path of a spec."""
    import sys

    name = "models_of_a_user"
    monkeypatch.setitem(sys.modules, name, sys.modules[__name__])
    return name


def state(seed_value: int, spec: Mapping[str, Any], shape: tuple[int, ...], **extra: Any) -> dict[str, Tensor]:
    model = build_model(spec, input_shape=shape, num_classes=10, seed_value=seed_value, **extra)
    return dict(model.state_dict())


def equal(one: dict[str, Tensor], other: dict[str, Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


@pytest.mark.parametrize(("spec", "shape"), SPECS)
def test_weights_are_a_function_of_the_seed_alone(spec: dict[str, Any], shape: tuple[int, ...]) -> None:
    first = state(stream_seed("student", "init", 3), spec, shape)
    torch.manual_seed(12345)
    torch.randn(7)
    before = torch.get_rng_state()
    again = state(stream_seed("student", "init", 3), spec, shape)
    assert equal(first, again)
    assert torch.equal(before, torch.get_rng_state())  # and the global generator is as it was
    assert not equal(first, state(stream_seed("student", "init", 4), spec, shape))


@pytest.mark.parametrize(("spec", "shape"), SPECS)
def test_teacher_and_student_of_one_seed_start_apart(spec: dict[str, Any], shape: tuple[int, ...]) -> None:
    student = state(stream_seed("student", "init", 0), spec, shape)
    teacher = state(stream_seed("teacher", "init", 0), spec, shape)
    assert student.keys() == teacher.keys()
    apart = [not torch.equal(student[name], teacher[name]) for name in student if name.endswith("affine.weight")]
    assert apart
    assert all(apart)


@pytest.mark.parametrize(("spec", "shape"), SPECS)
def test_families_pass_the_check_and_keep_their_state(spec: dict[str, Any], shape: tuple[int, ...]) -> None:
    model = build_model(spec, input_shape=shape, num_classes=10, seed_value=0)
    model.blocks[0].eval()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    output = check_model(model, input_shape=shape, num_classes=10, key="student")
    assert output.logits.shape == (2, 10)
    assert not output.logits.requires_grad
    assert tuple(output.features) == model.feature_names
    assert equal(before, dict(model.state_dict()))
    assert model.training
    assert not model.blocks[0].training


@pytest.mark.parametrize("shape", [(1, 40), (3, 8, 8), (40,)])
def test_a_plain_network_of_the_user_works(here: str, shape: tuple[int, ...]) -> None:
    spec = {"_target_": f"{here}.flat_net", "width": 6}
    model = build_model(spec, input_shape=shape, num_classes=10, seed_value=1)
    output = check_model(model, input_shape=shape, num_classes=10, key="student")
    assert output.features == {}
    assert isinstance(model(torch.zeros(3, *shape)), Tensor)
    assert equal(state(1, spec, shape), state(1, spec, shape))  # lazy layers draw from the stream too


def test_a_factory_of_any_keyword_gets_the_class_count_only(here: str) -> None:
    spec = {"_target_": f"{here}.timm_like", "model_name": "resnet", "width": 5}
    model = build_model(spec, input_shape=(1, 40), num_classes=7, seed_value=0)
    assert check_model(model, input_shape=(1, 40), num_classes=7, key="student").logits.shape == (2, 7)


def test_what_the_spec_says_wins() -> None:
    spec = {"_target_": "kdlab.models.MLP", "num_classes": 4}
    model = build_model(spec, input_shape=(1, 40), num_classes=10, seed_value=0)
    with pytest.raises(UserError, match=r"student: 2 examples give logits of shape \[2, 4\], \[2, 10\] is needed"):
        check_model(model, input_shape=(1, 40), num_classes=10, key="student")


def test_errors_name_the_key(here: str) -> None:
    with pytest.raises(UserError, match=r"^student\.width = 0: an integer >= 1"):
        build_model(
            {"_target_": "kdlab.models.MLP", "width": 0}, input_shape=(4,), num_classes=2, seed_value=0, key="student"
        )
    with pytest.raises(UserError, match=r"teacher\.model\.width = -1"):
        build_model({"_target_": f"{here}.angry"}, input_shape=(4,), num_classes=2, seed_value=0, key="teacher.model")
    with pytest.raises(UserError, match=r"student._target_ = 'models_of_a_user.half_built' gives object"):
        build_model({"_target_": f"{here}.half_built"}, input_shape=(4,), num_classes=2, seed_value=0, key="student")


class Broken(nn.Module):
    def __init__(self, value: Any) -> None:
        super().__init__()
        self.value = value

    def forward(self, inputs: Tensor) -> Any:
        if isinstance(self.value, Exception):
            raise self.value
        return self.value


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (torch.zeros(2, 3, 4), r"\[2, 3, 4\]"),
        (torch.zeros(2), r"\[2\]"),
        (torch.full((2, 3), torch.nan), "not finite"),
        (torch.tensor([[0.0, 1, 2], [0, 1, torch.inf]]), "not finite"),
        ((torch.zeros(2, 3), torch.zeros(2, 3)), "got tuple"),
        (RuntimeError("mat1 and mat2 shapes cannot be multiplied"), "mat1 and mat2"),
    ],
)
def test_check_names_what_is_wrong(value: Any, message: str) -> None:
    model = Broken(value).train()
    with pytest.raises(UserError, match=f"^student: .*{message}"):
        check_model(model, input_shape=(1, 40), num_classes=3, key="student")
    assert model.training


def test_check_runs_where_and_in_what_the_model_is() -> None:
    model = MLP(input_shape=(4,), num_classes=3).double()
    assert check_model(model, input_shape=(4,), num_classes=3, key="student").logits.dtype == torch.float64


def test_outputs_are_wrapped() -> None:
    logits, features = torch.zeros(2, 3), {"block1": torch.zeros(2, 5)}
    whole = ModelOutput(logits, features)
    assert as_output(whole) is whole
    assert as_output(logits).logits is logits
    assert as_output(logits).features == {}
    assert as_output(SimpleNamespace(logits=logits, features=features)).features is features
    assert as_output(SimpleNamespace(logits=logits, hidden_states=())).features == {}
    for value in ((logits, logits), OrderedDict(scores=logits), None, SimpleNamespace(logits=None)):
        with pytest.raises(TypeError, match=r"logits \[B, C\]"):
            as_output(value)
