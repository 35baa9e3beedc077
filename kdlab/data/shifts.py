"""Other domains to train a teacher on: ``data.shift`` of a data set, for the quality ``shifted``.

Each function is called as ``fn(dataset, examples, severity=..., **knobs)`` and gives the same examples (index, labels)
with inputs from elsewhere. Severity 0 is no shift, 1 is about as far as the data set's strong slices, and it goes on
from there. What becomes of an example depends on the example alone.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from kdlab.data.corruptions import LARGEST_SEVERITY, SCALES, corrupted_examples
from kdlab.data.dataset import Dataset, Examples
from kdlab.data.mnist1d import Knobs, made_again
from kdlab.data.slices import applied, resolved_function, slice_seed
from kdlab.errors import UserError, nearest
from kdlab.streams import stream_seed


def mnist1d_knobs(
    dataset: Dataset,
    examples: Examples,
    *,
    severity: float,
    cache_dir: Path,
    padding: Sequence[int] | None = None,
    scale_coeff: float | None = None,
    corr_noise_scale: float | None = None,
    iid_noise_scale: float | None = None,
    shear_scale: float | None = None,
    progress: bool = False,
) -> Examples:
    """MNIST-1D signals made again from their own seeds, several knobs of the generator moved together.

    ``knob = own + severity * (told - own)``; a knob may not fall below 0, nor the padding's range turn over.

    Args:
        dataset: an ``mnist1d`` data set.
        examples: of any of its splits.
        severity: 0 is the data set itself, 1 the knobs told here.
        cache_dir: as for ``mnist1d``.
        padding: see ``Knobs``, as for every other knob; None keeps what the data set was made with.
        progress: show a progress bar on stderr while signals are made.
    """
    _check_severity(severity)
    if "mnist1d" not in dataset.facts:
        raise UserError(f"kdlab.data.shifts.mnist1d_knobs shifts mnist1d data, not '{dataset.name}'")
    own = Knobs.of(dataset.facts["mnist1d"])
    told = Knobs.of(
        {
            **dataset.facts["mnist1d"],
            **_given(
                padding=padding,
                scale_coeff=scale_coeff,
                corr_noise_scale=corr_noise_scale,
                iid_noise_scale=iid_noise_scale,
                shear_scale=shear_scale,
            ),
        }
    )
    if severity == 0:
        return examples
    return made_again(dataset, examples, knobs=_moved(own, told, severity), cache_dir=cache_dir, progress=progress)


def images(
    dataset: Dataset,
    examples: Examples,
    *,
    severity: float,
    corruptions: Mapping[str, float],
    seed: int | None = None,
    cache_dir: Path | None = None,
    progress: bool = False,
) -> Examples:
    """Images under some corruptions, one after the other, each at its level times the severity.

    Args:
        dataset: an image data set.
        examples: of any of its splits.
        severity: 0 is no shift. No level may come out above 5.
        corruptions: name in ``kdlab.data.corruptions.SCALES`` -> its level (0 to 5) at severity 1.
        seed: of the draws; None is the data seed.
        cache_dir: where the images are kept; None keeps nothing.
        progress: show a progress bar on stderr while they are made.
    """
    _check_severity(severity)
    unknown = [name for name in corruptions if name not in SCALES]
    if unknown:
        raise UserError(f"corruptions.{unknown[0]}: {nearest(unknown[0], SCALES)}")
    highest = max(corruptions.values(), default=0.0)
    if not (corruptions and highest > 0 and min(corruptions.values()) >= 0):
        raise UserError(f"corruptions = {dict(corruptions)}: names with levels >= 0, one of them above, are needed")
    if severity * highest > LARGEST_SEVERITY:
        raise UserError(f"severity = {severity}: at most {LARGEST_SEVERITY / highest:g} is defined for this shift")
    if severity == 0:
        return examples
    levels = {name: severity * level for name, level in corruptions.items()}
    return corrupted_examples(dataset, examples, corruptions=levels, seed=seed, cache_dir=cache_dir, progress=progress)


def functions(
    dataset: Dataset,
    examples: Examples,
    *,
    severity: float,
    steps: Mapping[str, Mapping[str, Any]],
    seed: int | None = None,
    progress: bool = False,
) -> Examples:
    """Any examples passed through some functions, one after the other, each knob times the severity.

    Args:
        dataset: any data set.
        examples: of any of its splits.
        severity: 0 is no shift.
        steps: name -> ``{function: import path, **knobs}``, functions as ``kdlab.data.slices.transformed`` takes them,
            with knobs at severity 1 for which 0 changes nothing. The name is part of nothing.
        seed: of the draws; None is the data seed.
        progress: show a progress bar on stderr.
    """
    _check_severity(severity)
    calls = []
    for name, step in steps.items():
        knobs = {knob: float(value) * severity for knob, value in step.items() if knob != "function"}
        try:
            calls.append(resolved_function(step["function"], knobs))
        except (KeyError, UserError) as error:
            raise UserError(f"steps.{name}: {error}") from error
    if severity == 0:
        return examples

    def all_of_them(example: Any, generator: np.random.Generator) -> Any:
        for call in calls:
            example = call(example, generator)
        return example

    return applied(dataset, examples, function=all_of_them, seed=seed, progress=progress, title="shift")


def white_noise(
    dataset: Dataset, examples: Examples, *, severity: float, std: float = 1.0, seed: int | None = None
) -> Examples:
    """White noise on standardised inputs of any shape: ``inputs + severity * std * N(0, 1)``.

    Args:
        dataset: any data set.
        examples: of any of its splits.
        severity: 0 is no shift.
        std: of the noise at severity 1, in standard deviations of the training set.
        seed: of the draws; None is the data seed.
    """
    _check_severity(severity)
    if not (np.isfinite(std) and std >= 0):
        raise UserError(f"std = {std}: a finite number >= 0 is needed")
    if severity == 0:
        return examples
    key = stream_seed("data", "slice", slice_seed(dataset, seed))
    shape = dataset.input_shape
    noise = np.stack([np.random.default_rng([key, i]).standard_normal(shape) for i in examples.index.tolist()])
    inputs = examples.inputs + torch.from_numpy((severity * std * noise).astype(np.float32))
    return Examples(inputs, examples.labels, examples.index)


def _moved(own: Knobs, told: Knobs, severity: float) -> Knobs:
    def along(name: str) -> float:
        start = getattr(own, name)
        return max(0.0, float(start + severity * (getattr(told, name) - start)))

    ends = [round(a + severity * (b - a)) for a, b in zip(own.padding, told.padding, strict=True)]
    high = max(0, ends[1])
    names = ("scale_coeff", "corr_noise_scale", "iid_noise_scale", "shear_scale")
    rest = {name: along(name) for name in names}
    return Knobs(
        padding=(min(max(0, ends[0]), high), high),
        min_translation=own.min_translation,
        max_translation=own.max_translation,
        **rest,
    )


def _check_severity(severity: float) -> None:
    if not (np.isfinite(severity) and severity >= 0):
        raise UserError(f"severity = {severity}: a number >= 0 is needed")


def _given(**told: Any) -> dict[str, Any]:
    return {name: value for name, value in told.items() if value is not None}
