"""Generated IDX files: a small set in the four files of MNIST's layout."""

import gzip
import struct
from pathlib import Path

import numpy as np

from kdlab.data.idx import IdxArrays

NAMES = ("train-images-idx3-ubyte", "train-labels-idx1-ubyte", "t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte")
_CODES = {"u1": 8, "i1": 9, "i2": 11, "i4": 12, "f4": 13, "f8": 14}


def idx_bytes(values: np.ndarray) -> bytes:
    """The IDX form of an array."""
    code = _CODES[values.dtype.str[1:]]
    head = bytes([0, 0, code, values.ndim]) + struct.pack(f">{values.ndim}I", *values.shape)
    return head + values.astype(values.dtype.newbyteorder(">")).tobytes()


def write_idx(path: Path, values: np.ndarray, *, packed: bool = True) -> None:
    """Write an array, gzipped or plain."""
    content = idx_bytes(values)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(gzip.compress(content, mtime=0) if packed else content)


def small_set(*, train: int = 60, test: int = 20, side: int = 6, seed: int = 0) -> IdxArrays:
    """Four classes of unequal frequency, a bright column each, under noise."""
    draws = np.random.default_rng(seed)
    labels = [draws.choice(4, size, p=(0.4, 0.2, 0.2, 0.2)).astype("u1") for size in (train, test)]
    parts = []
    for found in labels:
        found[:4] = range(4)
        images = draws.integers(0, 120, (len(found), side, side))
        images[np.arange(len(found)), :, found] += 130
        parts += [images.astype("u1"), found]
    return IdxArrays(*parts)


def write_set(folder: Path, *, packed: bool = True, **knobs: int) -> IdxArrays:
    """Write the four files of a small set; returns what is in them."""
    arrays = small_set(**knobs)
    for name, values in zip(NAMES, arrays, strict=True):
        write_idx(folder / (f"{name}.gz" if packed else name), values, packed=packed)
    return arrays
