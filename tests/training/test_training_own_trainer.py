"""``Distillation`` in a Trainer, a DataModule and loaders that are the user's own."""

import os
import re
import textwrap
from functools import partial
from pathlib import Path

import pytest
import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import ModelCheckpoint
from pytorch_lightning.loggers import CSVLogger
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

import kdlab.training
from kdlab.errors import UserError
from kdlab.objectives import Objective, distillation
from kdlab.outputs import TeacherOutput
from kdlab.teachers import OnlineTeacher
from kdlab.training import Distillation
from kdlab.training.batches import as_batch

ROOT = Path(__file__).parents[2]
ADAM = partial(torch.optim.Adam, lr=0.01)
COSINE = {"_target_": "torch.optim.lr_scheduler.CosineAnnealingLR"}
pytestmark = pytest.mark.filterwarnings("ignore::UserWarning", "ignore:.*LeafSpec.*")


class Data(pl.LightningDataModule):
    """The tiny data as a user may have it."""

    def __init__(self, kit, *, with_index=False, named=False, validate=True):
        super().__init__()
        self.kit, self.with_index, self.named, self.validate = kit, with_index, named, validate

    def _loader(self, examples):
        parts = [examples.inputs, examples.labels, *([examples.index] if self.with_index else [])]
        names = ("inputs", "labels", "index")[: len(parts)]
        if not self.named:
            return DataLoader(TensorDataset(*parts), batch_size=10)
        rows = [dict(zip(names, row, strict=True)) for row in zip(*parts, strict=True)]
        return DataLoader(rows, batch_size=10)

    def train_dataloader(self):
        return self._loader(self.kit.train)

    def val_dataloader(self):
        return self._loader(self.kit.validation) if self.validate else []

    def test_dataloader(self):
        return self._loader(self.kit.validation)

    def predict_dataloader(self):
        return DataLoader(TensorDataset(self.kit.validation.inputs), batch_size=10)


def trainer(tmp_path, **changes):
    quiet = {"logger": False, "enable_progress_bar": False, "enable_model_summary": False, "accelerator": "cpu"}
    how = {"max_epochs": 2, "enable_checkpointing": False, **quiet, **changes}
    return pl.Trainer(default_root_dir=tmp_path, **how)


def module_of(kit, *, alpha=0.5, teacher=None, student=None, **changes):
    how = {"num_classes": 3, "optimizer": ADAM, "teacher": teacher or kit.teacher(), **changes}
    return Distillation(student or kit.network(), distillation(temperature=2, alpha=alpha), **how)


def plain_student():
    torch.manual_seed(0)
    return nn.Sequential(nn.Flatten(), nn.Linear(8, 3))


@pytest.mark.parametrize("kind", [{}, {"with_index": True}, {"named": True}, {"named": True, "with_index": True}])
def test_all_kinds_of_batches_train_alike(kit, tmp_path, kind):
    modules = [module_of(kit, student=plain_student()) for _ in range(2)]
    for module, data in zip(modules, (Data(kit), Data(kit, **kind)), strict=True):
        trainer(tmp_path).fit(module, datamodule=data)
    assert kit.same(*(kit.bits(module.student) for module in modules))


def test_the_index_of_the_batch_reaches_the_teacher(kit, tmp_path):
    asked = []

    class Listed(OnlineTeacher):
        by_index = True

        def __call__(self, inputs, index):
            asked.extend(index.tolist())
            return super().__call__(inputs, index)

    teacher = Listed(kit.network(9), num_classes=3)
    trainer(tmp_path, max_epochs=1).fit(module_of(kit, teacher=teacher), datamodule=Data(kit, with_index=True))
    assert asked == kit.train.index.tolist()
    with pytest.raises(UserError, match=r"batches must be \(inputs, labels, index\)"):
        trainer(tmp_path, max_epochs=1).fit(module_of(kit, teacher=teacher), datamodule=Data(kit))


X, Y = torch.zeros(4, 2), torch.tensor([0, 1, 2, 1])


@pytest.mark.parametrize(("batch", "message"), [
    (X, r"a batch of Tensor: \(inputs, labels\)"), ((X,), r"a batch of \(Tensor\)"), ((X, Y, Y, Y), "Tensor, Tensor, "),
    ({"pixel_values": X, "labels": Y}, "a mapping with pixel_values, labels"), ({"inputs": X}, "a mapping with inputs"),
    ((X, [0, 1, 2, 1]), r"\(Tensor, list\)"), ((X, X), r"float32 \(4, 2\).* one class number"),
    ((X, Y[:3]), r"\(3,\) beside inputs \(4, 2\)"), ((X, Y.float()), "one class number"),
])  # fmt: skip
def test_a_batch_that_is_none_of_these_is_told_what_is_needed(batch, message):
    with pytest.raises(UserError, match=message):
        as_batch(batch)


