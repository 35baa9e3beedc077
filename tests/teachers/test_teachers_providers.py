import copy
import math
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from kdlab.errors import UserError
from kdlab.models import MLP, CNN1d
from kdlab.objectives import soft_targets
from kdlab.outputs import Batch, ModelOutput, TeacherOutput
from kdlab.teachers import OnlineTeacher, ScaledTeacher, Teacher, UniformTeacher, scaled, tap_teacher

SHAPE = (1, 12)


def network(*, dropout: float = 0.5) -> CNN1d:
    return CNN1d(input_shape=SHAPE, num_classes=4, width=6, norm="batch", dropout=dropout)


def examples(rows: int = 6, *, seed: int = 0) -> tuple[Tensor, Tensor]:
    return 5 + torch.randn(rows, *SHAPE, generator=torch.Generator().manual_seed(seed)), torch.arange(rows)


def snapshot(model: nn.Module) -> dict[str, Tensor]:
    return {name: value.clone() for name, value in model.state_dict().items()}


def unchanged(before: dict[str, Tensor], model: nn.Module) -> bool:
    after = model.state_dict()
    return before.keys() == after.keys() and all(torch.equal(before[name], after[name]) for name in before)


def teachers() -> list[Any]:
    return [
        pytest.param(OnlineTeacher(network()), id="online"),
        pytest.param(ScaledTeacher(OnlineTeacher(network()), scale=3.0), id="scaled"),
        pytest.param(UniformTeacher(4), id="uniform"),
    ]


@pytest.mark.parametrize("teacher", teachers())
def test_every_teacher_is_frozen_and_outside_the_graph(teacher: Teacher) -> None:
    inputs, index = examples()
    output = teacher(inputs.requires_grad_(), index)
    assert isinstance(output, TeacherOutput)
    assert output.logits.shape == (6, 4) == (6, teacher.num_classes)
    assert not output.logits.requires_grad
    assert not any(value.requires_grad for value in output.features.values())
    assert not output.logits.is_inference()
    assert not isinstance(teacher, nn.Module)
    assert torch.equal(output.logits, teacher(inputs, index).logits)
    assert teacher.provides >= {"logits"}


@pytest.mark.parametrize("teacher", teachers())
def test_every_teacher_serves_a_term(teacher: Teacher) -> None:
    inputs, index = examples()
    batch = Batch(inputs, index % 4, index, torch.ones(6, dtype=torch.bool))
    student = torch.randn(6, 4).requires_grad_()
    soft_targets(ModelOutput(student, {}), teacher(inputs, index), batch, 0, temperature=4).sum().backward()
    assert student.grad is not None
    assert student.grad.isfinite().all()


def test_parameters_and_buffers_are_bit_identical_whoever_calls_train() -> None:
    teacher = OnlineTeacher(network())
    before = snapshot(teacher.model)
    first = teacher(*examples()).logits.clone()
    for call in range(50):
        if call % 3 == 0:
            teacher.model.train()
        if call % 3 == 1:
            teacher.model.blocks[1].norm.train()  # one layer alone, with the root in eval mode
        teacher(*examples(seed=call))
    assert unchanged(before, teacher.model)
    assert torch.equal(teacher(*examples()).logits, first)
    assert not any(module.training for module in teacher.model.modules())


def test_the_same_calls_in_train_mode_would_have_drifted() -> None:
    model = network()
    before = snapshot(model)
    model(examples()[0])
    assert not unchanged(before, model)


def test_is_a_private_copy() -> None:
    model = network()
    teacher = OnlineTeacher(model)
    inputs, index = examples()
    said = teacher(inputs, index).logits
    assert model.training
    assert all(parameter.requires_grad for parameter in model.parameters())
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)  # a born-again student trains on from the same module
    model(inputs).logits.sum().backward()
    optimizer.step()
    assert torch.equal(teacher(inputs, index).logits, said)
    assert not any(parameter.requires_grad for parameter in teacher.model.parameters())
    ours = {parameter.data_ptr() for parameter in teacher.model.parameters()}
    assert ours.isdisjoint(parameter.data_ptr() for parameter in model.parameters())


