"""Image corruptions as slices (``reference: twins``): seventeen by name and severity, four by a strength of one's own.

All work on pixels scaled to [0, 1] by ``facts["value_range"]`` (the darkest and the brightest value a pixel can have),
and are clipped to that range, so a strength means the same on every image data set: noise of std 0.2 is a fifth of the
range. Draws are keyed by the example (``slices.transformed``), so a stronger corruption of an example is the same
corruption turned up. Severities after Hendrycks & Dietterich, ICLR 2019, who take several of each.
"""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal, NamedTuple, get_args

import numpy as np
import torch

from kdlab.data.cache import Float32Array, cached_array
from kdlab.data.dataset import Dataset, Examples
from kdlab.data.distortions import (
    blurred,
    brightened,
    defocused,
    faded,
    fogged,
    motion_blurred,
    occluded,
    patched,
    pixelated,
    with_impulses,
    with_noise,
    with_shot_noise,
    with_speckle,
    zoom_blurred,
)
from kdlab.data.slices import applied, first_test_examples, slice_seed, transformed
from kdlab.data.warps import elastic, rotated, sheared, shrunk, translated
from kdlab.errors import UserError, nearest
from kdlab.outputs import FloatArray

#: Raised when what a corruption makes of an image changes: what is kept in caches is made again.
CORRUPTIONS_VERSION = 2
LARGEST_SEVERITY = 5

Corruption = Literal[
    "gaussian_noise",
    "shot_noise",
    "impulse_noise",
    "speckle_noise",
    "defocus_blur",
    "motion_blur",
    "zoom_blur",
    "brightness",
    "contrast",
    "fog",
    "pixelate",
    "rotate",
    "translate",
    "shear",
    "scale",
    "elastic",
    "occlusion",
]
Severity = Literal[1, 2, 3, 4, 5]


class Scale(NamedTuple):
    """A corruption's strengths.

    Args:
        function: of one image in [0, 1]; its docstring says what the strength is and its unit.
        knob: the keyword that takes the strength.
        neutral: the strength that changes nothing: severity 0.
        strengths: at severities 1 to 5.
    """

    function: Callable[..., FloatArray]
    knob: str
    neutral: float
    strengths: tuple[float, float, float, float, float]

    def at(self, severity: float) -> float:
        """The strength at a severity from 0 to 5, linear between whole ones."""
        levels = np.arange(LARGEST_SEVERITY + 1)
        return float(np.interp(severity, levels, (self.neutral, *self.strengths)))


#: Strengths at severities 1 to 5. Noise and light: shares of the pixel range; lengths: shares of the shorter side.
SCALES: dict[str, Scale] = {
    "gaussian_noise": Scale(with_noise, "std", 0.0, (0.08, 0.12, 0.18, 0.26, 0.38)),
    "shot_noise": Scale(with_shot_noise, "variance", 0.0, (1 / 60, 1 / 25, 1 / 12, 1 / 5, 1 / 3)),
    "impulse_noise": Scale(with_impulses, "share", 0.0, (0.03, 0.06, 0.09, 0.17, 0.27)),
    "speckle_noise": Scale(with_speckle, "std", 0.0, (0.15, 0.2, 0.35, 0.45, 0.6)),
    "defocus_blur": Scale(defocused, "radius", 0.0, (0.065, 0.085, 0.11, 0.14, 0.18)),
    "motion_blur": Scale(motion_blurred, "length", 0.0, (0.15, 0.2, 0.26, 0.33, 0.4)),
    "zoom_blur": Scale(zoom_blurred, "zoom", 0.0, (0.1, 0.18, 0.26, 0.34, 0.42)),
    "brightness": Scale(brightened, "by", 0.0, (0.1, 0.2, 0.3, 0.4, 0.5)),
    "contrast": Scale(faded, "contrast", 1.0, (0.6, 0.45, 0.3, 0.2, 0.1)),
    "fog": Scale(fogged, "density", 0.0, (0.3, 0.45, 0.6, 0.75, 0.9)),
    "pixelate": Scale(pixelated, "resolution", 1.0, (0.75, 0.6, 0.5, 0.4, 0.3)),
    "rotate": Scale(rotated, "degrees", 0.0, (8.0, 15.0, 22.0, 30.0, 40.0)),
    "translate": Scale(translated, "distance", 0.0, (0.06, 0.1, 0.14, 0.18, 0.24)),
    "shear": Scale(sheared, "slope", 0.0, (0.1, 0.2, 0.3, 0.4, 0.5)),
    "scale": Scale(shrunk, "size", 1.0, (0.9, 0.8, 0.7, 0.6, 0.5)),
    "elastic": Scale(elastic, "amplitude", 0.0, (0.02, 0.035, 0.05, 0.065, 0.08)),
    "occlusion": Scale(patched, "side", 0.0, (0.2, 0.28, 0.36, 0.44, 0.52)),
}


