"""A stacked student equals the one trained alone: every term, family, optimizer and schedule.

Over 40 steps (two epochs), and over 200 where there is time (``make bench``).

In float64 to 1e-9. In float32 a single step from one state, early and late, to 1e-5: later single steps drift apart by
chaos, not by error, so longer runs are compared in float64.
"""

import dataclasses
import shutil

import pytest
import tiny_data
import torch
from torch import nn

from kdlab.models import build_model
from kdlab.objectives import Objective
from kdlab.teachers import OnlineTeacher
from kdlab.training import Learner, Recipe, Runtime, fit
from kdlab.training.stackable import stack_problem

FROM, OPTIM, RATES = "kdlab.models.", "torch.optim.", "torch.optim.lr_scheduler."
ADAMW = {"_target_": OPTIM + "AdamW", "lr": 0.003, "weight_decay": 0.01}
COSINE = {"_target_": RATES + "CosineAnnealingLR"}
SHORT, LONG, K, CLASSES = 40, 200, 2, 3
both_lengths = pytest.mark.parametrize("steps", [SHORT, pytest.param(LONG, marks=pytest.mark.long)])

MLP = ({"_target_": FROM + "MLP", "width": 6, "norm": "batch", "dropout": 0.2}, (1, 8))
FAMILIES = {
    "mlp": MLP,
    "mlp layer norm": ({**MLP[0], "norm": "layer"}, (1, 8)),
    "cnn1d": ({"_target_": FROM + "CNN1d", "width": 4, "depth": 2, "norm": "batch", "dropout": 0.2}, (1, 8)),
    "cnn1d plain": ({"_target_": FROM + "CNN1d", "width": 4, "depth": 2}, (1, 8)),
    "cnn2d": ({"_target_": FROM + "CNN2d", "width": 3, "depth": 2, "norm": "batch", "dropout": 0.2}, (1, 4, 4)),
    "cnn2d layer norm": ({"_target_": FROM + "CNN2d", "width": 3, "depth": 2, "norm": "layer"}, (1, 4, 4)),
    "resnet": ({"_target_": FROM + "ResNet", "depth": 8, "width": 2, "norm": "batch"}, (1, 4, 4)),
    "a network of torch": ({"_target_": "test_stack.plain"}, (1, 8)),
}
SCHEDULED = "kdlab.objectives.schedules.linear"
SOFT = {"_target_": "kdlab.objectives.terms.soft_targets", "temperature": 2.0, "weight": 0.5}
HARD = {"_target_": "kdlab.objectives.terms.hard_labels", "weight": 0.5}
OBJECTIVES = {
    "hard labels": {"hard_labels": HARD},
    "label smoothing": {"hard_labels": {**HARD, "label_smoothing": 0.1}},
    "soft targets": {"soft_targets": SOFT},
    "unscaled": {"hard_labels": HARD, "soft_targets": {**SOFT, "t2_scaling": False}},
    "both and a term of the user": {
        "hard_labels": HARD, "soft_targets": SOFT, "user": {"_target_": "user_terms.margin_loss", "weight": 0.2},
    },
    "a term that learns": {
        "hard_labels": HARD, "hint": {"_target_": "user_terms.regressed", "weight": 0.5},
    },
    "a term that remembers": {"hard_labels": HARD, "averaged": {"_target_": "user_terms.averaged", "weight": 0.5}},
    "schedules": {
        "hard_labels": HARD, "soft_targets": {**SOFT, "temperature": {"_target_": SCHEDULED, "start": 8, "end": 1}},
    },
}  # fmt: skip
OPTIMIZERS = ("SGD", "Adam", "AdamW", "NAdam", "RAdam", "Adamax", "Adagrad", "Adadelta", "RMSprop", "ASGD", "Rprop",
              "Adafactor")  # fmt: skip
SCHEDULES = {
    "cosine": COSINE,
    "constant": {"_target_": RATES + "ConstantLR", "factor": 1.0},
    "one cycle": {"_target_": RATES + "OneCycleLR", "max_lr": 0.01},
    "steps": {"_target_": RATES + "StepLR", "step_size": 15, "gamma": 0.3},
    "linear": {"_target_": RATES + "LinearLR", "start_factor": 0.1},
}


def plain(*, input_shape, num_classes):
    """Layers of torch and nothing of ours: LayerNorm, GELU, a convolution in groups, which ``vmap`` does."""
    return nn.Sequential(
        nn.Conv1d(1, 4, 3, padding=1), nn.GELU(), nn.Conv1d(4, 4, 3, groups=2), nn.Flatten(), nn.LayerNorm(24),
        nn.Linear(24, num_classes),
    )  # fmt: skip


class Log:
    def __init__(self):
        self.rows = []

    def log(self, metrics, *, step, epoch):
        self.rows += [(step, key, value) for key, value in metrics.items()]


