"""Fashion-MNIST: 70,000 grey 28x28 images of ten kinds of clothing.

The four files are checked by the sha256 of what is in them, unpacked: packagers compress again. Where they come from is
therefore no part of what a network was trained on.
Reference: Xiao, Rasul & Vollgraf, "Fashion-MNIST: a novel image dataset for benchmarking machine learning algorithms",
arXiv:1708.07747, 2017.
"""

import hashlib
import logging
import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

from kdlab.data.dataset import Dataset
from kdlab.data.idx import (
    FILE_NAMES,
    IdxArrays,
    checked_arrays,
    find_idx,
    idx_dataset,
    idx_paths,
    parse_idx,
    stratified_order,
    unpacked,
)
from kdlab.errors import UserError
from kdlab.streams import numpy_generator

HELD_OUT = 5000
CLASS_NAMES = (
    *("T-shirt/top", "Trouser", "Pullover", "Dress", "Coat"),
    *("Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot"),
)
DEBIAN_FOLDER = Path("/usr/share/datasets/fashion-mnist")
DEBIAN_PACKAGE = "dataset-fashion-mnist"
#: The authors' bucket, then their repository. What comes from there is held to ``CHECKSUMS``.
MIRRORS = (
    "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/",
    "https://github.com/zalandoresearch/fashion-mnist/raw/master/data/fashion/",
)
TIMEOUT_SECONDS = 30

logger = logging.getLogger(__name__)


class Checksums(NamedTuple):
    """Of one file: sha256 of its unpacked content, and the md5 that its authors publish for the ``.gz``."""

    content_sha256: str
    packed_md5: str


CHECKSUMS: dict[str, Checksums] = {
    "train_images": Checksums(
        "c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888", "8d4fb7e6c68d591d4c3dfef9ec88bf0d"
    ),
    "train_labels": Checksums(
        "bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9", "25c81989df183df01b3e8a0aad5dffbe"
    ),
    "test_images": Checksums(
        "5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b", "bef4ecab320f06d8554ea6380940ec79"
    ),
    "test_labels": Checksums(
        "0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34", "bb300cfdad3c16e7a12a480ee83cd310"
    ),
}


