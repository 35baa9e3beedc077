"""IDX files: the format of MNIST and its kin (Fashion-MNIST, KMNIST, EMNIST), read strictly; data sets made of four.

An IDX file is two zero bytes, a type code, the number of dimensions, each dimension as a big-endian uint32, then the
values, big-endian, in C order. Whatever does not fit to the byte is refused: a file cut off by a broken download would
otherwise train on fewer examples without a word.
Reference: LeCun, Cortes & Burges, "The MNIST database of handwritten digits".
"""

import gzip
import math
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch

from kdlab.data.content import content_hash
from kdlab.data.dataset import Dataset, Examples
from kdlab.errors import UserError
from kdlab.outputs import IntArray
from kdlab.streams import numpy_generator

DTYPES = {0x08: ">u1", 0x09: ">i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}
VALUE_RANGE = (0.0, 255.0)
#: The four files, under the names that the sets of the family give them; each may end in .gz.
FILE_NAMES = {
    "train_images": ("train-images-idx3-ubyte", "train-images.idx3-ubyte"),
    "train_labels": ("train-labels-idx1-ubyte", "train-labels.idx1-ubyte"),
    "test_images": ("t10k-images-idx3-ubyte", "t10k-images.idx3-ubyte", "test-images-idx3-ubyte"),
    "test_labels": ("t10k-labels-idx1-ubyte", "t10k-labels.idx1-ubyte", "test-labels-idx1-ubyte"),
}
_GZIP = b"\x1f\x8b"

UInt8Array = npt.NDArray[np.uint8]


class IdxArrays(NamedTuple):
    """What the four files hold: images ``[N, H, W]`` uint8 and labels ``[N]`` uint8, of the train and the test file."""

    train_images: UInt8Array
    train_labels: UInt8Array
    test_images: UInt8Array
    test_labels: UInt8Array


def idx(
    *,
    root: str,
    seed: int = 0,
    prefix: str = "",
    first_label: int = 0,
    train: int | None = None,
    validation: int = 5000,
    test: int | None = None,
) -> Dataset:
    """The data set of a folder with the four files of MNIST, KMNIST or EMNIST, plain or gzipped.

    Inputs ``[N, 1, H, W]``, standardised by mean and standard deviation of the training pixels. The validation set is
    drawn from the train file, every class at its share, by the stream (data, split, seed). An example's index is its
    row in the train file, or that of the test file + the length of the train file.

    Args:
        root: the folder.
        seed: the data seed.
        prefix: what stands before the names (``emnist-letters-``).
        first_label: what the first class is called in the files (1 in EMNIST letters).
        train: number of training examples; None is all that validation leaves.
        validation: number of validation examples.
        test: number of test examples; None is the whole test file.
    """
    paths = idx_paths(Path(root), prefix=prefix, key="root")
    arrays = checked_arrays(IdxArrays(*(read_idx(path) for path in paths.values())), paths, first_label=first_label)
    order = stratified_order(arrays.train_labels, generator=numpy_generator("data", "split", seed))
    if not 0 < validation < len(order):
        raise UserError(
            f"validation = {validation}: between 1 and {len(order) - 1} of the {len(order)} training images"
        )
    rows = (order[validation:], order[:validation])
    return idx_dataset(arrays, rows, name="idx", seed=seed, sizes=(train, validation, test))


def _identity(**knobs: Any) -> dict[str, Any]:
    """The knobs with what lies in the files in the place of where they lie."""
    told = {"prefix": "", "first_label": 0, "train": None, "validation": 5000, "test": None, **knobs}
    root, prefix = Path(told.pop("root")), told.pop("prefix")
    paths = idx_paths(root, prefix=prefix, key="data.root")
    return {**told, "files": {part: content_hash(path, key="data.root", read=unpacked) for part, path in paths.items()}}


idx.identity = _identity  # type: ignore[attr-defined]


def idx_paths(root: Path, *, prefix: str = "", key: str) -> dict[str, Path]:
    """The four files in a folder: part -> path.

    Raises:
        UserError: naming what is missing.
    """
    root = root.expanduser()
    if not root.is_dir():
        raise UserError(f"{key} = '{root}': no such folder")
    found = {part: find_idx(root, [prefix + name for name in names]) for part, names in FILE_NAMES.items()}
    missing = [f"{prefix}{FILE_NAMES[part][0]}[.gz]" for part, path in found.items() if path is None]
    if missing:
        raise UserError(f"{key} = '{root}': the folder lacks {', '.join(missing)}")
    return {part: path for part, path in found.items() if path is not None}


def find_idx(folder: Path, names: Sequence[str]) -> Path | None:
    """The first file of these names, plain or with ``.gz``; None where there is none."""
    candidates = (folder / f"{name}{ending}" for name in names for ending in ("", ".gz"))
    return next((path for path in candidates if path.is_file()), None)


def unpacked(path: Path) -> bytes:
    """The content of a file, unpacked where it is gzipped (by its first bytes, whatever it is called).

    Raises:
        UserError: the gzip stream is damaged or cut off.
        OSError: the file cannot be read.
    """
    content = path.read_bytes()
    if not content.startswith(_GZIP):
        return content
    try:
        return gzip.decompress(content)
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise UserError(f"{path}: damaged gzip file of {len(content)} bytes: {error}") from error


def read_idx(path: Path) -> npt.NDArray[Any]:
    """The array of an IDX file, plain or gzipped.

    Raises:
        UserError: the file cannot be read, is damaged, or is not exactly one IDX array.
    """
    try:
        return parse_idx(unpacked(path), name=str(path))
    except OSError as error:
        raise UserError(f"{path}: {error.strerror or error}") from error


def parse_idx(content: bytes, *, name: str) -> npt.NDArray[Any]:
    """The array that IDX bytes hold, in the machine's byte order.

    Args:
        content: the whole file, unpacked.
        name: of the file, for the messages.

    Raises:
        UserError: no IDX magic, an unknown type, or another number of bytes than the dimensions say.
    """
    if len(content) < 4 or content[:2] != b"\0\0":
        raise UserError(f"{name}: not an IDX file: it begins with {content[:4].hex(' ') or 'nothing'}, not with 00 00")
    code, num_axes = content[2], content[3]
    if code not in DTYPES:
        known = ", ".join(f"{one:02x}" for one in DTYPES)
        raise UserError(f"{name}: IDX type code {code:02x} is unknown; known are {known}")
    head = 4 + 4 * num_axes
    if num_axes == 0 or len(content) < head:
        raise UserError(f"{name}: an IDX header of {num_axes} dimensions has {head} bytes, found {len(content)}")
    shape = tuple(int(size) for size in np.frombuffer(content, ">u4", count=num_axes, offset=4))
    dtype = np.dtype(DTYPES[code])
    expected = head + math.prod(shape) * dtype.itemsize
    if len(content) != expected:
        what = "truncated" if len(content) < expected else "too long"
        raise UserError(f"{name}: {what}: {expected} bytes expected for shape {list(shape)}, found {len(content)}")
    return np.frombuffer(content, dtype, offset=head).reshape(shape).astype(dtype.newbyteorder("="), copy=False)


def checked_arrays(arrays: IdxArrays, paths: dict[str, Path], *, first_label: int = 0) -> IdxArrays:
    """The arrays with labels that count from 0, once they fit each other.

    Raises:
        UserError: naming the file that does not hold what its place asks for.
    """
    for part, array, path in zip(IdxArrays._fields, arrays, paths.values(), strict=True):
        num_axes = 3 if part.endswith("images") else 1
        if array.dtype != np.uint8 or array.ndim != num_axes:
            raise UserError(f"{path}: {array.dtype} of shape {list(array.shape)}, where {num_axes}-d uint8 is needed")
        if part.endswith("labels") and len(array) and array.min() < first_label:
            raise UserError(f"{path}: label {array.min()} is below first_label = {first_label}")
    for kind in ("train", "test"):
        images, labels = getattr(arrays, f"{kind}_images"), getattr(arrays, f"{kind}_labels")
        if len(images) != len(labels) or len(images) == 0:
            raise UserError(f"{paths[f'{kind}_images']}: {len(images)} images beside {len(labels)} labels")
    if arrays.train_images.shape[1:] != arrays.test_images.shape[1:]:
        shapes = [list(images.shape[1:]) for images in (arrays.train_images, arrays.test_images)]
        raise UserError(f"{paths['test_images']}: images of {shapes[1]} pixels, in the train file {shapes[0]}")
    first = np.uint8(first_label)
    return arrays._replace(train_labels=arrays.train_labels - first, test_labels=arrays.test_labels - first)


def stratified_order(labels: npt.NDArray[Any], *, generator: np.random.Generator) -> IntArray:
    """All rows in a random order of which every beginning holds each class at its share, to within about one row.

    The i-th of the n rows of a class (in a random order of their own) goes to place ``(i + 1/2) / n``; ties are drawn.
    """
    place = np.empty(len(labels))
    for label in np.unique(labels):
        rows = generator.permutation(np.flatnonzero(labels == label))
        place[rows] = (np.arange(len(rows)) + 0.5) / len(rows)
    return np.lexsort((generator.random(len(labels)), place))


def idx_dataset(
    arrays: IdxArrays,
    rows: tuple[IntArray, IntArray],
    *,
    name: str,
    seed: int,
    sizes: tuple[int | None, int | None, int | None],
    pool: int = 0,
) -> Dataset:
    """The data set of four arrays.

    Args:
        arrays: what the files hold.
        rows: of the train file, those that may train and those held out for validation, each in an order whose
            beginnings are what a smaller size keeps.
        name: of the data set.
        seed: the data seed.
        sizes: how many of train, validation and test are kept; None is all.
        pool: how many of the rows that may train and do not are kept as the unlabelled pool, in their order.

    Raises:
        UserError: fewer rows are there than are asked for.
    """
    shuffled = stratified_order(arrays.test_labels, generator=numpy_generator("data", "slice", seed))
    kept = [
        np.sort(found[: _checked_size(size, len(found), split)])
        for found, size, split in zip((*rows, shuffled), sizes, ("train", "validation", "test"), strict=True)
    ]
    left = rows[0][len(kept[0]) :]
    if not 0 <= pool <= len(left):
        raise UserError(f"pool = {pool}: between 0 and {len(left)} images are left beside the training set")
    mean, std = _statistics(arrays.train_images[kept[0]])
    num_train = len(arrays.train_labels)

    def examples(images: UInt8Array, labels: UInt8Array, chosen: IntArray, *, first: int) -> Examples:
        inputs = torch.from_numpy(images[chosen]).to(torch.float32).sub_(mean).div_(std)[:, None]
        return Examples(inputs, torch.from_numpy(labels[chosen].astype(np.int64)), torch.from_numpy(chosen + first))

    return Dataset(
        name=name,
        num_classes=int(max(arrays.train_labels.max(), arrays.test_labels.max())) + 1,
        train=examples(arrays.train_images, arrays.train_labels, kept[0], first=0),
        validation=examples(arrays.train_images, arrays.train_labels, kept[1], first=0),
        test=examples(arrays.test_images, arrays.test_labels, kept[2], first=num_train),
        pool=examples(arrays.train_images, arrays.train_labels, left[:pool], first=0) if pool else None,
        facts={"seed": seed, "mean": mean, "std": std, "value_range": VALUE_RANGE},
    )


def _checked_size(size: int | None, available: int, split: str) -> int:
    if size is None:
        return available
    if not 1 <= size <= available:
        raise UserError(f"{split} = {size}: between 1 and {available} examples are there")
    return size


def _statistics(images: UInt8Array) -> tuple[float, float]:
    """Mean and standard deviation of all pixels, exact: from the counts of the 256 values."""
    counts = torch.bincount(torch.from_numpy(images.reshape(-1)), minlength=256).numpy().astype(np.float64)
    values = np.arange(256, dtype=np.float64)
    mean = float((counts * values).sum() / counts.sum())
    std = float(np.sqrt((counts * (values - mean) ** 2).sum() / counts.sum()))
    if std == 0:
        raise UserError("all training pixels have one value: there is nothing to standardise by, or to learn from")
    return float(np.float32(mean)), float(np.float32(std))
