"""Layers between the features of two networks: vectors, signals and images by one set of functions.

A feature has channels first: ``[..., B, C, *positions]``, a vector no positions. A vector beside a map counts as a map
of one position.
"""

from collections.abc import Callable

import torch.nn.functional as F
from torch import Tensor, nn

from kdlab.errors import UserError
from kdlab.objectives.setting import Setting, Shape

POOLS: dict[int, Callable[..., Tensor]] = {1: F.adaptive_avg_pool1d, 2: F.adaptive_avg_pool2d}
CONVOLUTIONS: dict[int, type[nn.Conv1d | nn.Conv2d]] = {1: nn.Conv1d, 2: nn.Conv2d}
NORMS: dict[int, type[nn.BatchNorm1d | nn.BatchNorm2d]] = {0: nn.BatchNorm1d, 1: nn.BatchNorm1d, 2: nn.BatchNorm2d}


def num_axes(*shapes: Shape) -> int:
    """How many axes of positions features have together: 0 for vectors, 1 where one is a signal, 2 an image."""
    return max(len(shape) for shape in shapes) - 1


def check_axes(setting: Setting, *, student: str, teacher: str, term: str) -> None:
    """Refuse a pair of features whose positions have nothing to do with each other.

    Raises:
        UserError: one is a signal and the other an image, or one has more axes than an image.
    """
    shapes = setting.student[student], setting.teacher[teacher]
    axes = {len(shape) - 1 for shape in shapes} - {0}
    if len(axes) > 1 or max(axes, default=0) > max(POOLS):
        raise UserError(
            f"objective.terms.{term}: features.{student} of the student {list(shapes[0])} and features.{teacher} of "
            f"the teacher {list(shapes[1])} cannot be compared: two vectors [D], signals [C, L] or images [C, H, W], "
            "or one of these and a vector, are needed"
        )


def fewer_positions(student: Shape, teacher: Shape) -> Shape:
    """Along each axis the positions of the one that has fewer; none for two vectors."""
    alone = (1,) * num_axes(student, teacher)
    return tuple(min(pair) for pair in zip(student[1:] or alone, teacher[1:] or alone, strict=True))


def resized(features: Tensor, positions: Shape, *, axes: int) -> Tensor:
    """``[..., C, *positions]``: averaged onto fewer positions, repeated onto more.

    Args:
        features: ``[..., C, *own]``; any axes in front.
        positions: what is wanted.
        axes: how many axes of positions the features have; a vector becomes a map of one position, where one is wanted.
    """
    own = tuple(features.shape[features.ndim - axes :])
    if own == positions:
        return features
    channels = features.shape[: features.ndim - axes]
    flat = features.reshape(-1, 1, *(own or (1,) * len(positions)))
    return POOLS[len(positions)](flat, positions).reshape(*channels, *positions)


def convolution(fan_in: int, fan_out: int, *, axes: int, kernel: int = 1, bias: bool = True) -> nn.Module:
    """A linear map of the channels, of every position with its neighbours; at the same positions."""
    if axes == 0:
        return nn.Linear(fan_in, fan_out, bias=bias)
    return CONVOLUTIONS[axes](fan_in, fan_out, kernel, padding=kernel // 2, bias=bias)


def normalisation(channels: int, *, axes: int) -> nn.Module:
    """Batch normalisation of the channels."""
    return NORMS[axes](channels)