def fashion_mnist(
    *,
    cache_dir: Path,
    seed: int = 0,
    train: int = 55_000,
    validation: int = HELD_OUT,
    test: int = 10_000,
    pool: int = 0,
    root: str | None = None,
    download: bool = True,
    progress: bool = False,
) -> Dataset:
    """Fashion-MNIST with inputs ``[N, 1, 28, 28]``, standardised by mean and deviation of the training pixels.

    5,000 images of the train file (500 of each class, from the stream (data, split, seed)) are held out for validation.
    An image's index is its row in the train file, or 60,000 + its row in the test file. A smaller size keeps a part
    of the larger one in which every class keeps its share.

    The files are taken from ``root`` where it is given; else from Debian's package, else from the cache, else they are
    downloaded into it once.

    Args:
        cache_dir: where downloaded files are kept (a folder ``fashion_mnist`` in it).
        seed: the data seed.
        train: number of training images, at most 55,000.
        validation: number of validation images, at most 5,000.
        test: number of test images, at most 10,000.
        pool: number of images of the train file that are kept beside these for transfer sets, without labels.
        root: a folder that holds the four files, plain or gzipped.
        download: whether the files may be downloaded.
        progress: show a progress bar on stderr during a download (where that is a terminal).

    Raises:
        UserError: a file is missing, damaged or not Fashion-MNIST's, naming it; or nothing of all that was possible.
    """
    contents = _contents(Path(cache_dir) / "fashion_mnist", root=root, download=download, progress=progress)
    paths = {part: Path(FILE_NAMES[part][0]) for part in contents}
    arrays = IdxArrays(*(parse_idx(contents[part], name=str(path)) for part, path in paths.items()))
    arrays = checked_arrays(arrays, paths)
    order = stratified_order(arrays.train_labels, generator=numpy_generator("data", "split", seed))
    held_out = min(HELD_OUT, len(order) // 2)
    rows = (order[held_out:], order[:held_out])
    sizes = (train, validation, test)
    dataset = idx_dataset(arrays, rows, name="fashion_mnist", seed=seed, sizes=sizes, pool=pool)
    return replace(dataset, class_names=CLASS_NAMES[: dataset.num_classes])


def _identity(
    *,
    train: int = 55_000,
    validation: int = HELD_OUT,
    test: int = 10_000,
    pool: int = 0,
    root: str | None = None,
    download: bool = True,
) -> dict[str, Any]:
    """The sizes: what is in the files is fixed by their checksums, wherever they lie."""
    return {"train": train, "validation": validation, "test": test, **({"pool": pool} if pool else {})}


fashion_mnist.identity = _identity  # type: ignore[attr-defined]


def _contents(cache: Path, *, root: str | None, download: bool, progress: bool) -> dict[str, bytes]:
    """The unpacked, checked content of each part, from the first place that has all four files."""
    if root is not None:
        return _read_folder(idx_paths(Path(root), key="root"))
    packaged = _files_in(DEBIAN_FOLDER)
    if len(packaged) == len(CHECKSUMS):
        return _read_folder(packaged)
    contents, wrong = _intact(_files_in(cache))
    missing = [part for part in CHECKSUMS if part not in contents]
    if not missing:
        return _in_order(contents)
    for path in wrong:
        logger.warning("%s is damaged", path)
    if not download:
        raise UserError(_nowhere("data.download is false", cache))
    return _in_order(contents | _downloaded(missing, cache, progress=progress))


def _in_order(contents: Mapping[str, bytes]) -> dict[str, bytes]:
    return {part: contents[part] for part in CHECKSUMS}


def _files_in(folder: Path) -> dict[str, Path]:
    found = {part: find_idx(folder, FILE_NAMES[part]) for part in CHECKSUMS}
    return {part: path for part, path in found.items() if path is not None}


def _read_folder(paths: Mapping[str, Path]) -> dict[str, bytes]:
    return {part: _checked_content(part, path) for part, path in paths.items()}


def _checked_content(part: str, path: Path) -> bytes:
    """The unpacked content of a file.

    Raises:
        UserError: it cannot be read, is damaged, or is not what Fashion-MNIST has there.
    """
    try:
        content = unpacked(path)
    except OSError as error:
        raise UserError(f"{path}: {error.strerror or error}") from error
    found, expected = hashlib.sha256(content).hexdigest(), CHECKSUMS[part].content_sha256
    if found != expected:
        raise UserError(
            f"{path}: not the file of Fashion-MNIST: the sha256 of its unpacked content ({len(content)} bytes) is "
            f"{found[:16]}..., expected {expected[:16]}...; for files of your own: data=idx data.root=FOLDER"
        )
    return content


def _intact(paths: Mapping[str, Path]) -> tuple[dict[str, bytes], list[Path]]:
    """The contents of the files that are whole, and the files that are not."""
    contents: dict[str, bytes] = {}
    wrong = []
    for part, path in paths.items():
        try:
            contents[part] = _checked_content(part, path)
        except UserError:
            wrong.append(path)
    return contents, wrong


def _downloaded(parts: list[str], cache: Path, *, progress: bool) -> dict[str, bytes]:
    """Download what the cache lacks, once, whoever asks at the same time."""
    from filelock import FileLock

    try:
        cache.mkdir(parents=True, exist_ok=True)
        with FileLock(cache / "download.lock"):
            contents, _ = _intact(_files_in(cache))  # another process may have brought them meanwhile
            for part in parts:
                if part not in contents:
                    contents[part] = _checked_content(part, _download(part, cache, progress=progress))
            return contents
    except OSError as error:
        raise UserError(f"the data cache {cache} cannot be written: {error.strerror or error}") from error


def _download(part: str, cache: Path, *, progress: bool) -> Path:
    """One file from the first mirror that gives it whole; it appears under its name only once its checksum is right."""
    import pooch

    name, checksum = f"{FILE_NAMES[part][0]}.gz", CHECKSUMS[part].packed_md5
    fetch = pooch.HTTPDownloader(progressbar=progress and sys.stderr.isatty(), timeout=TIMEOUT_SECONDS)
    failures = []
    for mirror in MIRRORS:
        try:
            found = pooch.retrieve(
                f"{mirror}{name}", known_hash=f"md5:{checksum}", fname=name, path=cache, downloader=fetch
            )
            return Path(found)
        except (OSError, ValueError) as error:  # requests' errors are OSErrors; a wrong checksum is a ValueError
            failures.append(f"{mirror}{name}: {_first_words(error)}")
    raise UserError(_nowhere("; ".join(failures), cache))


def _first_words(error: Exception) -> str:
    words = " ".join(str(error).split())
    return f"{type(error).__name__}: {words if len(words) <= 200 else words[:197] + '...'}"


def _nowhere(reason: str, cache: Path) -> str:
    return (
        f"Fashion-MNIST is not on this machine: neither Debian's package ({DEBIAN_FOLDER}) nor the cache ({cache}) has "
        f"its four files. Three ways to get it: (1) data.root=FOLDER, a folder with {FILE_NAMES['train_images'][0]}.gz "
        f"and the other three; (2) apt install {DEBIAN_PACKAGE}; (3) a download, data.download=true with a network, "
        f"which failed here: {reason}"
    )
