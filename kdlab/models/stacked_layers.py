"""The layers of a stack: what ``vmap`` does to a linear, convolutional or dropout layer, done faster or exactly.

``vmap`` is the general path and treats every network alike. Some kinds of layer know better:

- linear: one ``baddbmm``, with a backward that gives the weight's gradient in the layout of the weight;
- 1-D convolution: patches and one ``bmm``, up to twice as fast on a CPU as the grouped convolution ``vmap`` makes;
- 2-D convolution: the grouped one where it is small; where it is large, one after the other is faster on a CPU;
- group normalisation: each example by itself, which ``vmap`` cannot do to images (it asks for the memory format);
- batch normalisation: channels in front, without the copies that ``vmap`` makes behind such a convolution;
- dropout: every student's mask comes from that student's own generator, in the order in which the student alone would
  have drawn it, so a stacked student sees the masks it would have seen alone.

Shapes: ``K`` students, ``B`` examples, ``I`` / ``O`` input / output channels, ``L`` / ``P`` input / output
positions.
"""

import inspect
import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

#: Multiplications of one student's forward of a 2-D convolution above which a CPU does one student after the other.
LARGE = 10_000_000


class Draws:
    """The dropout generators of a stack, one for each student; shared by all of its layers."""

    def __init__(self) -> None:
        self.generators: list[torch.Generator] = []

    def reseed(self, seeds: Sequence[int], *, device: torch.device) -> None:
        """Begin the streams with these seeds."""
        self.generators = [torch.Generator(device).manual_seed(seed) for seed in seeds]


