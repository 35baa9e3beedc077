"""A data set small enough to train on in a moment: three noisy patterns of eight points, and slices of it."""

import torch

from kdlab.data.dataset import Dataset, Examples

NUM_CLASSES, LENGTH = 3, 8


def examples(count, *, start=0, seed=0, noise=0.7):
    """``count`` examples whose index begins at ``start``, drawn from ``seed`` and ``start`` alone."""
    draws = torch.Generator().manual_seed(1000 * seed + start)
    labels = torch.randint(NUM_CLASSES, (count,), generator=draws)
    patterns = torch.randn(NUM_CLASSES, LENGTH, generator=torch.Generator().manual_seed(7))
    inputs = patterns[labels] + noise * torch.randn(count, LENGTH, generator=draws)
    return Examples(inputs[:, None], labels, torch.arange(start, start + count))


def tiny(*, seed: int = 0, train: int = 60, validation: int = 30, test: int = 45, pool: int = 0) -> Dataset:
    """The data set, with a pool of unlabelled examples where it is asked for."""
    splits = [examples(n, start=at, seed=seed) for n, at in ((train, 0), (validation, 10_000), (test, 20_000))]
    return Dataset("tiny", NUM_CLASSES, *splits, examples(pool, start=30_000, seed=seed) if pool else None)


def louder(dataset: Dataset, *, factor: float = 2.0) -> Examples:
    """A slice: the test examples with more noise (reference: twins)."""
    test = dataset.test
    noise = torch.randn(test.inputs.shape, generator=torch.Generator().manual_seed(3))
    return Examples(test.inputs + factor * noise, test.labels, test.index)


def not_a_term(student, teacher, batch, step, *, label_smoothing=0.0):
    """A function with the signature of a term and without its mark."""
    return student.logits.sum(-1)


def moved(dataset: Dataset, examples: Examples, *, severity: float, by: float = 1.0) -> Examples:
    """A shift: every input moved to one side."""
    return Examples(examples.inputs + by * severity, examples.labels, examples.index)
