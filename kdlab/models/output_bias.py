"""The bias of a network's last layer: found by what it does to the logits, whatever the network is made of."""

import copy

import torch
from torch import Tensor, nn

from kdlab.errors import UserError
from kdlab.models.tapping import as_output

_PROBE = 8.0


def raise_output_bias(network: nn.Module, *, classes: Tensor, by: float, inputs: Tensor) -> None:
    """Add a number to the biases of some classes in the last layer, in place.

    Args:
        network: in eval mode, on the CPU.
        classes: ``[C]`` bool.
        by: what is added.
        inputs: ``[B, *shape]``, on which the layer is found.

    Raises:
        UserError: it has no such layer.
    """
    bias = network.get_parameter(output_bias(network, num_classes=len(classes), inputs=inputs))
    with torch.no_grad():
        bias[classes] += by


def output_bias(network: nn.Module, *, num_classes: int, inputs: Tensor) -> str:
    """The name of the parameter ``[C]`` that is added to the logits: a change of it changes them by as much.

    Args:
        network: on the CPU; it is left as it is.
        num_classes: C.
        inputs: ``[B, *shape]``, on which that is tried.

    Raises:
        UserError: there is none.
    """
    tried = copy.deepcopy(network).eval()
    named = [(name, one) for name, one in tried.named_parameters() if tuple(one.shape) == (num_classes,)]
    step = _PROBE * torch.arange(1, num_classes + 1)
    with torch.no_grad():
        before = as_output(tried(inputs)).logits
        for name, bias in reversed(named):
            bias.add_(step)
            changed = as_output(tried(inputs)).logits - before
            bias.sub_(step)
            if torch.allclose(changed, step.to(changed).expand_as(changed), rtol=1e-3, atol=1e-3):
                return name
    raise UserError(
        f"data.shown.bias_correction: {type(network).__name__} has no last layer with a bias of its own for every class"
    )
