"""Stored views: each training example augmented a few times, once and for all, instead of anew in every epoch.

Student and teacher then see the very same inputs, so what the teacher says of each can be stored. A view is drawn from
the stream (data, augment, data seed, generation = its number), so every run on this data is shown the same ones.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from kdlab.data.augmentation import Augmentation
from kdlab.data.dataset import Examples
from kdlab.data.stored import Array, ArraySpec, stored_arrays
from kdlab.errors import UserError
from kdlab.outputs import Batch
from kdlab.streams import drawing_from, generator

FORMAT_VERSION = 1
ROWS_AT_ONCE = 1000
"""Rows that are augmented together: what a step draws for a batch depends on its size, so it is no knob."""


@dataclass(frozen=True)
class Views:
    """The views of a set.

    Args:
        examples: ``[V * N]`` rows, first all of view 0, then all of view 1, ...; row ``v * N + n`` has the label of
            example n and the index ``index[n] + v * offset``, so every row has one of its own.
        count: V.
        original: ``[V * N]`` int64, the index of the example that a row shows.
    """

    examples: Examples
    count: int
    original: Tensor


def stored_views(
    examples: Examples,
    augmentation: Augmentation,
    *,
    count: int,
    seed: int,
    folder: Path,
    described: Mapping[str, Any],
    say: Callable[[str], object] = print,
) -> Views:
    """The views of a set: opened, or drawn and written now.

    Args:
        examples: the set.
        augmentation: what changes it; it may not mix examples.
        count: V, views of each example.
        seed: the data seed, whose streams they are drawn from.
        folder: where sets of views lie.
        described: what the set and the augmentation are, plain JSON values: data that may differ must differ here.
        say: gets a line before much is written.

    Raises:
        UserError: fewer than one view, an augmentation that mixes examples, or no room on the disk.
    """
    if count < 1:
        raise UserError(f"teacher.cache.views = {count}: at least 1 is needed")
    check_unmixed(augmentation, key="teacher.cache.views")
    rows = len(examples)
    spec = ArraySpec((count * rows, *examples.inputs.shape[1:]), "float32")

    def fill(arrays: Mapping[str, Array]) -> None:
        for view in range(count):
            stream = generator("data", "augment", seed, generation=view)
            for start in range(0, rows, ROWS_AT_ONCE):
                some = examples.select(torch.arange(start, min(start + ROWS_AT_ONCE, rows)))
                batch = Batch(some.inputs, some.labels, some.index, torch.ones_like(some.labels, dtype=torch.bool))
                with drawing_from(stream):
                    shown = augmentation(batch).inputs
                arrays["inputs"][view * rows + start : view * rows + start + len(some)] = shown.numpy()

    whole = {"format": FORMAT_VERSION, **described, "views": count, "seed": seed}
    what = f"{count} views of {rows} examples"
    inputs = torch.as_tensor(stored_arrays(folder, whole, {"inputs": spec}, fill, what=what, say=say)["inputs"])
    return Views(
        Examples(inputs, examples.labels.repeat(count), view_index(examples.index, count=count)),
        count,
        examples.index.repeat(count),
    )


def view_index(index: Tensor, *, count: int) -> Tensor:
    """``index[n] + v * offset`` at ``v * N + n``: the index of every view, no two alike; view 0 has the example's own.

    >>> view_index(torch.tensor([3, 5]), count=2)
    tensor([3, 5, 6, 8])
    """
    offset = int(index.max() - index.min()) + 1
    return (index + offset * torch.arange(count).unsqueeze(1)).flatten()


def check_unmixed(augmentation: Augmentation, *, key: str) -> None:
    """Whether every augmented input shows one example: of a mixture nothing is stored.

    Raises:
        UserError: a step mixes examples.
    """
    if augmentation.mixes:
        raise UserError(
            f"{key}: {augmentation.key}.{', '.join(augmentation.mixes)} mixes examples of a batch, and answers are "
            "stored for one example at a time; teacher.cache.mode=auto asks the teacher online"
        )
