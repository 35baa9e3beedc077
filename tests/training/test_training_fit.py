import json
import random
import signal
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from kdlab.errors import UserError
from kdlab.outputs import ModelOutput
from kdlab.records.identity import TRAINING_VERSION
from kdlab.training import NonFiniteLossError, Runtime
from kdlab.training.fit import make_trainer


class Spy(nn.Module):
    """A network that notes, on every forward, whether it trains and records gradients, and what it saw."""

    def __init__(self, inner):
        super().__init__()
        self.inner, self.calls, self.first = inner, [], []

    def forward(self, inputs):
        self.calls.append((self.training, torch.is_grad_enabled()))
        self.first.append(inputs[:, 0, 0].tolist())
        return self.inner(inputs)


def test_a_fit_is_a_function_of_its_seed(kit):
    left, right, other = kit.network(), kit.network(), kit.network()
    done = kit.fit(left, seed=3)
    kit.fit(right, seed=3)
    kit.fit(other, seed=4)
    assert kit.same(kit.bits(left), kit.bits(right))
    assert not kit.same(kit.bits(left), kit.bits(other))
    assert (done.steps, done.resumed_from, done.device) == (12, 0, "cpu")


def test_a_fit_equals_a_bare_loop(kit):
    """Order, dropout, optimizer and schedule: what Lightning does is what ten lines of torch do."""
    from batching import Flat

    from kdlab.streams import stream_seed

    model, bare = kit.network(), kit.network()
    kit.fit(model, recipe=kit.recipe(optimizer={"_target_": "torch.optim.AdamW", "lr": 0.01}))
    batches = Flat(kit.train, batch_size=10)
    optimizer = torch.optim.AdamW(bare.parameters(), lr=0.01, fused=True)
    for epoch in range(3):
        batches.epoch = epoch
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(stream_seed("student", "dropout", 0, epoch=epoch))
            for batch in list(batches)[: 12 - 5 * epoch]:
                optimizer.zero_grad()
                nn.functional.cross_entropy(bare(batch.inputs).logits, batch.labels).backward()
                optimizer.step()
    assert kit.same(kit.bits(model), kit.bits(bare))


def test_the_teacher_is_bit_identical_after_a_fit_buffers_included_and_runs_without_gradient(kit):
    spy = Spy(kit.network(99).train())  # handed over in train mode: its BatchNorm would drift
    spy.num_classes = 3
    from kdlab.teachers import OnlineTeacher

    teacher = OnlineTeacher(spy)
    teacher.model.calls.clear()
    before = kit.bits(teacher.model)
    kit.fit(kit.network(), alpha=0.9, teacher=teacher)
    assert kit.same(before, kit.bits(teacher.model))
    assert set(teacher.model.calls) == {(False, False)}
    assert len(teacher.model.calls) == 12
    assert all(parameter.grad is None for parameter in teacher.model.parameters())


@pytest.mark.parametrize("arrives_in_train_mode", [True, False])
def test_the_student_trains_in_train_mode_before_and_after_every_validation(kit, arrives_in_train_mode):
    student = Spy(kit.network()).train(arrives_in_train_mode)
    kit.fit(student)
    training = [trains for trains, _ in student.calls]
    assert training == [*[True] * 5, False, *[True] * 5, False, True, True]
    assert not student.training  # handed back ready for use


def test_born_again_student_and_teacher_are_two_objects(kit):
    from kdlab.teachers import OnlineTeacher

    network = kit.network()
    teacher = OnlineTeacher(network, num_classes=3)
    before = kit.bits(teacher.model)
    kit.fit(network, alpha=0.5, teacher=teacher)
    assert kit.same(before, kit.bits(teacher.model))
    assert not kit.same(before, kit.bits(network))


@pytest.mark.parametrize("temperature", [1, 4.0])
def test_alpha_0_is_the_scratch_twin_bit_by_bit_and_nothing_jumps_there_or_at_1(kit, temperature):
    def trained(alpha, **changes):
        model = kit.network(norm="none", dropout=0.0)
        kit.fit(model, objective=kit.objective(alpha, temperature=temperature), **changes)
        return torch.cat([value.flatten() for value in kit.bits(model).values()])

    teacher = kit.teacher()
    scratch = trained(0.0)
    assert torch.equal(trained(0.0, teacher=teacher), scratch)
    near_0, near_1, at_1 = (trained(alpha, teacher=teacher) for alpha in (1e-7, 1 - 1e-7, 1.0))
    assert (near_0 - scratch).abs().max() < 1e-4
    assert (near_1 - at_1).abs().max() < 1e-4
    assert (at_1 - scratch).abs().max() > 1e-2


