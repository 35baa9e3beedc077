"""A stack of learners: what is each one's own, what is shared, who diverges, who goes on.

That every family, term, optimizer and schedule gives the same stacked and alone is a contract (tests/contracts).
"""

import copy
import dataclasses

import pytest
import tiny_data
import torch
from torch import nn

from kdlab.objectives import Objective, TermSpec, hard_labels, term
from kdlab.outputs import TeacherOutput
from kdlab.streams import global_stream
from kdlab.training import NonFiniteLossError
from kdlab.training.batches import CHUNK

FIVE = [0, 1, 2, 3, 4]


def compare(kit, make, *, tolerance=1e-9, **runtime):
    together, alone = make(), make()
    fitted = kit.fit_all(together, **runtime)
    for learner in alone:
        kit.fit_all([learner], **runtime)
    assert [one.error for one in fitted] == [None] * len(together)
    for whole, one in zip(together, alone, strict=True):
        rows, expected = whole.sinks[0].rows, one.sinks[0].rows
        assert [row[:3] for row in rows] == [row[:3] for row in expected]
        assert [row[3] for row in rows] == pytest.approx([row[3] for row in expected], rel=tolerance, abs=tolerance)
        for name, tensor in one.network.state_dict().items():
            assert torch.allclose(whole.network.state_dict()[name].double(), tensor.double(), rtol=1e-6, atol=1e-6)
    return together, fitted


def test_learners_of_one_architecture_who_differ_in_all_else(kit):
    compare(kit, lambda: kit.varied(clips=[None, 0.1, 0.5]))


def test_learners_who_differ_in_optimizer_and_schedule(kit):
    sgd = {"_target_": "torch.optim.SGD", "lr": 0.1, "momentum": 0.9}
    compare(kit, lambda: kit.varied(optimizers=[kit.adamw(), sgd]))


def test_learners_with_training_and_validation_sets_of_their_own(kit):
    def make():
        return [dataclasses.replace(one, train=tiny_data.examples(50, start=100 * (at % 3)),
                                    validation=tiny_data.examples(30, start=10_000 + 100 * at))
                for at, one in enumerate(kit.varied())]  # fmt: skip

    compare(kit, make, evaluation_batch_size=7)


@pytest.mark.parametrize("step", ["RandomGaussianNoise", "RandomMixUpV2"])
def test_augmentation_is_every_learners_own(kit, step):
    steps = {"step": {"_target_": f"kornia.augmentation.{step}", "p": 0.7}}
    together, _ = compare(kit, lambda: kit.varied(augmentation=steps, steps=7))
    plain = kit.varied(steps=7)
    kit.fit_all(plain)
    assert together[0].sinks[0].curve("train/loss") != plain[0].sinks[0].curve("train/loss")


def wild(kit, rate, **recipe):
    """Five learners, the last of whom learns at ``rate``."""
    return kit.varied(norm="none", optimizers=[kit.adamw()] * 4 + [kit.adamw(lr=rate)], precision="32-true", **recipe)


def test_one_that_diverges_is_frozen_at_finite_weights_and_the_others_do_not_notice(kit):
    diverging, tame = wild(kit, 1e30, steps=40), wild(kit, 0.01001, steps=40)
    fitted, expected = kit.fit_all(diverging), kit.fit_all(tame)
    assert isinstance(fitted[4].error, NonFiniteLossError)
    assert "term hard_labels" in str(fitted[4].error)
    assert all(bool(value.isfinite().all()) for value in diverging[4].network.state_dict().values())
    for at in range(4):
        assert fitted[at].error is None
        assert expected[at].error is None
        assert diverging[at].sinks[0].rows == tame[at].sinks[0].rows
        assert kit.same(kit.bits(diverging[at].network), kit.bits(tame[at].network))
    assert len(diverging[4].sinks[0].rows) < len(tame[4].sinks[0].rows)  # no curve of a learner that is gone


def test_a_frozen_learner_keeps_its_weights_though_its_optimizer_decays_them(kit):
    from kdlab.training import stack_module

    seen = []
    hold = stack_module.StackModule._hold_frozen

    def held(self, stack):
        hold(self, stack)
        seen.extend(torch.cat([p.detach()[at].flatten() for p in stack.trained()]).clone() for at in self._kept)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(stack_module.StackModule, "_hold_frozen", held)
        kit.fit_all(wild(kit, 1e30, steps=20))
    assert len(seen) > 5
    assert all(torch.equal(seen[0], value) for value in seen)


def test_when_all_diverge_training_ends_and_everyone_has_a_reason(kit):
    learners = kit.varied(3, norm="none", optimizers=[kit.adamw(lr=1e300)], steps=5000)
    fitted = kit.fit_all(learners)
    assert all(isinstance(one.error, NonFiniteLossError) for one in fitted)
    assert all(one.steps < 5000 for one in fitted)


class BadGradient(torch.autograd.Function):
    @staticmethod
    def forward(ctx, inputs):
        return inputs.clone()

    @staticmethod
    def backward(ctx, gradient):
        return gradient * float("nan")


