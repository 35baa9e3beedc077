"""How learners lie in a stack: their order, who is computed in one pass, and which batch and answer each one gets."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from kdlab.objectives.stacking import structure
from kdlab.outputs import Batch, ModelOutput
from kdlab.training.learner import Learner
from kdlab.training.optimizers import recipe_key


def order_of(learners: Sequence[Learner]) -> list[int]:
    """The order in which learners lie in a stack: what is computed together lies together."""
    names: dict[Any, int] = {}

    def rank(value: Any) -> int:
        return names.setdefault(value, len(names))

    keys = [
        (rank(structure(one.objective)), rank(recipe_key(one.recipe)), rank(id(one.train)), one.seed, at)
        for at, one in enumerate(learners)
    ]
    return [key[-1] for key in sorted(keys)]


def sections_of(learners: Sequence[Learner]) -> list[tuple[int, int]]:
    """Runs of neighbours whose objectives have one structure: (first, one behind the last)."""
    kinds = [structure(learner.objective) for learner in learners]
    starts = [at for at, kind in enumerate(kinds) if at == 0 or kind != kinds[at - 1]]
    return list(zip(starts, [*starts[1:], len(kinds)], strict=True))


def spread(batch: Batch, of_source: Tensor) -> Batch:
    """The batches of S sources ``[S, B, ...]`` (of one source ``[B, ...]``) as those of K learners ``[K, B, ...]``."""
    if batch.labels.ndim == 1:
        return batch.mapped(lambda part: part.expand(len(of_source), *part.shape))
    return batch.mapped(lambda part: part.index_select(0, of_source))


def spread_rows(parts: Sequence[Tensor], places: Tensor) -> Tensor:
    """``parts[places[k]]`` for every k: ``[K, B, ...]``."""
    if len(parts) == 1:
        return parts[0].expand(len(places), *parts[0].shape)
    return torch.stack(list(parts)).index_select(0, places)


def part_of(output: ModelOutput, where: slice) -> ModelOutput:
    """What some neighbours in a stack say."""
    return ModelOutput(output.logits[where], {name: value[where] for name, value in output.features.items()})


def rows_of(batch: Batch, where: slice) -> Batch:
    """The batch of some neighbours in a stack."""
    return batch.mapped(lambda part: part[where])
