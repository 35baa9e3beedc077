"""Multi-layer perceptron: the student whose size is one number."""

from collections.abc import Sequence

from torch import Tensor, nn

from kdlab.models.layers import Block, check_knobs, dropout_layer, flat_size, norm_layer
from kdlab.outputs import ModelOutput


class MLP(nn.Module):
    """``depth`` hidden layers of ``width`` units on the flattened input, then a linear classifier.

    Args:
        input_shape: shape of one example, any number of axes.
        num_classes: number of classes.
        width: units per hidden layer.
        depth: number of hidden layers.
        norm: ``none``, ``batch`` or ``layer``, before the ReLU.
        dropout: rate behind every hidden layer, in [0, 1).

    Attributes:
        stages: ``hidden1`` ... ``hidden<depth>``, the features along its depth.
        feature_names: ``hidden1`` ... ``hidden<depth>`` and ``penultimate`` (the last of them), each ``[B, width]``.
    """

    def __init__(
        self,
        *,
        input_shape: Sequence[int],
        num_classes: int,
        width: int = 100,
        depth: int = 2,
        norm: str = "none",
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        check_knobs(width=width, depth=depth, norm=norm, dropout=dropout, num_classes=num_classes)
        sizes = [flat_size(input_shape)] + [width] * depth
        self.num_classes = num_classes
        self.stages = tuple(f"hidden{number}" for number in range(1, depth + 1))
        self.feature_names = (*self.stages, "penultimate")
        self.blocks = nn.ModuleList(
            Block(nn.Linear(fan_in, width, bias=norm != "batch"), norm_layer(norm, width, spatial_axes=0))
            for fan_in in sizes[:-1]
        )
        self.dropout = dropout_layer(dropout)
        self.head = nn.Linear(width, num_classes)

    def forward(self, inputs: Tensor) -> ModelOutput:
        """Logits ``[B, num_classes]`` and features of ``inputs`` ``[B, *input_shape]``."""
        hidden, features = inputs.flatten(1), {}
        for number, block in enumerate(self.blocks, start=1):
            features[f"hidden{number}"] = block(hidden)
            hidden = self.dropout(features[f"hidden{number}"])
        features["penultimate"] = features[f"hidden{len(self.blocks)}"]
        return ModelOutput(self.head(hidden), features)