class _Linear(torch.autograd.Function):
    """``inputs @ weight^T + bias`` for ``[K, B, I]``, ``[K, O, I]``, ``[K, O]``."""

    @staticmethod
    def forward(ctx: Any, inputs: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        ctx.save_for_backward(inputs, weight)
        ctx.has_bias = bias is not None
        return torch.bmm(inputs, weight.mT) if bias is None else torch.baddbmm(bias.unsqueeze(1), inputs, weight.mT)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
        (gradient,) = gradients
        inputs, weight = ctx.saved_tensors
        of_inputs = torch.bmm(gradient, weight) if ctx.needs_input_grad[0] else None
        of_weight = torch.bmm(gradient.mT, inputs) if ctx.needs_input_grad[1] else None
        of_bias = gradient.sum(1) if ctx.has_bias and ctx.needs_input_grad[2] else None
        return of_inputs, of_weight, of_bias


class _Patches(torch.autograd.Function):
    """Padded signals ``[K, I, L, B]`` to patches ``[K, I * taps, P * B]``.

    The examples lie innermost, so that every tap reads whole rows: with positions there, a stride makes it read number
    by number, in four times the time.
    """

    @staticmethod
    def forward(ctx: Any, signals: Tensor, taps: int, stride: int) -> Tensor:
        ctx.shape, ctx.taps, ctx.stride = signals.shape, taps, stride
        students, channels, length, examples = signals.shape
        ctx.positions = (length - taps) // stride + 1
        per_student, per_channel, per_position, per_example = signals.stride()
        read = signals.as_strided(
            (students, channels, taps, ctx.positions, examples),
            (per_student, per_channel, per_position, per_position * stride, per_example),
        )
        return read.reshape(students, channels * taps, ctx.positions * examples)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:
        students, channels, _, examples = ctx.shape
        gradient = gradients[0].view(students, channels, ctx.taps, ctx.positions, examples)
        total = gradient.new_zeros(ctx.shape)
        last = (ctx.positions - 1) * ctx.stride + 1
        for tap in range(ctx.taps):
            total[:, :, tap : tap + last : ctx.stride] += gradient[:, :, tap]
        return total, None, None


class _Mixing(torch.autograd.Function):
    """``weight @ patches + bias`` for ``[K, O, I]``, ``[K, I, N]``, ``[K, O]``: channels in front, as in images."""

    @staticmethod
    def forward(ctx: Any, weight: Tensor, patches: Tensor, bias: Tensor | None) -> Tensor:
        ctx.save_for_backward(weight, patches)
        ctx.has_bias = bias is not None
        return torch.bmm(weight, patches) if bias is None else torch.baddbmm(bias.unsqueeze(2), weight, patches)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
        (gradient,) = gradients
        weight, patches = ctx.saved_tensors
        of_weight = torch.bmm(gradient, patches.mT) if ctx.needs_input_grad[0] else None
        of_patches = torch.bmm(weight.mT, gradient) if ctx.needs_input_grad[1] else None
        of_bias = gradient.sum(2) if ctx.has_bias and ctx.needs_input_grad[2] else None
        return of_weight, of_patches, of_bias


class _Rule(torch.autograd.Function):
    """Base of the rules: what a layer does alone, and ``vmap`` for what it does in a stack."""

    def __init_subclass__(cls, **kwargs: Any) -> None:
        """Look the signature up once: ``apply`` asks for it at every call, and that is a tenth of a small layer."""
        super().__init_subclass__(**kwargs)
        cls.forward.__signature__ = inspect.signature(cls.forward)  # type: ignore[attr-defined]

    @staticmethod
    def setup_context(ctx: Any, inputs: Any, output: Any) -> None:
        """Nothing is saved: in a stack autograd sees the operations of ``vmap``."""

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Any:
        raise RuntimeError("a stacked layer is differentiated inside its stack alone")


class _LinearRule(_Rule):
    @staticmethod
    def forward(inputs: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        return F.linear(inputs, weight, bias)

    @staticmethod
    def vmap(info: Any, in_dims: tuple[int | None, ...], *operands: Any) -> tuple[Tensor, int]:
        inputs, weight, bias = _leading(info, in_dims, operands)
        flat = inputs.reshape(inputs.shape[0], -1, inputs.shape[-1])
        if torch.is_autocast_enabled(flat.device.type):  # an operation of ours is none that autocast knows
            found = torch.bmm(flat, weight.mT) if bias is None else torch.baddbmm(bias.unsqueeze(1), flat, weight.mT)
        else:
            found = _Linear.apply(flat, weight, bias)  # type: ignore[no-untyped-call]
        return found.view(*inputs.shape[:-1], weight.shape[1]), 0


class _Convolution1dRule(_Rule):
    @staticmethod
    def forward(inputs: Tensor, weight: Tensor, bias: Tensor | None, layer: Any) -> Tensor:
        found: Tensor = layer._conv_forward(inputs, weight, bias)
        return found

    @staticmethod
    def vmap(info: Any, in_dims: tuple[int | None, ...], *operands: Any) -> tuple[Tensor, int]:
        *tensors, layer = operands
        inputs, weight, bias = _leading(info, in_dims[:3], tensors)
        signals = F.pad(inputs.movedim(1, 3), (0, 0, *layer.padding * 2))
        patches = _Patches.apply(signals, layer.kernel_size[0], layer.stride[0])  # type: ignore[no-untyped-call]
        if torch.is_autocast_enabled(inputs.device.type):  # an operation of ours is none that autocast knows
            found = torch.bmm(weight.flatten(2), patches)
            found = found if bias is None else found + bias.unsqueeze(2)
        else:
            found = _Mixing.apply(weight.flatten(2), patches, bias)  # type: ignore[no-untyped-call]
        return found.view(*found.shape[:2], -1, inputs.shape[1]).movedim(3, 1), 0


class _Convolution2dRule(_Rule):
    """Small convolutions as one in groups, large ones one after the other: there each fills a CPU by itself."""

    @staticmethod
    def forward(inputs: Tensor, weight: Tensor, bias: Tensor | None, layer: Any) -> Tensor:
        found: Tensor = layer._conv_forward(inputs, weight, bias)
        return found

    @staticmethod
    def vmap(info: Any, in_dims: tuple[int | None, ...], *operands: Any) -> tuple[Tensor, int]:
        *tensors, layer = operands
        inputs, weight, bias = _leading(info, in_dims[:3], tensors)
        students, examples = inputs.shape[:2]
        work = examples * inputs[0, 0, 0].numel() * weight[0].numel() / math.prod(layer.stride)
        if inputs.device.type == "cpu" and work > LARGE:
            biases = [None] * students if bias is None else bias
            parts = zip(inputs, weight, biases, strict=True)
            return torch.stack([layer._conv_forward(*part) for part in parts]), 0
        grouped = inputs.transpose(0, 1).flatten(1, 2)
        flat = None if bias is None else bias.flatten()
        found = F.conv2d(grouped, weight.flatten(0, 1), flat, layer.stride, layer.padding, groups=students)
        return found.view(examples, students, -1, *found.shape[2:]).transpose(0, 1), 0


class _GroupNormRule(_Rule):
    @staticmethod
    def forward(inputs: Tensor, weight: Tensor | None, bias: Tensor | None, layer: Any) -> Tensor:
        return F.group_norm(inputs, layer.num_groups, weight, bias, layer.eps)

    @staticmethod
    def vmap(info: Any, in_dims: tuple[int | None, ...], *operands: Any) -> tuple[Tensor, int]:
        *tensors, layer = operands
        inputs, weight, bias = _leading(info, in_dims[:3], tensors)
        found = F.group_norm(inputs.flatten(0, 1), layer.num_groups, eps=layer.eps).view(inputs.shape)
        if weight is not None:
            per_channel = (inputs.shape[0], 1, inputs.shape[2], *[1] * (inputs.ndim - 3))
            found = torch.addcmul(bias.view(per_channel), found, weight.view(per_channel))
        return found, 0


class _BatchNormRule(_Rule):
    @staticmethod
    def forward(inputs: Tensor, weight: Tensor, bias: Tensor, mean: Tensor, variance: Tensor, layer: Any) -> Tensor:
        return F.batch_norm(inputs, mean, variance, weight, bias, layer.training, layer.momentum, layer.eps)

    @staticmethod
    def vmap(info: Any, in_dims: tuple[int | None, ...], *operands: Any) -> tuple[Tensor, int]:
        *tensors, layer = operands
        inputs, weight, bias, mean, variance = _leading(info, in_dims[:5], tensors)
        # examples last, as they lie in memory behind a 1-D convolution of ours; in images they stay before the pixels
        place = -1 if inputs.ndim <= 4 else 2
        channels_first = inputs.movedim(1, place)
        rows = channels_first.reshape(1, inputs.shape[0] * inputs.shape[2], -1)
        weight, bias, mean, variance = (part.flatten() for part in (weight, bias, mean, variance))
        found = F.batch_norm(rows, mean, variance, weight, bias, layer.training, layer.momentum, layer.eps)
        return found.view(channels_first.shape).movedim(place, 1), 0


class _DropoutRule(_Rule):
    @staticmethod
    def forward(inputs: Tensor, layer: Any) -> Tensor:
        return F.dropout(inputs, layer.p, training=True)

    @staticmethod
    def vmap(info: Any, in_dims: tuple[int | None, ...], *operands: Any) -> tuple[Tensor, int]:
        inputs, layer = operands
        (inputs,) = _leading(info, in_dims[:1], (inputs,))
        masks = torch.empty_like(inputs, memory_format=torch.contiguous_format)
        if len(layer.draws.generators) != len(masks):
            raise RuntimeError("the dropout streams of the stack were not begun")
        for mask, generator in zip(masks, layer.draws.generators, strict=True):
            mask.bernoulli_(1 - layer.p, generator=generator)
        return inputs * masks.div_(1 - layer.p), 0


def _leading(info: Any, in_dims: Sequence[int | None], operands: Sequence[Any]) -> list[Any]:
    """Every tensor with the axis of the students in front; one that all students share is repeated."""
    moved: list[Any] = []
    for operand, dim in zip(operands, in_dims, strict=True):
        if operand is None:
            moved.append(None)
        elif dim is None:
            moved.append(operand.expand(info.batch_size, *operand.shape))
        else:
            moved.append(operand.movedim(dim, 0))
    return moved


class StackedLinear(nn.Linear):
    """``nn.Linear`` in a stack."""

    def forward(self, input: Tensor) -> Tensor:
        """As the layer does, by its rule."""
        found: Tensor = _LinearRule.apply(input, self.weight, self.bias)  # type: ignore[no-untyped-call]
        return found


class StackedConv1d(nn.Conv1d):
    """``nn.Conv1d`` in a stack."""

    def forward(self, input: Tensor) -> Tensor:
        """As the layer does, by its rule."""
        found: Tensor = _Convolution1dRule.apply(input, self.weight, self.bias, self)  # type: ignore[no-untyped-call]
        return found


class StackedConv2d(nn.Conv2d):
    """``nn.Conv2d`` in a stack."""

    def forward(self, input: Tensor) -> Tensor:
        """As the layer does, by its rule."""
        found: Tensor = _Convolution2dRule.apply(input, self.weight, self.bias, self)  # type: ignore[no-untyped-call]
        return found


class StackedGroupNorm(nn.GroupNorm):
    """``nn.GroupNorm`` in a stack."""

    def forward(self, input: Tensor) -> Tensor:
        """As the layer does, by its rule."""
        found: Tensor = _GroupNormRule.apply(input, self.weight, self.bias, self)  # type: ignore[no-untyped-call]
        return found


class _StackedBatchNorm(nn.modules.batchnorm._BatchNorm):
    def forward(self, input: Tensor) -> Tensor:
        """As the layer does, by its rule."""
        if self.training and self.num_batches_tracked is not None:
            self.num_batches_tracked.add_(1)
        parts = (self.weight, self.bias, self.running_mean, self.running_var)
        found: Tensor = _BatchNormRule.apply(input, *parts, self)  # type: ignore[no-untyped-call]
        return found


class StackedBatchNorm1d(_StackedBatchNorm, nn.BatchNorm1d):
    """``nn.BatchNorm1d`` in a stack."""


class StackedBatchNorm2d(_StackedBatchNorm, nn.BatchNorm2d):
    """``nn.BatchNorm2d`` in a stack."""


class StackedDropout(nn.Dropout):
    """``nn.Dropout`` in a stack: masks from the generator of each student."""

    draws: Draws

    def forward(self, input: Tensor) -> Tensor:
        """As the layer does, by its rule."""
        if not self.training or self.p == 0:
            return input
        found: Tensor = _DropoutRule.apply(input, self)  # type: ignore[no-untyped-call]
        return found


#: Which layers follow a rule of their own, and the condition.
RULES: dict[type[nn.Module], tuple[type[nn.Module], Callable[[Any], bool]]] = {
    nn.Linear: (StackedLinear, lambda layer: True),
    nn.Conv1d: (StackedConv1d, lambda layer: _is_plain(layer)),
    nn.Conv2d: (StackedConv2d, lambda layer: _is_plain(layer)),
    nn.GroupNorm: (StackedGroupNorm, lambda layer: True),
    nn.BatchNorm1d: (StackedBatchNorm1d, lambda layer: _tracks(layer)),
    nn.BatchNorm2d: (StackedBatchNorm2d, lambda layer: _tracks(layer)),
    nn.Dropout: (StackedDropout, lambda layer: not layer.inplace),
}


def prepare(network: nn.Module, draws: Draws) -> nn.Module:
    """Let the layers of a network that have a rule of their own follow it, in place. Returns the network."""
    for module in network.modules():
        stacked, fits = RULES.get(type(module), (None, None))
        if stacked is not None and fits is not None and fits(module):
            module.__class__ = stacked
        if isinstance(module, StackedDropout):
            module.draws = draws
    return network


def _is_plain(layer: Any) -> bool:
    """Whether a convolution is one that patches and a matrix product can do; ``vmap`` does the others."""
    plain = layer.groups == 1 and layer.padding_mode == "zeros" and not isinstance(layer.padding, str)
    return plain and set(layer.dilation) == {1}


def _tracks(layer: Any) -> bool:
    """Whether a batch normalisation is the usual one: affine, with running means of a fixed momentum."""
    return bool(layer.affine and layer.track_running_stats and layer.momentum is not None)
