"""``_target_`` specs: what kdlab only constructs (models, data sets, optimizers, terms) is named by import path.

A spec is a plain mapping ``{"_target_": "package.module.name", **keywords}``. Specs are checked against the signature
of what they name before any work starts, and what is rebuilt from a run folder is held to an allow-list: loading a run
never executes code from it.
"""

import dataclasses
import functools
import importlib
import inspect
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from kdlab.errors import UserError, nearest

#: Under which keys a config names code by import path.
CODE_KEYS = ("_target_", "function")
#: Where the things lie that a run folder may name: modules of kdlab that define what configs build.
SAFE_MODULES = ("kdlab.data.", "kdlab.models.", "kdlab.teachers.", "kdlab.objectives.")
#: Libraries of which a run folder may name networks (``nn.Module`` classes) and nothing else. Of transformers also what
#: configures them; its pipelines, ``Auto`` classes, ``from_pretrained`` and trainers fetch or run what they are told.
SAFE_NETWORKS = ("torch.nn.", "timm.models.", "timm.layers.", "transformers.models.", "kornia.augmentation.")
LIBRARIES = ("kdlab.", "torch.", "timm.", "transformers.", "kornia.")
#: Modules below these that do more than build: they write files, or call what they are told.
UNSAFE_MODULES = ("kdlab.data.cache", "kdlab.data.loading", "kdlab.teachers.ensemble")
#: Keywords that make timm or transformers fetch weights or code, unpickle a file, or hand the work to another library.
FETCHING = (
    *("checkpoint_path", "pretrained_cfg", "pretrained_cfg_overlay", "trust_remote_code", "auto_map"),
    *("use_pretrained_backbone", "use_timm_backbone", "backbone"),
)
ATTENTION = ("eager", "sdpa")
"""Implementations of attention that transformers has itself; it fetches others as code."""


def resolve(path: str) -> Callable[..., Any]:
    """The object at an import path.

    Raises:
        UserError: nothing importable is there; the message says which part failed.
    """
    parts = path.split(".")
    if len(parts) < 2 or not all(part.isidentifier() for part in parts):
        raise UserError(f"_target_ '{path}' is not an import path like 'kdlab.models.MLP'")
    for cut in range(len(parts) - 1, 0, -1):
        module_path = ".".join(parts[:cut])
        try:
            found: Any = importlib.import_module(module_path)
        except ModuleNotFoundError as error:
            if error.name and (module_path == error.name or module_path.startswith(error.name + ".")):
                continue
            raise UserError(f"_target_ '{path}': importing {module_path} failed: {error}") from error
        except ImportError as error:
            raise UserError(f"_target_ '{path}': importing {module_path} failed: {error}") from error
        for part in parts[cut:]:
            if not hasattr(found, part):
                names = [name for name in vars(found) if not name.startswith("_")]
                raise UserError(f"_target_ '{path}': {module_path} has no '{part}'; {nearest(part, names)}")
            found = getattr(found, part)
        if not callable(found):
            raise UserError(f"_target_ '{path}' is not callable")
        return found  # type: ignore[no-any-return]
    raise UserError(f"_target_ '{path}': no module '{parts[0]}'")


