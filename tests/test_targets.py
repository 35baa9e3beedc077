import functools
import subprocess
import sys
import types

import pytest
import torch
from torch import nn

from kdlab.errors import UserError
from kdlab.targets import accepted, build, refuse_unsafe, resolve, spec_errors


def test_resolve_finds_classes_functions_and_attributes_of_classes():
    assert resolve("torch.nn.Linear") is nn.Linear
    assert resolve("subprocess.Popen.wait") is subprocess.Popen.wait


@pytest.mark.parametrize(
    ("path", "told"),
    [
        ("MLP", "is not an import path"),
        ("kdlab.models.", "is not an import path"),
        ("nowhere.at.all", "no module 'nowhere'"),
        ("kdlab.models.MPL", "did you mean MLP?"),
        ("torch.nn.functional", "is not callable"),
        ("kdlab.nothing.MLP", "has no 'nothing'"),
    ],
)
def test_resolve_says_what_is_wrong_with_a_path(path, told):
    with pytest.raises(UserError) as caught:
        resolve(path)
    assert told in str(caught.value)
    assert path in str(caught.value)


def test_resolve_tells_a_module_that_fails_from_one_that_is_missing(tmp_path, monkeypatch):
    (tmp_path / "fails_inside.py").write_text("import no_such_thing_anywhere\n")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(UserError, match="importing fails_inside failed: No module named 'no_such_thing_anywhere'"):
        resolve("fails_inside.Net")


def test_build_builds_nested_specs_first_and_offers_only_what_is_taken():
    spec = {"_target_": "torch.nn.Sequential"}
    inner = {"_target_": "torch.nn.Linear", "in_features": 2, "out_features": 3}
    net = build(spec, build(inner), num_classes=5)
    assert isinstance(net[0], nn.Linear)
    layer = {"_target_": "torch.nn.TransformerEncoderLayer", "d_model": 4, "nhead": 2, "batch_first": True}
    wrapped = build({"_target_": "torch.nn.TransformerEncoder", "num_layers": 1, "encoder_layer": layer})
    assert wrapped.layers[0].self_attn.embed_dim == 4


def test_build_partial_and_a_value_of_the_spec_over_an_offer():
    made = build({"_target_": "torch.optim.SGD", "_partial_": True, "lr": 0.5})
    assert isinstance(made, functools.partial)
    assert build({"_target_": "torch.nn.Linear", "in_features": 2, "out_features": 3}, out_features=9).out_features == 3


def test_accepted_keeps_what_is_named_and_everything_for_open_keywords():
    assert accepted(lambda a, *, b: None, {"a": 1, "b": 2, "c": 3}) == {"a": 1, "b": 2}
    assert accepted(lambda **rest: None, {"c": 3}) == {"c": 3}


def test_spec_errors_lists_everything():
    spec = {"_target_": "torch.nn.Linear", "in_featurs": 2, "bias": {"_target_": "torch.nn.Nope"}}
    problems = spec_errors(spec, key="student")
    assert len(problems) == 4
    assert problems[0].startswith(
        "unknown key student.in_featurs = 2: torch.nn.Linear has no such argument; did you mean "
    )
    assert "in_features" in problems[0]
    assert {p.split(":")[0] for p in problems[1:3]} == {
        "missing key student.in_features", "missing key student.out_features"}  # fmt: skip
    assert problems[3].startswith("student.bias: _target_ 'torch.nn.Nope'")
    assert spec_errors({}, key="student") == ["student._target_ = None: an import path is needed"]
    assert spec_errors({"_target_": "torch.nn.Linear", "in_features": 1}, key="s", provided=("out_features",)) == []


REFUSED = [
    "os.system", "builtins.eval", "builtins.exec", "subprocess.Popen", "functools.partial", "shutil.rmtree",
    "torch.os.system", "torch.hub.load", "torch.load", "torch.save", "torch.utils.data.DataLoader",
    "torch.jit.load", "torch.nn.functional.relu", "torch.nn.Module.load_state_dict", "torch.compile",
    "torch.package.PackageImporter", "torch.fx.GraphModule", "torch.serialization.os.remove",
    "kdlab.records.store.shutil.rmtree", "kdlab.records.store.Store", "kdlab.records.weights.save_weights",
    "kdlab.data.cache.Path", "kdlab.data.cache.cached_array", "kdlab.data.loading.build",
    "kdlab.data.loading.load_dataset",
    "kdlab.data.slices.resolve", "kdlab.models.building.targets.build", "kdlab.models.MLP.forward",
    "kdlab.teachers.quality.targets.resolve", "kdlab.training.fit", "kdlab.commands.api.run", "kdlab.targets.build",
    "kdlab.models.__builtins__.eval", "kdlabels.Net", "torchvision.ops.MLP", "kornia.io.load_image",
    "kornia.augmentation.base.getattr_static", "my_package.Net",
    "torch.nn.Module.to", "torch.optim.swa_utils.AveragedModel",
]  # fmt: skip


