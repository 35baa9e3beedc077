"""Factor transfer (Kim et al. 2018, FT, arXiv:1802.04977): the student's translation of its feature is compared with a
teacher's paraphrase of its own.

The paper trains the paraphraser beforehand, an autoencoder of the teacher's feature. Here it learns beside the student,
by its reconstruction alone: what the student is compared with is detached.
"""

import itertools

import torch.nn.functional as F
from torch import Tensor, nn

from kdlab.objectives.features.projections import (
    check_axes,
    convolution,
    fewer_positions,
    resized,
)
from kdlab.objectives.marks import Rule, non_negative, positive, term
from kdlab.objectives.setting import Setting, Shape
from kdlab.outputs import Batch, ModelOutput, TeacherOutput

SLOPE = 0.1
"""Of the leaky ReLUs, in the authors' code."""
at_least_one = Rule(lambda value: positive.holds(value) and value >= 1, "a finite number >= 1")


def _layers(*channels: int, axes: int) -> nn.Sequential:
    """3x3 convolutions (linear maps of vectors), each followed by a leaky ReLU."""
    pairs = itertools.pairwise(channels)
    layers = [(convolution(*pair, axes=axes, kernel=3), nn.LeakyReLU(SLOPE)) for pair in pairs]
    return nn.Sequential(*itertools.chain(*layers))


class Paraphraser(nn.Module):
    """An autoencoder of the teacher's feature; what is in its middle is the factor.

    Args:
        shape: of one example's feature.
        factors: channels of the factor.
    """

    def __init__(self, shape: Shape, *, factors: int) -> None:
        super().__init__()
        channels, axes = shape[0], len(shape) - 1
        self.encoder = _layers(channels, channels, factors, factors, axes=axes)
        self.decoder = _layers(factors, factors, channels, channels, axes=axes)

    def forward(self, features: Tensor) -> tuple[Tensor, Tensor]:
        """The factor, and the reconstruction of the feature."""
        factor = self.encoder(features)
        return factor, self.decoder(factor)


def _num_factors(setting: Setting, *, teacher_layer: str, factor_share: float) -> int:
    return max(1, round(factor_share * setting.teacher[teacher_layer][0]))


def make_paraphraser(
    setting: Setting, *, teacher_layer: str = "last", factor_share: float = 0.5, **knobs: object
) -> nn.Module:
    """The autoencoder of the teacher's feature, of each student its own."""
    factors = _num_factors(setting, teacher_layer=teacher_layer, factor_share=factor_share)
    return Paraphraser(setting.teacher[teacher_layer], factors=factors)


def make_translator(
    setting: Setting,
    *,
    student_layer: str = "last",
    teacher_layer: str = "last",
    factor_share: float = 0.5,
    **knobs: object,
) -> nn.Module:
    """What makes a factor of one student's feature, at its own positions."""
    check_axes(setting, student=student_layer, teacher=teacher_layer, term="factor_transfer")
    shape = setting.student[student_layer]
    factors = _num_factors(setting, teacher_layer=teacher_layer, factor_share=factor_share)
    return _layers(shape[0], shape[0], factors, factors, axes=len(shape) - 1)


@term(
    needs=("features.{teacher_layer}",),
    student_needs=("features.{student_layer}",),
    knobs={"factor_share": positive, "power": at_least_one, "reconstruction": non_negative},
    modules={"paraphraser": make_paraphraser, "translator": make_translator},
)
def factor_transfer(
    student: ModelOutput,
    teacher: TeacherOutput | None,
    batch: Batch,
    step: int,
    *,
    paraphraser: Paraphraser,
    translator: nn.Module,
    student_layer: str = "last",
    teacher_layer: str = "last",
    factor_share: float = 0.5,
    power: float = 1.0,
    reconstruction: float = 0.002,
) -> Tensor:
    """``mean |F_t / ||F_t|| - F_s / ||F_s|||^p + r mean (t - paraphrase(t))^2`` (equations 1 and 3).

    Factors are flattened to vectors of length 1. RepDistiller compares the squared factors averaged over channels
    instead. Where positions differ, the factor with more is pooled.

    Args:
        student: its feature ``student_layer`` is read.
        teacher: its feature ``teacher_layer`` is read.
        batch: not read.
        step: not read.
        paraphraser: gives factor and reconstruction of the teacher's feature.
        translator: gives the factor of the student's.
        student_layer: name.
        teacher_layer: name.
        factor_share: channels of a factor, as a share of the teacher's.
        power: p, 1 in the paper's experiments.
        reconstruction: r >= 0; the term's weight multiplies it too. It reaches the paraphraser alone.

    Returns:
        ``[..., B]``.
    """
    if teacher is None:
        raise ValueError("the term factor_transfer needs a teacher")
    rows, target = student.logits.ndim - 1, teacher.features[teacher_layer]
    paraphrased, rebuilt = paraphraser(target)
    translated = translator(student.features[student_layer])
    positions = fewer_positions(tuple(translated.shape[rows:]), tuple(paraphrased.shape[rows:]))
    own = _unit(translated, positions, rows=rows)
    apart = (own - _unit(paraphrased.detach(), positions, rows=rows)).abs().pow(power).mean(-1)
    lost: Tensor = (rebuilt - target).square().flatten(rows).mean(-1)
    return apart + reconstruction * lost


def _unit(factor: Tensor, positions: Shape, *, rows: int) -> Tensor:
    """A factor at those positions, flattened to a vector of length 1; ``rows`` axes are in front of its channels."""
    found: Tensor = F.normalize(resized(factor, positions, axes=factor.ndim - rows - 1).flatten(rows), dim=-1)
    return found
