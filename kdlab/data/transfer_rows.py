"""What a student learns from: the training examples it may see, the labels it has, and its transfer set behind them.

``data.shown`` restricts the training set, for the student and its scratch twin alike: classes that they never see
(Hinton et al. 2015, arXiv:1503.02531, section 3), and how many examples keep their labels. The teacher learned from all
of it. ``data.transfer`` adds rows for the student alone.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from kdlab.data.dataset import Dataset, Examples
from kdlab.data.idx import stratified_order
from kdlab.data.transfer import Material
from kdlab.data.transfer_order import Mixture
from kdlab.errors import UserError
from kdlab.outputs import NO_LABEL
from kdlab.streams import numpy_generator
from kdlab.targets import build


@dataclass(frozen=True)
class TrainingRows:
    """The rows of a student: labelled ones, then those of its transfer set.

    Args:
        train: what it is trained on; a row whose label it has not been given has ``NO_LABEL``.
        known: the same rows with all labels that exist: for measurements alone.
        num_labelled: how many come from the labelled set.
    """

    train: Examples
    known: Examples
    num_labelled: int

    @property
    def num_transfer(self) -> int:
        """How many come from the transfer set."""
        return len(self.train) - self.num_labelled

    def mixture(self, *, batch_size: int, labelled_fraction: float) -> Mixture:
        """How batches are mixed of both."""
        return Mixture.of(
            self.num_labelled,
            self.num_transfer,
            batch_size=batch_size,
            labelled_fraction=labelled_fraction,
            all_labelled=not bool((self.train.labels == NO_LABEL).any()),
        )


def visible_classes(num_classes: int, *, only: Sequence[int] = (), omit: Sequence[int] = ()) -> Tensor:
    """Which classes a student sees: ``[C]`` bool.

    Args:
        num_classes: C.
        only: these and no others; all where it is empty.
        omit: all but these.

    Raises:
        UserError: a class that there is not, or none is left.

    >>> visible_classes(4, omit=[2]).tolist()
    [True, True, False, True]
    """
    for name, classes in (("only", only), ("omit", omit)):
        unknown = [label for label in classes if not 0 <= label < num_classes]
        if unknown:
            raise UserError(f"data.shown.{name} = {list(classes)}: classes are 0 to {num_classes - 1}")
    visible = torch.full((num_classes,), not only)
    visible[list(only)] = True
    visible[list(omit)] = False
    if not visible.any():
        raise UserError(f"data.shown.omit = {list(omit)}: at least one class must be left to see")
    return visible


def material_of(dataset: Dataset, *, visible: Tensor, labelled: int | None, seed: int) -> Material:
    """What a student may see of a data set, and of which examples it has the labels.

    The labelled ones are as many of each class as its share, the fewer a part of the more.

    Args:
        dataset: the data set.
        visible: ``[C]`` bool, the classes it sees.
        labelled: how many training examples keep their labels; None is all.
        seed: the data seed, of the draw.

    Raises:
        UserError: fewer examples are there.
    """
    seen = _of_classes(dataset.train, visible)
    unseen_pool = None if dataset.pool is None else _of_classes(dataset.pool, visible)
    if labelled is None:
        return Material(seen, seen.select(torch.arange(0)), unseen_pool, dataset.name, seed, dataset.facts)
    if labelled > len(seen):
        raise UserError(f"data.shown.labelled = {labelled}: the training set has {len(seen)} examples to show")
    order = stratified_order(seen.labels.numpy(), generator=numpy_generator("data", "transfer", seed))
    mask = torch.zeros(len(seen), dtype=torch.bool)
    mask[torch.from_numpy(order[:labelled])] = True
    return Material(seen.select(mask), seen.select(~mask), unseen_pool, dataset.name, seed, dataset.facts)


def training_rows(material: Material, *, transfer: Mapping[str, Any] | None, labels: bool = False) -> TrainingRows:
    """The rows of a student.

    Args:
        material: what it may see.
        transfer: the spec of its transfer set; None for none.
        labels: the oracle: whether the transfer set keeps its true labels.

    Raises:
        UserError: the transfer set cannot be made.
    """
    own = material.labelled
    if transfer is None:
        return TrainingRows(own, own, len(own))
    added = build(transfer, material)
    if not isinstance(added, Examples):
        raise UserError(f"data.transfer: {transfer['_target_']} gives {type(added).__name__}, not kdlab.data.Examples")
    _check_added(added, own)
    known = Examples(
        *(torch.cat([getattr(one, part) for one in (own, added)]) for part in ("inputs", "labels", "index"))
    )
    if labels:
        if (added.labels == NO_LABEL).any():
            raise UserError(f"data.transfer.labels = True: what {transfer['_target_']} makes has no true labels")
        return TrainingRows(known, known, len(own))
    hidden = torch.cat([own.labels, torch.full_like(added.labels, NO_LABEL)])
    return TrainingRows(Examples(known.inputs, hidden, known.index), known, len(own))


def check_apart(rows: TrainingRows, dataset: Dataset) -> None:
    """Whether nothing that is measured on is learned from.

    Raises:
        UserError: a row of the transfer set is a validation or test example.
    """
    for name, held_out in (("validation", dataset.validation), ("test", dataset.test)):
        shared = rows.train.index[torch.isin(rows.train.index, held_out.index)]
        if len(shared):
            raise UserError(f"data.transfer: index {int(shared[0])} is that of a {name} example")


def _of_classes(examples: Examples, visible: Tensor) -> Examples:
    """The examples of the visible classes; the very same set where all are."""
    return examples if bool(visible.all()) else examples.select(visible[examples.labels])


def _check_added(added: Examples, own: Examples) -> None:
    if len(added) == 0:
        raise UserError("data.transfer: the transfer set is empty")
    kinds = [f"{one.inputs.dtype} of shape {tuple(one.inputs.shape[1:])}" for one in (added, own)]
    if kinds[0] != kinds[1]:
        raise UserError(f"data.transfer: inputs are {kinds[0]}, where those of the training set are {kinds[1]}")
    shared = added.index[torch.isin(added.index, own.index)]
    if len(shared):
        raise UserError(f"data.transfer: index {int(shared[0])} is that of a labelled example")
