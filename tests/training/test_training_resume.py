"""A run that was cut off and taken up again is the run that was never cut off, bit by bit."""

import pytest
import torch

from kdlab.errors import UserError
from kdlab.training.checkpoints import saved_step


class CutOffError(Exception):
    pass


class CutAt:
    """A sink that kills the run when it hears of an epoch's end at or after a step."""

    def __init__(self, step):
        self.step = step

    def log(self, metrics, *, step, epoch):
        if "train/loss" in metrics and step >= self.step:
            raise CutOffError


@pytest.fixture
def cut(kit, tmp_path, cosine):
    """``cut(step)``: trains until the epoch end at ``step``, dies there, and gives the checkpoint before it."""
    recipe = kit.recipe(steps=23, schedule=cosine, optimizer={"_target_": "torch.optim.AdamW", "lr": 0.01})
    how = {"alpha": 0.7, "recipe": recipe, "checkpoint": tmp_path / "checkpoint.ckpt", "checkpoint_every_seconds": 1e-9}

    def run(step):
        with pytest.raises(CutOffError):
            kit.fit(kit.network(), teacher=kit.teacher(), sinks=[CutAt(step)], **how)
        return how

    return run


@pytest.mark.parametrize("step", [10, 20])
def test_resumed_is_bit_identical_with_dropout_batchnorm_schedule_and_momentum(kit, cut, step):
    whole, resumed, whole_log, resumed_log = kit.network(), kit.network(), kit.Log(), kit.Log()
    how = cut(step)
    assert saved_step(how["checkpoint"]) == step - 5  # the curves of the epoch come before its checkpoint
    done = kit.fit(resumed, teacher=kit.teacher(), sinks=[resumed_log], **how)
    kit.fit(whole, teacher=kit.teacher(), sinks=[whole_log], **{**how, "checkpoint": None})
    assert (done.resumed_from, done.steps) == (step - 5, 23)
    assert kit.same(kit.bits(whole), kit.bits(resumed))
    assert resumed_log.rows == [row for row in whole_log.rows if row[0] > step - 5]


def test_a_run_killed_after_its_last_step_only_has_to_be_measured(kit, cut):
    how = cut(20)
    last = kit.network()
    kit.fit(last, teacher=kit.teacher(), **how)
    assert saved_step(how["checkpoint"]) == 23  # saved at the end of the last, short epoch
    again = kit.network()
    done = kit.fit(again, teacher=kit.teacher(), **how)
    assert (done.resumed_from, done.steps) == (23, 23)
    assert kit.same(kit.bits(last), kit.bits(again))


def test_a_checkpoint_holds_tensors_and_plain_python_and_nothing_of_the_teacher(kit, cut):
    how = cut(10)
    saved = torch.load(how["checkpoint"], weights_only=True)
    allowed = (torch.Tensor, str, int, float, bool, type(None))

    def check(value):
        if isinstance(value, dict):
            for key, item in value.items():
                assert isinstance(key, (str, int))
                check(item)
        elif isinstance(value, (list, tuple)):
            for item in value:
                check(item)
        else:
            assert isinstance(value, allowed), type(value)

    check(saved)
    student = kit.network().state_dict()
    assert set(saved["state_dict"]) == {f"student.{name}" for name in student}
    teachers = kit.teacher().model.state_dict()
    held = [value for value in tensors(saved) if value.ndim == 2]
    assert not any(
        torch.equal(value, teachers[name]) for value in held for name in teachers if value.shape == teachers[name].shape
    )
    moments = saved["optimizer_states"][0]["state"]
    assert len(moments) == len(list(kit.network().parameters()))


def tensors(value):
    if isinstance(value, torch.Tensor):
        return [value]
    items = value.values() if isinstance(value, dict) else value if isinstance(value, (list, tuple)) else []
    return [found for item in items for found in tensors(item)]


def test_time_spent_before_counts(kit, cut):
    how = cut(10)
    saved = torch.load(how["checkpoint"], weights_only=True)
    saved["kdlab"]["seconds"] = 1000.0
    torch.save(saved, how["checkpoint"])
    assert 1000 < kit.fit(kit.network(), teacher=kit.teacher(), **how).seconds < 1100


def test_no_checkpoint_before_its_time_but_one_at_the_last_step(kit, cut, tmp_path):
    how = {"checkpoint": tmp_path / "checkpoint.ckpt", "checkpoint_every_seconds": 1000}
    with pytest.raises(CutOffError):
        kit.fit(kit.network(), sinks=[CutAt(10)], **how)
    assert list(tmp_path.iterdir()) == []
    kit.fit(kit.network(), **how)
    assert saved_step(how["checkpoint"]) == 12
    with pytest.raises(UserError, match="ended at step 12 and cannot go on to step 13"):
        kit.fit(kit.network(), recipe=kit.recipe(steps=13), **how)
