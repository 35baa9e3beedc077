"""MNIST-1D with a training set as data come: some classes rare, some labels wrong; or with its positions shuffled.

Whoever learns from it, teacher, student and twin alike, learns from the changed training set; validation, test and pool
keep their labels and their balance. A teacher alone with wrong labels is ``teacher/quality=label_noise``.
"""

import dataclasses
import math
from pathlib import Path

import torch

from kdlab.data.dataset import Dataset, Examples
from kdlab.data.mnist1d import LENGTH, NUM_CLASSES, mnist1d
from kdlab.data.slices import of_prior
from kdlab.data.wrong_labels import with_wrong_labels
from kdlab.errors import UserError
from kdlab.streams import generator, numpy_generator


def mnist1d_changed(
    *,
    cache_dir: Path,
    seed: int = 0,
    train: int = 4000,
    validation: int = 2000,
    test: int = 10_000,
    pool: int = 40_000,
    imbalance: float = 1.0,
    label_noise: float = 0.0,
    shuffled: bool = False,
    progress: bool = False,
) -> Dataset:
    """``mnist1d`` as it is, changed; without a change it is the same set, bit for bit.

    Args:
        cache_dir: as for ``mnist1d``, and so are ``seed``, the sizes and ``progress``.
        imbalance: how much more frequent class 0 is in the training set than class 9; between them the numbers fall
            geometrically, and class 0 has as many as before (a long tail; Cui et al., CVPR 2019). 1 keeps all.
        label_noise: the share of training labels that are wrong, in [0, 1].
        shuffled: the 40 positions of every signal in one random order, the same for all signals: what is left is all
            that does not depend on which positions are neighbours (Greydanus & Kobak 2020, arXiv:2011.14439).
    """
    made = mnist1d(
        cache_dir=cache_dir, seed=seed, train=train, validation=validation, test=test, pool=pool, progress=progress
    )
    learned = made.train if imbalance == 1 else _long_tailed(made.train, imbalance=imbalance, seed=seed)
    wrong = generator("data", "labels", seed)
    learned = with_wrong_labels(
        learned, share=label_noise, num_classes=NUM_CLASSES, draws=wrong, key="data.label_noise"
    )
    changed = dataclasses.replace(made, name="mnist1d_changed", train=learned)
    order = torch.randperm(LENGTH, generator=generator("data", "permute", seed))
    return _reordered(changed, order) if shuffled else changed


def _long_tailed(examples: Examples, *, imbalance: float, seed: int) -> Examples:
    """All examples of class 0, and ever fewer of the others, the fewer a part of the more."""
    if not (math.isfinite(imbalance) and imbalance >= 1):
        raise UserError(f"data.imbalance = {imbalance}: a finite number >= 1 is needed")
    draws = numpy_generator("data", "split", seed)
    kept = of_prior(examples, num_classes=NUM_CLASSES, ratio=imbalance, generator=draws, of="training")
    if not (kept.labels == NUM_CLASSES - 1).any():
        raise UserError(f"data.imbalance = {imbalance}: class {NUM_CLASSES - 1} would have no training example")
    return kept


def _reordered(dataset: Dataset, order: torch.Tensor) -> Dataset:
    """Every signal with its positions in another order; the generator's facts go, as it makes no such signals."""

    def of(examples: Examples) -> Examples:
        return Examples(examples.inputs[..., order], examples.labels, examples.index)

    return dataclasses.replace(
        dataset,
        train=of(dataset.train),
        validation=of(dataset.validation),
        test=of(dataset.test),
        pool=None if dataset.pool is None else of(dataset.pool),
        facts={name: fact for name, fact in dataset.facts.items() if name != "mnist1d"},
    )
