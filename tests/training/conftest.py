import pytest
import tiny_data
import torch
from torch import nn

from kdlab.models import MLP
from kdlab.objectives import Objective
from kdlab.streams import global_stream
from kdlab.teachers import OnlineTeacher
from kdlab.training import Learner, Recipe, Runtime, fit

CE = {"_target_": "kdlab.objectives.hard_labels", "weight": 1.0}
SGD = {"_target_": "torch.optim.SGD", "lr": 0.1, "momentum": 0.9}
CONSTANT = {"_target_": "torch.optim.lr_scheduler.ConstantLR", "factor": 1.0}
COSINE = {"_target_": "torch.optim.lr_scheduler.CosineAnnealingLR"}


def _objective(alpha, *, temperature=2.0):
    soft = {"_target_": "kdlab.objectives.soft_targets", "weight": alpha, "temperature": temperature}
    return Objective.from_specs({"hard_labels": {**CE, "weight": 1 - alpha}, "soft_targets": soft})


def _network(seed=0, *, norm="batch", dropout=0.2):
    with global_stream(seed):
        return MLP(input_shape=(1, 8), num_classes=3, width=6, depth=2, norm=norm, dropout=dropout)


class _Log:
    """A sink that keeps what it is told."""

    def __init__(self):
        self.rows = []

    def log(self, metrics, *, step, epoch):
        self.rows += [(step, epoch, key, value) for key, value in metrics.items()]

    def curve(self, key):
        return [(step, value) for step, _, name, value in self.rows if name == key]


class _Kit:
    """What a training test needs, with defaults for everything it does not look at."""

    train, validation = tiny_data.examples(50), tiny_data.examples(30, start=10_000)
    objective, network, Log = staticmethod(_objective), staticmethod(_network), _Log

    @staticmethod
    def teacher(seed=99):
        return OnlineTeacher(_network(seed), num_classes=3)

    @staticmethod
    def recipe(**changes):
        return Recipe(**{"steps": 12, "batch_size": 10, "optimizer": SGD, "schedule": CONSTANT, **changes})

    def learner(self, model, *, alpha=0.0, **how):
        how = {"objective": _objective(alpha), "recipe": self.recipe(), "seed": 0, "role": "student", **how}
        return Learner(model, train=how.pop("train", self.train), validation=self.validation, **how)

    @staticmethod
    def adamw(**changes):
        return {"_target_": "torch.optim.AdamW", "lr": 0.01, "weight_decay": 0.01, **changes}

    def varied(
        self, count=5, *, optimizers=None, schedule=CONSTANT, clips=(None,), norm="batch", dropout=0.2, **recipe
    ):
        """Learners that differ in seed, T, alpha, teacher, optimizer and clipping; the last one learns from labels."""
        teachers, optimizers = [self.teacher(90), self.teacher(91)], optimizers or [self.adamw()]
        learners = []
        for at in range(count):
            how = {"steps": 12, "optimizer": optimizers[at % len(optimizers)], "schedule": schedule,
                   "gradient_clip_norm": clips[at % len(clips)], "precision": "64-true", **recipe}  # fmt: skip
            alpha = 0.0 if at == count - 1 else 0.3 + 0.1 * at
            learners.append(self.learner(
                _network(at, norm=norm, dropout=dropout), objective=_objective(alpha, temperature=1.0 + at),
                teacher=teachers[at % 2], seed=at // 2, recipe=self.recipe(**how), sinks=[_Log()],
            ))  # fmt: skip
        return learners

    def fit_all(self, learners, **runtime):
        return fit(learners, num_classes=3, runtime=Runtime(**{"progress": False, "accelerator": "cpu", **runtime}))

    def fit(self, model, *, alpha=0.0, objective=None, teacher=None, recipe=None, seed=0, role="student",
            sinks=(), checkpoint=None, **runtime):  # fmt: skip
        learner = self.learner(model, objective=objective or _objective(alpha), teacher=teacher,
                               recipe=recipe or self.recipe(), seed=seed, role=role, sinks=sinks,
                               checkpoint=checkpoint)  # fmt: skip
        (fitted,) = self.fit_all([learner], **runtime)
        if fitted.error is not None:
            raise fitted.error
        return fitted

    @staticmethod
    def bits(model: nn.Module):
        return {name: value.clone() for name, value in model.state_dict().items()}

    @staticmethod
    def same(left, right):
        return left.keys() == right.keys() and all(torch.equal(left[name], right[name]) for name in left)


@pytest.fixture(scope="session")
def kit():
    return _Kit()


@pytest.fixture(scope="session")
def cosine():
    return COSINE
