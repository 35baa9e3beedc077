"""The stock MNIST-1D set: the 5,000 signals that ``mnist1d.data.make_dataset`` makes from its own defaults.

What published accuracies on MNIST-1D speak of: 4,000 training signals, of which the last 500 are held out here for
validation, and 1,000 test signals. The values are the package's own, standardised by it over all 5,000. Its generator
cannot make one example again, so slices are changes of the finished signal (``kdlab.data.signals``).

Reference: Greydanus & Kobak, "Scaling down deep learning with MNIST-1D", ICML 2024.
"""

import random
from importlib.metadata import version
from pathlib import Path

import numpy as np
import torch

from kdlab.data.cache import Float32Array, cached_array
from kdlab.data.dataset import Dataset, Examples
from kdlab.data.mnist1d import LENGTH, NUM_CLASSES, numpy_global_state
from kdlab.errors import UserError

TRAIN_AND_VALIDATION = 4000
TOTAL = 5000


def mnist1d_canonical(*, cache_dir: Path, seed: int = 0, validation: int = 500) -> Dataset:
    """The stock set with inputs ``[N, 1, 40]``; an example's index is its row in the package's order.

    Args:
        cache_dir: where the signals are kept (a folder ``mnist1d`` in it); making them takes some seconds.
        seed: of the draws of slices; the signals are the same for every seed.
        validation: how many of the last training signals are held out.
    """
    if not 1 <= validation < TRAIN_AND_VALIDATION:
        raise UserError(f"validation = {validation}: a number of examples in [1, {TRAIN_AND_VALIDATION - 1}] is needed")
    key = {"package": version("mnist1d"), "set": "stock"}
    table = cached_array(Path(cache_dir) / "mnist1d", key, stock_set)
    inputs = torch.from_numpy(table[:, None, :LENGTH].copy())
    labels = torch.from_numpy(table[:, LENGTH].astype(np.int64))
    whole = Examples(inputs, labels, torch.arange(TOTAL))
    held_out = TRAIN_AND_VALIDATION - validation
    return Dataset(
        name="mnist1d_canonical",
        num_classes=NUM_CLASSES,
        train=whole.select(torch.arange(held_out)),
        validation=whole.select(torch.arange(held_out, TRAIN_AND_VALIDATION)),
        test=whole.select(torch.arange(TRAIN_AND_VALIDATION, TOTAL)),
        facts={"seed": seed, "mean": 0.0, "std": 1.0},
    )


def stock_set() -> Float32Array:
    """``[5000, 41]``: the signals in float32, training before test, each followed by its label."""
    from mnist1d.data import get_dataset_args, make_dataset

    state = random.getstate()  # the package seeds both global generators
    try:
        with numpy_global_state():
            made = make_dataset(get_dataset_args())
    finally:
        random.setstate(state)
    signals = np.concatenate([made["x"], made["x_test"]])
    labels = np.concatenate([made["y"], made["y_test"]])
    return np.concatenate([signals, labels[:, None]], axis=1).astype(np.float32)
