"""Image corruptions as slices (``reference: twins``): noise, blur, occlusion, rotation.

All work on pixels scaled to [0, 1] by ``facts["value_range"]`` (the darkest and the brightest value a pixel can have),
and are clipped to that range, so a strength means the same on every image data set: noise of std 0.2 is a fifth of the
range. Draws are keyed by the example (``slices.transformed``), so a stronger corruption of an example is the same
corruption turned up. Severities after Hendrycks & Dietterich, ICLR 2019, who take several of each.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

from kdlab.data.dataset import Dataset, Examples
from kdlab.data.slices import transformed
from kdlab.errors import UserError
from kdlab.outputs import FloatArray


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


def with_noise(image: FloatArray, generator: np.random.Generator, *, std: float) -> FloatArray:
    """``image + std * N(0, 1)``, for an image ``[channels, H, W]``."""
    return image + std * generator.standard_normal(image.shape)


def blurred(image: FloatArray, _: np.random.Generator, *, sigma: float) -> FloatArray:
    """The image ``[channels, H, W]`` under a Gaussian kernel within each channel, edges repeated."""
    from scipy.ndimage import gaussian_filter

    return np.asarray(gaussian_filter(image, (0, sigma, sigma), mode="nearest"), dtype=np.float64)


def occluded(image: FloatArray, generator: np.random.Generator, *, side: int, fill: float) -> FloatArray:
    """The image ``[channels, H, W]`` with a square of value ``fill``; its place is uniform over all that fit."""
    covered = image.copy()
    # Shares of the free room, so that patches of several sizes lie in corresponding places.
    top, left = (
        int(share * (room - side + 1)) for share, room in zip(generator.random(2), image.shape[1:], strict=True)
    )
    covered[:, top : top + side, left : left + side] = fill
    return covered


def rotated(image: FloatArray, generator: np.random.Generator, *, degrees: float) -> FloatArray:
    """The image ``[channels, H, W]`` rotated by ``degrees`` to either side; what comes in from outside is 0."""
    from scipy.ndimage import rotate

    angle = degrees if generator.random() < 0.5 else -degrees
    # grid-constant fades out over the border; constant would cut off what lies a rounding error outside.
    turned = rotate(image, angle, axes=(1, 2), reshape=False, order=1, mode="grid-constant", cval=0.0)
    return np.asarray(turned, dtype=np.float64)


def _corrupted(dataset: Dataset, function: Callable[..., FloatArray], *, size: int | None) -> Examples:
    _image_shape(dataset)
    low, high = dataset.facts["value_range"]
    on_pixels = partial(_on_unit_range, function=function, low=low, high=high)
    return transformed(dataset, function=on_pixels, size=size)


def _on_unit_range(
    image: FloatArray, generator: np.random.Generator, *, function: Callable[..., FloatArray], low: float, high: float
) -> FloatArray:
    unit = function((image - low) / (high - low), generator)
    return low + (high - low) * np.clip(unit, 0.0, 1.0)


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
