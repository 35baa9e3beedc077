"""Networks of other libraries as student and teacher: timm's, torchvision's and Hugging Face's ways of being built."""

import socket
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from kdlab.data import Examples
from kdlab.errors import UserError
from kdlab.models import as_output, build_model, check_model, tap
from kdlab.objectives import Objective
from kdlab.outputs import Batch, ModelOutput
from kdlab.records.weights import load_weights, match_state, save_weights
from kdlab.targets import resolve, spec_errors
from kdlab.teachers import OnlineTeacher
from kdlab.training import Learner, Recipe, Runtime, fit
from kdlab.training.distillation import listen

SHAPE = (1, 8, 8)
TIMM = {"_target_": "factories.create_model", "model_name": "tinynet"}
VIT = {
    "_target_": "kdlab.models.hugging_face", "model_type": "vit", "patch_size": 4, "hidden_size": 16,
    "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32,
}  # fmt: skip


def built(spec: dict[str, Any], *, shape: tuple[int, ...] = SHAPE, seed_value: int = 0) -> nn.Module:
    assert spec_errors(spec, key="student", provided=("input_shape", "num_classes", "in_chans")) == []
    model = build_model(spec, input_shape=shape, num_classes=3, seed_value=seed_value, key="student")
    check_model(model, input_shape=shape, num_classes=3, key="student")
    return model


def examples(count: int = 12, *, start: int = 0) -> Examples:
    draws = torch.Generator().manual_seed(start)
    labels = torch.arange(count) % 3
    inputs = torch.randn(count, *SHAPE, generator=draws) + labels[:, None, None, None]
    return Examples(inputs, labels, torch.arange(start, start + count))


def trained(model: nn.Module, teacher: OnlineTeacher | None = None, **term: Any) -> None:
    terms = {"hard_labels": {"_target_": "kdlab.objectives.hard_labels", "weight": 0.5}}
    soft = {"_target_": "kdlab.objectives.soft_targets", "weight": 0.5, "temperature": 2.0, "t2_scaling": True}
    terms |= {"soft_targets": soft} if teacher is not None else {}
    terms |= {"of_the_user": {"weight": 0.5, **term}} if term else {}
    optimizer = {"_target_": "torch.optim.SGD", "lr": 0.1}
    recipe = Recipe(3, 6, optimizer, {"_target_": "torch.optim.lr_scheduler.ConstantLR", "factor": 1.0})
    objective, validation = Objective.from_specs(terms), examples(6, start=100)
    learner = Learner(model, objective, examples(), validation, recipe, "student", 0, teacher=teacher)
    (fitted,) = fit([learner], num_classes=3, runtime=Runtime(accelerator="cpu", progress=False))
    assert fitted.error is None


@pytest.mark.parametrize("channels", [1, 3])
def test_a_factory_of_timms_signature_gets_classes_and_channels(channels: int) -> None:
    model = built({**TIMM, "width": 6}, shape=(channels, 9, 8))
    assert model.stem.weight.shape == (6, channels, 3, 3)
    assert model.head.out_features == 3
    assert not model.pretrained


def test_what_the_spec_says_of_channels_wins_and_is_found_to_be_wrong() -> None:
    with pytest.raises(UserError, match=r"^student: the forward of examples of shape \[1, 8, 8\] failed"):
        built({**TIMM, "in_chans": 3})
    with pytest.raises(UserError, match=r"2 examples give logits of shape \[2, 5\], \[2, 3\] is needed"):
        built({**TIMM, "num_classes": 5})


def test_a_factory_of_torchvisions_signature_gets_classes_alone_and_the_same_weights() -> None:
    spec = {"_target_": "factories.small_net"}
    model, again = built(spec, shape=(3, 8, 8), seed_value=5), built(spec, shape=(3, 8, 8), seed_value=5)
    torch.manual_seed(5)
    expected = resolve("factories.small_net")(num_classes=3)
    for name, value in expected.state_dict().items():  # the refused attempt has drawn nothing
        assert torch.equal(model.state_dict()[name], value)
        assert torch.equal(again.state_dict()[name], value)


