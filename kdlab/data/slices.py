"""Slices of any data set: another class prior, or a function applied to every test example."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from kdlab.data.dataset import Dataset, Examples
from kdlab.errors import UserError
from kdlab.outputs import FloatArray, IntArray
from kdlab.streams import numpy_generator, stream_seed
from kdlab.targets import resolve, spec_errors

ExampleFunction = Callable[[FloatArray, np.random.Generator], npt.ArrayLike]


def label_shift(
    dataset: Dataset,
    *,
    ratio: float | None = None,
    weights: Sequence[float] | None = None,
    size: int | None = None,
    seed: int | None = None,
) -> Examples:
    """Test examples drawn without replacement to another class prior (``reference: test``, ``ood: false``).

    Class counts are the prior times the size, rounded by largest remainder. The rows are unchanged and keep their
    index. Give exactly one of ``ratio`` and ``weights``.

    Args:
        dataset: any data set.
        ratio: how much more frequent class 0 is than the last; between them the prior falls geometrically,
            ``p_c ~ ratio^(-c / (C - 1))`` (a long tail; Cui et al., CVPR 2019). Below 1 it rises.
        weights: ``[C]`` relative frequencies, >= 0; a class of weight 0 is absent.
        size: number of rows, or the most that the test set allows at this prior where that is fewer (or size is None).
        seed: of the draw; None is the data seed.
    """
    _check_size(size)
    draws, classes = numpy_generator("data", "slice", slice_seed(dataset, seed)), dataset.num_classes
    asked: dict[str, Any] = {"ratio": ratio, "weights": weights, "size": size}
    return of_prior(dataset.test, num_classes=classes, generator=draws, of="test", **asked)


def of_prior(
    examples: Examples,
    *,
    num_classes: int,
    generator: np.random.Generator,
    ratio: float | None = None,
    weights: Sequence[float] | None = None,
    size: int | None = None,
    of: str,
) -> Examples:
    """Examples of any set drawn without replacement to another class prior, as ``label_shift`` says.

    Args:
        examples: the set.
        num_classes: C.
        generator: draws which of a class.
        ratio: as for ``label_shift``, and so are ``weights`` and ``size``.
        of: what the set is called in messages.
    """
    prior = _prior(num_classes, ratio=ratio, weights=weights)
    labels = examples.labels.numpy()
    available = np.bincount(labels, minlength=num_classes)
    counts = _counts(prior, available, limit=len(labels) if size is None else size)
    if counts.sum() == 0:
        raise UserError(f"the {of} set allows no row at this prior: a wanted class has too few examples")
    rows = [
        generator.permutation(np.flatnonzero(labels == label))[:count]  # one permutation per class: sizes are nested
        for label, count in enumerate(counts)
    ]
    return examples.select(torch.from_numpy(np.sort(np.concatenate(rows))))


def transformed(
    dataset: Dataset,
    *,
    function: str | ExampleFunction,
    knobs: Mapping[str, Any] | None = None,
    size: int | None = None,
    seed: int | None = None,
    progress: bool = False,
) -> Examples:
    """The first test examples, each passed through a function (``reference: twins``).

    The function is called as ``function(example, generator, **knobs)`` and returns an array of the example's shape. It
    sees the example in the units of the data (standardisation undone with ``facts["mean"]`` and ``facts["std"]`` where
    the data set has them), in float64, and a generator keyed by (seed, example index) alone: the same example gets the
    same draws at every severity, whatever else is in the slice.

    Args:
        dataset: any data set.
        function: an import path such as ``my_package.module.clip``, or the function itself.
        knobs: keywords for the function.
        size: number of examples; None (or more than there are) is the whole test set.
        seed: of the draws; None is the data seed.
        progress: show a progress bar on stderr.
    """
    call = resolved_function(function, knobs or {})
    chosen = first_test_examples(dataset, size)
    return applied(dataset, chosen, function=call, seed=seed, progress=progress, title=str(function))


def first_test_examples(dataset: Dataset, size: int | None) -> Examples:
    """The first ``size`` test examples; all where it is None or more than there are."""
    _check_size(size)
    return dataset.test.select(torch.arange(len(dataset.test))[:size])


def applied(
    dataset: Dataset,
    examples: Examples,
    *,
    function: Callable[..., npt.ArrayLike],
    seed: int | None = None,
    progress: bool = False,
    title: str = "",
) -> Examples:
    """Any examples of a data set, each passed through ``function(example, generator)`` as ``transformed`` says."""
    seed = slice_seed(dataset, seed)
    return passed(examples, function=function, facts=dataset.facts, seed=seed, progress=progress, title=title)


def passed(
    examples: Examples,
    *,
    function: Callable[..., npt.ArrayLike],
    facts: Mapping[str, Any],
    seed: int,
    progress: bool = False,
    title: str = "",
) -> Examples:
    """The same for examples without their data set, of which ``facts`` says how they were standardised."""
    from tqdm import tqdm

    mean, std = (np.asarray(facts.get(name, value), np.float64) for name, value in (("mean", 0), ("std", 1)))
    raw = examples.inputs.numpy().astype(np.float64) * std + mean
    key = stream_seed("data", "slice", seed)
    made = np.empty_like(raw)
    silent = None if progress else True  # None: tqdm itself is silent where the output is no terminal
    rows = tqdm(examples.index.tolist(), desc=title, unit="example", leave=False, disable=silent)
    for row, index in enumerate(rows):
        result = np.asarray(function(raw[row], np.random.default_rng([key, index])))
        if result.shape != raw[row].shape:
            raise UserError(f"function = {title}: gives shape {result.shape} for an example of {raw[row].shape}")
        made[row] = result
    inputs = torch.from_numpy(((made - mean) / std).astype(np.float32))
    return Examples(inputs, examples.labels, examples.index)


def slice_seed(dataset: Dataset, seed: int | None) -> int:
    """The seed of a slice's draws: the one told, else the data seed."""
    return int(dataset.facts.get("seed", 0)) if seed is None else seed


