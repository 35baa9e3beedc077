"""The deployment sample of a diagnosis: what a student meets where it is used. Test examples are never in it."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from kdlab import targets
from kdlab.data import Dataset
from kdlab.data.dataset import Examples
from kdlab.data.npz import arranged, class_labels, needed, read_npz
from kdlab.errors import UserError, nearest
from kdlab.experiments.lab import Lab, cache_dir
from kdlab.outputs import NO_LABEL
from kdlab.schema.config import RunConfig

POOL, SHIFT = "pool", "shift:"
FIRST_INDEX = 1 << 43
"""Where the index of a file's examples begins: far above what data sets and transfer sets use."""


def deployment_sample(asked: str, config: RunConfig, lab: Lab) -> Examples:
    """The examples that ``--deploy`` names.

    Args:
        asked: a slice of the config, made of validation examples in the place of test examples; ``shift:SEVERITY``,
            ``data.shift`` of the validation examples; ``pool``, examples of the pool as they are; or a ``.npz`` file
            with ``inputs`` in the units of the data set and, where they are known, ``labels``.
        config: of the run.
        lab: has the data.

    Raises:
        UserError: nothing of that name, or it would be made of test examples.
    """
    dataset = lab.dataset(_without_slices(config))
    offered = {"cache_dir": cache_dir(config), "progress": config.trainer.progress}
    if asked.endswith(".npz"):
        return _of_file(asked, config, dataset)
    if asked == POOL:
        if dataset.pool is None:
            raise UserError(f"--deploy {POOL}: the data set '{dataset.name}' has no pool")
        return dataset.pool.select(torch.arange(min(len(dataset.pool), len(dataset.validation))))
    if asked.startswith(SHIFT):
        return _shifted(asked, config, dataset, offered)
    return _slice(asked, config, dataset, offered)


def _without_slices(config: RunConfig) -> RunConfig:
    return config.model_copy(update={"evaluation": config.evaluation.model_copy(update={"sets": ["train"]})})


def _shifted(asked: str, config: RunConfig, dataset: Dataset, offered: dict[str, Any]) -> Examples:
    told = asked.removeprefix(SHIFT)
    if config.data.shift is None:
        raise UserError(f"--deploy {asked}: the data set '{dataset.name}' says no shift (data.shift)")
    try:
        severity = float(told)
        made: Examples = targets.build(
            {**config.data.shift, "severity": severity}, dataset, dataset.validation, **offered
        )
    except ValueError as error:
        raise UserError(f"--deploy {asked}: {error}") from error
    return made


def _slice(asked: str, config: RunConfig, dataset: Dataset, offered: dict[str, Any]) -> Examples:
    """A slice of the config with validation examples in the place of the test set; one of the data's own as it is."""
    if asked in config.data.slices:
        in_place = replace(dataset, test=dataset.validation, slices={})
        made: Examples = targets.build(config.data.slices[asked].spec, in_place, **offered)
        return made
    if asked in dataset.slices:
        if dataset.slices[asked].reference == "twins":
            raise UserError(f"--deploy {asked}: this slice holds copies of test examples, which no diagnosis may see")
        return dataset.slices[asked].examples
    known = [*config.data.slices, *(name for name, one in dataset.slices.items() if one.reference == "test")]
    hint = nearest(asked, known) or "the data set has no slices"
    raise UserError(f"--deploy {asked}: neither a slice, nor {POOL}, {SHIFT}SEVERITY or a .npz file; {hint}")


def _of_file(asked: str, config: RunConfig, dataset: Dataset) -> Examples:
    content = read_npz(Path(asked))
    layout = config.data.spec.get("layout", "signals" if len(dataset.input_shape) == 2 else "channels_first")
    inputs = arranged(needed(content, "inputs", asked), layout=layout, name="inputs")
    if len(dataset.input_shape) == 2 and inputs.ndim == 2:
        inputs = inputs[:, None]
    if inputs.shape[1:] != dataset.input_shape:
        raise UserError(
            f"--deploy {asked}: examples of shape {list(inputs.shape[1:])}, those of '{dataset.name}' have "
            f"{list(dataset.input_shape)}"
        )
    mean, std = (np.asarray(dataset.facts.get(name, value), np.float32) for name, value in (("mean", 0), ("std", 1)))
    labels = np.full(len(inputs), NO_LABEL, np.int64)
    if "labels" in content:
        labels = class_labels(content["labels"], count=len(inputs), name="labels")
        if labels.max() >= dataset.num_classes:
            raise UserError(f"--deploy {asked}: class {labels.max()} is none of the {dataset.num_classes}")
    index = torch.arange(FIRST_INDEX, FIRST_INDEX + len(inputs))
    return Examples(torch.from_numpy((inputs - mean) / std), torch.from_numpy(labels), index)