@pytest.mark.parametrize("spec", [{"_target_": "factories.small_net", "depht": 3}, {**TIMM, "depht": 3}])
def test_a_keyword_that_only_the_network_behind_refuses_is_the_users_mistake(spec: dict[str, Any]) -> None:
    with pytest.raises(UserError, match=r"^student: .*unexpected keyword argument 'depht'"):
        built(spec, shape=(3, 8, 8))


def test_a_flat_example_has_no_channels_to_tell() -> None:
    model = build_model({"_target_": "factories.keywords"}, input_shape=(7,), num_classes=3, seed_value=0)
    assert model.given == {"num_classes": 3}
    model = build_model({"_target_": "factories.keywords"}, input_shape=(7, 2), num_classes=3, seed_value=0)
    assert model.given == {"num_classes": 3, "in_chans": 7}


def test_a_term_of_the_user_reads_layers_of_both_by_path() -> None:
    student, teacher = built(TIMM), OnlineTeacher(built({**TIMM, "width": 6}, seed_value=1), num_classes=3)
    before = {name: value.clone() for name, value in student.state_dict().items()}
    layers = {"teacher_layer": "blocks.1", "student_layer": "blocks.0"}
    trained(student, teacher, _target_="user_terms.same_scale", **layers)
    assert set(student.state_dict()) == set(before)
    assert isinstance(student(examples().inputs), Tensor), "what fit hands back returns what it returned before"
    moved = {**layers, "student_layer": "blocks.7"}
    with pytest.raises(
        UserError, match=r"of_the_user needs features\.blocks\.7 of the student, did you mean features\."
    ):
        trained(student, teacher, _target_="user_terms.same_scale", **moved)
    moved = {**layers, "teacher_layer": "bloks.1"}
    with pytest.raises(
        UserError, match=r"of_the_user needs features\.bloks\.1 of the teacher, did you mean features\.b"
    ):
        trained(student, teacher, _target_="user_terms.same_scale", **moved)


def test_the_gradient_of_such_a_term_is_that_of_the_equation() -> None:
    torch.manual_seed(0)
    student, teacher = built(TIMM), built({**TIMM, "width": 6}, seed_value=1).eval()
    inputs = examples().inputs
    hidden = student.blocks[0](student.stem(inputs))
    with torch.no_grad():
        target = teacher.blocks[1](teacher.blocks[0](teacher.stem(inputs)))
    expected = torch.autograd.grad(
        ((hidden.flatten(1).norm(dim=1) - target.flatten(1).norm(dim=1)) ** 2).mean(), student.stem.weight
    )[0]
    objective = Objective.from_specs(
        {"mine": {"_target_": "user_terms.same_scale", "weight": 1.0, "teacher_layer": "blocks.1",
                  "student_layer": "blocks.0"}}
    )  # fmt: skip
    assert objective.student_features == {"blocks.0"}
    assert objective.teacher_features == {"blocks.1"}
    frozen = OnlineTeacher(teacher, num_classes=3)
    listen(objective, student=student, teacher=frozen)
    rows = examples()
    batch = Batch(rows.inputs, rows.labels, rows.index, torch.ones(len(rows), dtype=torch.bool))
    loss = objective(as_output(student(inputs)), frozen(inputs, rows.index), batch, 0).loss
    torch.testing.assert_close(torch.autograd.grad(loss, student.stem.weight)[0], expected)


def test_timm_itself() -> None:
    try:
        import timm  # noqa: F401
    except Exception as error:
        pytest.skip(f"timm cannot be imported here: {type(error).__name__}: {error}")
    spec = {"_target_": "timm.create_model", "model_name": "resnet10t"}
    model = tap(built(spec, shape=(1, 32, 32)), ["layer1.0.conv1"])
    assert "layer1.0.conv1" in model(torch.zeros(2, 1, 32, 32)).features


