"""Features named by module path: what any layer of any network gives, captured by forward hooks.

``tap(model, ["layer2.0.conv1"])`` makes the output of that layer a feature. The network is not wrapped: its weights
keep their names, it can be copied, moved, stacked and saved as before; what it returns becomes a ``ModelOutput``.
"""

from collections.abc import Iterable, Mapping
from typing import Any, TypeVar

from torch import Tensor, nn

from kdlab.errors import UserError, nearest
from kdlab.outputs import ModelOutput

Network = TypeVar("Network", bound=nn.Module)


class _Capture:
    """What the layers of one network said in the forward that is going on; empty between forwards.

    A plain object, shared by the hooks of the network: ``copy.deepcopy`` gives the copy a capture of its own.
    """

    def __init__(self) -> None:
        self.paths: list[str] = []
        self.values: dict[str, Tensor] = {}
        self.active = False


class _Start:
    """Before a forward of the network."""

    def __init__(self, capture: _Capture) -> None:
        self.capture = capture

    def __call__(self, model: nn.Module, inputs: Any) -> None:
        self.capture.values, self.capture.active = {}, True


class _Keep:
    """After a forward of a layer; a layer that is called several times counts as it was called last."""

    def __init__(self, capture: _Capture, path: str) -> None:
        self.capture, self.path = capture, path

    def __call__(self, layer: nn.Module, inputs: Any, output: Any) -> None:
        if self.capture.active:
            # a copy: many networks change a layer's output in place a line later (inplace ReLU, x += shortcut)
            self.capture.values[self.path] = _tensor_of(output, path=self.path).clone()


class _Finish:
    """After a forward of the network, also of one that failed: nothing is kept."""

    def __init__(self, capture: _Capture) -> None:
        self.capture = capture

    def __call__(self, model: nn.Module, inputs: Any, output: Any) -> Any:
        values, self.capture.values, self.capture.active = self.capture.values, {}, False
        if output is None:  # the forward raised
            return None
        missing = [path for path in self.capture.paths if path not in values]
        if missing:
            raise UserError(f"features.{missing[0]}: this module takes no part in the forward as a call of its own")
        whole = as_output(output)
        return ModelOutput(whole.logits, {**whole.features, **values})


def tap(model: Network, paths: Iterable[str]) -> Network:
    """Make the outputs of submodules features of a network, beside those it names itself.

    Args:
        model: any network; the features it names itself (``feature_names``) may be asked for too and change nothing.
        paths: module paths as in ``model.named_modules()``: ``layer2.0.conv1``. What was asked for before stays.

    Returns:
        The same network.

    Raises:
        UserError: there is no such submodule; the nearest names are told.
    """
    own, modules = set(getattr(model, "feature_names", ())), dict(model.named_modules())
    wanted = [path for path in dict.fromkeys(paths) if path not in own]
    unknown = [path for path in wanted if path not in modules or not path]
    if unknown:
        names = [*own, *(name for name in modules if name)]
        raise UserError(
            "\n".join(
                f"features.{path}: {type(model).__name__} has no such feature or submodule; {nearest(path, names)}"
                for path in unknown
            )
        )
    if not wanted:
        return model
    capture = _capture_of(model) or _start(model)
    for path in wanted:
        if path not in capture.paths:
            modules[path].register_forward_hook(_Keep(capture, path))
            capture.paths.append(path)
    return model


def untap(model: Network) -> Network:
    """Take every tap off: the network returns what it returned before. Returns the same network."""
    for module in model.modules():
        for hooks in (module._forward_hooks, module._forward_pre_hooks):
            for number in [number for number, hook in hooks.items() if isinstance(hook, _Start | _Keep | _Finish)]:
                del hooks[number]
                module._forward_hooks_always_called.pop(number, None)
    return model


def feature_names(model: nn.Module) -> frozenset[str]:
    """What a network can be asked for: features it names itself, and the paths of its submodules."""
    paths = (path for path, _ in model.named_modules() if path)
    return frozenset({*getattr(model, "feature_names", ()), *paths})


def stages(model: nn.Module) -> tuple[str, ...]:
    """The features along a network's depth, first to last: what ``first``, ``middle``, ``last`` and ``all`` stand for.

    Those that it calls its ``stages``; empty where it names none.
    """
    return tuple(getattr(model, "stages", ()))


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


def _capture_of(model: nn.Module) -> _Capture | None:
    found = (hook.capture for hook in model._forward_hooks.values() if isinstance(hook, _Finish))
    return next(found, None)


def _start(model: nn.Module) -> _Capture:
    capture = _Capture()
    model.register_forward_pre_hook(_Start(capture))
    model.register_forward_hook(_Finish(capture), always_call=True)
    return capture


def _tensor_of(output: Any, *, path: str) -> Tensor:
    """A layer's output as one tensor: itself, its ``last_hidden_state``, or the first tensor of a tuple or mapping."""
    if isinstance(output, Tensor):
        return output
    named = getattr(output, "last_hidden_state", None)
    if isinstance(named, Tensor):
        return named
    if isinstance(output, Mapping):
        named = output.get("last_hidden_state")
        parts = [named, *output.values()]
    else:
        parts = list(output) if isinstance(output, tuple | list) else []
    for part in parts:
        if isinstance(part, Tensor):
            return part
    raise UserError(f"features.{path}: the module gives {type(output).__name__} without a tensor")
