"""Augmented batches: a stream of their own, one view for student and teacher, resumed and shared with the twin."""

import pytest
import tiny_data
import torch
from batching import Flat
from torch import nn

from kdlab.errors import UserError
from kdlab.streams import drawing_from, generator
from kdlab.teachers import OnlineTeacher, ScaledTeacher
from kdlab.training import Batch, Distillation

K = "kornia.augmentation."
SHIFT = {"crop": {"_target_": K + "RandomCrop", "padding": 2}}
NOISE = {"noise": {"_target_": K + "RandomGaussianNoise", "std": 0.1, "p": 1.0}}
MIXUP = {"mixup": {"_target_": K + "RandomMixUpV2"}}
CPU = torch.device("cpu")


def noisy(batch):
    """Draws as kornia does: from the global generator."""
    return batch._replace(inputs=batch.inputs + torch.rand(batch.inputs.shape))


def batches(*, seed=0, role="student", augment=noisy, epoch=0):
    found = Flat(tiny_data.examples(23), batch_size=5, role=role, seed=seed, augment=augment)
    found.epoch = epoch
    return found


def noise_of(found):
    examples = tiny_data.examples(23)
    return torch.stack([batch.inputs - examples.inputs[batch.index] for batch in found])


def test_augmentation_moves_neither_the_order_nor_any_global_generator():
    torch.manual_seed(3)
    expected = torch.rand(4)
    torch.manual_seed(3)
    plain, changed, between = batches(augment=None), batches(), []
    for one, other in zip(plain, changed, strict=True):
        between.append(torch.rand(1))  # what dropout would draw
        assert torch.equal(one.index, other.index)
        assert torch.equal(one.labels, other.labels)
        assert not torch.equal(one.inputs, other.inputs)
    assert torch.equal(torch.cat(between), expected)


def test_draws_come_from_the_stream_of_role_seed_and_epoch():
    first = noise_of(batches(epoch=2))
    expected = torch.rand(first.shape, generator=generator("student", "augment", 0, epoch=2))
    torch.testing.assert_close(first, expected, rtol=0, atol=1e-6)
    again = batches(epoch=2)
    list(again)
    assert torch.equal(noise_of(again), first)  # whatever was iterated before
    for other in (batches(epoch=1), batches(epoch=2, seed=1), batches(epoch=2, role="teacher")):
        assert not torch.allclose(noise_of(other), first)


def test_drawing_from_goes_on_where_it_stopped_and_restores_even_after_an_error():
    stream, whole = (torch.Generator().manual_seed(5) for _ in range(2))
    before, drawn = torch.get_rng_state(), []
    for _ in range(2):
        with drawing_from(stream):
            drawn.append(torch.randn(3))

    def fails():
        with drawing_from(stream):
            drawn.append(torch.randn(3))
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fails()
    assert torch.equal(torch.cat(drawn), torch.cat([torch.randn(3, generator=whole) for _ in range(3)]))
    assert torch.equal(before, torch.get_rng_state())


class Seen(nn.Module):
    """Notes what it was shown while it trained, or always."""

    def __init__(self, inner, *, always=False):
        super().__init__()
        self.inner, self.always, self.shown = inner, always, []
        self.num_classes = 3

    def forward(self, inputs):
        if self.training or self.always:
            self.shown.append(inputs.clone())
        return self.inner(inputs)


def shown_to(kit, steps, *, alpha=0.0, teacher=None, **changes):
    student = Seen(kit.network())
    kit.fit(student, alpha=alpha, teacher=teacher, recipe=kit.recipe(augmentation=steps), **changes)
    return torch.stack(student.shown)


@pytest.mark.parametrize("steps", [SHIFT, MIXUP])
def test_a_twin_sees_its_students_views_and_a_teacher_others(kit, steps):
    twin = shown_to(kit, steps)
    assert torch.equal(twin, shown_to(kit, steps, alpha=0.9, teacher=kit.teacher()))
    assert not torch.equal(twin, shown_to(kit, steps, seed=1))
    assert not torch.equal(twin, shown_to(kit, {}))
    assert twin[5:10].ne(twin[:5]).any()
    orders = [shown_to(kit, NOISE, role=role)[0] for role in ("student", "teacher")]
    assert not torch.allclose(*orders, atol=0.5)


@pytest.mark.parametrize("steps", [SHIFT, NOISE, MIXUP, {**SHIFT, **MIXUP}])
def test_the_teacher_is_asked_about_the_changed_inputs_that_the_student_sees(kit, steps):
    """Consistent views (Beyer et al. 2022, arXiv:2106.05237)."""
    teacher = OnlineTeacher(Seen(kit.network(99), always=True))
    seen = shown_to(kit, steps, alpha=0.5, teacher=teacher)
    assert torch.equal(seen, torch.stack(teacher.model.shown))
    assert not torch.equal(seen, shown_to(kit, {}))


def test_views_are_consistent_in_a_stack_too(kit):
    alone = [shown_to(kit, MIXUP, alpha=0.5, teacher=kit.teacher(), seed=seed) for seed in (0, 1)]
    teacher = OnlineTeacher(Seen(kit.network(99), always=True))
    how = {"alpha": 0.5, "teacher": teacher, "recipe": kit.recipe(augmentation=MIXUP)}
    kit.fit_all([kit.learner(kit.network(seed), seed=seed, **how) for seed in (0, 1)])
    asked = torch.stack(teacher.model.shown).unflatten(0, (-1, 2))
    assert torch.equal(asked, torch.stack(alone, dim=1)), "in every step about the views of each student"


