"""One-dimensional CNN in the spirit of the MNIST-1D paper's (Greydanus & Kobak 2020, arXiv:2011.14439).

Strided convolutions, then a linear classifier on all positions. Position matters to these signals, so the head reads
the flattened map and not its average. At depth 3 this is the paper's network: kernels 5, 3, 3, stride 2, padding 1,
which makes 40 positions 19, 10, 5.
"""

from collections.abc import Sequence

from torch import Tensor, nn

from kdlab.models.layers import Block, check_knobs, check_shape, dropout_layer, norm_layer
from kdlab.outputs import ModelOutput

FIRST_KERNEL, KERNEL, STRIDE, PADDING = 5, 3, 2, 1


def _length_after(length: int, *, kernel: int) -> int:
    return (length + 2 * PADDING - kernel) // STRIDE + 1


class CNN1d(nn.Module):
    """``depth`` convolutions of ``width`` channels, each halving the length, then a linear classifier.

    Args:
        input_shape: ``(channels, length)``.
        num_classes: number of classes.
        width: channels of every convolution.
        depth: number of convolutions.
        norm: ``none``, ``batch`` or ``layer``, before the ReLU.
        dropout: rate behind every convolution, in [0, 1).

    Attributes:
        stages: ``block1`` ... ``block<depth>``, the features along its depth.
        feature_names: ``block1`` ... ``block<depth>`` (``[B, width, length]``) and ``penultimate`` (the last block,
            flattened).
    """

    def __init__(
        self,
        *,
        input_shape: Sequence[int],
        num_classes: int,
        width: int = 25,
        depth: int = 3,
        norm: str = "none",
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        check_knobs(width=width, depth=depth, norm=norm, dropout=dropout, num_classes=num_classes)
        channels, length = check_shape(input_shape, axes="channels, length", smallest=FIRST_KERNEL - 2 * PADDING)
        self.num_classes = num_classes
        self.stages = tuple(f"block{number}" for number in range(1, depth + 1))
        self.feature_names = (*self.stages, "penultimate")
        blocks = []
        for kernel in [FIRST_KERNEL] + [KERNEL] * (depth - 1):
            conv = nn.Conv1d(channels, width, kernel, stride=STRIDE, padding=PADDING, bias=norm != "batch")
            blocks.append(Block(conv, norm_layer(norm, width, spatial_axes=1)))
            channels, length = width, _length_after(length, kernel=kernel)
        self.blocks = nn.ModuleList(blocks)
        self.dropout = dropout_layer(dropout)
        self.head = nn.Linear(width * length, num_classes)

    def forward(self, inputs: Tensor) -> ModelOutput:
        """Logits ``[B, num_classes]`` and features of ``inputs`` ``[B, channels, length]``."""
        hidden, features = inputs, {}
        for number, block in enumerate(self.blocks, start=1):
            features[f"block{number}"] = block(hidden)
            hidden = self.dropout(features[f"block{number}"])
        features["penultimate"] = features[f"block{len(self.blocks)}"].flatten(1)
        return ModelOutput(self.head(hidden.flatten(1)), features)