def corrupted(
    dataset: Dataset,
    *,
    corruption: Corruption,
    severity: Severity,
    size: int | None = 2000,
    seed: int | None = None,
    cache_dir: Path | None = None,
    progress: bool = True,
) -> Examples:
    """A slice: the first test images under a named corruption (``reference: twins``), made once and kept in the cache.

    Args:
        dataset: an image data set.
        corruption: one of ``SCALES``.
        severity: 1 to 5; the strengths are in ``SCALES``.
        size: number of examples; None (or more than there are) is the whole test set.
        seed: of the draws; None is the data seed.
        cache_dir: where they are kept (a folder ``corruptions`` in it); None keeps nothing.
        progress: show a progress bar on stderr while they are made.

    Raises:
        UserError: no such corruption or severity, or no images.
    """
    if severity not in get_args(Severity) or isinstance(severity, bool):
        raise UserError(f"severity = {severity!r}: 1, 2, 3, 4 or 5 is needed")
    examples = first_test_examples(dataset, size)
    told: dict[str, float] = {corruption: float(severity)}
    return corrupted_examples(dataset, examples, corruptions=told, seed=seed, cache_dir=cache_dir, progress=progress)


def corrupted_examples(
    dataset: Dataset,
    examples: Examples,
    *,
    corruptions: Mapping[str, float],
    seed: int | None = None,
    cache_dir: Path | None = None,
    progress: bool = True,
) -> Examples:
    """Any images of a data set under some corruptions, one after the other; as ``corrupted`` otherwise.

    An image's draws belong to the image, ``(seed, index)``: they depend neither on the severities nor on the others.

    Args:
        dataset: an image data set.
        examples: of any of its splits.
        corruptions: name -> severity, any number from 0 (no change) to 5.
        seed: of the draws; None is the data seed.
        cache_dir: where they are kept; None keeps nothing.
        progress: show a progress bar on stderr while they are made.
    """
    strengths = {name: _strength(name, severity) for name, severity in corruptions.items()}
    low, high = _value_range(dataset)
    steps = [partial(SCALES[name].function, **{SCALES[name].knob: told}) for name, told in strengths.items()]
    function = partial(_on_unit_range, functions=steps, low=low, high=high)
    title = ", ".join(f"{name} {severity:g}" for name, severity in corruptions.items())

    def make() -> Float32Array:
        made = applied(dataset, examples, function=function, seed=seed, progress=progress, title=title)
        return np.asarray(made.inputs.numpy(), dtype=np.float32)

    if cache_dir is None:
        inputs = make()
    else:
        key = _cache_key(dataset, examples, strengths=strengths, seed=seed)
        inputs = cached_array(Path(cache_dir) / "corruptions", key, make)
    return Examples(torch.from_numpy(inputs), examples.labels, examples.index)


def _strength(corruption: str, severity: float) -> float:
    if corruption not in SCALES:
        raise UserError(f"corruption = {corruption!r}: {nearest(str(corruption), SCALES)}")
    if not 0 <= severity <= LARGEST_SEVERITY:
        raise UserError(f"severity = {severity!r}: a number from 0 to {LARGEST_SEVERITY} is needed")
    return SCALES[corruption].at(severity)


