"""Weights on disk: kdlab writes safetensors alone, and reads others' checkpoints without running their code."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from kdlab.errors import UserError
from kdlab.records.atomic import atomic_path

#: What wrappers put before the names of a network: Lightning modules, DataParallel, torch.compile.
PREFIXES = ("model.", "student.", "teacher.", "module.", "network.", "net.", "_orig_mod.")
#: Under which key training scripts keep the weights, in the order they are looked for.
WRAPPER_KEYS = ("state_dict", "model_state_dict", "model")


def save_weights(path: Path, state_dict: Mapping[str, Tensor]) -> None:
    """Write a state_dict as safetensors, atomically, on the CPU; a tensor under two names is written under both.

    Raises:
        ValueError: an entry is not a tensor.
    """
    from safetensors.torch import save_file

    other = [name for name, value in state_dict.items() if not isinstance(value, Tensor)]
    if other:
        raise ValueError(f"weights hold tensors only, not {', '.join(other)}")
    # safetensors refuses views and shared memory: each entry becomes a contiguous copy of its own
    plain = {name: value.detach().to("cpu", copy=True).contiguous() for name, value in state_dict.items()}
    with atomic_path(path) as temporary:
        save_file(plain, temporary)


def load_weights(path: Path) -> dict[str, Tensor]:
    """The tensors of a safetensors file, on the CPU.

    Raises:
        UserError: the file is missing or not safetensors.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    _require_file(path)
    try:
        return load_file(path)
    except (SafetensorError, OSError, ValueError) as error:
        raise UserError(f"{path} is not a whole safetensors file: {_first_line(error)}") from error


def read_state(path: Path) -> dict[str, Tensor]:
    """The state_dict of a checkpoint: safetensors, a plain ``.pt`` / ``.pth``, or a Lightning ``.ckpt``.

    Pickled files are read with ``weights_only=True``: tensors and plain Python come out, no code of the file runs.

    Raises:
        UserError: the file is missing, damaged, holds other Python objects, or holds no state_dict.
    """
    if path.suffix == ".safetensors":
        return load_weights(path)
    _require_file(path)
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # a damaged pickle raises anything; all of it means that the file cannot be used
        raise UserError(
            f"checkpoint {path} cannot be read: it is damaged or holds more than tensors and plain Python, "
            f"which kdlab never executes ({_first_line(error)}); save its state_dict, best as safetensors"
        ) from error
    for key in WRAPPER_KEYS:
        if isinstance(content, Mapping) and isinstance(content.get(key), Mapping):
            content = content[key]
            break
    if not isinstance(content, Mapping) or not content or not all(isinstance(v, Tensor) for v in content.values()):
        raise UserError(f"checkpoint {path} holds no state_dict (names -> tensors): {_outline(content)}")
    return dict(content)


def match_state(model: nn.Module, state: Mapping[str, Tensor]) -> None:
    """Load ``state`` into ``model``, whole or not at all.

    The names of wrappers (``model.``, ``module.``, ... around every key) are taken off where the keys match then.

    Raises:
        UserError: listing every missing, unexpected and wrongly shaped key.
    """
    wanted = model.state_dict()
    candidates = [dict(state)]
    while (inner := _unwrapped(candidates[-1])) is not None:
        candidates.append(inner)
    best = min(candidates, key=lambda found: _count(_mismatches(wanted, found)))
    problems = _mismatches(wanted, best)
    if _count(problems):
        lines = [f"  {kind}: {', '.join(names)}" for kind, names in problems.items() if names]
        raise UserError("\n".join([f"the checkpoint does not fit {type(model).__name__}:", *lines]))
    model.load_state_dict(best)


def _unwrapped(state: Mapping[str, Tensor]) -> dict[str, Tensor] | None:
    """The state without the wrapper's name that stands before every key, None where none does."""
    for prefix in PREFIXES:
        if state and all(name.startswith(prefix) and name != prefix for name in state):
            return {name.removeprefix(prefix): value for name, value in state.items()}
    return None


def _mismatches(wanted: Mapping[str, Tensor], found: Mapping[str, Tensor]) -> dict[str, list[str]]:
    return {
        "missing": sorted(set(wanted) - set(found)),
        "unexpected": sorted(set(found) - set(wanted)),
        "wrong shape": [
            f"{name} {tuple(found[name].shape)} where the model has {tuple(wanted[name].shape)}"
            for name in wanted
            if name in found and found[name].shape != wanted[name].shape
        ],
    }


def _count(problems: Mapping[str, list[str]]) -> int:
    return sum(len(names) for names in problems.values())


def _require_file(path: Path) -> None:
    if not path.is_file():
        raise UserError(f"checkpoint {path}: {'is a folder, not a file' if path.is_dir() else 'no such file'}")


def _first_line(error: Exception) -> str:
    text = str(error).strip()
    return f"{type(error).__name__}: {text.splitlines()[0][:160]}" if text else type(error).__name__


def _outline(content: Any) -> str:
    if not isinstance(content, Mapping):
        return f"a {type(content).__name__}"
    return f"keys {', '.join(str(key) for key in list(content)[:8])}" if content else "it is empty"
