"""A stack: K networks of one architecture as one, every parameter and buffer with an axis of K in front.

Small networks leave a machine idle: trained together they cost little more than the arithmetic. ``torch.vmap`` over the
network and its tensors is the general path; some layers have a faster rule (``stacked_layers``).
"""

import copy
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from kdlab.models.stacked_layers import Draws, prepare
from kdlab.models.tapping import as_output
from kdlab.outputs import ModelOutput

Home = tuple[dict[str, Any], str, int]
"""Where a network holds a tensor: the dictionary of the module, the key, and the number of the tensor."""


class Stack(nn.Module):
    """K networks of one architecture, called with ``[K, B, *shape]``.

    Args:
        networks: the same module built K times, with weights of their own. They are copied and left as they are;
            ``unstack`` writes back.

    Attributes:
        network: one of them with stacked tensors in the places of its own, so their names are those of a network.
    """

    def __init__(self, networks: Sequence[nn.Module]) -> None:
        super().__init__()
        self.size = len(networks)
        self.draws = Draws()
        self.network = prepare(copy.deepcopy(networks[0]), self.draws)
        states = [tensors_of(network) for network in networks]
        stacked: dict[str, Tensor] = {}
        for name, owner, key in _places(self.network):  # a tied tensor has several places and stays one
            if name not in stacked:
                whole = torch.stack([state[name].detach() for state in states])
                trains = states[0][name].requires_grad
                stacked[name] = nn.Parameter(whole, requires_grad=trains) if key in owner._parameters else whole
            _home(owner, key)[key] = stacked[name]
        at = {name: number for number, name in enumerate(tensors_of(self.network))}
        self._homes: list[Home] = [(_home(owner, key), key, at[name]) for name, owner, key in _places(self.network)]
        self._tensors: list[Tensor] | None = None

    def forward(self, inputs: Tensor) -> ModelOutput:
        """Logits ``[K, B, C]`` and features ``[K, B, *]`` of ``inputs`` ``[K, B, *shape]``.

        Inputs without the axis of the students (``in_dims`` None) go through ``shared``.
        """
        return self._mapped(inputs, in_dims=0)

    def shared(self, inputs: Tensor) -> ModelOutput:
        """The same for ``inputs`` ``[B, *shape]`` that all students see."""
        return self._mapped(inputs, in_dims=None)

    def _mapped(self, inputs: Tensor, *, in_dims: int | None) -> ModelOutput:
        if self._tensors is None:
            self._tensors = list(tensors_of(self.network).values())

        def one(tensors: list[Tensor], rows: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
            with _holding(self._homes, tensors):
                output = as_output(self.network(rows))
            return output.logits, dict(output.features)

        logits, features = torch.vmap(one, in_dims=(0, in_dims), randomness="error")(self._tensors, inputs)
        return ModelOutput(logits, features)

    def part(self, path: str, where: slice) -> Callable[..., Any]:
        """A submodule of some of the networks, called with that submodule's inputs ``[students, ...]`` each.

        Args:
            path: of the submodule, as in ``named_modules()``.
            where: which students; what their modules change in place (running means) is changed in the stack.
        """
        module = self.network.get_submodule(path)
        homes = [(_home(owner, key), key, at) for at, (_, owner, key) in enumerate(_places(module))]
        held = [home[key] for home, key, _ in homes]

        def called(*inputs: Any) -> Any:
            tensors = [tensor if where == slice(0, self.size) else tensor[where] for tensor in held]

            def one(tensors: list[Tensor], *rows: Any) -> Any:
                with _holding(homes, tensors):
                    return module(*rows)

            return torch.vmap(one, randomness="error")(tensors, *inputs)

        return called

    def begin_dropout(self, seeds: Sequence[int]) -> None:
        """Begin the dropout stream of every student."""
        device = next(iter(self.network.parameters())).device
        self.draws.reseed(seeds, device=device)

    def leaves(self, start: int, stop: int) -> list[nn.Parameter]:
        """Trainable parameters of the students ``start`` to ``stop`` as leaves: ``[stop - start, ...]`` each.

        They share the memory of the stack, so an optimizer that changes them changes the students.
        """
        return [nn.Parameter(parameter.detach()[start:stop]) for parameter in self.trained()]

    def trained(self) -> list[nn.Parameter]:
        """The stacked parameters that train, in the order of the network's own."""
        return [parameter for parameter in self.network.parameters() if parameter.requires_grad]

    def unstack(self, networks: Sequence[nn.Module]) -> None:
        """Copy every student's tensors back into a network of its own."""
        stacked = tensors_of(self.network)
        with torch.no_grad():
            for at, network in enumerate(networks):
                for name, tensor in tensors_of(network).items():
                    tensor.copy_(stacked[name][at])

    def _apply(self, fn: Callable[..., Any], recurse: bool = True) -> "Stack":
        self._tensors = None  # a move replaces buffers
        super()._apply(fn, recurse)  # type: ignore[no-untyped-call]
        return self


@contextmanager
def _holding(homes: Sequence[Home], tensors: Sequence[Tensor]) -> Iterator[None]:
    """Let a network hold these tensors: ``torch.func.functional_call`` at a third of its cost, for known homes."""
    before = [home[key] for home, key, _ in homes]
    try:
        for home, key, at in homes:
            home[key] = tensors[at]
        yield
    finally:
        for (home, key, _), tensor in zip(homes, before, strict=True):
            home[key] = tensor


def tensors_of(network: nn.Module) -> dict[str, Tensor]:
    """All parameters and buffers of a network by name, those that are no part of its ``state_dict`` included."""
    return {**dict(network.named_parameters()), **dict(network.named_buffers())}


def _home(owner: nn.Module, key: str) -> dict[str, Any]:
    """The dictionary of a module that holds a tensor."""
    return owner._parameters if key in owner._parameters else owner._buffers


def _places(network: nn.Module) -> list[tuple[str, nn.Module, str]]:
    """Where every tensor of ``tensors_of`` lives: name, owner and the owner's key. A tied one has several places."""
    found = []
    first = {id(tensor): name for name, tensor in tensors_of(network).items()}
    for owner in network.modules():
        for key, tensor in [*owner._parameters.items(), *owner._buffers.items()]:
            if tensor is not None:
                found.append((first[id(tensor)], owner, key))
    return found
