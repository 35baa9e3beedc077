"""What can happen to an image: noise, blur, light, cover. Pure functions of one image ``[channels, H, W]`` in [0, 1].

Lengths are shares of the image's shorter side, so a strength means the same at 8x8 and at 224x224. Draws do not depend
on the strength: a stronger distortion of an image is the same distortion turned up. Clipping to [0, 1] is left to the
caller. After Hendrycks & Dietterich, "Benchmarking neural network robustness to common corruptions and perturbations",
ICLR 2019, and Mu & Gilmer, "MNIST-C: a robustness benchmark for computer vision", 2019; changes of place and shape are
in ``kdlab.data.warps``.
"""

import functools

import numpy as np

from kdlab.outputs import FloatArray

_NORMAL_FROM_PHOTONS = 500.0  # exp(-mean) is a denormal number from 708 on; the normal law is exact enough long before


def with_noise(image: FloatArray, generator: np.random.Generator, *, std: float) -> FloatArray:
    """``image + std * N(0, 1)``, for an image ``[channels, H, W]``."""
    return image + std * generator.standard_normal(image.shape)


def with_speckle(image: FloatArray, generator: np.random.Generator, *, std: float) -> FloatArray:
    """``image * (1 + std * N(0, 1))``: noise that grows with the light."""
    return image * (1.0 + std * generator.standard_normal(image.shape))


def with_shot_noise(image: FloatArray, generator: np.random.Generator, *, variance: float) -> FloatArray:
    """Photons counted: ``variance * Poisson(image / variance)``; ``variance`` is that of a white pixel.

    By inversion of one uniform draw per pixel, so that every strength turns the same draw up.
    """
    uniform = generator.random(image.shape)
    if variance == 0:
        return image
    light = np.maximum(image, 0.0)
    if variance * _NORMAL_FROM_PHOTONS < 1:
        from scipy.special import ndtri

        return np.asarray(light + np.sqrt(light * variance) * ndtri(uniform), dtype=np.float64)
    return variance * _poisson(uniform, light / variance)


def with_impulses(image: FloatArray, generator: np.random.Generator, *, share: float) -> FloatArray:
    """Salt and pepper: a share of the values becomes 0 or 1, each as often."""
    hit, salt = generator.random((2, *image.shape))
    return np.where(hit < share, np.round(salt), image)


def blurred(image: FloatArray, _: np.random.Generator, *, sigma: float) -> FloatArray:
    """The image ``[channels, H, W]`` under a Gaussian of ``sigma`` pixels within each channel, edges repeated."""
    from scipy.ndimage import gaussian_filter

    return np.asarray(gaussian_filter(image, (0, sigma, sigma), mode="nearest"), dtype=np.float64)


def defocused(image: FloatArray, _: np.random.Generator, *, radius: float) -> FloatArray:
    """A lens out of focus: every point becomes a disc, ``radius`` a share of the side; edges repeated."""
    return _filtered(image, _disc(radius * min(image.shape[1:])))


def motion_blurred(image: FloatArray, generator: np.random.Generator, *, length: float) -> FloatArray:
    """A straight smear of ``length`` (a share of the side) in a drawn direction; edges repeated."""
    angle = np.pi * generator.random()
    return _filtered(image, _line(length * min(image.shape[1:]), angle))


def zoom_blurred(image: FloatArray, _: np.random.Generator, *, zoom: float) -> FloatArray:
    """The mean over a zoom from 1 to ``1 + zoom`` about the centre, in eight steps (linear interpolation)."""
    rows, columns = (
        [_sampling(size, size, spread=1.0 / factor) for factor in np.linspace(1.0, 1.0 + zoom, 8)]
        for size in image.shape[1:]
    )
    zoomed = [down @ image @ along.T for down, along in zip(rows, columns, strict=True)]
    return np.asarray(np.mean(zoomed, axis=0), dtype=np.float64)


def brightened(image: FloatArray, _: np.random.Generator, *, by: float) -> FloatArray:
    """``image + by``."""
    return image + by


def faded(image: FloatArray, _: np.random.Generator, *, contrast: float) -> FloatArray:
    """``mean + contrast * (image - mean)``, the mean of each channel of the image; contrast 1 changes nothing."""
    mean = image.mean(axis=(1, 2), keepdims=True)
    return np.asarray(mean + contrast * (image - mean), dtype=np.float64)


def fogged(image: FloatArray, generator: np.random.Generator, *, density: float) -> FloatArray:
    """White airlight through drifting fog: ``image + density * fog * (1 - image)``, fog in [0, 1] the same per channel.

    The fog is the sum of four octaves of smooth noise, each half as strong and half as long as the one before.
    """
    height, width = image.shape[1:]
    fog = np.zeros((height, width))
    for octave in range(4):
        cells = 2**octave + 1
        coarse = generator.random((cells, cells))
        fog += 0.5**octave * (_sampling(height, cells) @ coarse @ _sampling(width, cells).T)
    fog = (fog - fog.min()) / np.ptp(fog)
    return np.asarray(image + density * fog * (1.0 - image), dtype=np.float64)