def reshaped(examples, shape):
    size = int(torch.tensor(shape).prod())
    inputs = examples.inputs.flatten(1)
    inputs = torch.cat([inputs] * -(-size // inputs.shape[1]), 1)[:, :size]
    return dataclasses.replace(examples, inputs=inputs.reshape(-1, *shape))


def learners(*, family=MLP, terms=None, optimizers=(ADAMW,), schedules=(COSINE,), precision="64-true", steps=SHORT):
    spec, shape = family
    known = {"input_shape": shape, "num_classes": CLASSES}
    train, validation = (reshaped(tiny_data.examples(n, start=at), shape) for n, at in ((200, 0), (30, 10_000)))
    teachers = [OnlineTeacher(build_model(spec, **known, seed_value=90 + at), num_classes=CLASSES) for at in range(2)]
    terms = terms or {"hard_labels": HARD, "soft_targets": SOFT}
    found = []
    for at in range(K):
        own = {name: {**term, "weight": term["weight"] * (1 + at / 4)} for name, term in terms.items()}
        if "soft_targets" in own:
            planned = own["soft_targets"]["temperature"]
            own["soft_targets"]["temperature"] = {**planned, "end": 1 + at} if isinstance(planned, dict) else 2.0 + at
        recipe = Recipe(steps, 10, optimizers[at % len(optimizers)], schedules[at % len(schedules)],
                        gradient_clip_norm=[None, 0.5][at % 2], precision=precision)  # fmt: skip
        network = build_model(spec, **known, seed_value=at)
        objective = Objective.from_specs(own, num_steps=steps)
        found.append(Learner(network, objective, train, validation, recipe, "student", at,
                             teacher=teachers[at % 2], sinks=[Log()]))  # fmt: skip
    return found


def run(these, **runtime):
    return fit(these, num_classes=CLASSES, runtime=Runtime(accelerator="cpu", progress=False, **runtime))


def compare(**how):
    together, alone = learners(**how), learners(**how)
    assert stack_problem(together) is None
    run(together, validate_every_epochs=2)
    for one in alone:
        run([one], validate_every_epochs=2)
    inputs = together[0].validation.inputs
    for whole, one in zip(together, alone, strict=True):
        (left,), (right,) = whole.sinks, one.sinks
        assert len(right.rows) >= 8
        assert [row[:2] for row in left.rows] == [row[:2] for row in right.rows]
        assert [row[2] for row in left.rows] == pytest.approx([row[2] for row in right.rows], rel=1e-9, abs=1e-9)
        logits = [logits_of(network, inputs) for network in (whole.network, one.network)]
        assert torch.allclose(*logits, rtol=1e-5, atol=1e-5)  # handed back in float32


def logits_of(network, inputs):
    with torch.no_grad():
        output = network(inputs)
    return output if isinstance(output, torch.Tensor) else output.logits


@both_lengths
@pytest.mark.parametrize("name", FAMILIES)
def test_every_family(name, steps):
    compare(family=FAMILIES[name], steps=steps)


@both_lengths
@pytest.mark.parametrize("name", OBJECTIVES)
def test_every_term(name, steps):
    compare(terms=OBJECTIVES[name], steps=steps)


@both_lengths
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_every_optimizer_with_rates_of_ones_own(name, steps):
    spec = {"_target_": OPTIM + name, "lr": 0.003}
    compare(optimizers=[spec, {**spec, "lr": 0.001}], steps=steps)


@both_lengths
@pytest.mark.parametrize("name", SCHEDULES)
def test_every_schedule(name, steps):
    compare(schedules=[SCHEDULES[name], COSINE], steps=steps)


def test_muon_over_matrices():
    """It orthogonalises in bfloat16, whatever the precision: the same to that."""
    spec = {"_target_": OPTIM + "Muon", "lr": 0.003}
    together, alone = (learners(optimizers=[spec], family=({"_target_": "test_stack.matrices"}, (1, 8)), steps=40)
                       for _ in range(2))  # fmt: skip
    run(together)
    for whole, one in zip(together, alone, strict=True):
        run([one])
        left, right = (of.sinks[0].rows[-1][2] for of in (whole, one))
        assert left == pytest.approx(right, rel=1e-2)


def matrices(*, input_shape, num_classes):
    return nn.Sequential(nn.Flatten(), nn.Linear(8, 5, bias=False), nn.ReLU(), nn.Linear(5, num_classes, bias=False))


def _copied(place):
    copied = place.with_suffix(".alone")
    if place.exists():
        shutil.copy(place, copied)
    return copied


@pytest.mark.parametrize("family", ["mlp", pytest.param("cnn1d", marks=pytest.mark.long)])
def test_float32_one_step_from_one_state_at_steps_0_20_100_and_200(tmp_path, family):
    constant = SCHEDULES["constant"]

    def prepared(steps, places):
        found = learners(family=FAMILIES[family], schedules=[constant], precision="32-true", steps=steps)
        return [dataclasses.replace(one, checkpoint=place) for one, place in zip(found, places, strict=True)]

    for step in (0, 20, 100, 200):
        places = [tmp_path / f"{at}.ckpt" for at in range(K)]
        if step:
            for one in prepared(step, places):
                run([one], checkpoint_every_seconds=1e-9)  # saved at the end of an epoch of 20 steps
        together = prepared(step + 1, places)
        alone = prepared(step + 1, [_copied(place) for place in places])
        ended = run(together, checkpoint_every_seconds=1000)
        assert {(one.resumed_from, one.steps) for one in ended} == {(step, step + 1)}
        for whole, one in zip(together, alone, strict=True):
            run([one], checkpoint_every_seconds=1000)
            (left,), (right,) = ([row for row in of.sinks[0].rows if row[1] == "train/loss"] for of in (whole, one))
            assert left[0] == step + 1
            assert left[2] == pytest.approx(right[2], rel=1e-5)
            logits = [logits_of(of.network, one.validation.inputs) for of in (whole, one)]
            assert torch.allclose(*logits, rtol=1e-5, atol=1e-5)
        for place in tmp_path.iterdir():
            place.unlink()