def _cache_key(
    dataset: Dataset, examples: Examples, *, strengths: Mapping[str, float], seed: int | None
) -> dict[str, Any]:
    """Everything that decides the values: the images themselves, not what made them."""
    content = hashlib.sha256(np.ascontiguousarray(examples.inputs.numpy()).data)
    content.update(np.ascontiguousarray(examples.index.numpy()).data)
    for name, value in _FACTS:
        fact = np.asarray(dataset.facts.get(name, value), np.float64)
        content.update(str(fact.shape).encode() + fact.tobytes())
    return {
        "version": CORRUPTIONS_VERSION,
        "scipy": version("scipy"),
        "content": content.hexdigest(),
        "shape": list(examples.inputs.shape),
        "seed": slice_seed(dataset, seed),
        "corruptions": list(strengths.items()),  # in their order: blur after noise is not noise after blur
    }


_FACTS: tuple[tuple[str, Any], ...] = (("mean", 0.0), ("std", 1.0), ("value_range", (0.0, 1.0)))


def gaussian_noise(dataset: Dataset, *, std: float, size: int | None = None) -> Examples:
    """White noise added to every pixel.

    Args:
        dataset: an image data set.
        std: standard deviation, as a share of the pixel range.
        size: number of examples; None is the whole test set.
    """
    _at_least(0, std=std)
    return _corrupted(dataset, partial(with_noise, std=std), size=size)


def blur(dataset: Dataset, *, sigma: float, size: int | None = None) -> Examples:
    """A Gaussian blur.

    Args:
        dataset: an image data set.
        sigma: standard deviation of the kernel, in pixels.
        size: number of examples; None is the whole test set.
    """
    _at_least(0, sigma=sigma)
    return _corrupted(dataset, partial(blurred, sigma=sigma), size=size)


def occlusion(dataset: Dataset, *, side: int, fill: float = 0.0, size: int | None = None) -> Examples:
    """A square patch over the image, anywhere inside it.

    Args:
        dataset: an image data set.
        side: of the square, in pixels; at most the shorter side of the image.
        fill: the patch's value, as a share of the pixel range.
        size: number of examples; None is the whole test set.
    """
    shorter = min(_image_shape(dataset)[1:])
    if not (side == int(side) and 1 <= side <= shorter):
        raise UserError(f"side = {side}: a whole number of pixels in [1, {shorter}] is needed")
    return _corrupted(dataset, partial(occluded, side=int(side), fill=fill), size=size)


def rotation(dataset: Dataset, *, degrees: float, size: int | None = None) -> Examples:
    """A rotation about the centre by a fixed angle, to a side drawn for each example (linear interpolation).

    Args:
        dataset: an image data set.
        degrees: the angle.
        size: number of examples; None is the whole test set.
    """
    _at_least(0, degrees=degrees)
    return _corrupted(dataset, partial(rotated, degrees=degrees), size=size)


def _corrupted(dataset: Dataset, function: Callable[..., FloatArray], *, size: int | None) -> Examples:
    low, high = _value_range(dataset)
    return transformed(dataset, function=partial(_on_unit_range, functions=[function], low=low, high=high), size=size)


def _on_unit_range(
    image: FloatArray,
    generator: np.random.Generator,
    *,
    functions: Sequence[Callable[..., FloatArray]],
    low: float,
    high: float,
) -> FloatArray:
    unit = (image - low) / (high - low)
    for function in functions:
        unit = np.clip(function(unit, generator), 0.0, 1.0)
    return low + (high - low) * unit


def _value_range(dataset: Dataset) -> tuple[float, float]:
    _image_shape(dataset)
    low, high = dataset.facts["value_range"]
    return low, high


def _image_shape(dataset: Dataset) -> tuple[int, ...]:
    if len(dataset.input_shape) != 3 or "value_range" not in dataset.facts:
        raise UserError(
            f"image corruptions need images [channels, H, W] and the data set's value_range; "
            f"'{dataset.name}' has examples of shape {dataset.input_shape}"
        )
    return dataset.input_shape


def _at_least(least: float, **named: Any) -> None:
    for name, value in named.items():
        if not (np.isfinite(value) and value >= least):
            raise UserError(f"{name} = {value}: a finite number >= {least} is needed")