def test_global_random_states_stay_as_they_were(kit):
    torch.manual_seed(5)
    random.seed(5)
    before = torch.get_rng_state(), legacy_state(), random.getstate()
    kit.fit(kit.network())
    after = torch.get_rng_state(), legacy_state(), random.getstate()
    assert torch.equal(before[0], after[0])
    assert np.array_equal(before[1], after[1])
    assert before[2] == after[2]


def legacy_state():
    return np.random.get_state()[1].copy()  # noqa: NPY002 - the state that must not move


def test_curves_carry_the_step_at_which_they_were_measured(kit):
    log, model = kit.Log(), kit.network()
    kit.fit(model, alpha=0.5, teacher=kit.teacher(), sinks=[log])
    assert [step for step, _ in log.curve("validation/accuracy")] == [5, 10]
    assert [step for step, _ in log.curve("train/loss")] == [5, 10, 12]
    assert [epoch for step, epoch, key, _ in log.rows if key == "train/loss"] == [1.0, 2.0, 2.4]
    for (_, loss), (_, hard), (_, soft) in zip(
        log.curve("train/loss"),
        log.curve("train/terms/hard_labels"),
        log.curve("train/terms/soft_targets"),
        strict=True,
    ):
        assert loss == pytest.approx(0.5 * hard + 0.5 * soft, rel=1e-6)
    assert all(isinstance(value, float) for *_, value in log.rows)


def test_running_and_validation_metrics_against_a_slow_loop(kit):
    log = kit.Log()
    model = kit.network(norm="none", dropout=0.0)
    start = kit.bits(model)
    kit.fit(model, sinks=[log], recipe=kit.recipe(steps=5, optimizer={"_target_": "torch.optim.SGD", "lr": 0.0}),
            evaluation_batch_size=7)  # fmt: skip
    model.load_state_dict(start)
    logits = model(kit.validation.inputs).logits.detach().double()
    nll = -torch.log_softmax(logits, -1)[range(30), kit.validation.labels].mean()
    accuracy = (logits.argmax(-1) == kit.validation.labels).double().mean()
    assert log.curve("validation/nll") == [(5, pytest.approx(float(nll), rel=1e-5))]
    assert log.curve("validation/accuracy") == [(5, pytest.approx(float(accuracy)))]
    seen = (model(kit.train.inputs).logits.argmax(-1) == kit.train.labels).double().mean()
    assert log.curve("train/running_accuracy") == [(5, pytest.approx(float(seen)))]


def test_validation_every_few_epochs(kit):
    log = kit.Log()
    kit.fit(kit.network(), sinks=[log], recipe=kit.recipe(steps=20), validate_every_epochs=2)
    assert [step for step, _ in log.curve("validation/accuracy")] == [10, 20]


def test_the_schedule_gets_the_length_of_the_run(kit, cosine):
    log = kit.Log()
    kit.fit(kit.network(), sinks=[log], recipe=kit.recipe(steps=10, schedule=cosine))
    rates = dict(log.curve("train/lr"))
    assert rates[5] == pytest.approx(0.05)
    assert rates[10] == pytest.approx(0.0, abs=1e-12)
    kit.fit(
        kit.network(), recipe=kit.recipe(schedule={"_target_": "torch.optim.lr_scheduler.OneCycleLR", "max_lr": 0.1})
    )


def test_gradient_clipping_clips(kit):
    norms = []

    class Watched(torch.optim.SGD):
        def step(self, closure=None):
            loss = closure()
            grads = [p.grad.flatten() for group in self.param_groups for p in group["params"]]
            norms.append(float(torch.cat(grads).norm()))
            return loss

    import kdlab.training.optimizers as optimizers

    def watched(spec, *args, **extra):
        return Watched(*args, lr=0.1) if "SGD" in spec["_target_"] else torch.optim.lr_scheduler.ConstantLR(*args)

    def fitted(limit):
        norms.clear()
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(optimizers, "build", watched)
            kit.fit(kit.network(), recipe=kit.recipe(steps=3, gradient_clip_norm=limit))
        return list(norms)

    free, clipped = fitted(None), fitted(0.01)
    assert min(free) > 0.02
    assert max(clipped) <= 0.01 * 1.001


