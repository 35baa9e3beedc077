"""MNIST-1D, one example at a time: ten hand-drawn signals, transformed by the ``mnist1d`` package's own function.

The package draws a whole set from one seed, so a change of a knob may change every example. Here each example has its
own seed (data seed, example index): a slice is the *same examples* made again with another knob, the same underlying
random draws turned up, and its gap has a third of the standard error of a slice of other examples.

What the draws of an example are, in their order: padding, scale, translation, correlated noise, white noise, shear.
Changing a noise scale, ``scale_coeff``, ``shear_scale`` or the lower padding leaves every draw as it was. Changing the
upper padding changes the length of the noise, and changing the range of translations may change how many numbers that
draw consumes; the example keeps its class and the draws before that point.

Reference: Greydanus & Kobak, "Scaling down deep learning with MNIST-1D", ICML 2024.
"""

import hashlib
import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from kdlab.data.cache import Float32Array, cached_array
from kdlab.data.dataset import Dataset, Examples
from kdlab.errors import UserError
from kdlab.outputs import IntArray
from kdlab.streams import numpy_generator

NUM_CLASSES = 10
LENGTH = 40
TEMPLATE_LENGTH = 12
# Each split counts from its own base, so a larger pool moves no test example and a smaller test set is a prefix.
FIRST_INDEX = {"train": 0, "validation": 1_000_000, "test": 2_000_000, "pool": 3_000_000}
LARGEST_SPLIT = 1_000_000


@dataclass(frozen=True)
class Knobs:
    """The knobs of the generator, named as in the package (plus ``min_translation``), with its defaults.

    Args:
        padding: fewest and most zeros appended before the signal is stretched to one length; fewer = a wider digit.
        scale_coeff: the amplitude is multiplied by uniform ``1 +- scale_coeff / 2``.
        min_translation: smallest circular shift, in samples of the padded signal.
        max_translation: shifts are drawn uniformly from ``[min_translation, max_translation)``.
        corr_noise_scale: standard deviation of the white noise that is smoothed and put where the signal is padding.
        iid_noise_scale: standard deviation of the white noise on every sample.
        shear_scale: a line with uniform slope within ``+- shear_scale / 2`` over the signal is subtracted.
    """

    padding: tuple[int, int] = (36, 60)
    scale_coeff: float = 0.4
    min_translation: int = 0
    max_translation: int = 48
    corr_noise_scale: float = 0.25
    iid_noise_scale: float = 0.02
    shear_scale: float = 0.75

    def __post_init__(self) -> None:
        low, high = self.padding
        if not 0 <= low <= high:
            raise UserError(f"padding = {list(self.padding)}: [low, high] with 0 <= low <= high is needed")
        length = TEMPLATE_LENGTH + high
        if not 0 <= self.min_translation < self.max_translation <= length:
            raise UserError(
                f"min_translation, max_translation = {self.min_translation}, {self.max_translation}: "
                f"0 <= min_translation < max_translation <= {length} is needed"
            )
        for name in ("scale_coeff", "corr_noise_scale", "iid_noise_scale", "shear_scale"):
            value = getattr(self, name)
            if not (math.isfinite(value) and value >= 0):
                raise UserError(f"{name} = {value}: a finite number >= 0 is needed")

    @classmethod
    def of(cls, told: Mapping[str, Any]) -> "Knobs":
        """Knobs from plain values, whole numbers and lists included; None is the default."""
        given = {name: value for name, value in told.items() if value is not None}
        padding = tuple(int(value) for value in given.get("padding", cls.padding))
        if len(padding) != 2:
            raise UserError(f"padding = {list(padding)}: [low, high] is needed")
        whole = ("min_translation", "max_translation")
        rest = {name: int(v) if name in whole else float(v) for name, v in given.items() if name != "padding"}
        return cls(padding=padding, **rest)  # type: ignore[arg-type]