@pytest.fixture
def transformers(monkeypatch: pytest.MonkeyPatch) -> Any:
    """The library, without any way out to a network."""
    library = pytest.importorskip("transformers")

    def refuse(*args: Any, **keywords: Any) -> None:
        raise AssertionError("a connection was tried")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    return library


@pytest.mark.parametrize("nested", [False, True])
def test_a_hugging_face_classifier_is_student_and_teacher(transformers: Any, tmp_path: Path, nested: bool) -> None:
    spec = dict(VIT)
    if nested:
        knobs = {name: value for name, value in VIT.items() if name not in ("_target_", "model_type")}
        config = {"_target_": "transformers.ViTConfig", **knobs, "num_labels": 3, "num_channels": 1, "image_size": 8}
        spec = {"_target_": "transformers.ViTForImageClassification", "config": config}
    model, teacher = built(spec), OnlineTeacher(built(spec, seed_value=1), num_classes=3)
    expected = built(VIT).state_dict()
    assert all(torch.equal(value, expected[name]) for name, value in model.state_dict().items()), "one seed, one net"
    answer = model(examples().inputs)
    assert type(answer).__name__ == "ImageClassifierOutput"
    assert as_output(answer).logits is answer.logits

    before = {name: value.clone() for name, value in model.state_dict().items()}
    trained(
        model, teacher, _target_="user_terms.same_scale", teacher_layer="vit.layers.1", student_layer="vit.layers.0"
    )
    assert any(not torch.equal(before[name], value) for name, value in model.state_dict().items())
    given = teacher(examples().inputs, examples().index)
    assert given.features["vit.layers.1"].shape == (12, 5, 16)
    assert not given.logits.requires_grad

    save_weights(tmp_path / "weights.safetensors", model.state_dict())
    other = built(spec, seed_value=9)
    match_state(other, load_weights(tmp_path / "weights.safetensors"))
    assert torch.equal(other.eval()(examples().inputs).logits, model(examples().inputs).logits)


@pytest.mark.parametrize("shape", [(1, 8, 8), (3, 8, 12)])
def test_image_size_and_channels_follow_the_data(transformers: Any, shape: tuple[int, ...]) -> None:
    model = built(VIT, shape=shape)
    assert model.config.num_channels == shape[0]
    assert model.config.num_labels == 3
    assert isinstance(as_output(model(torch.zeros(2, *shape))), ModelOutput)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (
            {"hiden_size": 8},
            r"^student\.hiden_size = 8: the configuration of vit has no such key; did you mean hidden_size",
        ),
        ({"hidden_size": "a"}, "^student: .*hidden_size"),
        (
            {"model_type": "vitt"},
            r"^student\.model_type = 'vitt': no image classifier of transformers; did you mean .*vit",
        ),
        ({"model_type": "bert"}, "no image classifier"),
        ({"model_type": "timm_wrapper"}, "timm.create_model"),
        ({"trust_remote_code": True}, r"^student\.trust_remote_code = True: refused"),
        ({"auto_map": {"AutoConfig": "x"}}, "auto_map .*refused"),
        ({"_attn_implementation": "x/y"}, "_attn_implementation .*refused"),
        ({"attn_implementation": "x/y"}, "eager or sdpa"),
        ({"num_labels": 5}, r"logits of shape \[2, 5\], \[2, 3\] is needed"),
    ],
)
def test_mistakes_of_a_hugging_face_spec_are_named(transformers: Any, change: dict[str, Any], told: str) -> None:
    with pytest.raises(UserError, match=told):
        built({**VIT, **change})


def test_a_signal_is_no_image(transformers: Any) -> None:
    with pytest.raises(UserError, match=r"input_shape = \(1, 40\): \(channels, height, width\)"):
        built(VIT, shape=(1, 40))


@pytest.mark.parametrize("attention", ["eager", "sdpa"])
def test_attention_may_be_chosen(transformers: Any, attention: str) -> None:
    assert built({**VIT, "attn_implementation": attention}).config._attn_implementation == attention