def test_rows_with_a_label_below_0_have_none_and_small_integers_are_labels(kit, tmp_path):
    rows = as_batch((X, torch.tensor([0, -1, 2, -100], dtype=torch.int32)))
    assert rows.labelled.tolist() == [True, False, True, False]
    assert rows.labels.dtype == torch.int64
    assert rows.index.tolist() == [-1] * 4
    labels = torch.where(torch.arange(50) % 2 == 0, kit.train.labels, -1)
    module = module_of(kit, student=plain_student(), alpha=0.0, optimizer=partial(torch.optim.SGD, lr=0.0))
    loader = DataLoader(TensorDataset(kit.train.inputs, labels), batch_size=50)
    fitted = trainer(tmp_path, max_epochs=1)
    fitted.fit(module, loader, loader)
    logits, known = module.student(kit.train.inputs), labels >= 0
    expected = {
        "train/loss": nn.functional.cross_entropy(logits[known], labels[known]),
        "train/running_accuracy": (logits.argmax(-1) == labels)[known].float().mean(),
        "validation/accuracy": (logits.argmax(-1) == labels)[known].float().mean(),
        "validation/nll": nn.functional.cross_entropy(logits[known], labels[known]),
    }
    for key, value in expected.items():
        assert float(fitted.callback_metrics[key]) == pytest.approx(float(value), rel=1e-5), key


class Recorder:
    """A teacher that only notes what it is told."""

    num_classes, provides = 3, frozenset({"logits"})

    def __init__(self):
        self.calls = []

    def to(self, device, dtype=None):
        self.calls.append(("to", torch.device(device).type, dtype))
        return self

    def __call__(self, inputs, index):
        self.calls.append(("asked", inputs.device.type, inputs.dtype))
        return TeacherOutput(torch.zeros(len(inputs), 3, device=inputs.device, dtype=inputs.dtype), {})


@pytest.mark.parametrize(("precision", "weights", "inputs"), [
    ("32-true", torch.float32, torch.float32), ("64-true", torch.float64, torch.float64),
    ("bf16-mixed", torch.float32, torch.float32), ("bf16-true", torch.bfloat16, torch.bfloat16),
])  # fmt: skip
def test_the_teacher_follows_the_students_precision_before_it_is_asked(kit, tmp_path, precision, weights, inputs):
    teacher = Recorder()
    fitted = trainer(tmp_path, max_epochs=1, precision=precision)
    fitted.fit(module_of(kit, teacher=teacher), datamodule=Data(kit))
    assert teacher.calls == [("to", "cpu", weights), *[("asked", "cpu", inputs)] * 5]
    assert float(fitted.callback_metrics["train/loss"]) > 0


@pytest.mark.parametrize("mixed", [False, True])
def test_nothing_of_a_step_stays_on_the_old_device(kit, mixed):
    """On ``meta`` an operation with anything that was left behind on the CPU fails."""
    moved = []

    class Moved(nn.Sequential):
        def _apply(self, function, *args, **keywords):
            moved.append(function(torch.zeros(())).device.type)
            return super()._apply(function, *args, **keywords)

    recorder, teacher = Recorder(), kit.teacher()
    student = Moved(nn.Flatten(), nn.Linear(8, 3))
    terms = {
        "hard_labels": {"_target_": "kdlab.objectives.hard_labels", "weight": 0.1, "label_smoothing": 0.1},
        "soft_targets": {"_target_": "kdlab.objectives.soft_targets", "weight": 0.9, "temperature": 4},
    }
    for told in (recorder, teacher):
        module = Distillation(student, Objective.from_specs(terms), num_classes=3, teacher=told)
        meta = torch.device("meta")
        module.to(meta)
        module.on_fit_start()
        batch = as_batch((kit.train.inputs[:4], kit.train.labels[:4]))
        if mixed:
            batch = batch._replace(other_labels=batch.labels, mixing=torch.full((4,), 0.5))
        loss = module.training_step(module.transfer_batch_to_device(batch, meta, 0), 0)
        loss.backward()
        assert loss.device.type == "meta"
        assert student[1].weight.grad.device.type == "meta"
    assert recorder.calls[0] == ("to", "meta", torch.float32)
    assert {parameter.device.type for parameter in teacher.model.parameters()} == {"meta"}
    assert set(moved) == {"meta"}


