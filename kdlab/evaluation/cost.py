"""What a network costs whatever its weights: parameters, multiply-accumulates, bytes."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import NamedTuple

import torch
from torch import nn

from kdlab.evaluation.predict import evaluating


class Cost(NamedTuple):
    """``cost/num_params``, ``cost/macs`` and ``cost/size_bytes``, and the reason of what is None."""

    metrics: dict[str, float | None]
    undefined: dict[str, str]


def count_cost(model: nn.Module, input_shape: Sequence[int]) -> Cost:
    """Parameters, multiply-accumulates of one example, bytes of parameters and buffers.

    Args:
        model: any network; its modes are restored.
        input_shape: the shape of one example, without the batch axis.
    """
    parameters, buffers = list(model.parameters()), list(model.buffers())
    macs, reason = count_macs(model, input_shape)
    return Cost(
        {
            "cost/num_params": sum(tensor.numel() for tensor in parameters),
            "cost/macs": macs,
            "cost/size_bytes": sum(tensor.numel() * tensor.element_size() for tensor in (*parameters, *buffers)),
        },
        {} if reason is None else {"cost/macs": reason},
    )


def count_macs(model: nn.Module, input_shape: Sequence[int]) -> tuple[int | None, str | None]:
    """Half the FLOPs torch counts for one example, or None and the reason where it cannot see the work.

    Layers the counter is blind to (LSTM on the CPU, int8) count 0, so a network that has one beside a counted head
    would look nearly free: it gets None as well.
    """
    from torch.utils.flop_counter import FlopCounterMode

    counter = FlopCounterMode(display=False)
    unseen = {type(part).__name__ for part in model.modules() if ".quantized" in type(part).__module__}
    with evaluating(model), _plain_attention(), counter, _watch_recurrent(model, counter.get_total_flops, unseen):
        model(torch.zeros((1, *input_shape), dtype=float_dtype(model), device=device_of(model)))
    if unseen:
        return None, f"torch's counter does not see {', '.join(sorted(unseen))}"
    flops = counter.get_total_flops()
    return (flops // 2, None) if flops > 0 else (None, "torch's counter counts 0 for this network")


@contextmanager
def _watch_recurrent(model: nn.Module, total: Callable[[], int], unseen: set[str]) -> Iterator[None]:
    """Add to ``unseen`` the type of each recurrent layer during which the count stood still."""
    before: dict[nn.Module, int] = {}

    def leave(module: nn.Module, inputs: object, output: object) -> None:
        if total() == before[module]:
            unseen.add(type(module).__name__)

    handles = []
    for part in model.modules():
        if isinstance(part, nn.RNNBase):
            handles.append(part.register_forward_pre_hook(lambda module, _: before.update({module: total()})))
            handles.append(part.register_forward_hook(leave))
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


@contextmanager
def _plain_attention() -> Iterator[None]:
    """Attention as matrix products: the fused kernels and the fast path of encoder layers count as 0."""
    from torch.nn.attention import SDPBackend, sdpa_kernel

    was = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        with sdpa_kernel(SDPBackend.MATH):
            yield
    finally:
        torch.backends.mha.set_fastpath_enabled(was)


def float_dtype(model: nn.Module) -> torch.dtype:
    """The type of the first floating-point parameter: what inputs must have; float32 where there is none."""
    return next((tensor.dtype for tensor in model.parameters() if tensor.is_floating_point()), torch.float32)


def device_of(model: nn.Module) -> torch.device:
    """Where the first parameter or buffer lies, the CPU where there is none."""
    tensors = [*model.parameters(), *model.buffers()]
    return tensors[0].device if tensors else torch.device("cpu")