def test_mixed_batches_train_as_a_bare_loop_does(kit):
    from kdlab.data.augmentation import Augmentation

    model, bare = (kit.network(norm="none", dropout=0.0) for _ in range(2))
    log = kit.Log()
    kit.fit(model, recipe=kit.recipe(augmentation=MIXUP, steps=5), sinks=[log])
    augment = Augmentation(MIXUP, input_shape=(1, 8), facts={})
    optimizer = torch.optim.SGD(bare.parameters(), lr=0.1, momentum=0.9)
    losses, right = [], []
    for batch in Flat(kit.train, batch_size=10, augment=augment):
        logits = bare(batch.inputs).logits
        share, rows = batch.mixing[:, None], torch.eye(3)
        loss = nn.functional.cross_entropy(logits, share * rows[batch.labels] + (1 - share) * rows[batch.other_labels])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
        right += [int(row.argmax()) == int(own if share >= 0.5 else other) for row, own, other, share
                  in zip(logits, batch.labels, batch.other_labels, batch.mixing, strict=True)]  # fmt: skip
    assert log.curve("train/loss") == [(5, pytest.approx(sum(losses) / 5, rel=1e-5))]
    assert log.curve("train/running_accuracy") == [(5, pytest.approx(sum(right) / 50))]
    for one, two in zip(model.parameters(), bare.parameters(), strict=True):
        torch.testing.assert_close(one, two)


def test_dropout_masks_do_not_move(kit):
    """A network that is shown nothing but ones: what differs is dropout alone."""

    class Blind(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer, self.drop, self.masks = nn.Linear(8, 3), nn.Dropout(0.5), []

        def forward(self, inputs):
            dropped = self.drop(torch.ones(len(inputs), 8))
            self.masks.append(dropped.clone())
            return self.layer(dropped)

    plain, augmented = Blind(), Blind()
    kit.fit(plain)
    kit.fit(augmented, recipe=kit.recipe(augmentation=SHIFT | NOISE))
    assert torch.equal(torch.cat(plain.masks), torch.cat(augmented.masks))


@pytest.mark.parametrize("precision", ["32-true", "64-true", "bf16-mixed"])
def test_same_seed_same_bits_in_every_precision(kit, precision):
    models = [kit.network() for _ in range(2)]
    for model in models:
        kit.fit(
            model, alpha=0.5, teacher=kit.teacher(), recipe=kit.recipe(augmentation=SHIFT | MIXUP, precision=precision)
        )
    assert kit.same(*(kit.bits(model) for model in models))
    assert all(value.isfinite().all() for value in kit.bits(models[0]).values())


def test_a_resumed_run_sees_the_views_it_would_have_seen(kit, tmp_path):
    class CutOffError(Exception):
        pass

    class Cut:
        def log(self, metrics, *, step, epoch):
            if "train/loss" in metrics and step >= 10:
                raise CutOffError

    how = {"recipe": kit.recipe(augmentation=NOISE | MIXUP, steps=23), "checkpoint": tmp_path / "checkpoint.ckpt"}
    whole, resumed = kit.network(), kit.network()
    with pytest.raises(CutOffError):
        kit.fit(kit.network(), sinks=[Cut()], checkpoint_every_seconds=1e-9, **how)
    assert kit.fit(resumed, checkpoint_every_seconds=1e-9, **how).resumed_from == 5
    kit.fit(whole, recipe=how["recipe"])
    assert kit.same(kit.bits(whole), kit.bits(resumed))


def test_facts_of_the_data_reach_the_steps(kit):
    bright = {"bright": {"_target_": K + "RandomBrightness", "brightness": [0.9, 1.1]}}
    with pytest.raises(UserError, match=r"training\.augmentation\.bright: works on pixels"):
        kit.fit(kit.network(), recipe=kit.recipe(augmentation=bright))


class ByIndex(OnlineTeacher):
    by_index = True


def test_a_teacher_that_answers_by_index_is_refused_beside_augmentation(kit):
    stored = ByIndex(kit.network(9), num_classes=3)
    for teacher in (stored, ScaledTeacher(stored, scale=2.0)):
        with pytest.raises(UserError, match=r"answers by example index.*training\.augmentation .* must be empty"):
            kit.fit(kit.network(), alpha=0.5, teacher=teacher, recipe=kit.recipe(augmentation=SHIFT))
        kit.fit(kit.network(), alpha=0.5, teacher=teacher, recipe=kit.recipe(steps=2))
        kit.fit(kit.network(), alpha=0.0, teacher=teacher, recipe=kit.recipe(augmentation=SHIFT, steps=2))
        with pytest.raises(UserError, match="by example index"):
            Distillation(kit.network(), kit.objective(0.5), num_classes=3, teacher=teacher, augmented=True)


def test_moving_a_batch_leaves_what_it_does_not_have(kit):
    module = Distillation(kit.network(), kit.objective(0.0), num_classes=3)
    plain = next(iter(batches(augment=None)))
    moved = module.transfer_batch_to_device(plain, torch.device("meta"), 0)
    assert isinstance(moved, Batch)
    assert moved.inputs.device.type == "meta"
    assert (moved.other_labels, moved.mixing) == (None, None)