def mnist1d(
    *,
    cache_dir: Path,
    seed: int = 0,
    train: int = 4000,
    validation: int = 2000,
    test: int = 10_000,
    pool: int = 40_000,
    padding: Sequence[int] = Knobs.padding,
    scale_coeff: float = Knobs.scale_coeff,
    min_translation: int = Knobs.min_translation,
    max_translation: int = Knobs.max_translation,
    corr_noise_scale: float = Knobs.corr_noise_scale,
    iid_noise_scale: float = Knobs.iid_noise_scale,
    shear_scale: float = Knobs.shear_scale,
    progress: bool = False,
) -> Dataset:
    """MNIST-1D with inputs ``[N, 1, 40]``, standardised by mean and standard deviation of the training set.

    Labels are balanced: every ten examples in a row hold each class once, in an order drawn from the stream
    (data, split, seed), so any prefix of a split is (nearly) balanced too.

    Args:
        cache_dir: where the signals are kept (a folder ``mnist1d`` in it).
        seed: the data seed, in [0, 2^32).
        train: number of training examples; ``validation``, ``test`` and ``pool`` likewise (``pool: 0`` for none).
        padding: see ``Knobs``, as for every other knob of the generator.
        progress: show a progress bar on stderr while signals are made (about 0.2 ms each).
    """
    sizes = {"train": train, "validation": validation, "test": test, "pool": pool}
    _check(seed, sizes)
    knobs = Knobs.of(
        {
            "padding": padding,
            "scale_coeff": scale_coeff,
            "min_translation": min_translation,
            "max_translation": max_translation,
            "corr_noise_scale": corr_noise_scale,
            "iid_noise_scale": iid_noise_scale,
            "shear_scale": shear_scale,
        }
    )
    labels = balanced_labels(sizes, seed=seed)
    raw: dict[str, Float32Array] = {}
    for name, first in FIRST_INDEX.items():
        index = np.arange(first, first + sizes[name])
        raw[name] = signals(
            labels[name], index, seed=seed, knobs=knobs, cache_dir=cache_dir, progress=progress, title=name
        )
    # Scalars in float32, so that standardising is the same elementwise arithmetic for every set and slice.
    mean = float(np.float32(raw["train"].mean(dtype=np.float64)))
    std = float(np.float32(raw["train"].std(dtype=np.float64)))
    splits = {
        name: Examples(
            _standardised(raw[name], mean=mean, std=std),
            torch.from_numpy(labels[name]),
            torch.arange(FIRST_INDEX[name], FIRST_INDEX[name] + sizes[name]),
        )
        for name in sizes
    }
    return Dataset(
        name="mnist1d",
        num_classes=NUM_CLASSES,
        train=splits["train"],
        validation=splits["validation"],
        test=splits["test"],
        pool=splits["pool"] if pool else None,
        facts={"seed": seed, "mean": mean, "std": std, "mnist1d": asdict(knobs)},
    )


def regenerated(
    dataset: Dataset,
    *,
    cache_dir: Path,
    size: int = 2000,
    padding: Sequence[int] | None = None,
    scale_coeff: float | None = None,
    min_translation: int | None = None,
    max_translation: int | None = None,
    corr_noise_scale: float | None = None,
    iid_noise_scale: float | None = None,
    shear_scale: float | None = None,
    progress: bool = False,
) -> Examples:
    """A slice: the first test examples made again from their own seeds with other knobs (``reference: twins``).

    Standardised with the statistics of the clean training set. With no knob changed it is the test set, bit for bit.

    Args:
        dataset: an ``mnist1d`` data set.
        cache_dir: as for ``mnist1d``.
        size: number of examples, or all where the test set is smaller.
        padding: see ``Knobs``, as for every other knob; None keeps what the data set was made with.
        progress: show a progress bar on stderr while signals are made.
    """
    if "mnist1d" not in dataset.facts:
        raise UserError(f"kdlab.data.mnist1d.regenerated makes slices of mnist1d data, not of '{dataset.name}'")
    if size < 1:
        raise UserError(f"size = {size}: at least 1 is needed")
    told = {
        "padding": padding,
        "scale_coeff": scale_coeff,
        "min_translation": min_translation,
        "max_translation": max_translation,
        "corr_noise_scale": corr_noise_scale,
        "iid_noise_scale": iid_noise_scale,
        "shear_scale": shear_scale,
    }
    knobs = Knobs.of({**dataset.facts["mnist1d"], **{name: value for name, value in told.items() if value is not None}})
    chosen = dataset.test.select(torch.arange(len(dataset.test))[:size])
    return made_again(dataset, chosen, knobs=knobs, cache_dir=cache_dir, progress=progress, title="slice")


