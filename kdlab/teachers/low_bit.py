"""A teacher whose weights have few bits: the trained network, fake-quantised."""

from typing import Literal, get_args

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from kdlab.errors import UserError, nearest

Granularity = Literal["tensor", "channel"]
LAYERS = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d)
MOST_BITS = 16


def low_bit(model: nn.Module, *, bits: int, granularity: str) -> nn.Module:
    """Quantise the weights of every Linear and Conv layer in place; biases and norms keep their precision.

    Args:
        model: a network of one's own.
        bits: 2 to 16.
        granularity: one scale for a ``tensor``, or for each output ``channel``.

    Raises:
        UserError: a dose out of range, or a network without such layers.
    """
    if isinstance(bits, bool) or not isinstance(bits, int) or not 2 <= bits <= MOST_BITS:
        raise UserError(f"teacher.quality.bits = {bits!r}: a whole number from 2 to {MOST_BITS} is needed")
    if granularity not in get_args(Granularity):
        hint = nearest(str(granularity), get_args(Granularity))
        raise UserError(f"teacher.quality.granularity = {granularity!r}: 'tensor' or 'channel' is needed; {hint}")
    layers = [module for module in model.modules() if isinstance(module, LAYERS)]
    if not layers:
        raise UserError("teacher.quality.name = 'low_bit': the network has no Linear or Conv layer to quantise")
    for layer in layers:
        if parametrize.is_parametrized(layer, "weight"):
            raise UserError(f"teacher.quality.name = 'low_bit': the weight of a {type(layer).__name__} is computed")
        with torch.no_grad():
            layer.weight.copy_(fake_quantized(layer.weight, bits=bits, per_channel=granularity == "channel"))
    return model


def fake_quantized(weight: Tensor, *, bits: int, per_channel: bool) -> Tensor:
    """``s clamp(round(w / s), -q, q)`` with ``q = 2^(bits - 1) - 1`` and ``s = max|w| / q`` (symmetric, no zero point).

    Args:
        weight: ``[out, ...]``.
        bits: 2 or more; 2 bits leave -s, 0 and s.
        per_channel: s for each output channel instead of one for all.
    """
    levels = 2 ** (bits - 1) - 1
    magnitude = weight.abs().flatten(1).amax(1) if per_channel else weight.abs().amax()
    scale = (magnitude.float() / levels).clamp(min=torch.finfo(torch.float32).tiny)  # a channel of zeros stays zero
    if not per_channel:
        return torch.fake_quantize_per_tensor_affine(weight, float(scale), 0, -levels, levels)
    zero_point = torch.zeros(len(scale), dtype=torch.int32, device=weight.device)
    return torch.fake_quantize_per_channel_affine(weight, scale, zero_point, 0, -levels, levels)
