"""Features as what terms compare: vectors, or maps of channels and positions, with any number of leading axes.

A feature has its channels first, ``[..., B, C, *positions]``; a vector ``[..., B, C]`` has no positions. The tokens of
a transformer, ``[..., B, S, D]``, have them last, which no shape tells: a knob says so.
"""

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from kdlab.errors import UserError
from kdlab.objectives.features.projections import check_axes, convolution, fewer_positions, resized
from kdlab.objectives.setting import Setting, Shape
from kdlab.objectives.terms import at_least_single
from kdlab.outputs import ModelOutput, TeacherOutput


class Feature(NamedTuple):
    """What one layer says of a batch.

    Args:
        values: ``[..., B, C, *positions]``.
        shape: of one example, ``(C, *positions)``.
        name: for messages.
    """

    values: Tensor
    shape: Shape
    name: str

    @property
    def axes(self) -> int:
        """How many axes of positions there are."""
        return len(self.shape) - 1

    @property
    def rows(self) -> Tensor:
        """``[..., B, D]``: one vector an example, in float32 or better."""
        return at_least_single(self.values).flatten(self.values.ndim - len(self.shape))

    def at(self, positions: Shape) -> Tensor:
        """The map ``[..., B, C, P]``, averaged onto these positions, in float32 or better."""
        pooled = resized(at_least_single(self.values), positions, axes=self.axes)
        return pooled.reshape(*self.values.shape[: self.values.ndim - self.axes], -1)


def feature_of(output: ModelOutput | TeacherOutput | None, layer: str, *, tokens: bool = False) -> Feature:
    """A feature of a student or a teacher.

    Args:
        output: its logits tell how many axes are in front.
        layer: name.
        tokens: whether a feature ``[..., B, S, D]`` is a sequence of tokens rather than a signal ``[..., B, C, L]``.

    Raises:
        ValueError: nobody teaches.
    """
    if output is None:
        raise ValueError(f"features.{layer} of the teacher: there is no teacher")
    values, leading = output.features[layer], output.logits.ndim - 1
    owner = "teacher" if isinstance(output, TeacherOutput) else "student"
    values = values.mT if tokens and values.ndim == leading + 2 else values
    return Feature(values, tuple(values.shape[leading:]), f"features.{layer} of the {owner}")


def features_of(
    output: ModelOutput | TeacherOutput | None, layers: Sequence[str], *, tokens: bool = False
) -> list[Feature]:
    """Several of them."""
    return [feature_of(output, layer, tokens=tokens) for layer in layers]


def channels_first(shape: Shape, *, tokens: bool) -> Shape:
    """The shape of one example as ``feature_of`` gives it."""
    return shape[::-1] if tokens and len(shape) == 2 else shape


def maps(first: Feature, second: Feature) -> tuple[Tensor, Tensor]:
    """Two features at the same positions, ``[..., B, C, P]`` each: along each axis those of the one with fewer.

    A vector beside a map is a map of one position.

    Raises:
        UserError: one has positions along a line and the other in a plane.
    """
    if first.axes and second.axes and first.axes != second.axes:
        told = f"{first.name} {list(first.shape)} and {second.name} {list(second.shape)}"
        raise UserError(f"{told} cannot be compared: positions along as many axes are needed")
    positions = fewer_positions(first.shape, second.shape)
    return first.at(positions), second.at(positions)


def check_positions(*features: Feature, term: str) -> None:
    """Refuse features without positions, where there is nothing to compare.

    Raises:
        UserError: naming one that has no positions, or one.
    """
    for feature in features:
        if math.prod(feature.shape[1:]) < 2:
            raise UserError(
                f"objective.terms.{term}: {feature.name} {list(feature.shape)} has no positions to compare: a signal "
                "[C, L], an image [C, H, W] or, with tokens: true, tokens [S, D] is needed"
            )


def unit(vectors: Tensor) -> Tensor:
    """Vectors along the last axis at length 1. One of zeros stays that, and gets no gradient."""
    norms = vectors.norm(dim=-1, keepdim=True)
    return vectors / torch.where(norms > 0, norms, torch.inf)


def products(first: Tensor, second: Tensor) -> Tensor:
    """Inner products ``[..., M, N]`` of vectors ``[..., M, D]`` and ``[..., N, D]``, not rounded by mixed precision."""
    with torch.autocast(first.device.type, enabled=False):
        return first @ second.mT


def projected(features: Sequence[Feature], projection: Callable[..., Sequence[Tensor]]) -> list[Feature]:
    """Features with other channels at the same positions."""
    found = projection([feature.values for feature in features])
    return [
        feature._replace(values=values, shape=(values.shape[values.ndim - 1 - feature.axes], *feature.shape[1:]))
        for feature, values in zip(features, found, strict=True)
    ]


class Projections(nn.ModuleList):
    """One for each layer, called with all features of the student."""

    def forward(self, features: Sequence[Tensor]) -> list[Tensor]:
        """Each with the channels of the teacher's."""
        return [one(feature) for one, feature in zip(self, features, strict=True)]


def make_projections(
    setting: Setting,
    *,
    student_layers: Sequence[str],
    teacher_layers: Sequence[str],
    tokens: bool = False,
    **knobs: object,
) -> nn.Module:
    """A linear map of the channels, the same at all positions, where those of the two networks differ in number."""
    found: list[nn.Module] = []
    for own, other in zip(student_layers, teacher_layers, strict=True):
        shape = channels_first(setting.student[own], tokens=tokens)
        wanted = channels_first(setting.teacher[other], tokens=tokens)[0]
        same = shape[0] == wanted
        found.append(nn.Identity() if same else convolution(shape[0], wanted, axes=len(shape) - 1, bias=False))
    return Projections(found)


def paired(
    make: Callable[[Shape, Shape], nn.Module],
    setting: Setting,
    *,
    student_layers: Sequence[str],
    teacher_layers: Sequence[str],
    tokens: bool,
    term: str,
) -> Projections:
    """A module for each pair of layers, made for the shapes of both, channels first.

    Raises:
        UserError: two layers cannot be compared.
    """
    found = Projections()
    for own, other in zip(student_layers, teacher_layers, strict=True):
        check_axes(setting, student=own, teacher=other, term=term)
        wanted = channels_first(setting.teacher[other], tokens=tokens)
        found.append(make(channels_first(setting.student[own], tokens=tokens), wanted))
    return found
