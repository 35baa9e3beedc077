"""A data set of the user's own, as they would write it: no seed, slices that come with it."""

from collections.abc import Iterable

import torch
from tiny_data import NUM_CLASSES, examples

from kdlab.data import Dataset, Examples, Slice


def mine(*, count: int = 60) -> Dataset:
    """Train, validation, test, and a slice of twins."""
    train, validation, test = (examples(n, start=at) for n, at in ((count, 0), (30, 10_000), (45, 20_000)))
    noisy = Examples(test.inputs + torch.ones(1), test.labels, test.index)
    return Dataset("mine", NUM_CLASSES, train, validation, test, slices={"brighter": Slice(noisy, "twins", ood=True)})


def says_slices(*, count: int = 60) -> Dataset:
    """The same; the names of its slices are known before it is made."""
    return mine(count=count)


def _names(**knobs: object) -> Iterable[str]:
    return ["brighter"]


says_slices.slice_names = _names
