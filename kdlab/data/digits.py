"""scikit-learn's handwritten digits: 1797 real 8x8 images, small enough to be split again for every data seed.

An example's index is its row in scikit-learn's own order, so it names the same image under every split.
Reference: Alpaydin & Kaynak, "Optical recognition of handwritten digits", UCI Machine Learning Repository, 1998.
"""

import numpy as np
import torch

from kdlab.data.dataset import Dataset, Examples
from kdlab.data.splits import stratified_split
from kdlab.errors import UserError
from kdlab.streams import numpy_generator

NUM_CLASSES = 10
VALUE_RANGE = (0.0, 16.0)


def digits(*, seed: int = 0, train: float = 0.6, validation: float = 0.2) -> Dataset:
    """Digits with inputs ``[N, 1, 8, 8]``, standardised by mean and standard deviation of the training pixels.

    Args:
        seed: the data seed; the stratified split comes from the stream (data, split, seed).
        train: share of the training set.
        validation: share of the validation set; the test set is the rest.
    """
    from sklearn.datasets import load_digits

    if not (train > 0 and validation > 0 and train + validation < 1):
        raise UserError(f"train, validation = {train}, {validation}: shares > 0 that sum below 1 are needed")
    images, labels = load_digits(return_X_y=True)
    images = images.reshape(-1, 1, 8, 8).astype(np.float32)
    labels = labels.astype(np.int64)
    rows = stratified_split(labels, fractions=(train, validation), generator=numpy_generator("data", "split", seed))
    mean = float(np.float32(images[rows[0]].mean(dtype=np.float64)))
    std = float(np.float32(images[rows[0]].std(dtype=np.float64)))
    inputs = (images - np.float32(mean)) / np.float32(std)
    splits = [
        Examples(torch.from_numpy(inputs[part]), torch.from_numpy(labels[part]), torch.from_numpy(part))
        for part in rows
    ]
    return Dataset(
        name="digits",
        num_classes=NUM_CLASSES,
        train=splits[0],
        validation=splits[1],
        test=splits[2],
        facts={"seed": seed, "mean": mean, "std": std, "value_range": VALUE_RANGE},
    )