def made_again(
    dataset: Dataset,
    examples: Examples,
    *,
    knobs: Knobs,
    cache_dir: Path,
    progress: bool = False,
    title: str = "shift",
) -> Examples:
    """Examples of any split of ``mnist1d`` data made from their own seeds with any knobs, standardised as it is."""
    facts = dataset.facts
    raw = signals(
        examples.labels.numpy(),
        examples.index.numpy(),
        seed=facts["seed"],
        knobs=knobs,
        cache_dir=cache_dir,
        progress=progress,
        title=title,
    )
    return Examples(_standardised(raw, mean=facts["mean"], std=facts["std"]), examples.labels, examples.index)


def balanced_labels(sizes: Mapping[str, int], *, seed: int) -> dict[str, IntArray]:
    """Labels of every split: blocks of ten that hold each class once, each split from a child of its own stream."""
    children = numpy_generator("data", "split", seed).spawn(len(sizes))
    labels = {}
    for (name, size), generator in zip(sizes.items(), children, strict=True):
        blocks = np.tile(np.arange(NUM_CLASSES), (-(-size // NUM_CLASSES), 1))
        labels[name] = generator.permuted(blocks, axis=1).reshape(-1)[:size]
    return labels


def signals(
    labels: IntArray,
    index: IntArray,
    *,
    seed: int,
    knobs: Knobs,
    cache_dir: Path,
    progress: bool = False,
    title: str = "",
) -> Float32Array:
    """The signals of some examples, ``[N, 40]`` float32 in the generator's own scale, from the cache where it has them.

    Args:
        labels: ``[N]`` int64.
        index: ``[N]`` int64, the example indices.
        seed: the data seed.
        knobs: of the generator.
        cache_dir: the cache.
        progress: show a progress bar.
        title: what the bar says.
    """
    examples = hashlib.sha256(np.stack([labels, index]).astype("<i8").tobytes()).hexdigest()
    key = {"package": version("mnist1d"), "seed": seed, "examples": examples, **asdict(knobs)}

    def make() -> Float32Array:
        return _make_signals(labels, index, seed=seed, knobs=knobs, progress=progress, title=title)

    return cached_array(Path(cache_dir) / "mnist1d", key, make)


def _make_signals(
    labels: IntArray, index: IntArray, *, seed: int, knobs: Knobs, progress: bool, title: str
) -> Float32Array:
    from mnist1d.data import get_templates
    from mnist1d.transform import transform
    from tqdm import tqdm

    templates, arguments = get_templates(), _package_arguments(knobs)
    made = np.empty((len(labels), LENGTH), dtype=np.float32)
    with numpy_global_state():
        silent = None if progress else True  # None: tqdm itself is silent where the output is no terminal
        bar = tqdm(range(len(labels)), desc=f"mnist1d {title}", unit="example", leave=False, disable=silent)
        for row in bar:
            np.random.seed([seed, int(index[row])])  # noqa: NPY002 the package draws from the global generator alone
            made[row], _ = transform(templates["x"][labels[row]], templates["t"], arguments)
    return made


def _package_arguments(knobs: Knobs) -> SimpleNamespace:
    low, high = knobs.min_translation, knobs.max_translation
    # The package chooses from range(max) when it gets a number, from the values when it gets an array: the same draw.
    shifts = np.arange(low, high) if low else high
    told = {**asdict(knobs), "max_translation": shifts, "template_len": TEMPLATE_LENGTH, "final_seq_length": LENGTH}
    return SimpleNamespace(**told)


@contextmanager
def numpy_global_state() -> Iterator[None]:
    """Numpy's global generator is afterwards what it was before: the package seeds and uses it."""
    state = np.random.get_state()  # noqa: NPY002
    try:
        yield
    finally:
        np.random.set_state(state)  # noqa: NPY002


def _standardised(raw: Float32Array, *, mean: float, std: float) -> Tensor:
    return torch.from_numpy((raw - np.float32(mean)) / np.float32(std))[:, None, :]


def _check(seed: int, sizes: Mapping[str, int]) -> None:
    if not 0 <= seed < 2**32:
        raise UserError(f"seed = {seed}: a whole number in [0, 2^32) is needed")
    for name, size in sizes.items():
        least = 0 if name == "pool" else 1
        if not least <= size <= LARGEST_SPLIT:
            raise UserError(f"{name} = {size}: a number of examples in [{least}, {LARGEST_SPLIT}] is needed")