def resolved_function(function: str | ExampleFunction, knobs: Mapping[str, Any]) -> Callable[..., npt.ArrayLike]:
    """A function of one example, found by its import path, with its knobs set.

    Raises:
        UserError: there is no such function, or it takes no such knob.
    """
    if not isinstance(function, str):
        return partial(function, **knobs)
    found = resolve(function)
    problems = spec_errors({"_target_": function, "_partial_": True, **knobs}, key="knobs")
    if problems:
        raise UserError("\n".join(problems))
    return partial(found, **knobs)


def _check_size(size: int | None) -> None:
    if size is not None and size < 1:
        raise UserError(f"size = {size}: at least 1 is needed")


def _prior(num_classes: int, *, ratio: float | None, weights: Sequence[float] | None) -> FloatArray:
    if (ratio is None) == (weights is None):
        raise UserError(f"ratio = {ratio}, weights = {weights}: exactly one of the two is needed")
    if ratio is not None:
        if not (np.isfinite(ratio) and ratio > 0):
            raise UserError(f"ratio = {ratio}: a number > 0 is needed")
        relative = float(ratio) ** -np.linspace(0, 1, num_classes)
    else:
        relative = np.asarray(weights, dtype=np.float64)
        if relative.shape != (num_classes,) or not np.isfinite(relative).all() or (relative < 0).any():
            raise UserError(f"weights = {weights}: {num_classes} numbers >= 0 are needed, one per class")
        if relative.sum() == 0:
            raise UserError(f"weights = {weights}: at least one must be above 0")
    return np.asarray(relative / relative.sum(), dtype=np.float64)


def _apportioned(prior: FloatArray, size: int) -> IntArray:
    """``[C]`` whole counts that sum to ``size``: shares rounded down, what is left to the largest remainders."""
    shares = np.round(prior * size, 9)  # 0.1 * 30 must not fall to 2.999...
    counts = np.floor(shares).astype(np.int64)
    left = size - int(counts.sum())
    counts[np.argsort(counts - shares, kind="stable")[:left]] += 1
    return counts


def _counts(prior: FloatArray, available: IntArray, *, limit: int) -> IntArray:
    """``[C]`` counts of the largest size up to ``limit`` that the classes can all fill."""
    wanted = prior > 0
    size = min(limit, int(np.min((available[wanted] + 1) / prior[wanted])))
    while ((counts := _apportioned(prior, size)) > available).any():
        size -= 1
    return counts
