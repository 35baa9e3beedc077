"""Transfer sets: rows beside the labelled ones for which the student hears from its teacher alone.

A transfer set is made by a function ``(material, **knobs) -> Examples``, named in ``conf/data/transfer``. The label of
a row is the true one where there is one, for an oracle and for measurements, and ``NO_LABEL`` where there is none.
References: Bucila, Caruana & Niculescu-Mizil, "Model compression", KDD 2006; Hinton et al. 2015, arXiv:1503.02531.
"""

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, NamedTuple, TypeVar

import torch
from torch import Tensor

from kdlab.data.dataset import Examples
from kdlab.data.slices import passed, resolved_function
from kdlab.errors import UserError
from kdlab.outputs import NO_LABEL
from kdlab.streams import drawing_from, generator

FIRST_INDEX = {"mixup": 1 << 41, "noise": 1 << 42, "deployment": 1 << 43}
"""Where the index of made inputs begins: far above what data sets and their stored views use."""
BLOCK = 1000
"""Made inputs are drawn in blocks, each with its own stream, so that a smaller set is the beginning of a larger one."""
Maker = TypeVar("Maker", bound=Callable[..., Examples])


class Material(NamedTuple):
    """What a transfer set may be made of; no example in it is of a class that the student may not see.

    Args:
        labelled: the training examples whose labels the student has.
        rest: the other training examples, whose labels it has not; perhaps none.
        pool: the unlabelled examples that come with the data set, or None.
        name: of the data set.
        seed: the data seed.
        facts: of the data set; ``mean`` and ``std`` say how its inputs were standardised.
    """

    labelled: Examples
    rest: Examples
    pool: Examples | None
    name: str
    seed: int
    facts: Mapping[str, Any] = MappingProxyType({})


def unlabelled(make: Maker) -> Maker:
    """Mark what makes inputs that have no true label: no oracle can be asked for them."""
    make.has_labels = False  # type: ignore[attr-defined]
    return make


def pool(material: Material, *, size: int | None = None) -> Examples:
    """The first examples of the unlabelled pool that comes with the data set.

    Args:
        material: what there is.
        size: how many; None is all.

    Raises:
        UserError: there is no pool, or it is smaller.
    """
    if material.pool is None:
        raise UserError(
            f"data/transfer=pool: the data set '{material.name}' has no unlabelled pool; data/transfer=heldout takes "
            "the labels of training examples away"
        )
    return _first(material.pool, size, of="the pool has")


def deployment(
    material: Material, *, function: str, knobs: Mapping[str, Any] | None = None, size: int | None = None
) -> Examples:
    """The unlabelled pool as it looks where the student is deployed: each of its examples passed through a function.

    A slice of the same function and knobs (``kdlab.data.slices.transformed``) measures what that is worth there. An
    example keeps the label of the pool, for an oracle; its index is one of its own.

    Args:
        material: what there is.
        function: an import path, called as ``function(example, generator, **knobs)`` in the units of the data.
        knobs: keywords for the function.
        size: how many; None is all.

    Raises:
        UserError: there is no pool, it is smaller, or there is no such function.
    """
    chosen = pool(material, size=size)
    call = resolved_function(function, knobs or {})
    made = passed(chosen, function=call, facts=material.facts, seed=material.seed, title=function)
    return Examples(made.inputs, made.labels, made.index + FIRST_INDEX["deployment"])


def heldout(material: Material, *, size: int | None = None) -> Examples:
    """Training examples whose labels are taken away from the student: those that ``data.shown.labelled`` leaves.

    Args:
        material: what there is.
        size: how many; None is all.

    Raises:
        UserError: all of them keep their labels, or fewer are left.
    """
    if len(material.rest) == 0:
        raise UserError(
            "data/transfer=heldout: all training examples keep their labels; data.shown.labelled=N says how many do"
        )
    return _first(material.rest, size, of="data.shown.labelled leaves")


@unlabelled
def mixup(material: Material, *, size: int, concentration: float = 1.0) -> Examples:
    """Inputs between the labelled ones: ``m x_i + (1 - m) x_j``, i and j uniform, ``m ~ Beta(a, a)``.

    The inputs of mixup (Zhang et al. 2018, arXiv:1710.09412), drawn once, without the mixture of their labels: what a
    mixed input is, the teacher says (Beyer et al. 2022, arXiv:2106.05237).

    Args:
        material: what there is.
        size: how many.
        concentration: a > 0; 1 spreads m evenly, below it most inputs are close to one example.
    """
    if not concentration > 0:
        raise UserError(f"data.transfer.concentration = {concentration}: a number > 0 is needed")
    inputs = material.labelled.inputs

    def draw(stream: torch.Generator) -> Tensor:
        first, second = torch.randint(len(inputs), (2, BLOCK), generator=stream)
        with drawing_from(stream):
            share = torch.distributions.Beta(concentration, concentration).sample((BLOCK,))
        return torch.lerp(inputs[second], inputs[first], share.view(-1, *[1] * (inputs.ndim - 1)))

    return _made(draw, size=size, first=FIRST_INDEX["mixup"], seed=material.seed)


@unlabelled
def noise(material: Material, *, size: int) -> Examples:
    """White Gaussian noise with the mean and the standard deviation of the labelled inputs.

    What an arbitrary transfer set can do at best or worst (Nayak et al. 2021, arXiv:2011.09113).

    Args:
        material: what there is.
        size: how many.
    """
    inputs = material.labelled.inputs
    mean, std = (float(value) for value in (inputs.double().mean(), inputs.double().std()))

    def draw(stream: torch.Generator) -> Tensor:
        return torch.randn(BLOCK, *inputs.shape[1:], generator=stream) * std + mean

    return _made(draw, size=size, first=FIRST_INDEX["noise"], seed=material.seed)


def _first(examples: Examples, size: int | None, *, of: str) -> Examples:
    _check_size(size)
    if size is not None and size > len(examples):
        raise UserError(f"data.transfer.size = {size}: {of} {len(examples)} examples")
    return examples if size is None else examples.select(torch.arange(size))


def _made(draw: Callable[[torch.Generator], Tensor], *, size: int, first: int, seed: int) -> Examples:
    """Inputs that are drawn in blocks, without labels, with an index that no example of a data set has."""
    _check_size(size)
    blocks = [draw(generator("data", "transfer", seed, generation=at)) for at in range(-(-size // BLOCK))]
    index = torch.arange(first, first + size)
    return Examples(torch.cat(blocks)[:size], torch.full_like(index, NO_LABEL), index)


def _check_size(size: int | None) -> None:
    if size is not None and size < 1:
        raise UserError(f"data.transfer.size = {size}: at least 1 is needed")
