"""How learners lie in a stack: their order, who is computed in one pass, and which batch and answer each one gets."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from kdlab.objectives.stacking import structure
from kdlab.outputs import Batch, ModelOutput, TeacherOutput
from kdlab.teachers import Teacher, answers_by_batch
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


class Places:
    """Which of P parts each of K takers gets.

    Args:
        of: ``[K]`` int64.
        device: where the parts are.
    """

    def __init__(self, of: Sequence[int], *, device: torch.device) -> None:
        self.count, self._all_one = len(of), len(set(of)) == 1
        self._run = slice(of[0], of[0] + len(of)) if list(of) == list(range(of[0], of[0] + len(of))) else None
        self._of = torch.tensor(list(of), device=device)
        self._first = of[0]

    def spread(self, parts: Tensor) -> Tensor:
        """``[K, ...]`` from ``[P, ...]``; nothing is copied where all get the same, or neighbours in their order."""
        if self._run is not None:
            return parts[self._run]
        if self._all_one:
            return parts[self._first].expand(self.count, *parts.shape[1:])
        return parts.index_select(0, self._of)


def spread(batch: Batch, of_source: Places) -> Batch:
    """The batches of S sources ``[S, B, ...]`` (of one source ``[B, ...]``) as those of K learners ``[K, B, ...]``."""
    alone = batch.labels.ndim == 1
    return batch.mapped(lambda part: of_source.spread(part.unsqueeze(0) if alone else part))


def asked_for(teacher: Teacher, rows: Batch, places: Places) -> TeacherOutput:
    """What a teacher says for the batches of some sources, in one call: ``[places, B, ...]``."""
    shown = spread(rows, places)
    if answers_by_batch(teacher):
        each = [teacher(inputs, index) for inputs, index in zip(shown.inputs, shown.index, strict=True)]
        return TeacherOutput(torch.stack([said.logits for said in each]), {})
    said = teacher(shown.inputs.flatten(0, 1), shown.index.flatten())
    features = {name: _by_place(value, places.count) for name, value in said.features.items()}
    return TeacherOutput(_by_place(said.logits, places.count), features)


def _by_place(values: Tensor, count: int) -> Tensor:
    return values.view(count, -1, *values.shape[1:])


def joined(parts: Sequence[Tensor]) -> Tensor:
    """Parts ``[p, ...]`` behind one another."""
    return parts[0] if len(parts) == 1 else torch.cat(list(parts))


def part_of(output: ModelOutput, where: slice) -> ModelOutput:
    """What some neighbours in a stack say."""
    return ModelOutput(output.logits[where], {name: value[where] for name, value in output.features.items()})


def rows_of(batch: Batch, where: slice) -> Batch:
    """The batch of some neighbours in a stack."""
    return batch.mapped(lambda part: part[where])
