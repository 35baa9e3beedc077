"""The sections that say what is learned: data, recipe, teacher, objective."""

from collections.abc import Callable, Mapping
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, WrapValidator, field_validator, model_validator
from pydantic_core import PydanticCustomError

from kdlab.errors import UserError
from kdlab.schema.section import NOT_IDENTITY, Section, Spec, gathered

HARD_LABELS_ALONE: Spec = {"_target_": "kdlab.objectives.terms.hard_labels", "weight": 1.0}
"""What scratch students and teachers learn from."""


def _or_schedule(value: Any, number: Callable[[Any], Any]) -> Any:
    """A mapping stands for a schedule, whose numbers are checked where a term reads it."""
    return value if isinstance(value, Mapping) else number(value)


OR_SCHEDULE = WrapValidator(_or_schedule)


def _no_schedule(value: Any) -> Any:
    """A switch does not change during a run; a convention may hang it on a number that does."""
    if isinstance(value, Mapping):
        raise PydanticCustomError("switch", "true or false is needed, and no schedule")
    return value


class SliceConfig(Section):
    """A named test set: ``spec`` makes its examples, ``reference`` is what its gap is measured against."""

    reference: Literal["twins", "test"]
    ood: bool
    spec: Spec

    @model_validator(mode="before")
    @classmethod
    def _gather(cls, data: Any) -> Any:
        return gathered(data, own=("reference", "ood"))


class ShownConfig(Section):
    """What of the training set the student sees, and its scratch twin alike; the teacher learned from all of it.

    Args:
        only: the classes they see; empty for all.
        omit: the classes that they never see, labelled or not.
        labelled: how many examples keep their labels; None for all.
        bias_correction: whether the biases of the classes that were not seen are raised after training, by what is best
            on the validation set (Hinton et al. 2015, arXiv:1503.02531, section 3).
    """

    only: list[Annotated[int, Field(ge=0)]] = []
    omit: list[Annotated[int, Field(ge=0)]] = []
    labelled: Annotated[int, Field(gt=0)] | None = None
    bias_correction: bool = False


class TransferConfig(Section):
    """The transfer set of the student: rows beside the labelled ones, for which it hears from its teacher alone.

    Args:
        labelled_fraction: the share of the rows of a batch that are labelled; ``training.batch_size`` counts all rows.
        labels: the oracle: the rows keep their true labels.
        spec: what makes them.
    """

    labelled_fraction: Annotated[float, Field(gt=0, le=1)] = 0.5
    labels: bool = False
    spec: Spec

    @model_validator(mode="before")
    @classmethod
    def _gather(cls, data: Any) -> Any:
        told = {name: value for name, value in data.items() if value is not None} if isinstance(data, Mapping) else data
        return gathered(told, own=("labelled_fraction", "labels"))


class DataConfig(Section):
    """The data set: a loader (``spec``), its seed, its slices, and the shift that ``shifted`` teachers learn under.

    ``shown`` and ``transfer`` are no part of the data set: they stand in the identity of the student they concern.
    """

    name: Annotated[str, Field(min_length=1)]
    seed: Annotated[int, Field(ge=0)]
    slices: Annotated[dict[str, SliceConfig], NOT_IDENTITY] = {}
    shift: Annotated[Spec | None, NOT_IDENTITY] = None
    cache_dir: Annotated[str | None, NOT_IDENTITY] = None
    shown: Annotated[ShownConfig, NOT_IDENTITY] = ShownConfig()
    transfer: Annotated[TransferConfig | None, NOT_IDENTITY] = None
    spec: Spec

    @model_validator(mode="before")
    @classmethod
    def _gather(cls, data: Any) -> Any:
        return gathered(data, own=("name", "seed", "slices", "shift", "cache_dir", "shown", "transfer"))

    @field_validator("transfer", mode="before")
    @classmethod
    def _none(cls, transfer: Any) -> Any:
        """``data/transfer=none`` leaves the knobs without a target that reads them."""
        return (
            None if isinstance(transfer, Mapping) and not transfer.get("_target_", transfer.get("spec")) else transfer
        )


class TrainingConfig(Section):
    """A training recipe. ``steps`` are optimizer steps, the unit in which budgets are equal.

    ``augmentation`` names random changes of every batch, applied in their order. ``views`` > 0 draws that many
    augmented views of each example once and shows one of them an epoch; beside a teacher it is ``teacher.cache.views``.
    """

    steps: Annotated[int, Field(gt=0)]
    batch_size: Annotated[int, Field(gt=0)]
    optimizer: Spec
    schedule: Spec
    augmentation: dict[str, Spec] = {}
    views: Annotated[int, Field(ge=0)] = 0
    gradient_clip_norm: Annotated[float, Field(gt=0)] | None = None
    precision: Literal["32-true", "64-true", "16-mixed", "bf16-mixed"] = "32-true"


class TeacherCacheConfig(Section):
    """Whether the teacher of a student answers from files, by example index, or is asked in every step.

    Args:
        mode: ``auto`` stores what does not change: answers are read wherever the student's inputs are not augmented at
            random, or the views it is shown are stored. ``always`` insists on files, ``never`` asks the teacher.
        dtype: how answers are stored; half precision trains another network (in the last digits).
        views: augmented views of each training example that are stored, and shown to teacher and student alike.
        fixed_targets: the control: the student sees augmented inputs, the teacher answered for the unchanged ones.
    """

    mode: Annotated[Literal["auto", "always", "never"], NOT_IDENTITY] = "auto"
    dtype: Literal["float32", "float16"] = "float32"
    views: Annotated[int, Field(ge=0)] = 0
    fixed_targets: bool = False


