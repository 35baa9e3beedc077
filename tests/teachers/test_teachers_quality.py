from typing import Any

import pytest
import torch
from presets import NAMES
from presets import preset as spec_of
from torch import Tensor, nn

from kdlab.errors import UserError
from kdlab.models import MLP
from kdlab.teachers import OnlineTeacher, Quality, ScaledTeacher, UniformTeacher, make_teacher, quality_errors, scaled


def preset(name: str, **doses: Any) -> Quality:
    return Quality.from_spec(spec_of(name, **doses))


def network() -> MLP:
    return MLP(input_shape=(1, 12), num_classes=4, width=8)


def examples() -> tuple[Tensor, Tensor]:
    return torch.randn(5, 1, 12, generator=torch.Generator().manual_seed(0)), torch.arange(5)


def zeroed(model: nn.Module) -> nn.Module:
    """A weight transformation that works in place, as quantizers do."""
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.zero_()
    return model


def seeded(teacher: OnlineTeacher, *, seed: int, scale: float = 1.0) -> ScaledTeacher:
    """An output transformation that asks for something kdlab knows."""
    return scaled(teacher, scale=scale + seed)


@pytest.fixture
def here(monkeypatch: pytest.MonkeyPatch) -> str:
    import sys

    monkeypatch.setitem(sys.modules, "qualities_of_a_user", sys.modules[__name__])
    return "qualities_of_a_user"


def test_every_preset_is_named_as_its_file() -> None:
    assert len(NAMES) >= 12
    assert [preset(name).name for name in NAMES] == NAMES


def test_standard_is_the_trained_network() -> None:
    quality, model = preset("standard"), network()
    assert quality.needs_network
    assert not quality.own_weights
    assert quality.transformation == {}
    teacher = make_teacher(quality, model, num_classes=4)
    assert isinstance(teacher, OnlineTeacher)
    assert torch.equal(teacher(*examples()).logits, model.eval()(examples()[0]).logits)


def test_weak_changes_the_training_and_nothing_else() -> None:
    quality = preset("weak", steps=77)
    training = {"steps": 2000, "optimizer": {"_target_": "torch.optim.AdamW", "lr": 0.01}}
    assert quality.own_weights
    assert quality.transformation == {}
    assert quality.doses == {"steps": 77}
    assert quality.merged_training(training) == {**training, "steps": 77}
    assert training["steps"] == 2000
    nested = Quality(name="slow", training={"optimizer": {"lr": 1e-5}})
    assert nested.merged_training(training)["optimizer"] == {"_target_": "torch.optim.AdamW", "lr": 1e-5}
    assert preset("standard").merged_training(training) == training


def test_overconfident_shares_its_parent_over_doses() -> None:
    model, inputs = network(), examples()
    qualities = [preset("overconfident", scale=scale) for scale in (2.0, 5)]
    assert not any(quality.own_weights for quality in qualities)
    assert qualities[0].transformation != qualities[1].transformation
    assert qualities[1].transformation == {"outputs": {"_target_": "kdlab.teachers.scaled", "scale": 5}}
    plain = make_teacher(preset("standard"), model, num_classes=4)(*inputs).logits
    for quality, scale in zip(qualities, (2.0, 5), strict=True):
        assert torch.equal(make_teacher(quality, model, num_classes=4)(*inputs).logits, plain * scale)


def test_uniform_needs_no_network() -> None:
    quality = preset("uniform")
    assert not quality.needs_network
    assert not quality.own_weights
    teacher = make_teacher(quality, None, num_classes=4)
    assert isinstance(teacher, UniformTeacher)
    assert teacher.num_classes == 4


def test_weights_are_transformed_on_a_copy(here: str) -> None:
    quality = Quality.from_spec({"name": "zero", "weights": {"_target_": f"{here}.zeroed"}})
    model = network()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    teacher = make_teacher(quality, model, num_classes=4)
    assert teacher(*examples()).logits.abs().max() == 0
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())


def test_a_transformation_gets_what_it_asks_for(here: str) -> None:
    quality = Quality.from_spec({"name": "seeded", "outputs": {"_target_": f"{here}.seeded", "scale": 2}})
    teacher = make_teacher(quality, network(), num_classes=4, seed=3, temperature=4.0)
    assert isinstance(teacher, ScaledTeacher)
    assert teacher.scale == 5


def test_a_network_is_needed_unless_it_is_a_control() -> None:
    with pytest.raises(UserError, match=r"teacher.quality.name = 'standard': a trained network"):
        make_teacher(preset("standard"), None, num_classes=4)


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ({}, "teacher.quality.name = None"),
        ({"name": ""}, "teacher.quality.name = ''"),
        ({"name": "x", "output": {"_target_": "kdlab.teachers.scaled"}}, "unknown key teacher.quality.output; did you"),
        ({"name": "x", "outputs": "scaled"}, "teacher.quality.outputs = 'scaled': a mapping"),
        ({"name": "x", "outputs": {"_target_": "kdlab.teachers.scale"}}, "did you mean scaled"),
        ({"name": "x", "outputs": {"_target_": "kdlab.teachers.scaled"}}, "missing key teacher.quality.outputs.scale"),
        (
            {"name": "x", "outputs": {"_target_": "kdlab.teachers.scaled", "scale": 2, "by": 3}},
            "unknown key teacher.quality.outputs.by",
        ),
        (
            {"name": "x", "training": {"steps": 3}, "control": {"_target_": "kdlab.teachers.UniformTeacher"}},
            "control has no network, so training cannot apply",
        ),
    ],
)
def test_mistakes_in_a_preset_are_named(spec: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        Quality.from_spec(spec)
    assert quality_errors(spec)


def test_empty_parts_are_no_parts() -> None:
    quality = Quality.from_spec({"name": "standard", "outputs": None, "training": {}, "steps": None, "scale": 2})
    assert quality.doses == {"scale": 2}  # the doses of other presets are null
    assert quality.transformation == {}
    assert not quality.own_weights
