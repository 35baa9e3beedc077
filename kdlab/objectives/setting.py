"""What a term's own modules are built for: shapes of features, the classes, the training set, the student itself."""

from collections.abc import Mapping
from typing import NamedTuple

from torch import Tensor, nn

Shape = tuple[int, ...]


class Setting(NamedTuple):
    """Where a projection or a memory will stand.

    Args:
        student: name of a feature of the student -> shape of one example (no batch axis); ``logits`` is one of them.
        teacher: the same of the teacher; empty where nobody teaches.
        num_classes: C.
        labels: ``[N]`` int64, of the training set; ``NO_LABEL`` where the student has none.
        index: ``[N]`` int64, the example index of each of its rows.
        student_network: the student, whose weights must not be changed.
    """

    student: Mapping[str, Shape]
    teacher: Mapping[str, Shape]
    num_classes: int
    labels: Tensor
    index: Tensor  # type: ignore[assignment]  # the field's name in the field; tuple.index is not used
    student_network: nn.Module
