"""Two-dimensional CNN for small images (8x8 digits, 28x28 Fashion-MNIST, 32x32 colour).

3x3 convolutions; every one after the first halves the map and doubles the channels as long as the map has at least
four positions a side. The classifier reads the average over positions, so the size of the head does not depend on the
size of the image.
"""

from collections.abc import Sequence

from torch import Tensor, nn

from kdlab.models.layers import Block, check_knobs, check_shape, dropout_layer, norm_layer
from kdlab.outputs import ModelOutput

SMALLEST_HALVED = 4


def block_plan(*, side: int, width: int, depth: int) -> list[tuple[int, int]]:
    """(channels, stride) of every convolution for images whose shorter side is ``side``.

    >>> block_plan(side=8, width=16, depth=4)
    [(16, 1), (32, 2), (64, 2), (64, 1)]
    """
    plan = [(width, 1)]
    for _ in range(depth - 1):
        channels, halves = plan[-1][0], side >= SMALLEST_HALVED
        plan.append((channels * 2, 2) if halves else (channels, 1))
        side = (side + 1) // 2 if halves else side
    return plan


class CNN2d(nn.Module):
    """``depth`` 3x3 convolutions starting at ``width`` channels, average pooling, a linear classifier.

    Args:
        input_shape: ``(channels, height, width)``.
        num_classes: number of classes.
        width: channels of the first convolution.
        depth: number of convolutions.
        norm: ``none``, ``batch`` or ``layer``, before the ReLU.
        dropout: rate behind every convolution, in [0, 1).

    Attributes:
        stages: ``block1`` ... ``block<depth>``, the features along its depth.
        feature_names: ``block1`` ... ``block<depth>`` (``[B, channels, height, width]``) and ``penultimate`` (the last
            block, averaged over positions).
    """

    def __init__(
        self,
        *,
        input_shape: Sequence[int],
        num_classes: int,
        width: int = 16,
        depth: int = 3,
        norm: str = "none",
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        check_knobs(width=width, depth=depth, norm=norm, dropout=dropout, num_classes=num_classes)
        channels, *sides = check_shape(input_shape, axes="channels, height, width")
        self.num_classes = num_classes
        self.stages = tuple(f"block{number}" for number in range(1, depth + 1))
        self.feature_names = (*self.stages, "penultimate")
        blocks = []
        for planned, stride in block_plan(side=min(sides), width=width, depth=depth):
            conv = nn.Conv2d(channels, planned, 3, stride=stride, padding=1, bias=norm != "batch")
            blocks.append(Block(conv, norm_layer(norm, planned, spatial_axes=2)))
            channels = planned
        self.blocks = nn.ModuleList(blocks)
        self.dropout = dropout_layer(dropout)
        self.head = nn.Linear(channels, num_classes)

    def forward(self, inputs: Tensor) -> ModelOutput:
        """Logits ``[B, num_classes]`` and features of ``inputs`` ``[B, channels, height, width]``."""
        hidden, features = inputs, {}
        for number, block in enumerate(self.blocks, start=1):
            features[f"block{number}"] = block(hidden)
            hidden = self.dropout(features[f"block{number}"])
        features["penultimate"] = features[f"block{len(self.blocks)}"].mean((-2, -1))
        return ModelOutput(self.head(hidden.mean((-2, -1))), features)