@pytest.mark.parametrize("path", REFUSED)
def test_refuse_unsafe_refuses_what_only_looks_safe(path):
    with pytest.raises(UserError) as caught:
        refuse_unsafe({"student": {"layers": [{"_target_": path}]}})
    assert f"config.student.layers.0._target_ = '{path}'" in str(caught.value)
    assert f"allow_targets=[{path}]" in str(caught.value)


ALLOWED = [
    "torch.nn.Sequential", "torch.nn.Linear", "torch.nn.modules.activation.ReLU", "torch.optim.AdamW",
    "torch.optim.lr_scheduler.OneCycleLR", "kdlab.models.MLP", "kdlab.models.CNN2d", "kdlab.teachers.scaled",
    "kdlab.teachers.UniformTeacher", "kdlab.objectives.terms.soft_targets", "kdlab.data.digits.digits",
    "kdlab.data.mnist1d.mnist1d", "kdlab.data.mnist1d.regenerated", "kdlab.data.corruptions.blur",
    "kdlab.data.slices.label_shift", "kdlab.models.ResNet", "kdlab.models.hugging_face",
    "kornia.augmentation.RandomCrop", "kornia.augmentation.RandomMixUpV2",
]  # fmt: skip


@pytest.mark.parametrize("path", ALLOWED)
def test_refuse_unsafe_lets_building_blocks_pass(path):
    refuse_unsafe({"a": [{"_target_": "torch.nn.Sequential", "inner": {"_target_": path, "n": 1}}]})


OF_LIBRARIES = {
    "transformers": (
        ["transformers.ViTForImageClassification", "transformers.ViTConfig", "transformers.models.vit.ViTModel"],
        [
            *("transformers.pipeline", "transformers.Trainer", "transformers.TrainingArguments"),
            *("transformers.AutoModel", "transformers.AutoConfig", "transformers.AutoModelForImageClassification"),
            *("transformers.AutoModel.from_pretrained", "transformers.ViTForImageClassification.from_pretrained"),
            *("transformers.ViTConfig.from_dict", "transformers.PreTrainedModel", "transformers.os.system"),
            *("transformers.ViTImageProcessor", "transformers.utils.hub.cached_file", "transformers.Pipeline"),
            *("transformers.dynamic_module_utils.get_class_from_dynamic_module", "transformers.models.vit.sys.exit"),
        ],
    ),
    "kornia": (
        ["kornia.augmentation.RandomAffine", "kornia.augmentation.RandomMixUpV2", "kornia.augmentation.ColorJiggle"],
        [
            *("kornia.io.load_image", "kornia.augmentation.Any", "kornia.augmentation.AugmentationSequential.forward"),
            *("kornia.losses.DiceLoss", "kornia.models.VisionTransformer", "kornia.core.external.os.system"),
        ],
    ),
}  # fmt: skip


@pytest.mark.parametrize("library", OF_LIBRARIES)
def test_of_these_libraries_networks_pass_and_nothing_else(library):
    pytest.importorskip(library)
    allowed, refused = OF_LIBRARIES[library]
    for path in allowed:
        assert isinstance(resolve(path), type)
        refuse_unsafe({"_target_": path})
    for path in refused:
        with pytest.raises(UserError):
            refuse_unsafe({"_target_": path})
        with pytest.raises(UserError):
            refuse_unsafe({"_target_": "kdlab.models.hugging_face", "config": [{"_target_": path}]})


def test_a_configuration_that_hides_what_it_takes_is_open():
    transformers = pytest.importorskip("transformers")
    spec = {"_target_": "transformers.ViTConfig", "num_labels": 3}
    assert spec_errors(spec, key="student.config") == []
    assert build(spec).num_labels == 3
    assert transformers.ViTConfig().num_labels != 3


def test_a_function_that_a_slice_calls_is_judged_too():
    spec = {"_target_": "kdlab.data.slices.transformed", "function": "os.system"}
    with pytest.raises(UserError, match=r"function = 'os\.system'"):
        refuse_unsafe({"data": {"slices": {"mine": spec}}})
    refuse_unsafe(spec, allow=["os.system"])
    refuse_unsafe({"_target_": "kdlab.models.MLP", "function": "relu"})


def test_a_function_that_another_one_returns_is_not_called():
    hidden = {"_target_": "kdlab.data.npz.needed", "content": {"x": "os.system"}, "name": "x", "path": ""}
    assert build(hidden) == "os.system"  # an import path that no check has seen
    spec = {"_target_": "kdlab.data.slices.transformed", "function": hidden}
    with pytest.raises(UserError, match=r"function comes from a run folder and is made by 'kdlab\.data\.npz\.needed'"):
        refuse_unsafe(spec)
    refuse_unsafe(spec, allow=["kdlab.data.npz.needed"])
    refuse_unsafe({**spec, "function": {"_target_": "torch.nn.ReLU"}})
    with pytest.raises(UserError):
        refuse_unsafe({**spec, "function": {"_target_": "os.system"}})