def test_online_answers_as_the_model_in_eval_mode() -> None:
    model = network()
    model(examples(seed=1)[0])  # statistics that are not the initial ones
    inputs, index = examples()
    output = OnlineTeacher(model)(inputs, index)
    expected = copy.deepcopy(model).eval()(inputs)
    assert torch.equal(output.logits, expected.logits)
    assert tuple(output.features) == tuple(expected.features)


def test_provides_names_the_features() -> None:
    model = MLP(input_shape=SHAPE, num_classes=4, depth=2)
    provided = OnlineTeacher(model).provides
    own = {"logits", "features.hidden1", "features.hidden2", "features.penultimate"}
    assert provided == own | {f"features.{path}" for path, _ in model.named_modules() if path}
    assert ScaledTeacher(OnlineTeacher(model), scale=2).provides == provided


def test_features_by_module_path_are_asked_for_through_what_transforms_the_teacher() -> None:
    model, (inputs, index) = MLP(input_shape=SHAPE, num_classes=4, depth=2).eval(), examples()
    teacher = ScaledTeacher(ScaledTeacher(OnlineTeacher(model), scale=2), scale=3)
    tap_teacher(teacher, ["blocks.1.affine", "hidden1"])
    tap_teacher(UniformTeacher(4), ["hidden1"])  # nothing to ask
    features = teacher(inputs, index).features
    assert set(features) == {*model.feature_names, "blocks.1.affine"}
    torch.testing.assert_close(features["blocks.1.affine"], model.blocks[1].affine(model(inputs).features["hidden1"]))
    assert not features["blocks.1.affine"].requires_grad
    assert set(model(inputs).features) == set(model.feature_names)  # the copy is tapped, not the user's network


def test_a_plain_network_needs_its_class_count() -> None:
    plain = nn.Sequential(nn.Flatten(), nn.Linear(12, 4))
    with pytest.raises(UserError, match="num_classes"):
        OnlineTeacher(plain)
    teacher = OnlineTeacher(plain, num_classes=4)
    assert teacher.provides == {"logits", "features.0", "features.1"}
    assert teacher(*examples()).logits.shape == (6, 4)


def test_moves_in_dtype() -> None:
    teacher = OnlineTeacher(network())
    inputs, index = examples()
    single = teacher(inputs, index).logits
    double = ScaledTeacher(teacher, scale=1.0).to("cpu", torch.float64)(inputs.double(), index).logits
    assert double.dtype == torch.float64
    torch.testing.assert_close(double.float(), single)
    assert UniformTeacher(4).to("cpu", torch.float64)(inputs.double(), index).logits.dtype == torch.float64


@pytest.mark.parametrize("num_classes", [1, 3, 10, 1000])
def test_uniform_is_exactly_uniform(num_classes: int) -> None:
    inputs, index = examples()
    probs = torch.softmax(UniformTeacher(num_classes)(inputs, index).logits.double(), -1)
    assert torch.equal(probs, torch.full((6, num_classes), 1 / num_classes, dtype=torch.float64))
    stacked = UniformTeacher(num_classes)(inputs.expand(2, *inputs.shape), index.expand(2, -1)).logits
    assert stacked.shape == (2, 6, num_classes)


@pytest.mark.parametrize("scale", [0.25, 2, 3.0, 100.0])
def test_scaled_keeps_the_top_class_and_changes_the_confidence(scale: float) -> None:
    teacher = OnlineTeacher(network())
    inputs, index = examples(200)
    plain, changed = teacher(inputs, index), scaled(teacher, scale=scale)(inputs, index)
    assert torch.equal(changed.logits, plain.logits * scale)
    assert torch.equal(changed.logits.argmax(-1), plain.logits.argmax(-1))
    confidence = [torch.softmax(output.logits, -1).amax(-1).mean() for output in (plain, changed)]
    assert (confidence[1] > confidence[0]) == (scale > 1)


@pytest.mark.parametrize("scale", [0, -1, math.inf, math.nan, "3", True])
def test_scale_out_of_range_is_named(scale: Any) -> None:
    with pytest.raises(UserError, match=r"teacher.quality.scale = "):
        scaled(UniformTeacher(4), scale=scale)