def small_logits(bad_step):
    """A term whose gradient is NaN at one step; its loss is so at the next."""

    @term()
    def small(student, teacher, batch, step):
        logits = BadGradient.apply(student.logits) if step == bad_step else student.logits
        return logits.square().mean(-1)

    return Objective({"small": TermSpec(function=small, weight=1.0, name="small")})


@pytest.mark.parametrize("whole", [False, True])
@pytest.mark.parametrize("step", [0, 3, CHUNK - 1])
def test_a_bad_gradient_after_a_finite_loss_leaves_weights_from_before(kit, step, whole):
    def make():
        rows = tiny_data.examples(10 * (CHUNK + 5))
        return [dataclasses.replace(one, train=rows, teacher=None,
                                    objective=small_logits(step if whole or at == 1 else -1))
                for at, one in enumerate(kit.varied(3, steps=CHUNK + 5))]  # fmt: skip

    learners, others = make(), make()
    fitted = kit.fit_all(learners)
    assert [one.error is None for one in fitted] == ([False] * 3 if whole else [True, False, True])
    assert f"not finite at step {step + 1}: term small" in str(fitted[1].error)
    for one in learners:
        assert all(bool(value.isfinite().all()) for value in one.network.state_dict().values())
    if not whole:
        kit.fit_all(others[:1])
        assert torch.allclose(learners[0].network.head.weight, others[0].network.head.weight, rtol=1e-6)


class Scaled(nn.Module):
    """A network with a parameter without axes."""

    def __init__(self):
        super().__init__()
        self.scale = nn.Parameter(torch.tensor(1.5))
        self.layer = nn.Linear(8, 3)

    def forward(self, inputs):
        return self.scale * self.layer(inputs[:, 0])


def test_a_gradient_without_bounds_of_one_who_is_not_clipped_stays_as_it_is(kit):
    def make():
        far = Objective({"far": TermSpec(function=hard_labels, weight=1e25, name="far")})
        found = kit.varied(3, clips=[0.1, None, 0.1], precision="32-true", norm="none", dropout=0.0)
        return [dataclasses.replace(found[0], objective=far), dataclasses.replace(found[1], objective=far)]

    together, alone = make(), make()
    assert [one.error for one in kit.fit_all(together)] == [None, None]
    kit.fit_all(alone[1:])
    assert torch.allclose(together[1].network.head.weight, alone[1].network.head.weight)


def test_parameters_without_axes_are_clipped_too(kit):
    def make():
        with global_stream(0):
            networks = [Scaled() for _ in range(3)]
        return [
            dataclasses.replace(one, network=networks[at])
            for at, one in enumerate(kit.varied(3, clips=[0.1, None, 0.5]))
        ]

    compare(kit, make)


class CutOffError(Exception):
    pass


class CutAt:
    def __init__(self, step):
        self.step = step

    def log(self, metrics, *, step, epoch):
        if step >= self.step:
            raise CutOffError


@pytest.mark.parametrize("which", [FIVE, [3, 1], [2]])
def test_a_killed_stack_goes_on_from_each_ones_checkpoint_whole_in_part_or_alone(kit, tmp_path, cosine, which):
    optimizers = [kit.adamw(), kit.adamw(lr=0.03), {"_target_": "torch.optim.Adafactor", "lr": 0.01}]

    def make(**changes):
        found = kit.varied(optimizers=optimizers, schedule=cosine, steps=23)
        return [dataclasses.replace(one, checkpoint=tmp_path / f"{at}.ckpt", **changes) for at, one in enumerate(found)]

    with pytest.raises(CutOffError):
        kit.fit_all(make(sinks=[CutAt(15)]), checkpoint_every_seconds=1e-9)
    resumed, whole = make(), [dataclasses.replace(one, checkpoint=None) for one in make()]
    fitted = kit.fit_all([resumed[at] for at in which], checkpoint_every_seconds=1000)
    kit.fit_all(whole)
    assert {(one.resumed_from, one.steps) for one in fitted} == {(10, 23)}
    for at in which:
        expected = [row for row in whole[at].sinks[0].rows if row[0] > 10]
        assert [row[3] for row in resumed[at].sinks[0].rows] == pytest.approx([row[3] for row in expected], rel=1e-9)


def test_one_that_diverged_is_not_taken_up_as_if_it_had_not(kit, tmp_path):
    def make(rate):
        found = wild(kit, rate, steps=40)
        return [dataclasses.replace(one, checkpoint=tmp_path / f"{at}.ckpt") for at, one in enumerate(found)]

    first = kit.fit_all(make(1e30), checkpoint_every_seconds=1e-9)
    assert first[4].error is not None
    assert sorted(path.name for path in tmp_path.iterdir()) == [f"{at}.ckpt" for at in range(4)]
    (again,) = kit.fit_all(make(1e30)[4:])
    assert (again.resumed_from, str(again.error)) == (0, str(first[4].error))


