"""What the families share: checked knobs, normalisation and dropout by name.

Every knob is checked when the network is built, so that a wrong one is named before any data is touched.
"""

import math
from collections.abc import Sequence

from torch import Tensor, nn

NORMS = ("none", "batch", "layer")


def check_knobs(*, width: int, depth: int, norm: str, dropout: float, num_classes: int) -> None:
    """Refuse knobs no network can have.

    Raises:
        ValueError: naming the knob, its value and what is allowed.
    """
    for name, value in (("width", width), ("depth", depth), ("num_classes", num_classes)):
        if isinstance(value, bool) or not isinstance(value, int) or value < 1:
            raise ValueError(f"{name} = {value!r}: an integer >= 1 is needed")
    if norm not in NORMS:
        raise ValueError(f"norm = {norm!r}: one of {', '.join(NORMS)} is needed")
    if isinstance(dropout, bool) or not isinstance(dropout, int | float) or not 0 <= dropout < 1:
        raise ValueError(f"dropout = {dropout!r}: a number in [0, 1) is needed")


def check_shape(input_shape: Sequence[int], *, axes: str, smallest: int = 1) -> tuple[int, ...]:
    """The shape of one example as a tuple of ints, refused where the family cannot read it.

    Args:
        input_shape: without the batch axis, with the channel axis.
        axes: what the axes are, for example ``channels, length``; their number is what is checked.
        smallest: the least length of every axis after the channels.
    """
    shape = tuple(int(size) for size in input_shape)
    if len(shape) != len(axes.split(",")) or min(shape) < 1 or min(shape[1:], default=smallest) < smallest:
        raise ValueError(f"input_shape = {shape}: ({axes}) is needed, each axis after the channels >= {smallest}")
    return shape


def flat_size(input_shape: Sequence[int]) -> int:
    """The number of values in one example."""
    return math.prod(int(size) for size in input_shape)


def norm_layer(norm: str, num_channels: int, *, spatial_axes: int) -> nn.Module:
    """The normalisation over ``[B, num_channels, *spatial]``.

    ``layer`` normalises each example over channels and positions (Ba et al. 2016, arXiv:1607.06450); as a
    ``GroupNorm`` with one group it needs no fixed spatial size and reads vectors and maps alike.
    """
    if norm == "none":
        return nn.Identity()
    if norm == "layer":
        return nn.GroupNorm(1, num_channels)
    return nn.BatchNorm2d(num_channels) if spatial_axes == 2 else nn.BatchNorm1d(num_channels)


def dropout_layer(dropout: float) -> nn.Module:
    """Dropout, or nothing at rate 0 (so that no random number is drawn)."""
    return nn.Dropout(dropout) if dropout else nn.Identity()


class Block(nn.Module):
    """Affine map, normalisation, ReLU, as one named feature; dropout belongs to the path behind it.

    Features are taken before dropout: what a hint compares is the representation, not one mask of it.

    Args:
        affine: a linear or convolutional layer. Its bias is left to BatchNorm where there is one.
        norm: a normalisation over its outputs.
    """

    def __init__(self, affine: nn.Module, norm: nn.Module) -> None:
        super().__init__()
        self.affine = affine
        self.norm = norm

    def forward(self, inputs: Tensor) -> Tensor:
        """``relu(norm(affine(inputs)))``."""
        hidden: Tensor = self.norm(self.affine(inputs))
        return hidden.relu()  # in place it would be copied twice in a stack, where it is a view
