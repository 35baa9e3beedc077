"""Labels replaced by wrong ones: in what a teacher learns from alone, or in what all learn from."""

import torch

from kdlab.data.dataset import Examples
from kdlab.errors import UserError


def with_wrong_labels(
    examples: Examples, *, share: float, num_classes: int, draws: torch.Generator, key: str
) -> Examples:
    """A share of the labels replaced by another class, uniformly.

    Exactly ``round(share * N)`` labels are wrong. What is wrong at a low share is wrong in the same way at a higher
    one, so doses differ in nothing else.

    Args:
        examples: the set.
        share: in [0, 1].
        num_classes: C, at least 2 (with one class there is no other label).
        draws: which labels, and what becomes of them.
        key: the config key of the share, for messages.

    Raises:
        UserError: a share outside [0, 1].
    """
    if isinstance(share, bool) or not isinstance(share, int | float) or not 0 <= share <= 1:
        raise UserError(f"{key} = {share!r}: a share from 0 to 1 is needed")
    rows = torch.randperm(len(examples), generator=draws)[: round(share * len(examples))]
    steps = torch.randint(1, num_classes, (len(examples),), generator=draws)
    labels = examples.labels.clone()
    labels[rows] = (labels[rows] + steps[rows]) % num_classes
    return Examples(examples.inputs, labels, examples.index)
