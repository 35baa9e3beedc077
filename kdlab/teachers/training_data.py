"""What a teacher's training set may suffer: wrong labels, or another domain. Its student learns from the set itself."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from kdlab import targets
from kdlab.data.dataset import Dataset, Examples
from kdlab.data.wrong_labels import with_wrong_labels
from kdlab.errors import UserError
from kdlab.streams import generator


def noisy_labels(examples: Examples, *, label_noise: float, num_classes: int, seed: int) -> Examples:
    """A share of the labels replaced by another class, drawn uniformly from the stream (teacher, labels, seed).

    Doses are nested, as ``kdlab.data.wrong_labels.with_wrong_labels`` says.

    Args:
        examples: the training set.
        label_noise: share in [0, 1].
        num_classes: C, at least 2.
        seed: the teacher's seed.

    Raises:
        UserError: a share outside [0, 1].
    """
    if num_classes < 2:
        raise UserError("teacher.quality.name = 'label_noise': with one class there is no other label")
    draws, key = generator("teacher", "labels", seed), "teacher.quality.label_noise"
    return with_wrong_labels(examples, share=label_noise, num_classes=num_classes, draws=draws, key=key)


def shifted(
    examples: Examples,
    *,
    severity: float,
    dataset: Dataset,
    shift: Mapping[str, Any] | None,
    cache_dir: Path | None = None,
    progress: bool = True,
) -> Examples:
    """The training set as the data set's own shift makes it, ``target(dataset, examples, severity=..., **knobs)``.

    Args:
        examples: the training set.
        severity: what the shift makes of it; 0 is no shift.
        dataset: the data set.
        shift: ``data.shift``, the spec of the shift.
        cache_dir: where a shift that takes it keeps what it made.
        progress: show a progress bar where the shift has one.

    Raises:
        UserError: the data set has no shift, the severity is not one, or the shift gives other examples.
    """
    if shift is None:
        raise UserError(no_shift(dataset.name))
    if isinstance(severity, bool) or not isinstance(severity, int | float) or not severity >= 0:
        raise UserError(f"teacher.quality.severity = {severity!r}: a number >= 0 is needed")
    offered = {"cache_dir": cache_dir, "progress": progress} if cache_dir is not None else {"progress": progress}
    try:
        moved = targets.build({**shift, "severity": severity}, dataset, examples, **offered)
    except UserError as error:
        raise UserError(f"teacher.quality.severity = {severity!r}, data.shift: {error}") from error
    if not isinstance(moved, Examples) or moved.inputs.shape != examples.inputs.shape:
        shape = tuple(moved.inputs.shape) if isinstance(moved, Examples) else type(moved).__name__
        raise UserError(f"data.shift: {shift['_target_']} gives {shape}, {tuple(examples.inputs.shape)} are needed")
    return moved


def no_shift(name: str) -> str:
    """What is said where a shifted teacher is asked of a data set that has no shift."""
    return (
        f"teacher.quality.name = 'shifted': the data set '{name}' says no shift; "
        "set data.shift._target_ (a function (dataset, examples, severity) -> Examples) and its knobs"
    )