class MemberConfig(Section):
    """What a named member of an ensemble has of its own; all else it has from the section ``teacher``.

    Mappings are laid over those of the teacher; one with a ``_target_`` or a ``name`` of its own stands in their place.
    """

    model: Spec = {}
    training: Spec = {}
    quality: Spec = {}
    seed: Annotated[int, Field(ge=0)] | None = None
    checkpoint: str | None = None


class EnsembleConfig(Section):
    """Several teachers in the place of one.

    Args:
        count: members that differ in their seeds, ``member_seed(teacher.seed, number)``; 1 for no ensemble.
        members: or different ones, by name.
        combination: how their answers are made into one (``kdlab.teachers.combining``); ``random`` draws one of them
            for each batch.
    """

    count: Annotated[int, Field(ge=1)] = 1
    members: dict[str, MemberConfig] = {}
    combination: Literal["probabilities", "probabilities_then_temper", "logits", "confidence", "random"] = (
        "probabilities"
    )

    @property
    def is_one(self) -> bool:
        """Whether there is more than one teacher."""
        return self.count > 1 or bool(self.members)

    @property
    def reads_temperature(self) -> bool:
        """Whether what it says depends on the temperature at which the student sees it."""
        from kdlab.teachers.combining import COMBINATIONS

        return self.is_one and self.combination in COMBINATIONS and COMBINATIONS[self.combination].reads_temperature


class TeacherConfig(Section):
    """The teacher: architecture, recipe, seed and quality; or a checkpoint of the user's.

    It may be an ``ensemble``, or a network that was taught itself: the last of some ``assistants`` between teacher and
    student (Mirzadeh et al. 2020, arXiv:1902.03393), or the student's own architecture in an earlier of ``generations``
    (Furlanello et al. 2018, arXiv:1805.04770). Its quality is then that of the networks that learn from labels.

    On top of any quality that has a network, the logits of what teaches may be multiplied by ``logit_scale``, or by the
    one number that gives its tempered targets the mean entropy ``match_entropy`` (nats) on the transfer set.

    Args:
        assistants: name -> model, from the teacher towards the student: knobs that are laid over ``model``, or a
            ``_target_`` with its own. Each learns from the one before as the student does: objective, data, recipe.
        generations: N networks of the student's architecture and recipe before the student, which is generation N.
            Generation 0 learns from labels, in the place of ``model`` and ``training``; 0 for none.
    """

    model: Spec
    training: TrainingConfig
    seed: Annotated[int, Field(ge=0)]
    quality: Spec
    checkpoint: str | None = None
    logit_scale: Annotated[float, Field(gt=0)] | None = None
    match_entropy: Annotated[float, Field(gt=0)] | None = None
    cache: TeacherCacheConfig = TeacherCacheConfig()
    ensemble: EnsembleConfig = EnsembleConfig()
    assistants: dict[str, Spec] = {}
    generations: Annotated[int, Field(ge=0)] = 0

    @property
    def is_taught(self) -> bool:
        """Whether what teaches the student was taught by another network."""
        return bool(self.assistants) or self.generations > 1

    def effective_training(self) -> TrainingConfig:
        """The recipe with what the quality preset changes in it (an under-trained teacher: its steps)."""
        from kdlab.teachers import Quality

        merged = Quality.from_spec(self.quality).merged_training(self.training.model_dump())
        return TrainingConfig.model_validate(merged)


class ObjectiveConfig(BaseModel):
    """Named terms with absolute weights, and the knobs that they read by interpolation: numbers, or schedules."""

    model_config = ConfigDict(extra="allow", strict=True, frozen=True, allow_inf_nan=False)
    terms: Annotated[dict[str, Spec], Field(min_length=1)]
    temperature: Annotated[float, Field(gt=0), OR_SCHEDULE] | None = None
    alpha: Annotated[float, Field(ge=0, le=1), OR_SCHEDULE] | None = None
    t2_scaling: Annotated[bool | None, BeforeValidator(_no_schedule)] = None

    @property
    def fixed_temperature(self) -> float | None:
        """T, where it is one number from the first step to the last."""
        return None if isinstance(self.temperature, Mapping) else self.temperature


def needs_teacher(term: Mapping[str, Any]) -> bool:
    """Whether a term's function asks for a teacher's outputs, whatever its weight."""
    try:
        return bool(teacher_needs(term))
    except UserError:
        return False  # reported by the check of the targets


def teacher_needs(term: Mapping[str, Any]) -> frozenset[str]:
    """What a term's function asks of a teacher: ``logits``, or features by the knobs that name them.

    Raises:
        UserError: its target is no import path of anything.
    """
    from kdlab.targets import resolve

    return frozenset(getattr(resolve(str(term.get("_target_"))), "needs", ()))


def reads_unlabelled(term: Mapping[str, Any]) -> bool:
    """Whether a term learns from rows without a label.

    Raises:
        UserError: its target is no import path of anything.
    """
    from kdlab.targets import resolve

    return bool(getattr(resolve(str(term.get("_target_"))), "reads_unlabelled", True))
