"""A whole, resolved config on the tiny data set, and the same with a few dotted keys changed."""

import copy
from typing import Any

from kdlab.schema.config import RunConfig
from kdlab.schema.reading import read_config

_SGD = {"_target_": "torch.optim.SGD", "lr": 0.05}
_CONSTANT = {"_target_": "torch.optim.lr_scheduler.ConstantLR", "factor": 1.0}


def _recipe(steps: int) -> dict[str, Any]:
    return {"steps": steps, "batch_size": 10, "optimizer": dict(_SGD), "schedule": dict(_CONSTANT),
            "gradient_clip_norm": None, "precision": "32-true"}  # fmt: skip


def _mlp(**knobs: Any) -> dict[str, Any]:
    return {"_target_": "kdlab.models.MLP", "width": 6, "depth": 1, "norm": "none", "dropout": 0.0, **knobs}


_BASE: dict[str, Any] = {
    "seed": 0,
    "threads": 1,
    "data": {
        "name": "tiny", "_target_": "tiny_data.tiny", "seed": 0, "train": 60,
        "slices": {
            "loud": {"_target_": "tiny_data.louder", "reference": "twins", "ood": True, "factor": 1.0},
            "shifted": {"_target_": "kdlab.data.slices.label_shift", "reference": "test", "ood": False, "ratio": 3},
        },
    },
    "student": _mlp(dropout=0.1),
    "teacher": {
        "model": _mlp(width=9, norm="batch"), "training": _recipe(18), "seed": 0, "quality": {"name": "standard"},
        "checkpoint": None,
    },
    "objective": {
        "temperature": 2.0, "alpha": 0.9, "t2_scaling": True,
        "terms": {
            "hard_labels": {"_target_": "kdlab.objectives.terms.hard_labels", "weight": 0.1, "label_smoothing": 0.0},
            "soft_targets": {"_target_": "kdlab.objectives.terms.soft_targets", "weight": 0.9, "temperature": 2.0,
                             "t2_scaling": True},
        },
    },
    "training": _recipe(15),
    "trainer": {"accelerator": "cpu", "progress": False},
    "evaluation": {
        "sets": ["train", "validation", "test", "slices"], "batch_size": 100,
        "latency": {"enabled": False, "wait_seconds": 0.0},
    },
    "tracker": {"mode": "disabled"},
    "allow_targets": ["tiny_data.*"],
}  # fmt: skip

QUALITIES = {
    "uniform": {"name": "uniform", "control": {"_target_": "kdlab.teachers.UniformTeacher"}},
    "weak": {"name": "weak", "steps": 4, "training": {"steps": 4}},
    "overconfident": {"name": "overconfident", "scale": 3.0,
                      "outputs": {"_target_": "kdlab.teachers.scaled", "scale": 3.0}},
}  # fmt: skip


def overconfident(scale: float) -> dict[str, Any]:
    """The quality with another dose."""
    return {"name": "overconfident", "scale": scale, "outputs": {"_target_": "kdlab.teachers.scaled", "scale": scale}}


def plain(**changes: Any) -> dict[str, Any]:
    """The mapping, with ``training__steps=5`` for ``training.steps``; a value of ``...`` removes the key.

    ``alpha`` and ``temperature`` set all that they stand for.
    """
    config = copy.deepcopy(_BASE)
    alpha, temperature = changes.pop("alpha", None), changes.pop("temperature", None)
    terms = config["objective"]["terms"]
    if alpha is not None:
        config["objective"]["alpha"] = alpha
        terms["hard_labels"]["weight"], terms["soft_targets"]["weight"] = round(1 - alpha, 12), alpha
    if temperature is not None:
        config["objective"]["temperature"] = terms["soft_targets"]["temperature"] = temperature
    for name, value in changes.items():
        *path, last = name.split("__")
        node = config
        for part in path:
            node = node.setdefault(part, {})
        if value is ...:
            node.pop(last)
        else:
            node[last] = value
    return config


def config(**changes: Any) -> RunConfig:
    """The typed config."""
    return read_config(plain(**changes))
