"""From a spec to a network: any ``nn.Module`` named by ``_target_``, its weights a function of one seed alone."""

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn
from torch.nn.parameter import is_lazy

from kdlab import targets
from kdlab.errors import UserError
from kdlab.models.tapping import as_output
from kdlab.outputs import ModelOutput
from kdlab.streams import global_stream

DUMMY_EXAMPLES = 2


def build_model(
    spec: Mapping[str, Any],
    *,
    input_shape: Sequence[int],
    num_classes: int,
    seed_value: int,
    key: str = "model",
) -> nn.Module:
    """The network a spec names, initialised from one seed.

    ``input_shape``, ``num_classes`` and ``in_chans`` (timm's name for the channels) are passed where the target takes
    them by name. A factory that takes any keyword hands on what it is given: it gets ``num_classes``, and ``in_chans``
    unless the network behind it refuses that (timm's takes both, torchvision's the first only).

    Args:
        spec: ``{"_target_": path, **knobs}``.
        input_shape: shape of one example, with the channel axis.
        num_classes: number of classes.
        seed_value: seed of the init stream, ``stream_seed(role, "init", seed)``; the weights depend on nothing else.
        key: the config key of the spec, for messages.

    Raises:
        UserError: a knob is refused, or what was built is no ``nn.Module``.
    """
    with global_stream(seed_value):
        try:
            model = _made(spec, _offered(spec, input_shape=input_shape, num_classes=num_classes), seed_value=seed_value)
        except (ValueError, TypeError) as error:
            names_a_knob = re.match(r"\w+ = ", str(error)) is not None
            raise UserError(f"{key}.{error}" if names_a_knob else f"{key}: {error}") from error
        if not isinstance(model, nn.Module):
            raise UserError(f"{key}._target_ = '{spec['_target_']}' gives {type(model).__name__}, no nn.Module")
        if any(is_lazy(tensor) for tensor in (*model.parameters(), *model.buffers())):
            _dummy_forward(model, input_shape=input_shape, key=key)  # lazy layers draw their weights here, once
    return model


def _offered(spec: Mapping[str, Any], *, input_shape: Sequence[int], num_classes: int) -> dict[str, Any]:
    """What kdlab knows of the data and the target of a spec may want to know, without what the spec says itself."""
    named, open_ended = targets.parameters(targets.resolve(spec["_target_"]))
    known: dict[str, Any] = {"input_shape": tuple(input_shape), "num_classes": num_classes}
    if len(input_shape) > 1:
        known["in_chans"] = int(input_shape[0])
    handed_on = {"num_classes"} if "input_shape" in named else {"num_classes", "in_chans"}
    taken = {*named, *(handed_on if open_ended else ())} - set(spec)
    return {name: value for name, value in known.items() if name in taken}


def _made(spec: Mapping[str, Any], extra: dict[str, Any], *, seed_value: int) -> Any:
    """Build with ``extra``; without ``in_chans``, from the start of the stream again, where it is refused."""
    try:
        return targets.build(spec, **extra)
    except TypeError as error:
        if "in_chans" not in extra or "unexpected keyword argument 'in_chans'" not in str(error):
            raise
    torch.manual_seed(seed_value)
    return targets.build(spec, **{name: value for name, value in extra.items() if name != "in_chans"})


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
