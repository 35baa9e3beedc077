"""Reading a ``.npz`` file of the user's: nothing is unpickled, and every array is held to what its name promises."""

import re
import zipfile
import zlib
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from kdlab.data.content import content_hash
from kdlab.errors import UserError, nearest
from kdlab.outputs import IntArray

Layout = Literal["channels_first", "channels_last", "signals"]
Array = npt.NDArray[Any]
SLICE_KEY = re.compile(r"slices/([^/]+)/(inputs|labels|rows|ood)")
_COLOURS = (1, 3, 4)


def slice_names(keys: Iterable[str]) -> list[str]:
    """The names of the slices among the arrays of a file."""
    return sorted({found[1] for key in keys if (found := SLICE_KEY.fullmatch(key))})


def slices_in(path: Path, *, key: str) -> tuple[str, ...]:
    """The names of the slices in a file, read from its directory alone; none where it is damaged.

    Raises:
        UserError: the file cannot be read.
    """
    path = path.expanduser()
    content_hash(path, key=key)  # one message for a file that cannot be read
    try:
        with zipfile.ZipFile(path) as archive:
            return tuple(slice_names(name.removesuffix(".npy") for name in archive.namelist()))
    except zipfile.BadZipFile:
        return ()  # told in full when the data is read


def read_npz(path: Path) -> dict[str, Array]:
    """Every array of the file.

    Raises:
        UserError: it cannot be read, is no ``.npz``, is damaged, or holds pickled objects or unknown keys.
    """
    path = path.expanduser()
    key = f"path = '{path}'"
    try:
        with zipfile.ZipFile(path):
            pass  # numpy takes what is no zip for a pickle, and says so
        with np.load(path, allow_pickle=False) as file:
            content = {name: file[name] for name in file.files}
    except (zipfile.BadZipFile, EOFError, zlib.error) as error:
        raise UserError(f"{key}: not an .npz file, or a damaged one: {error}") from error
    except OSError as error:
        raise UserError(f"{key}: {error.strerror or error}") from error
    except ValueError as error:
        raise UserError(f"{key}: {error}; arrays of objects are never unpickled") from error
    for name, found in content.items():
        if not isinstance(found, np.ndarray):  # numpy hands out what has no header of an array as bytes
            raise UserError(f"{key}: '{name}' is no array")
    known = ("inputs", "labels", "split")
    unknown = [name for name in content if name not in known and not SLICE_KEY.fullmatch(name)]
    if unknown:
        hint = nearest(unknown[0], (*known, "slices/NAME/inputs", "slices/NAME/labels", "slices/NAME/rows"))
        raise UserError(f"{key}: unknown array '{unknown[0]}'; {hint}")
    return content


def needed(content: Mapping[str, Array], name: str, path: str) -> Array:
    """The array of this name.

    Raises:
        UserError: there is none.
    """
    if name not in content:
        raise UserError(f"path = '{path}': the file has no array '{name}'; it has {', '.join(content) or 'none'}")
    return content[name]


def arranged(found: Array, *, layout: Layout, name: str) -> npt.NDArray[np.float32]:
    """Inputs as ``[N, L]``, ``[N, channels, L]`` or ``[N, channels, H, W]``, finite float32."""
    if found.dtype.kind not in "uifb":
        raise UserError(f"{name}: {found.dtype} is no type of real numbers")
    if layout == "channels_last" and found.ndim in (3, 4):
        found = np.moveaxis(found, -1, 1) if found.ndim == 4 else found[:, None]
    elif layout != "signals" and found.ndim == 3:
        found = found[:, None]
    elif layout == "channels_first" and found.ndim == 4 and _looks_channels_last(found.shape):
        raise UserError(f"{name}: shape {list(found.shape)} looks like channels last; set data.layout=channels_last")
    if found.ndim not in ((2, 3) if layout == "signals" else (2, 4)):
        allowed = "[N, L] or [N, channels, L]" if layout == "signals" else "[N, L], [N, H, W] or four axes"
        raise UserError(f"{name}: shape {list(found.shape)} with data.layout={layout}: {allowed} is needed")
    if found.size == 0:
        raise UserError(f"{name}: shape {list(found.shape)} is empty")
    with np.errstate(over="ignore"):  # what is too large for float32 becomes infinite, and is told as such
        inputs = np.ascontiguousarray(found, dtype=np.float32)
    finite = np.isfinite(inputs).reshape(len(inputs), -1).all(axis=1)
    if not finite.all():
        raise UserError(
            f"{name}: row {int(np.argmin(finite))} holds NaN or infinity ({int((~finite).sum())} such rows)"
        )
    return inputs


def _looks_channels_last(shape: Sequence[int]) -> bool:
    return shape[-1] in _COLOURS and shape[1] not in _COLOURS


def class_labels(found: Array, *, count: int, name: str) -> IntArray:
    """Labels ``[count]`` as int64, whole numbers >= 0.

    Raises:
        UserError: naming what they are.
    """
    if found.ndim != 1:
        raise UserError(f"{name}: shape {list(found.shape)}: one whole number per example is needed, [N]")
    if found.dtype.kind not in "uib":
        raise UserError(f"{name}: {found.dtype}: whole numbers are needed, the classes 0 ... C - 1")
    if len(found) != count:
        raise UserError(f"{name}: {len(found)} of them for {count} inputs")
    labels = found.astype(np.int64)
    if (labels < 0).any():
        at = int(np.argmax(labels < 0))
        raise UserError(f"{name}: row {at} has {found[at]}; classes are 0 ... C - 1")
    return labels