def test_mixed_precision_is_close_to_single_and_its_terms_are_single(kit, tmp_path):
    losses = {}
    for precision in ("32-true", "bf16-mixed"):
        module = module_of(kit, alpha=0.9, student=plain_student())
        fitted = trainer(tmp_path, max_epochs=1, precision=precision)
        fitted.fit(module, datamodule=Data(kit))
        losses[precision] = fitted.callback_metrics["train/loss"]
        assert {parameter.dtype for parameter in module.parameters()} == {torch.float32}
    assert losses["bf16-mixed"].dtype == torch.float32
    assert losses["bf16-mixed"] != losses["32-true"]
    assert float(losses["bf16-mixed"]) == pytest.approx(float(losses["32-true"]), rel=0.02)


def test_names_in_the_users_own_logger(kit, tmp_path):
    logger = CSVLogger(tmp_path)
    fitted = trainer(tmp_path, logger=logger)
    fitted.fit(module_of(kit), datamodule=Data(kit))
    header = set((Path(logger.log_dir) / "metrics.csv").read_text().splitlines()[0].split(","))
    assert {"train/loss", "train/terms/hard_labels", "train/terms/soft_targets", "train/lr", "train/running_accuracy",
            "validation/accuracy", "validation/nll"} <= header  # fmt: skip


def test_test_and_predict(kit, tmp_path):
    module, data, user = module_of(kit), Data(kit), trainer(tmp_path)
    user.fit(module, datamodule=data)
    validated = dict(user.callback_metrics)
    (tested,) = user.test(module, datamodule=data, verbose=False)
    module.student.eval()
    logits = module.student(kit.validation.inputs).logits.detach()
    assert tested["test/accuracy"] == pytest.approx(float((logits.argmax(-1) == kit.validation.labels).float().mean()))
    assert tested["test/nll"] == pytest.approx(float(nn.functional.cross_entropy(logits, kit.validation.labels)))
    assert float(validated["validation/accuracy"]) == tested["test/accuracy"]
    torch.testing.assert_close(torch.cat(user.predict(module, datamodule=data)), logits)
    torch.testing.assert_close(torch.cat(user.predict(module, data.test_dataloader())), logits)


def test_without_validation_data(kit, tmp_path):
    module, user = module_of(kit), trainer(tmp_path)
    user.fit(module, data_of(kit))
    assert "train/loss" in user.callback_metrics
    assert "validation/accuracy" not in user.callback_metrics
    user = trainer(tmp_path)
    user.fit(module_of(kit), datamodule=Data(kit, validate=False))
    assert "train/loss" in user.callback_metrics


def data_of(kit):
    return Data(kit).train_dataloader()


def test_the_student_trains_in_train_mode_after_every_validation_and_the_sanity_check(kit, tmp_path):
    class Noted(nn.Module):
        def __init__(self, inner):
            super().__init__()
            self.inner, self.modes = inner, []

        def forward(self, inputs):
            self.modes.append(self.training)
            return self.inner(inputs)

    student = Noted(kit.network()).eval()
    user = trainer(tmp_path, val_check_interval=2, num_sanity_val_steps=1)
    user.validate(module_of(kit, student=student), datamodule=Data(kit), verbose=False)
    student.modes.clear()
    user.fit(module_of(kit, student=student), datamodule=Data(kit))
    assert student.modes[:8] == [False, True, True, False, False, False, True, True]
    assert student.modes.count(True) == 10


class Stop(pl.Callback):
    def on_train_epoch_start(self, trainer, pl_module):
        if trainer.current_epoch == 2:
            raise RuntimeError("killed")


def test_the_users_checkpoint_resumes_with_weights_only_and_holds_no_teacher(kit, tmp_path):
    def user(**changes):
        saver = ModelCheckpoint(tmp_path / "saved", monitor="validation/accuracy", save_last=True, mode="max")
        callbacks = [saver, *changes.pop("callbacks", [])]
        return trainer(tmp_path, max_epochs=4, enable_checkpointing=True, callbacks=callbacks, **changes)

    def module():
        return module_of(kit, student=kit.network(dropout=0.0), schedule=COSINE)

    whole, killed, resumed = module(), module(), module()
    user().fit(whole, datamodule=Data(kit))
    with pytest.raises(RuntimeError, match="killed"):
        user(callbacks=[Stop()]).fit(killed, datamodule=Data(kit))
    last = max((tmp_path / "saved").glob("last*.ckpt"), key=os.path.getmtime)
    saved = torch.load(last, weights_only=True)
    assert saved["global_step"] == 10
    assert set(saved["state_dict"]) == {f"student.{name}" for name in resumed.student.state_dict()}
    user().fit(resumed, datamodule=Data(kit), ckpt_path=last, weights_only=True)
    assert kit.same(kit.bits(whole.student), kit.bits(resumed.student))