def test_a_loss_that_is_not_finite_stops_the_run_naming_step_and_term(kit):
    with pytest.raises(NonFiniteLossError, match=r"at step \d+: term (hard_labels|soft_targets)"):
        kit.fit(kit.network(norm="none"), alpha=0.5, teacher=kit.teacher(),
                recipe=kit.recipe(steps=50, optimizer={"_target_": "torch.optim.SGD", "lr": 1e9}))  # fmt: skip


@pytest.mark.parametrize("precision", ["64-true", "bf16-mixed"])
def test_other_precisions_train_and_end_in_the_dtype_they_came_in(kit, precision):
    model, teacher = kit.network(), kit.teacher()
    before, targets = kit.bits(model), teacher(kit.train.inputs, kit.train.index).logits
    log = kit.Log()
    kit.fit(model, alpha=0.9, teacher=teacher, recipe=kit.recipe(precision=precision), sinks=[log])
    assert {p.dtype for p in model.parameters()} == {torch.float32}
    assert not kit.same(before, kit.bits(model))
    assert log.curve("validation/nll")
    assert torch.equal(teacher(kit.train.inputs, kit.train.index).logits, targets)


def test_a_plain_network_of_tensors_and_a_set_smaller_than_a_batch(kit):
    model = nn.Sequential(nn.Flatten(), nn.Linear(8, 3))
    done = kit.fit(model, recipe=kit.recipe(batch_size=1000, steps=3))
    assert done.steps == 3


def test_the_learner_sees_what_the_stream_orders_whoever_it_learns_from(kit):
    seen = []
    for alpha, teacher in ((0.0, None), (0.9, kit.teacher())):
        student = Spy(kit.network())
        kit.fit(student, alpha=alpha, teacher=teacher)
        seen.append([rows for rows, (trains, _) in zip(student.first, student.calls, strict=True) if trains])
    assert seen[0] == seen[1]
    assert len(seen[0]) == 12


def test_dropout_masks_are_those_of_the_twin(kit):
    masks = []

    class Noted(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer, self.drop = nn.Linear(8, 3), nn.Dropout(0.5)

        def forward(self, inputs):
            mask = self.drop(torch.ones(len(inputs), 8))
            if self.training:
                masks[-1].append(mask)
            return ModelOutput(self.layer(inputs[:, 0] * mask), {})

    for alpha, teacher in ((0.0, None), (0.9, kit.teacher())):  # the teacher has dropout of its own, in eval mode
        masks.append([])
        kit.fit(Noted(), alpha=alpha, teacher=teacher)
    assert all(torch.equal(left, right) for left, right in zip(*masks, strict=True))
    assert not torch.equal(masks[0][0], masks[0][5])  # another epoch, other masks


def test_an_accelerator_that_is_not_there_and_several_devices_are_refused(kit):
    if not torch.cuda.is_available():
        with pytest.raises(UserError, match=r"trainer\.accelerator = 'gpu'"):
            make_trainer(kit.recipe(), Runtime(accelerator="gpu"))
    with pytest.raises(UserError, match=r"trainer\.devices = 2"):
        make_trainer(kit.recipe(), Runtime(accelerator="cpu", devices=2))


def test_ctrl_c_is_a_keyboard_interrupt_and_stays_armed(kit):
    class Interrupted(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = nn.Linear(8, 3)

        def forward(self, inputs):
            if self.training:
                signal.raise_signal(signal.SIGINT)
            return self.layer(inputs[:, 0])

    handler = signal.getsignal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt):
        kit.fit(Interrupted())
    assert signal.getsignal(signal.SIGINT) is handler


def test_nothing_is_left_lying_about(kit, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    kit.fit(kit.network(), progress=True)
    assert list(tmp_path.iterdir()) == []


def test_golden_losses(kit):
    """A change here is a change of what is trained: raise TRAINING_VERSION, and say before and after in the commit."""
    golden = json.loads((Path(__file__).parents[1] / "golden" / "training.json").read_text())
    log = kit.Log()
    kit.fit(kit.network(), alpha=0.9, teacher=kit.teacher(), sinks=[log])
    found = {key: log.curve(key) for key in golden[f"training_version {TRAINING_VERSION}"]}
    for key, curve in golden[f"training_version {TRAINING_VERSION}"].items():
        assert [step for step, _ in found[key]] == [step for step, _ in curve]
        assert [value for _, value in found[key]] == pytest.approx([value for _, value in curve], rel=1e-4)