def with_frozen_layer(kit, tmp_path, **changes):
    found = [kit.learner(kit.network(at), seed=at, recipe=kit.recipe(steps=17), sinks=[kit.Log()]) for at in range(3)]
    for one in found:
        one.network.blocks[0].affine.requires_grad_(False)
    return [dataclasses.replace(one, checkpoint=tmp_path / f"{at}.ckpt", **changes) for at, one in enumerate(found)]


@pytest.mark.parametrize("which", [[0], [0, 1, 2]])
def test_frozen_layers_stay_and_checkpoints_of_stack_and_single_fit_each_other(kit, tmp_path, which):
    started = kit.network(0).blocks[0].affine.weight
    for part in [[0, 1, 2]] if which == [0] else [[0], [1], [2]]:
        learners = with_frozen_layer(kit, tmp_path, sinks=[CutAt(10)])
        with pytest.raises(CutOffError):
            kit.fit_all([learners[at] for at in part], checkpoint_every_seconds=1e-9)
    learners = with_frozen_layer(kit, tmp_path)
    fitted = kit.fit_all([learners[at] for at in which])
    assert {(one.resumed_from, one.steps) for one in fitted} == {(5, 17)}
    assert torch.equal(learners[0].network.blocks[0].affine.weight, started)


class Coupled(torch.optim.Optimizer):
    """A user's optimizer whose step depends on all of its parameters, as Prodigy's and LAMB's do."""

    def __init__(self, params, lr):
        super().__init__(params, {"lr": lr})

    @torch.no_grad()
    def step(self, closure=None):
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            norm = torch.stack([parameter.grad.norm() for parameter in group["params"]]).norm()
            for parameter in group["params"]:
                parameter.sub_(group["lr"] * parameter.grad / norm)
        return loss


def test_an_optimizer_that_looks_at_all_of_its_parameters_sees_those_of_one_learner(kit):
    compare(kit, lambda: kit.varied(3, optimizers=[{"_target_": f"{__name__}.Coupled", "lr": 0.1}]))


def test_a_stack_of_one_holds_the_plain_network(kit):
    from kdlab.training import stack_module

    held = []
    start = stack_module.StackModule.on_fit_start

    def noted(self):
        held.append(self.student)
        start(self)

    network = kit.network()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(stack_module.StackModule, "on_fit_start", noted)
        kit.fit(network)
    assert held == [network]


def test_a_teacher_is_asked_once_for_learners_who_share_it_and_their_batches(kit):
    asked = []

    class Counting:
        num_classes, provides = 3, frozenset({"logits"})

        def __call__(self, inputs, index):
            asked.append(tuple(inputs.shape))
            return TeacherOutput(inputs.new_zeros(len(inputs), 3), {})

        def to(self, device, dtype=None):
            return self

    teacher = Counting()
    learners = [dataclasses.replace(one, teacher=teacher) for one in kit.varied(5, steps=3)]
    kit.fit_all(learners)
    assert asked == [(10, 1, 8)] * 6  # seeds 0 and 1 of the four who learn from it, three steps


def test_a_teacher_that_answers_by_index_is_asked_once_for_all_batches(kit):
    asked = []

    class Counting:
        num_classes, provides, by_index = 3, frozenset({"logits"}), True

        def __call__(self, inputs, index):
            asked.append(index.tolist())
            return TeacherOutput(torch.stack([index, -index, 0 * index], -1).to(inputs.dtype), {})

        def to(self, device, dtype=None):
            return self

    teacher = Counting()
    together = [dataclasses.replace(one, teacher=teacher) for one in kit.varied(5, steps=3)]
    alone = copy.deepcopy(together)
    kit.fit_all(together)
    assert [len(rows) for rows in asked] == [20] * 3  # both seeds of the four who learn from it
    for one, other in zip(together, alone, strict=True):
        kit.fit_all([other])
        for name, value in one.network.state_dict().items():
            torch.testing.assert_close(value, other.network.state_dict()[name], rtol=1e-6, atol=1e-6)


def test_global_random_states_stay_as_they_were(kit):
    before = torch.get_rng_state()
    kit.fit_all(kit.varied(steps=3))
    assert torch.equal(before, torch.get_rng_state())


@pytest.mark.parametrize("count", [1, 3])
def test_a_compiled_forward_trains_the_same(kit, count):
    """The compiler's own back end wants a C++ compiler; what is traced is the same for another one."""
    modes, compiled = [], torch.compile

    def noted(network, *, mode):
        modes.append(mode)
        return compiled(network, backend="eager")

    def make():
        return kit.varied(4, dropout=0.0, steps=6)[:count]

    together, plain = make(), make()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch, "compile", noted)
        kit.fit_all(together, compile="reduce-overhead")
    kit.fit_all(plain)
    assert modes == ["reduce-overhead"]
    for left, right in zip(together, plain, strict=True):
        assert [row[3] for row in left.sinks[0].rows] == pytest.approx(
            [row[3] for row in right.sinks[0].rows], rel=1e-9
        )
        assert left.network.state_dict().keys() == right.network.state_dict().keys()