VIT = {"_target_": "transformers.ViTForImageClassification"}


@pytest.mark.parametrize(
    "config",
    [
        {"attn_implementation": "someone/kernel"},
        {"text_config": {"_attn_implementation": "someone/kernel"}},
        {"use_timm_backbone": True},
        {"parts": [{"backbone": "resnet18"}]},
        {"auto_map": {"AutoModel": "someone/repository--file.Class"}},
    ],
)
def test_what_makes_transformers_fetch_is_refused(config):
    pytest.importorskip("transformers")
    spec = {**VIT, "config": {"_target_": "transformers.ViTConfig", **config}}
    with pytest.raises(UserError, match="fetch or unpickle"):
        refuse_unsafe({"student": spec})
    refuse_unsafe({"student": spec}, allow=["transformers.ViTConfig"])


def test_a_configuration_of_transformers_that_fetches_nothing_passes():
    pytest.importorskip("transformers")
    config = {"_target_": "transformers.ViTConfig", "attn_implementation": "sdpa", "use_timm_backbone": False}
    refuse_unsafe({**VIT, "config": config})
    with pytest.raises(UserError):
        refuse_unsafe({"_target_": "transformers.TimmWrapperForImageClassification"})


@pytest.fixture
def timm(monkeypatch):
    """A package with timm's layout: its factory, an entry of a model, and helpers that read and write files."""
    whole, models, helpers = (types.ModuleType(name) for name in ("timm", "timm.models", "timm.models._helpers"))

    def function(name, home):
        def made(**knobs):
            return knobs

        made.__name__ = made.__qualname__ = name
        made.__module__ = home
        return made

    models.resnet18 = function("resnet18", "timm.models.resnet")
    models.checkpoint_filter_fn = function("checkpoint_filter_fn", "timm.models.resnet")
    models.load_state_dict = function("load_state_dict", "timm.models._helpers")
    models.push_to_hf_hub = function("push_to_hf_hub", "timm.models._hub")
    whole.create_model = function("create_model", "timm.models._factory")
    whole.models, whole.is_model = models, lambda name: name == "resnet18"
    whole.model_entrypoint = lambda name: getattr(models, name)
    for module in (whole, models, helpers):
        monkeypatch.setitem(sys.modules, module.__name__, module)
    return whole


def test_of_timm_only_what_makes_a_model_passes(timm):
    refuse_unsafe({"_target_": "timm.create_model", "model_name": "resnet18", "pretrained": True})
    refuse_unsafe({"_target_": "timm.models.resnet18", "checkpoint_path": ""})
    for name in ("load_state_dict", "push_to_hf_hub", "checkpoint_filter_fn"):
        with pytest.raises(UserError):
            refuse_unsafe({"_target_": f"timm.models.{name}"})


@pytest.mark.parametrize(
    "knobs",
    [
        {"checkpoint_path": "weights.pth"},
        {"pretrained_cfg": {"file": "weights.pth"}},
        {"pretrained_cfg_overlay": {"url": "weights.pth"}},
        {"model_name": "hf-hub:someone/net"},
        {"model_name": "local-dir:net"},
    ],
)
def test_timm_unpickles_nothing_that_a_run_folder_names(timm, knobs):
    spec = {"_target_": "timm.create_model", "model_name": "resnet18", **knobs}
    with pytest.raises(UserError, match="fetch or unpickle"):
        refuse_unsafe(spec)
    refuse_unsafe(spec, allow=["timm.create_model"])


@pytest.mark.parametrize("allow", [["my_package.Net"], ["my_package.*"], ["my_package"], ["other", "my_package.Net"]])
def test_allow_list_by_path_and_by_package(allow):
    refuse_unsafe({"_target_": "my_package.Net"}, allow=allow)


@pytest.mark.parametrize("allow", [["my_package.Nets"], ["my_packages.*"], ["*"], [""], ["my_package.Net.deeper"]])
def test_allow_list_lets_nothing_else_pass(allow):
    with pytest.raises(UserError):
        refuse_unsafe({"_target_": "my_package.Net"}, allow=allow)


@pytest.mark.parametrize("value", [3, ["os.system"], True])
def test_a_target_that_is_no_text_is_refused(value):
    with pytest.raises(UserError):
        refuse_unsafe({"_target_": value})


def test_refused_means_nothing_ran(tmp_path, monkeypatch):
    (tmp_path / "evil_module.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')\n")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(UserError):
        refuse_unsafe({"_target_": "evil_module.Net"})
    assert not (tmp_path / "ran").exists()
    assert torch.is_grad_enabled()
