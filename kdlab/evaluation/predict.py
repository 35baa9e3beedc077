"""One forward pass over a set: the predictions from which every number is derived, and how they are kept."""

import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from kdlab.data.dataset import Examples
from kdlab.outputs import Predictions, TeacherOutput

Device = str | torch.device
_ARRAYS = {"logits": (2, "f"), "labels": (1, "i"), "index": (1, "i")}


@contextmanager
def evaluating(*models: nn.Module) -> Iterator[None]:
    """Eval mode and no gradient inside; afterwards every submodule is back in the mode it had."""
    modes = [(module, module.training) for model in models for module in model.modules()]
    for model in models:
        model.eval()
    try:
        with torch.no_grad():
            yield
    finally:
        for module, training in modes:
            module.training = training


def predict(model: nn.Module, examples: Examples, *, batch_size: int, device: Device) -> Predictions:
    """The logits of a network on a set, in eval mode and without gradient; its modes are restored.

    Args:
        model: on ``device``, returns a ``ModelOutput`` or a tensor of logits ``[B, C]``.
        examples: the set; its last batch may be short.
        batch_size: examples per forward pass.
        device: where the batches go.

    Raises:
        ValueError: no examples, a batch size below 1, or an output that is not one row of logits per example.
    """
    with evaluating(model):
        return _collect(lambda inputs, index: model(inputs), examples, batch_size=batch_size, device=device)


def predict_teacher(
    teacher: Callable[[Tensor, Tensor], TeacherOutput], examples: Examples, *, batch_size: int, device: Device
) -> Predictions:
    """The logits of a teacher, which is asked as in training: ``teacher(inputs, index)``."""
    with torch.no_grad():
        return _collect(teacher, examples, batch_size=batch_size, device=device)


def predict_stack(
    forward: Callable[[Tensor], Any], examples: Examples, *, batch_size: int, device: Device
) -> list[Predictions]:
    """The logits of K students on a set that all of them see, in one pass.

    Labels and index are shared by the K predictions. In float32 the logits differ from those of a student alone in the
    last bits, as they do between batch sizes.

    Args:
        forward: ``inputs [B, *shape]`` to logits ``[K, B, C]`` or a ``ModelOutput`` of them, in eval mode.
        examples: the set; its last batch may be short.
        batch_size: examples per forward pass; each is K times as large as a single student's.
        device: where the batches go.

    Raises:
        ValueError: no examples, a batch size below 1, or an output that is not K rows of logits per example.
    """
    with torch.no_grad():
        whole = _logits(lambda inputs, _: forward(inputs), examples, batch_size=batch_size, device=device, axis=1)
    labels, index = examples.labels.cpu().numpy(), examples.index.cpu().numpy()
    return [Predictions(logits, labels, index) for logits in whole.numpy()]


def _collect(
    forward: Callable[[Tensor, Tensor], Any], examples: Examples, *, batch_size: int, device: Device
) -> Predictions:
    logits = _logits(forward, examples, batch_size=batch_size, device=device, axis=0)
    return Predictions(logits.numpy(), examples.labels.cpu().numpy(), examples.index.cpu().numpy())


def _logits(
    forward: Callable[[Tensor, Tensor], Any], examples: Examples, *, batch_size: int, device: Device, axis: int
) -> Tensor:
    """Logits float32 on the CPU; ``axis`` is that of the examples, the one before the classes."""
    if batch_size < 1:
        raise ValueError(f"batch_size = {batch_size}: at least 1 is needed")
    if len(examples) == 0:
        raise ValueError("a set without examples cannot be evaluated")
    whole: Tensor | None = None
    for start in range(0, len(examples), batch_size):
        rows = slice(start, start + batch_size)
        index = examples.index[rows]
        output = forward(examples.inputs[rows].to(device), index.to(device))
        found = output if isinstance(output, Tensor) else output.logits
        if found.ndim != axis + 2 or found.shape[axis] != index.shape[0]:
            wanted = ", ".join([*["students"] * axis, str(index.shape[0]), "classes"])
            raise ValueError(f"logits must be [{wanted}], the model gave {tuple(found.shape)}")
        if whole is None:  # filled in place: stacks of students are large
            whole = torch.empty((*found.shape[:axis], len(examples), found.shape[-1]), dtype=torch.float32)
        whole.narrow(axis, start, index.shape[0]).copy_(found.detach())
    assert whole is not None
    return whole


def save_predictions(path: str | Path, predictions: Predictions) -> None:
    """Write predictions as an uncompressed ``.npz``: whole or not at all.

    Compression would save a tenth of the space for eight times the time.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex}")
    try:
        with temporary.open("xb") as file:
            np.savez(file, **predictions._asdict())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def load_predictions(path: str | Path) -> Predictions:
    """Read what ``save_predictions`` wrote; never runs code from the file.

    Raises:
        ValueError: arrays are missing, or have other shapes or kinds than predictions have.
    """
    with np.load(path, allow_pickle=False) as file:
        missing = sorted(set(_ARRAYS) - set(file.files))
        if missing:
            raise ValueError(f"{path} holds no predictions: {', '.join(missing)} missing")
        arrays = {name: file[name] for name in _ARRAYS}
    for name, (ndim, kind) in _ARRAYS.items():
        if arrays[name].ndim != ndim or arrays[name].dtype.kind != kind:
            raise ValueError(f"{path}: {name} is {arrays[name].dtype}{list(arrays[name].shape)}, no predictions")
    if len({len(array) for array in arrays.values()}) != 1:
        raise ValueError(f"{path}: logits, labels and index differ in length")
    return Predictions(**arrays)