def pixelated(image: FloatArray, _: np.random.Generator, *, resolution: float) -> FloatArray:
    """Averaged into ``round(resolution * size)`` boxes along each side and drawn as such; resolution 1 is the image."""
    for axis in (1, 2):
        size = image.shape[axis]
        boxes = _boxes(size, max(1, round(resolution * size)))
        image = np.moveaxis(np.tensordot(boxes, image, axes=(1, axis)), 0, axis)
    return image


def occluded(image: FloatArray, generator: np.random.Generator, *, side: int, fill: float) -> FloatArray:
    """The image ``[channels, H, W]`` with a square of ``side`` pixels of value ``fill``, uniform over all places."""
    covered = image.copy()
    # Shares of the free room, so that patches of several sizes lie in corresponding places.
    top, left = (
        int(share * (room - side + 1)) for share, room in zip(generator.random(2), image.shape[1:], strict=True)
    )
    covered[:, top : top + side, left : left + side] = fill
    return covered


def patched(image: FloatArray, generator: np.random.Generator, *, side: float, fill: float = 0.5) -> FloatArray:
    """A square of value ``fill`` anywhere inside, ``side`` a share of the shorter side; pixels at its rim are mixed."""
    length = side * min(image.shape[1:])
    rows, columns = (
        _overlap(size, share * (size - length), length)
        for share, size in zip(generator.random(2), image.shape[1:], strict=True)
    )
    covered = rows[:, None] * columns
    return image + covered * (fill - image)


def _poisson(uniform: FloatArray, mean: FloatArray) -> FloatArray:
    """The smallest k with ``P(Poisson(mean) <= k) >= uniform``, elementwise."""
    counts = np.zeros(mean.shape)
    probability = np.exp(-mean)
    below = probability.copy()
    # Past this many the remaining probability is under 1e-12, where a sum of float64 may stop short of the draw.
    for count in range(1, int(mean.max() + 8 * np.sqrt(mean.max()) + 20)):
        short = below < uniform
        if not short.any():
            break
        counts += short
        probability *= mean / count
        below += probability
    return counts


def _filtered(image: FloatArray, kernel: FloatArray) -> FloatArray:
    from scipy.ndimage import correlate

    return np.asarray(correlate(image, kernel[None], mode="nearest"), dtype=np.float64)


@functools.lru_cache(maxsize=64)
def _disc(radius: float) -> FloatArray:
    """A disc of a radius in pixels as a kernel of sum 1; its rim falls off over one pixel."""
    reach = np.arange(-int(np.ceil(radius)), int(np.ceil(radius)) + 1)
    disc = np.clip(radius + 0.5 - np.hypot(reach[:, None], reach), 0.0, 1.0)
    return np.asarray(disc / disc.sum(), dtype=np.float64)


def _line(length: float, angle: float) -> FloatArray:
    """A line through the centre as a kernel of sum 1: points along it, each shared between its four pixels."""
    reach = int(np.ceil(length / 2))
    along = length * (np.arange(4 * reach + 1) / max(4 * reach, 1) - 0.5)
    pixels = np.arange(-reach, reach + 1)
    down, across = (
        np.clip(1.0 - np.abs(pixels[:, None] - along * slope), 0.0, None) for slope in (np.sin(angle), np.cos(angle))
    )
    kernel = down @ across.T
    return np.asarray(kernel / kernel.sum(), dtype=np.float64)


@functools.lru_cache(maxsize=256)
def _sampling(num_out: int, num_in: int, spread: float = 1.0) -> FloatArray:
    """``[num_out, num_in]`` linear interpolation at ``num_out`` points spread about the middle of the input."""
    middle = (num_in - 1) / 2
    places = np.clip(middle + spread * np.linspace(-middle, middle, num_out), 0, num_in - 1)
    return np.clip(1.0 - np.abs(places[:, None] - np.arange(num_in)), 0.0, None)


@functools.lru_cache(maxsize=64)
def _boxes(size: int, num_boxes: int) -> FloatArray:
    """``[size, size]``: means over boxes of equal width, pixels shared by two in part; read at a pixel's middle."""
    width = size / num_boxes
    means = np.stack([_overlap(size, box * width, width) / width for box in range(num_boxes)])
    # Drawn by area too, boxes that share a pixel would be smoothed twice: 13 of 32 would come out finer than 16.
    return means[((np.arange(size) + 0.5) / width).astype(np.int64)]


def _overlap(size: int, start: float, length: float) -> FloatArray:
    """``[size]`` which part of every pixel lies in ``[start, start + length]``."""
    pixel = np.arange(size)
    covered = np.minimum(pixel + 1, start + length) - np.maximum(pixel, start)
    return np.asarray(np.clip(covered, 0.0, 1.0), dtype=np.float64)
