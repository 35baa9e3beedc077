"""Changes of place and shape: pure functions of one image ``[channels, H, W]`` in [0, 1], linear interpolation.

Shifts are shares of the image's side; sides and directions are drawn from the generator whatever the strength. What
comes in from outside is 0 (black), as in MNIST-C; an elastic warp repeats the edge.
"""

import numpy as np

from kdlab.outputs import FloatArray


def rotated(image: FloatArray, generator: np.random.Generator, *, degrees: float) -> FloatArray:
    """The image ``[channels, H, W]`` rotated by ``degrees`` to either side; what comes in from outside is 0."""
    from scipy.ndimage import rotate

    angle = degrees if generator.random() < 0.5 else -degrees
    # grid-constant fades out over the border; constant would cut off what lies a rounding error outside.
    turned = rotate(image, angle, axes=(1, 2), reshape=False, order=1, mode="grid-constant", cval=0.0)
    return np.asarray(turned, dtype=np.float64)


def translated(image: FloatArray, generator: np.random.Generator, *, distance: float) -> FloatArray:
    """Moved by ``distance`` (a share of the shorter side) in a drawn direction."""
    angle = 2 * np.pi * generator.random()
    step = distance * min(image.shape[1:]) * np.array([np.sin(angle), np.cos(angle)])
    return _affine(image, np.eye(2), -step)


def sheared(image: FloatArray, generator: np.random.Generator, *, slope: float) -> FloatArray:
    """Rows slid sideways in proportion to their height: by ``slope`` sides over the whole height, to either side."""
    side = slope if generator.random() < 0.5 else -slope
    return _affine(image, np.array([[1.0, 0.0], [side, 1.0]]))


def shrunk(image: FloatArray, _: np.random.Generator, *, size: float) -> FloatArray:
    """Shrunk about the centre to a share ``size`` of its sides; size 1 is the image."""
    return _affine(image, np.eye(2) / size)


def elastic(
    image: FloatArray, generator: np.random.Generator, *, amplitude: float, smoothness: float = 0.12
) -> FloatArray:
    """Every point moved by a smooth random field (Simard, Steinkraus & Platt, ICDAR 2003).

    Args:
        image: ``[channels, H, W]``.
        generator: draws the field.
        amplitude: root mean square length of the moves, as a share of the shorter side.
        smoothness: standard deviation of the Gaussian that smooths white noise into the field, likewise.
    """
    from scipy.ndimage import gaussian_filter, map_coordinates

    side = min(image.shape[1:])
    noise = generator.standard_normal((2, *image.shape[1:]))
    field = gaussian_filter(noise, (0, smoothness * side, smoothness * side), mode="reflect")
    field *= amplitude * side / np.sqrt((field**2).sum(axis=0).mean())
    places = np.indices(image.shape[1:]) + field
    return np.stack([map_coordinates(channel, places, order=1, mode="nearest") for channel in image])


def _affine(image: FloatArray, matrix: FloatArray, shift: FloatArray | float = 0.0) -> FloatArray:
    """Every channel read at ``centre + matrix @ (place - centre) + shift``."""
    from scipy.ndimage import affine_transform

    centre = (np.array(image.shape[1:]) - 1) / 2
    offset = centre - matrix @ centre + shift
    return np.stack(
        [affine_transform(channel, matrix, offset, order=1, mode="grid-constant", cval=0.0) for channel in image]
    )
