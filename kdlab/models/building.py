"""From a spec to a network: any ``nn.Module`` named by ``_target_``, its weights a function of one seed alone."""

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from kdlab import targets
from kdlab.errors import UserError
from kdlab.outputs import ModelOutput
from kdlab.streams import global_stream

DUMMY_EXAMPLES = 2


def as_output(value: Any) -> ModelOutput:
    """What a network returned as ``ModelOutput``: a plain tensor of logits, or anything with ``.logits``, is wrapped.

    Features are those of a mapping ``.features``; a network without one has none.

    Raises:
        TypeError: it is neither (a tuple of several heads is not guessed at).
    """
    if isinstance(value, ModelOutput):
        return value
    if isinstance(value, Tensor):
        return ModelOutput(value, {})
    logits, features = getattr(value, "logits", None), getattr(value, "features", None)
    if not isinstance(logits, Tensor):
        raise TypeError(f"a model returns logits [B, C] or an object with .logits, got {type(value).__name__}")
    return ModelOutput(logits, features if isinstance(features, Mapping) else {})


def build_model(
    spec: Mapping[str, Any],
    *,
    input_shape: Sequence[int],
    num_classes: int,
    seed_value: int,
    key: str = "model",
) -> nn.Module:
    """The network a spec names, initialised from one seed.

    ``input_shape`` and ``num_classes`` are passed where the target takes them by name. A factory that takes any keyword
    (timm's and torchvision's do) gets ``num_classes`` only: they hand on what they are given.

    Args:
        spec: ``{"_target_": path, **knobs}``.
        input_shape: shape of one example, with the channel axis.
        num_classes: number of classes.
        seed_value: seed of the init stream, ``stream_seed(role, "init", seed)``; the weights depend on nothing else.
        key: the config key of the spec, for messages.

    Raises:
        UserError: a knob is refused, or what was built is no ``nn.Module``.
    """
    target = targets.resolve(spec["_target_"])
    named, open_ended = targets.parameters(target)
    offered: dict[str, Any] = {"input_shape": tuple(input_shape), "num_classes": num_classes}
    extra = {name: value for name, value in offered.items() if name in named or (open_ended and name == "num_classes")}
    with global_stream(seed_value):
        try:
            model = targets.build(spec, **extra)
        except ValueError as error:
            names_a_knob = re.match(r"\w+ = ", str(error)) is not None
            raise UserError(f"{key}.{error}" if names_a_knob else f"{key}: {error}") from error
        if not isinstance(model, nn.Module):
            raise UserError(f"{key}._target_ = '{spec['_target_']}' gives {type(model).__name__}, no nn.Module")
        if any(is_lazy(tensor) for tensor in (*model.parameters(), *model.buffers())):
            _dummy_forward(model, input_shape=input_shape, key=key)  # lazy layers draw their weights here, once
    return model


def check_model(model: nn.Module, *, input_shape: Sequence[int], num_classes: int, key: str) -> ModelOutput:
    """Send two dummy examples through a network in eval mode before any work starts.

    The train / eval state of every layer is restored.

    Returns:
        What the network gave, which tells the names and shapes of its features.

    Raises:
        UserError: naming ``key``, when the forward fails or logits are not finite ``[B, num_classes]``.
    """
    output = _dummy_forward(model, input_shape=input_shape, key=key)
    found, needed = tuple(output.logits.shape), (DUMMY_EXAMPLES, num_classes)
    if found != needed:
        raise UserError(
            f"{key}: {DUMMY_EXAMPLES} examples give logits of shape {list(found)}, {list(needed)} is needed"
        )
    if not output.logits.isfinite().all():
        raise UserError(f"{key}: logits of a dummy batch are not finite")
    return output


def _dummy_forward(model: nn.Module, *, input_shape: Sequence[int], key: str) -> ModelOutput:
    like = next((p for p in model.parameters() if not is_lazy(p)), torch.empty(0))
    draws = torch.randn(DUMMY_EXAMPLES, *input_shape, generator=torch.Generator().manual_seed(0))
    with torch.no_grad(), _eval_mode(model):
        try:
            return as_output(model(draws.to(device=like.device, dtype=like.dtype)))
        except Exception as error:  # whatever a user's network raises is the user's to mend, with its cause kept
            raise UserError(f"{key}: the forward of examples of shape {list(input_shape)} failed: {error}") from error


@contextmanager
def _eval_mode(model: nn.Module) -> Iterator[None]:
    """Eval mode, and every layer's own mode restored (a frozen BatchNorm in a training network stays frozen)."""
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        yield
    finally:
        for module, training in modes:
            module.training = training