@functools.lru_cache(maxsize=1024)
def parameters(target: Callable[..., Any]) -> tuple[dict[str, inspect.Parameter], bool]:
    """The named parameters of a callable (of a class: of its ``__init__``), and whether it takes any keyword."""
    found = inspect.signature(target).parameters
    open_ended = _takes_any_keyword(found)
    if isinstance(target, type) and dataclasses.is_dataclass(target):
        # the configurations of transformers hide behind their fields that they take more than these (num_labels)
        init: Callable[..., Any] = target.__init__
        open_ended |= _takes_any_keyword(inspect.signature(init, follow_wrapped=False).parameters)
    named = {
        name: p
        for name, p in found.items()
        if p.kind in (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
    }
    return named, open_ended


def _takes_any_keyword(found: Mapping[str, inspect.Parameter]) -> bool:
    return any(p.kind is inspect.Parameter.VAR_KEYWORD for p in found.values())


def accepted(target: Callable[..., Any], offered: Mapping[str, Any]) -> dict[str, Any]:
    """Those of ``offered`` that ``target`` takes by name (what kdlab knows of the data: shapes, class count, ...)."""
    named, open_ended = parameters(target)
    return dict(offered) if open_ended else {name: value for name, value in offered.items() if name in named}


def spec_errors(spec: Mapping[str, Any], *, key: str, provided: Iterable[str] = ()) -> list[str]:
    """What is wrong with a spec: an import that fails, an unknown keyword, a required one that nobody gives.

    Args:
        spec: the mapping with ``_target_``.
        key: the config key of the spec, for the messages.
        provided: names that kdlab passes itself (``input_shape``, ``num_classes``, positional arguments too).
    """
    path = spec.get("_target_")
    if not isinstance(path, str):
        return [f"{key}._target_ = {path!r}: an import path is needed"]
    try:
        target = resolve(path)
    except UserError as error:
        return [f"{key}: {error}"]
    try:
        named, open_ended = parameters(target)
    except (TypeError, ValueError):  # built in C, without a signature: the call itself will tell
        return []
    given = {name for name in spec if name not in ("_target_", "_partial_")}
    visible = [name for name in named if name not in set(provided)]
    unknown = [] if open_ended else sorted(given - set(named))
    problems = [
        f"unknown key {key}.{name} = {spec[name]!r}: {path} has no such argument; {nearest(name, visible)}"
        for name in unknown
    ]
    if not spec.get("_partial_"):
        needed = {name for name, p in named.items() if p.default is inspect.Parameter.empty}
        missing = sorted(needed - given - set(provided))
        problems += [f"missing key {key}.{name}: {path} needs it" for name in missing]
    for name in given:
        problems += _nested_errors(spec[name], key=f"{key}.{name}")
    return problems


def _nested_errors(value: Any, *, key: str) -> list[str]:
    if isinstance(value, Mapping):
        if "_target_" in value:
            return spec_errors(value, key=key)
        return [problem for name, item in value.items() for problem in _nested_errors(item, key=f"{key}.{name}")]
    if isinstance(value, Sequence) and not isinstance(value, str):
        return [problem for at, item in enumerate(value) for problem in _nested_errors(item, key=f"{key}.{at}")]
    return []


def build(spec: Mapping[str, Any], *args: Any, **extra: Any) -> Any:
    """Call what a spec names with its keywords, ``args`` first and ``extra`` where the target takes them.

    Nested specs are built first; ``_partial_: true`` gives a ``functools.partial`` instead of calling.
    """
    target = resolve(spec["_target_"])
    keywords = {name: _built(value) for name, value in spec.items() if name not in ("_target_", "_partial_")}
    keywords = {**accepted(target, extra), **keywords}
    if spec.get("_partial_"):
        return functools.partial(target, *args, **keywords)
    return target(*args, **keywords)


def _built(value: Any) -> Any:
    if isinstance(value, Mapping):
        return build(value) if "_target_" in value else {name: _built(item) for name, item in value.items()}
    if isinstance(value, Sequence) and not isinstance(value, str):
        return [_built(item) for item in value]
    return value


def refuse_unsafe(config: Any, *, allow: Iterable[str] = (), key: str = "config") -> None:
    """Refuse code named outside the allow-list: called on everything that comes from a run folder.

    Allowed are what kdlab's own building rooms define, torch's networks, optimizers and schedules, timm's models,
    the networks of transformers with their configurations, kornia's augmentations, and the user's ``allow`` list (a
    path, or ``package.*``). The object found is judged, not its name alone: ``torch.os.system`` is not torch's. Refused
    too are keywords by which timm or transformers would fetch or unpickle, and a ``function`` that another one returns.

    Raises:
        UserError: naming the key and the target, and how a user allows it (``allow_targets``).
    """
    if isinstance(config, Mapping):
        for name in CODE_KEYS:
            path = config.get(name)
            if name == "function" and isinstance(path, Mapping):
                _refuse_made_function(path, allow=tuple(allow), key=f"{key}.{name}")
            elif _names_code(name, path) and not _is_safe(str(path), allow=tuple(allow)):
                raise UserError(
                    f"{key}.{name} = '{path}' comes from a run folder and is neither a building block of kdlab, torch, "
                    f"timm, transformers or kornia nor in allow_targets; if you trust it: allow_targets=[{path}]"
                )
        if str(config.get("_target_")).startswith(("timm.", "transformers.")):
            _refuse_fetching(config, allow=tuple(allow), key=key)
        for name, item in config.items():
            refuse_unsafe(item, allow=allow, key=f"{key}.{name}")
    elif isinstance(config, Sequence) and not isinstance(config, str):
        for at, item in enumerate(config):
            refuse_unsafe(item, allow=allow, key=f"{key}.{at}")


def _names_code(key: str, value: Any) -> bool:
    """Any ``_target_`` does; a ``function`` where it is an import path (a plain word is a knob of its owner)."""
    return value is not None if key == "_target_" else isinstance(value, str) and "." in value


def _refuse_made_function(spec: Mapping[str, Any], *, allow: tuple[str, ...], key: str) -> None:
    """What a function returns may be an import path that nobody judged: only an object of a class may be called."""
    path = str(spec.get("_target_"))
    if not (_is_allowed(path, allow) or (_is_safe(path, allow=allow) and isinstance(resolve(path), type))):
        raise UserError(
            f"{key} comes from a run folder and is made by '{path}', which is no class; if you trust it: "
            f"allow_targets=[{path}]"
        )


def _refuse_fetching(config: Any, *, allow: tuple[str, ...], key: str, path: str = "") -> None:
    """Refuse keywords of timm and transformers, at any depth, that bring in what the allow-list never saw."""
    if isinstance(config, Mapping):
        path = str(config.get("_target_", path))
        if _is_allowed(path, allow):
            return
        for name, value in config.items():
            if _fetches(name, value):
                raise UserError(
                    f"{key}.{name} = {value!r} comes from a run folder, and makes '{path}' fetch or unpickle; if you "
                    f"trust it: allow_targets=[{path}]"
                )
            _refuse_fetching(value, allow=allow, key=f"{key}.{name}", path=path)
    elif isinstance(config, Sequence) and not isinstance(config, str):
        for at, item in enumerate(config):
            _refuse_fetching(item, allow=allow, key=f"{key}.{at}", path=path)


def _fetches(name: Any, value: Any) -> bool:
    if name == "model_name":  # hf-hub:..., local-dir:...
        return ":" in str(value)
    if str(name).endswith("attn_implementation"):
        return value is not None and value not in ATTENTION
    return name in FETCHING and value not in (None, False, "")


def _is_allowed(path: str, allow: tuple[str, ...]) -> bool:
    """Whether the user's own list names a target, or the package that it lies in."""
    return any(path == name or path.startswith(name.removesuffix("*").rstrip(".") + ".") for name in allow)


def _is_safe(path: str, *, allow: tuple[str, ...]) -> bool:
    if _is_allowed(path, allow):
        return True
    if not path.startswith(LIBRARIES) or any(part.startswith("_") for part in path.split(".")):
        return False
    target = resolve(path)
    if not inspect.isfunction(target) and not isinstance(target, type):
        return False
    if "." in target.__qualname__:  # a method, or what a function made: not what the module offers
        return False
    if path.startswith("kdlab."):
        return target.__module__.startswith(SAFE_MODULES) and not target.__module__.startswith(UNSAFE_MODULES)
    if isinstance(target, type):
        return _is_library_block(target)
    return path.startswith("timm.") and _makes_a_timm_model(target)


def _makes_a_timm_model(target: Callable[..., Any]) -> bool:
    """Whether a function of timm is its factory or the entry of one architecture; its others save, load and upload."""
    timm: Any = importlib.import_module("timm")
    name = target.__name__
    return target is timm.create_model or bool(timm.is_model(name) and target is timm.model_entrypoint(name))


def _is_library_block(target: type) -> bool:
    """Whether a class is a network, or what trains or configures one, in the module where its library keeps those."""
    from torch import nn, optim

    home = target.__module__
    if home.startswith("torch.optim."):
        return issubclass(target, optim.Optimizer | optim.lr_scheduler.LRScheduler)
    if home.startswith("transformers.models.timm_"):  # it hands on to timm whatever it is told
        return False
    if home.startswith("transformers.models."):
        from transformers import PretrainedConfig

        return issubclass(target, nn.Module | PretrainedConfig)
    return home.startswith(SAFE_NETWORKS) and issubclass(target, nn.Module)
