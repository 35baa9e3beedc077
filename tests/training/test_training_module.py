"""The Lightning module in a user's own Trainer."""

import pytest
import pytorch_lightning as pl
import torch
from torch.utils.data import DataLoader, TensorDataset

from kdlab.errors import UserError
from kdlab.teachers import OnlineTeacher, UniformTeacher
from kdlab.training import Distillation

ADAM = {"_target_": "torch.optim.Adam", "lr": 0.01}


def trainer(tmp_path, **changes):
    quiet = {"logger": False, "enable_progress_bar": False, "enable_model_summary": False, "accelerator": "cpu"}
    return pl.Trainer(default_root_dir=tmp_path, max_epochs=2, enable_checkpointing=False, **quiet, **changes)


@pytest.mark.parametrize("with_index", [False, True])
@pytest.mark.filterwarnings("ignore:.*does not have many workers.*", "ignore:.*smaller than the logging interval.*")
def test_plain_trainer_and_loader(kit, tmp_path, with_index):
    parts = (kit.train.inputs, kit.train.labels, *([kit.train.index] if with_index else []))
    loader = DataLoader(TensorDataset(*parts), batch_size=10)
    student = kit.network().eval()
    module = Distillation(student, kit.objective(0.5), num_classes=3, optimizer=ADAM, teacher=kit.teacher())
    before = kit.bits(student)
    fitted = trainer(tmp_path)
    fitted.fit(module, loader, loader)
    assert not kit.same(before, kit.bits(student))
    found = fitted.callback_metrics
    assert {"train/loss", "train/terms/hard_labels", "train/terms/soft_targets", "validation/accuracy"} <= set(found)
    assert float(found["train/loss"]) == pytest.approx(
        0.5 * float(found["train/terms/hard_labels"]) + 0.5 * float(found["train/terms/soft_targets"]), rel=1e-5
    )


def test_the_teacher_is_in_no_state_dict_parameter_list_or_train_call(kit):
    teacher = kit.teacher()
    module = Distillation(kit.network(), kit.objective(0.5), num_classes=3, optimizer=ADAM, teacher=teacher)
    theirs = {id(parameter) for parameter in teacher.model.parameters()}
    assert not theirs & {id(parameter) for parameter in module.parameters()}
    assert not any("teacher" in name for name in module.state_dict())
    assert all("teacher" not in name for name, _ in module.named_modules())
    module.train()
    assert not any(part.training for part in teacher.model.modules())
    groups = module.configure_optimizers().param_groups
    assert {id(p) for group in groups for p in group["params"]} == {id(p) for p in module.student.parameters()}


def test_a_teacher_that_is_itself_a_module_stays_out_too(kit):
    class Both(torch.nn.Module):
        num_classes, provides = 3, frozenset({"logits"})

        def __init__(self):
            super().__init__()
            self.layer = torch.nn.Linear(8, 3)

    module = Distillation(kit.network(), kit.objective(0.5), num_classes=3, optimizer=ADAM, teacher=Both())
    assert not any("layer" in name and "teacher" in name for name in module.state_dict())
    assert isinstance(module.teacher, Both)


def test_what_does_not_fit_is_refused_at_construction(kit):
    with pytest.raises(ValueError, match="5 classes, the student 3"):
        Distillation(kit.network(), kit.objective(0.5), num_classes=3, optimizer=ADAM, teacher=UniformTeacher(5))
    with pytest.raises(UserError, match="soft_targets needs logits of the teacher"):
        Distillation(kit.network(), kit.objective(0.5), num_classes=3, optimizer=ADAM)
    Distillation(kit.network(), kit.objective(0.0), num_classes=3, optimizer=ADAM)


def test_a_teacher_no_term_needs_is_not_asked(kit):
    class Silent(OnlineTeacher):
        def __call__(self, inputs, index):
            raise AssertionError

    kit.fit(kit.network(), alpha=0.0, teacher=Silent(kit.network(9), num_classes=3))
