"""The CIFAR residual networks of the distillation literature (He et al. 2016, arXiv:1512.03385, section 4.2).

The variants that Tian et al. 2020 (arXiv:1910.10699; RepDistiller) compare methods on: three stages of basic blocks,
16-32-64 channels behind a stem of 16 (``resnet8`` ... ``resnet110``) or 64-128-256 behind a stem of 32
(``resnet8x4``, ``resnet32x4``), 1x1 convolutions where the shape changes. Parameters have RepDistiller's names, so its
weights can be loaded. The classifier reads the average over positions: any image size works.
"""

from collections.abc import Sequence

from torch import Tensor, nn

from kdlab.models.layers import check_knobs, check_shape, dropout_layer, norm_layer
from kdlab.outputs import ModelOutput

STAGES, LAYERS_A_BLOCK = 3, 2


class BasicBlock(nn.Module):
    """Two 3x3 convolutions beside a shortcut.

    Args:
        fan_in: channels of the input.
        channels: channels of the output.
        stride: of the first convolution and of the shortcut.
        norm: ``none``, ``batch`` or ``layer``.
    """

    def __init__(self, fan_in: int, channels: int, *, stride: int, norm: str) -> None:
        super().__init__()
        self.conv1 = _conv(fan_in, channels, kernel=3, stride=stride, norm=norm)
        self.bn1 = norm_layer(norm, channels, spatial_axes=2)
        self.conv2 = _conv(channels, channels, kernel=3, stride=1, norm=norm)
        self.bn2 = norm_layer(norm, channels, spatial_axes=2)
        self.downsample: nn.Module = nn.Identity()
        if stride != 1 or fan_in != channels:
            shortcut = _conv(fan_in, channels, kernel=1, stride=stride, norm=norm)
            self.downsample = nn.Sequential(shortcut, norm_layer(norm, channels, spatial_axes=2))

    def forward(self, inputs: Tensor) -> tuple[Tensor, Tensor]:
        """``relu(sum)`` and the sum before it, which some methods compare."""
        hidden = self.bn1(self.conv1(inputs)).relu()
        preactivation: Tensor = self.bn2(self.conv2(hidden)) + self.downsample(inputs)
        return preactivation.relu(), preactivation


class Stage(nn.Sequential):
    """Blocks one after the other; gives what the last of them gives."""

    def forward(self, inputs: Tensor) -> tuple[Tensor, Tensor]:
        """Output and pre-activation of the last block."""
        hidden = preactivation = inputs
        for block in self:
            hidden, preactivation = block(hidden)
        return hidden, preactivation


class ResNet(nn.Module):
    """Residual network for small images.

    Args:
        input_shape: ``(channels, height, width)``.
        num_classes: number of classes.
        width: channels of the first stage; the second and third have twice and four times as many.
        depth: number of weighted layers, 6 n + 2 with n blocks a stage: 8, 14, 20, 32, 56, 110.
        stem: channels of the first convolution; None for ``width``.
        norm: ``none``, ``batch`` or ``layer``, behind every convolution.
        dropout: rate before the classifier, in [0, 1).

    Attributes:
        stages: ``stage1`` ... ``stage3``, the features along its depth.
        feature_names: ``stem``, ``stage1`` ... ``stage3`` (outputs behind the last ReLU) and their
            ``stage1_preactivation`` ... (before it), each ``[B, channels, height, width]``; ``penultimate``
            (``[B, 4 width]``, ``stage3`` averaged over positions).
    """

    def __init__(
        self,
        *,
        input_shape: Sequence[int],
        num_classes: int,
        width: int = 16,
        depth: int = 20,
        stem: int | None = None,
        norm: str = "batch",
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        check_knobs(width=width, depth=depth, norm=norm, dropout=dropout, num_classes=num_classes)
        blocks, rest = divmod(depth - 2, STAGES * LAYERS_A_BLOCK)
        if rest or blocks < 1:
            raise ValueError(f"depth = {depth!r}: 6 n + 2 is needed (8, 14, 20, 26, 32, ...)")
        if stem is not None and (isinstance(stem, bool) or not isinstance(stem, int) or stem < 1):
            raise ValueError(f"stem = {stem!r}: an integer >= 1, or null for the width, is needed")
        channels = check_shape(input_shape, axes="channels, height, width")[0]
        self.num_classes = num_classes
        self.stages = tuple(f"stage{number}" for number in range(1, STAGES + 1))
        both = [name for stage in self.stages for name in (stage, f"{stage}_preactivation")]
        self.feature_names = ("stem", *both, "penultimate")
        first = width if stem is None else stem
        self.conv1 = _conv(channels, first, kernel=3, stride=1, norm=norm)
        self.bn1 = norm_layer(norm, first, spatial_axes=2)
        self.layer1 = _stage(first, width, blocks=blocks, stride=1, norm=norm)
        self.layer2 = _stage(width, 2 * width, blocks=blocks, stride=2, norm=norm)
        self.layer3 = _stage(2 * width, 4 * width, blocks=blocks, stride=2, norm=norm)
        self.dropout = dropout_layer(dropout)
        self.fc = nn.Linear(4 * width, num_classes)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, inputs: Tensor) -> ModelOutput:
        """Logits ``[B, num_classes]`` and features of ``inputs`` ``[B, channels, height, width]``."""
        hidden = self.bn1(self.conv1(inputs)).relu()
        features = {"stem": hidden}
        for at, stage in enumerate((self.layer1, self.layer2, self.layer3), start=1):
            hidden, features[f"stage{at}_preactivation"] = stage(hidden)
            features[f"stage{at}"] = hidden
        features["penultimate"] = hidden.mean((-2, -1))
        named = {name: features[name] for name in self.feature_names}
        return ModelOutput(self.fc(self.dropout(features["penultimate"])), named)


def _stage(fan_in: int, channels: int, *, blocks: int, stride: int, norm: str) -> Stage:
    first = BasicBlock(fan_in, channels, stride=stride, norm=norm)
    return Stage(first, *(BasicBlock(channels, channels, stride=1, norm=norm) for _ in range(blocks - 1)))


def _conv(fan_in: int, channels: int, *, kernel: int, stride: int, norm: str) -> nn.Conv2d:
    return nn.Conv2d(fan_in, channels, kernel, stride=stride, padding=kernel // 2, bias=norm != "batch")