def test_optimizer_and_schedule_by_spec_by_factory_or_of_ones_own(kit, tmp_path):
    spec = {"_target_": "torch.optim.Adam", "lr": 0.01}
    step = partial(torch.optim.lr_scheduler.CosineAnnealingLR, T_max=10)

    class Own(Distillation):
        def configure_optimizers(self):
            optimizer = torch.optim.Adam(self.student.parameters(), lr=0.01)
            return [optimizer], [{"scheduler": step(optimizer), "interval": "step"}]

    teacher, trained = kit.teacher(), []
    for kind, how in ((Distillation, {"optimizer": spec, "schedule": COSINE}),
                      (Distillation, {"optimizer": ADAM, "schedule": step}), (Own, {})):  # fmt: skip
        module = kind(plain_student(), distillation(temperature=2, alpha=0.5), num_classes=3, teacher=teacher, **how)
        user = trainer(tmp_path)
        user.fit(module, datamodule=Data(kit))
        assert float(user.callback_metrics["train/lr"]) == pytest.approx(0, abs=1e-12)  # the Trainer told the length
        trained.append(kit.bits(module.student))
    assert kit.same(trained[0], trained[1])
    assert kit.same(trained[0], trained[2])


def test_what_cannot_be_optimized_says_so(kit, tmp_path):
    with pytest.raises(UserError, match=r"pass optimizer=partial\(torch"):
        trainer(tmp_path).fit(module_of(kit, optimizer=None), datamodule=Data(kit))

    def endless():
        while True:
            yield kit.train.inputs[:10], kit.train.labels[:10]

    class Stream(torch.utils.data.IterableDataset):
        def __iter__(self):
            return endless()

    user = trainer(tmp_path, max_epochs=-1, max_time={"seconds": 5})
    with pytest.raises(UserError, match="pass steps= to Distillation"):
        user.fit(module_of(kit, schedule=COSINE), DataLoader(Stream(), batch_size=None))


def test_distillation_is_the_convention():
    objective = distillation(temperature=4, alpha=0.9)
    assert objective.weights() == {"hard_labels": 0.1, "soft_targets": 0.9}
    assert objective.terms["soft_targets"].function.keywords == {"temperature": 4, "t2_scaling": True}
    assert distillation(temperature=1, alpha=1).weights() == {"soft_targets": 1.0}
    assert distillation(temperature=1, alpha=0).needs == frozenset()
    assert distillation(temperature=2, alpha=1, t2_scaling=False).terms["soft_targets"].function.keywords == {
        "temperature": 2, "t2_scaling": False}  # fmt: skip
    for alpha in (1.5, -0.1, True, "a"):
        with pytest.raises(UserError, match=r"alpha = .*\[0, 1\]"):
            distillation(temperature=4, alpha=alpha)
    with pytest.raises(UserError, match="temperature = 0"):
        distillation(temperature=0, alpha=0.5)


def shown():
    """The block of the package's docstring, and the same of README.md where it stands there."""
    block = kdlab.training.__doc__.split("::\n", 1)[1]
    found = {"docstring": textwrap.dedent(block).strip()}
    for code in re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(encoding="utf-8"), re.DOTALL):
        if "Distillation(" in code:
            found["README"] = code.strip()
    return found


@pytest.mark.parametrize("where", shown())
def test_what_the_documentation_shows_runs_as_it_stands(kit, tmp_path, monkeypatch, where):
    monkeypatch.chdir(tmp_path)
    student, network = (nn.Sequential(nn.Flatten(), nn.Linear(8, 10)) for _ in range(2))
    before = kit.bits(student)
    scope = {"student": student, "network": network, "datamodule": Data(kit)}
    exec(shown()[where], scope)
    assert scope["trainer"].global_step == 10
    assert 0 <= float(scope["trainer"].callback_metrics["test/accuracy"]) <= 1
    assert not kit.same(before, kit.bits(student))
