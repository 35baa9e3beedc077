"""Terms that learn or remember beside the student: trained and saved with it, and gone from what is deployed."""

import copy
import dataclasses
from functools import partial

import pytest
import pytorch_lightning as pl
import tiny_data
import torch
from torch.utils.data import DataLoader, TensorDataset

from kdlab.errors import UserError
from kdlab.models import build_model
from kdlab.objectives import Objective
from kdlab.teachers import CachedTeacher, OnlineTeacher
from kdlab.training import Distillation, Learner, Recipe, Runtime, fit
from kdlab.training.equipped import Equipped, made_ready

SPEC, KNOWN = {"_target_": "kdlab.models.MLP", "width": 6}, {"input_shape": (1, 8), "num_classes": 3}
ADAMW = {"_target_": "torch.optim.AdamW", "lr": 0.01}
CONSTANT = {"_target_": "torch.optim.lr_scheduler.ConstantLR", "factor": 1.0}
HARD = {"_target_": "kdlab.objectives.terms.hard_labels", "weight": 1.0}
HINT = {"_target_": "user_terms.regressed", "weight": 0.5}
AVERAGED = {"_target_": "user_terms.averaged", "weight": 0.5}


class Log:
    def __init__(self):
        self.rows = []

    def log(self, metrics, *, step, epoch):
        self.rows.append((step, dict(metrics)))


def learner(terms, *, seed=0, steps=40, teacher=None, **how):
    train, validation = tiny_data.examples(200, start=0), tiny_data.examples(30, start=10_000)
    teacher = teacher or OnlineTeacher(build_model({**SPEC, "width": 9}, **KNOWN, seed_value=9), num_classes=3)
    return Learner(
        build_model(SPEC, **KNOWN, seed_value=seed), Objective.from_specs(terms), train, validation,
        Recipe(steps, 10, ADAMW, CONSTANT), "student", seed, teacher=teacher, sinks=[Log()], **how,
    )  # fmt: skip


def run(*learners, **runtime):
    return fit(learners, num_classes=3, runtime=Runtime(accelerator="cpu", progress=False, **runtime))


def state(network):
    return {name: value.clone() for name, value in network.state_dict().items()}


@pytest.mark.parametrize("count", [1, 3])
def test_the_projection_is_trained_and_the_student_stays_itself(count, tmp_path):
    plain = [learner({"hard_labels": HARD}, seed=at) for at in range(count)]
    found = [
        dataclasses.replace(learner({"hard_labels": HARD, "hint": HINT}, seed=at), checkpoint=tmp_path / f"{at}.ckpt")
        for at in range(count)
    ]
    before = [state(made_ready(one).network) for one in found]
    names = set(plain[0].network.state_dict())
    run(*found, checkpoint_every_seconds=1e-9)
    for at, one in enumerate(found):
        assert set(one.network.state_dict()) == names, "what is deployed knows nothing of a projection"
        saved = torch.load(tmp_path / f"{at}.ckpt", weights_only=True)["state_dict"]
        weight = saved["student.beside.hint:regressor.1.weight"]
        assert not torch.equal(weight, before[at]["beside.hint:regressor.1.weight"]), "it was trained"
        for name in names:
            assert torch.equal(saved[f"student.student.{name}"], one.network.state_dict()[name])


def test_a_projection_moves_no_draw_of_the_student_and_has_its_own():
    with_term, without = learner({"hint": HINT}), learner({"hard_labels": HARD})
    ready = made_ready(with_term).network
    assert isinstance(ready, Equipped)
    assert all(torch.equal(a, b) for a, b in zip(ready.student.parameters(), without.network.parameters(), strict=True))
    seeds = [made_ready(learner({"hint": HINT}, seed=seed)).network.beside for seed in (0, 0, 1)]
    weights = [next(beside.parameters()) for beside in seeds]
    assert torch.equal(weights[0], weights[1])
    assert not torch.equal(weights[0], weights[2])


def test_a_further_term_does_not_change_what_another_one_draws():
    alone = made_ready(learner({"hint": HINT})).network.beside
    beside = made_ready(learner({"another": HINT, "hint": HINT})).network.beside
    assert torch.equal(alone.get_submodule("hint:regressor.1").weight, beside.get_submodule("hint:regressor.1").weight)
    different = beside.get_submodule("another:regressor.1").weight
    assert not torch.equal(different, beside.get_submodule("hint:regressor.1").weight)


@pytest.mark.parametrize("count", [1, 2])
def test_a_memory_follows_every_step_and_tells_its_curves(count):
    found = [learner({"hard_labels": HARD, "averaged": AVERAGED}, seed=at) for at in range(count)]
    run(*found)
    for one in found:
        assert [(step, row["train/learned/averaged.steps"]) for step, row in one.sinks[0].rows] == [(20, 20), (40, 40)]


@pytest.mark.parametrize("terms", [{"hard_labels": HARD, "hint": HINT}, {"hard_labels": HARD, "averaged": AVERAGED}])
@pytest.mark.parametrize("count", [1, 2])
def test_a_killed_run_goes_on_with_its_modules(terms, count, tmp_path):
    whole = [learner(terms, seed=at) for at in range(count)]
    run(*whole)
    places = [tmp_path / f"{at}.ckpt" for at in range(count)]
    run(*(learner(terms, seed=at, steps=20, checkpoint=place) for at, place in enumerate(places)),
        checkpoint_every_seconds=1e-9)  # fmt: skip
    again = [learner(terms, seed=at, checkpoint=place) for at, place in enumerate(places)]
    assert [one.resumed_from for one in run(*again)] == [20] * count
    for left, right in zip(whole, again, strict=True):
        for name, value in left.network.state_dict().items():
            torch.testing.assert_close(value, right.network.state_dict()[name], rtol=0, atol=0)


def test_a_teacher_of_stored_logits_is_refused_by_name():
    train = tiny_data.examples(200, start=0)
    stored = CachedTeacher(torch.zeros(200, 3), train.index)
    with pytest.raises(UserError, match=r"objective\.terms\.hint.*the teacher names no stages"):
        run(learner({"hint": HINT}, teacher=stored))
    with pytest.raises(UserError, match=r"hint needs features\.hidden1 of the teacher, which provides logits"):
        run(learner({"hint": {**HINT, "teacher_layer": "hidden1"}}, teacher=stored))


def test_the_module_of_the_library_trains_it_too():
    one = learner({"hard_labels": HARD, "hint": HINT, "averaged": AVERAGED})
    knobs = {"num_classes": 3, "optimizer": partial(torch.optim.SGD, lr=0.1), "teacher": one.teacher}
    with pytest.raises(UserError, match="averaged, hint learn beside the student: pass examples="):
        Distillation(copy.deepcopy(one.network), one.objective, **knobs)
    module = Distillation(one.network, one.objective, examples=one.train, **knobs)
    before = state(module)
    loader = DataLoader(TensorDataset(one.train.inputs, one.train.labels, one.train.index), batch_size=50)
    quiet = {
        "logger": False,
        "enable_checkpointing": False,
        "enable_progress_bar": False,
        "enable_model_summary": False,
    }
    trainer = pl.Trainer(max_epochs=2, accelerator="cpu", **quiet)
    trainer.fit(module, loader)
    after = state(module)
    assert not torch.equal(before["beside.hint:regressor.1.weight"], after["beside.hint:regressor.1.weight"])
    assert int(after["beside.averaged:average.steps"]) == 8
    assert float(trainer.callback_metrics["train/learned/averaged.steps"]) == 8
