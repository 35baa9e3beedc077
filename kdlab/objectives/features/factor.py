"""Factor transfer (Kim et al. 2018, FT, arXiv:1802.04977): the student's translation of its feature is compared with a
teacher's paraphrase of its own.

The paper trains the paraphraser beforehand, an autoencoder of the teacher's feature. Here it learns beside the student,
by its reconstruction alone: what the student is compared with is detached.
"""

import itertools

from torch import Tensor, nn

from kdlab.objectives.features.projections import check_axes, convolution
from kdlab.objectives.features.shapes import Feature, channels_first, feature_of, maps, unit
from kdlab.objectives.marks import at_least_one, boolean, non_negative, positive, term
from kdlab.objectives.setting import Setting, Shape
from kdlab.objectives.terms import at_least_single
from kdlab.outputs import Batch, ModelOutput, TeacherOutput

SLOPE = 0.1
"""Of the leaky ReLUs, in the authors' code."""


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


def _num_factors(teacher: Shape, *, factor_share: float) -> int:
    return max(1, round(factor_share * teacher[0]))


def make_paraphraser(
    setting: Setting,
    *,
    teacher_layer: str = "last",
    factor_share: float = 0.5,
    tokens: bool = False,
    **knobs: object,
) -> nn.Module:
    """The autoencoder of the teacher's feature, of each student its own."""
    shape = channels_first(setting.teacher[teacher_layer], tokens=tokens)
    return Paraphraser(shape, factors=_num_factors(shape, factor_share=factor_share))


def make_translator(
    setting: Setting,
    *,
    student_layer: str = "last",
    teacher_layer: str = "last",
    factor_share: float = 0.5,
    tokens: bool = False,
    **knobs: object,
) -> nn.Module:
    """What makes a factor of one student's feature, at its own positions."""
    check_axes(setting, student=student_layer, teacher=teacher_layer, term="factor_transfer")
    shape = channels_first(setting.student[student_layer], tokens=tokens)
    factors = _num_factors(channels_first(setting.teacher[teacher_layer], tokens=tokens), factor_share=factor_share)
    return _layers(shape[0], shape[0], factors, factors, axes=len(shape) - 1)


@term(
    needs=("features.{teacher_layer}",),
    student_needs=("features.{student_layer}",),
    knobs={"factor_share": positive, "power": at_least_one, "reconstruction": non_negative, "tokens": boolean},
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
    tokens: bool = False,
) -> Tensor:
    """``mean |F_t / ||F_t|| - F_s / ||F_s|||^p + r mean (t - paraphrase(t))^2``.

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
        tokens: whether features ``[..., B, S, D]`` are tokens of a transformer.

    Returns:
        ``[..., B]``.
    """
    own, target = feature_of(student, student_layer, tokens=tokens), feature_of(teacher, teacher_layer, tokens=tokens)
    paraphrased, rebuilt = paraphraser(target.values)
    factors = maps(_factor(translator(own.values), of=own), _factor(paraphrased.detach(), of=target))
    translated, wanted = (unit(factor.flatten(-2)) for factor in factors)
    lost = (at_least_single(rebuilt) - target.values).square().flatten(student.logits.ndim - 1).mean(-1)
    return (translated - wanted).abs().pow(power).mean(-1) + reconstruction * lost


def _factor(values: Tensor, *, of: Feature) -> Feature:
    """What was made of a feature, at its positions."""
    return of._replace(values=values, shape=(values.shape[values.ndim - of.axes - 1], *of.shape[1:]))
