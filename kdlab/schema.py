"""What a config may say: the fields kdlab interprets, their types and ranges, and the cross-checks between them.

A config arrives as a plain, resolved mapping and becomes a ``RunConfig`` at once, all mistakes reported together: key,
value, what is allowed, nearest names. What kdlab only constructs (model, data set, optimizer, schedule, term) is a
``_target_`` spec, checked against the signature of its target. A field annotated ``NOT_IDENTITY`` does not change what
trains the network, so it stays out of a run's identity; every other field is in it.
"""

import copy
import math
from collections.abc import Iterator, Mapping
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator
from pydantic_core import ErrorDetails

from kdlab.errors import UserError, nearest
from kdlab.keys import RESERVED_NAMES, expected_keys
from kdlab.targets import spec_errors

NOT_IDENTITY = "not identity"
FIRST_TUNING_SEED = 1000
EVERY_ARM = "*"  # in study.compare, as the first of a pair: every arm but the other one
Spec = dict[str, Any]
HARD_LABELS_ALONE: Spec = {"_target_": "kdlab.objectives.terms.hard_labels", "weight": 1.0}
"""What scratch students and teachers learn from."""
SetName = Literal["train", "validation", "test", "slices"]
SETS: tuple[SetName, ...] = ("train", "validation", "test", "slices")


class ConfigError(UserError):
    """Everything that is wrong with a config, one mistake a line."""


class Section(BaseModel):
    """A part of the config: exact types, no unknown key, no change after it was read."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, allow_inf_nan=False)


class SliceConfig(Section):
    """A named test set: ``spec`` makes its examples, ``reference`` is what its gap is measured against."""

    reference: Literal["twins", "test"]
    ood: bool
    spec: Spec

    @model_validator(mode="before")
    @classmethod
    def _gather(cls, data: Any) -> Any:
        return _gathered(data, own=("reference", "ood"))


class DataConfig(Section):
    """The data set: a loader (``spec``), its seed, its slices, and the shift that ``shifted`` teachers learn under."""

    name: Annotated[str, Field(min_length=1)]
    seed: Annotated[int, Field(ge=0)]
    slices: Annotated[dict[str, SliceConfig], NOT_IDENTITY] = {}
    shift: Annotated[Spec | None, NOT_IDENTITY] = None
    cache_dir: Annotated[str | None, NOT_IDENTITY] = None
    spec: Spec

    @model_validator(mode="before")
    @classmethod
    def _gather(cls, data: Any) -> Any:
        return _gathered(data, own=("name", "seed", "slices", "shift", "cache_dir"))


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


class TeacherConfig(Section):
    """The teacher: architecture, recipe, seed and quality; or a checkpoint of the user's.

    On top of any quality that has a network, its logits may be multiplied by ``logit_scale``, or by the one number that
    gives its tempered targets the mean entropy ``match_entropy`` (nats) on the transfer set.
    """

    model: Spec
    training: TrainingConfig
    seed: Annotated[int, Field(ge=0)]
    quality: Spec
    checkpoint: str | None = None
    logit_scale: Annotated[float, Field(gt=0)] | None = None
    match_entropy: Annotated[float, Field(gt=0)] | None = None
    cache: TeacherCacheConfig = TeacherCacheConfig()

    def effective_training(self) -> TrainingConfig:
        """The recipe with what the quality preset changes in it (an under-trained teacher: its steps)."""
        from kdlab.teachers import Quality

        merged = Quality.from_spec(self.quality).merged_training(self.training.model_dump())
        return TrainingConfig.model_validate(merged)


class ObjectiveConfig(BaseModel):
    """Named terms with absolute weights, and the knobs that they read by interpolation."""

    model_config = ConfigDict(extra="allow", strict=True, frozen=True, allow_inf_nan=False)
    terms: Annotated[dict[str, Spec], Field(min_length=1)]
    temperature: Annotated[float, Field(gt=0)] | None = None
    alpha: Annotated[float, Field(ge=0, le=1)] | None = None
    t2_scaling: bool | None = None


class LatencyConfig(Section):
    """How latency is measured; it belongs to the architecture and the machine, not to the weights."""

    enabled: bool = True
    batch_size: Annotated[int, Field(gt=0)] = 1
    threads: Annotated[int, Field(gt=0)] = 1
    calls: Annotated[int, Field(ge=1000)] = 1000
    blocks: Annotated[int, Field(ge=10)] = 10
    wait_seconds: Annotated[float, Field(ge=0)] = 60.0


class EvaluationConfig(Section):
    """What is measured and what is kept of it."""

    sets: list[SetName] = list(SETS)
    batch_size: Annotated[int, Field(gt=0)] = 1000
    keep_predictions: Literal["all", "test", "none"] | None = None
    latency: LatencyConfig = LatencyConfig()


class TrainerConfig(Section):
    """Where and how often: Lightning's accelerator, torch.compile's mode, logging and checkpoint intervals."""

    accelerator: str = "auto"
    devices: int | str = 1
    compile: Literal["default", "reduce-overhead", "max-autotune"] | None = None
    validate_every_epochs: Annotated[int, Field(gt=0)] = 1
    checkpoint_every_seconds: Annotated[float, Field(gt=0)] = 30.0
    progress: bool = True


class StackConfig(Section):
    """How many networks of a sweep are trained together: as many as fit into memory, or a number; 1 for none."""

    max_size: Annotated[int, Field(gt=0)] | Literal["auto"] = "auto"


class StoreConfig(Section):
    """Where runs are kept, relative to where the user stands."""

    root: str = "runs"


class ReportConfig(Section):
    """Where reports go, and the smallest effects of interest (metric -> value)."""

    root: str = "reports"
    sesoi: dict[str, Annotated[float, Field(gt=0)]] = {}


class TrackerConfig(Section):
    """Weights & Biases."""

    mode: Literal["offline", "online", "auto", "disabled"] = "offline"
    project: str = "kdlab"
    entity: str | None = None
    tags: list[str] = []
    notes: str | None = None


class StudyConfig(Section):
    """The question a sweep asks, its arms and comparisons; and which part of it this run is."""

    name: str | None = None
    sweep: str | None = None
    question: str | None = None
    hypothesis: str | None = None
    cost: str | None = None
    says: str | None = None
    arms: dict[str, list[str]] = {}
    only: list[str] = []
    compare: list[list[str]] = []
    arm: str | None = None
    phase: Literal["tune", "confirm"] = "confirm"


class RunConfig(Section):
    """One run, whole. ``plain`` is the resolved mapping it was read from: what is saved and shown."""

    seed: Annotated[int, Field(ge=0)]
    data: DataConfig
    student: Spec
    teacher: TeacherConfig | None
    objective: ObjectiveConfig
    training: TrainingConfig
    threads: Annotated[int, Field(gt=0)] | Literal["auto"] = "auto"
    stack: StackConfig = StackConfig()
    trainer: TrainerConfig = TrainerConfig()
    evaluation: EvaluationConfig = EvaluationConfig()
    store: StoreConfig = StoreConfig()
    report: ReportConfig = ReportConfig()
    tracker: TrackerConfig = TrackerConfig()
    study: StudyConfig = StudyConfig()
    optimized_metric: str = "validation/accuracy"
    force: bool = False
    allow_targets: list[str] = []
    plain: Annotated[dict[str, Any], Field(exclude=True)] = {}

    def shown_training(self) -> TrainingConfig:
        """The recipe of the student, and so of its scratch twin, with the views that its teacher's cache asks for."""
        if self.teacher is None or not self.teacher.cache.views:
            return self.training
        return self.training.model_copy(update={"views": self.teacher.cache.views})


def read_config(plain: Mapping[str, Any], *, sound: dict[str, Any] | None = None, targets: bool = True) -> RunConfig:
    """The typed config of a resolved mapping.

    Args:
        plain: the mapping.
        sound: sections of other configs that were found sound, by what they say; those of this one are added. The
            points of a sweep share most of theirs, and only what lies between the sections is checked for each.
        targets: False leaves out what needs the networks and terms themselves, and with them torch: for a command that
            trains nothing and lets none of this be set.

    Raises:
        ConfigError: with every mistake: unknown keys, wrong types, values out of range, targets that do not exist or do
            not take what they are given, values that contradict each other.
    """
    problems: list[str] = []
    config: RunConfig | None = None
    texts = {} if sound is None else {name: f"{name} = {section!r}" for name, section in plain.items()}
    known = {name: sound[text] for name, text in texts.items() if text in sound} if sound else {}
    new = {name: section for name, section in plain.items() if name not in known}
    try:
        config = RunConfig.model_validate({**copy.deepcopy(new), **known, "plain": dict(plain)})
    except ValidationError as error:
        problems += [_message(detail) for detail in error.errors(include_url=False)]
    problems += _target_problems(new) if targets else []
    problems += [f"{key} = {value}: must be a finite number" for key, value in _infinite(new)]
    if config is not None:
        problems += _cross_problems(config) if targets else []
    if problems:
        raise ConfigError("\n".join(_once(problems)))
    assert config is not None
    if sound is not None:
        sound |= {text: getattr(config, name) for name, text in texts.items()}
    return config


def _infinite(value: Any, *, key: str = "") -> Iterator[tuple[str, float]]:
    """Every infinity or NaN in a config with its key: nothing that is run or named is made from one."""
    if isinstance(value, Mapping):
        for name, item in value.items():
            yield from _infinite(item, key=f"{key}.{name}" if key else str(name))
    elif isinstance(value, list | tuple):
        for at, item in enumerate(value):
            yield from _infinite(item, key=f"{key}[{at}]")
    elif isinstance(value, float) and not math.isfinite(value):
        yield key, value


def _once(problems: list[str]) -> list[str]:
    """One line per mistake: a value that two checks refuse (``key = value: ...``) is reported by the first."""
    return list({problem.split(": ")[0]: problem for problem in reversed(problems)}.values())[::-1]


def _gathered(data: Any, *, own: tuple[str, ...]) -> Any:
    """Move what the section does not interpret into ``spec``: the loader's own keywords."""
    if not isinstance(data, Mapping) or "spec" in data:
        return data
    kept = {name: value for name, value in data.items() if name in own}
    return {**kept, "spec": {name: value for name, value in data.items() if name not in own}}


def _message(detail: ErrorDetails) -> str:
    """One pydantic error as key, value and what is allowed."""
    path = [str(part) for part in detail["loc"]]
    if path[-1] in ("constrained-int", "literal['auto']"):  # a branch of "a number or auto": both are told at once
        return f"{'.'.join(path[:-1])} = {_short(detail['input'])}: must be auto, or a whole number from 1 up"
    key = ".".join(path)
    if detail["type"] == "extra_forbidden":
        return f"unknown key {key} = {_short(detail['input'])}; {nearest(path[-1], _fields_at(path[:-1]))}"
    if detail["type"] == "missing":
        return f"missing key {key}"
    if detail["type"] == "literal_error":
        allowed = str(detail["ctx"]["expected"])
        return f"{key} = {_short(detail['input'])}: allowed are {allowed}"
    text = detail["msg"][0].lower() + detail["msg"][1:]
    return f"{key} = {_short(detail['input'])}: {text.replace('input should', 'must')}"


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."


def _fields_at(path: list[str]) -> list[str]:
    """The keys allowed under a dotted path of the schema."""
    section: Any = RunConfig
    for part in path:
        field = section.model_fields.get(part) if hasattr(section, "model_fields") else None
        if field is None:
            return []
        kinds = [field.annotation, *getattr(field.annotation, "__args__", ())]
        section = next((kind for kind in kinds if isinstance(kind, type) and issubclass(kind, BaseModel)), None)
    if section is None:
        return []
    return [name for name in section.model_fields if name not in ("spec", "plain")]


def _target_problems(plain: Mapping[str, Any]) -> list[str]:
    """Every ``_target_`` of the config against its signature, with the keyword arguments that kdlab passes itself."""
    problems: list[str] = []

    def check(key: str, *, provided: tuple[str, ...], without: tuple[str, ...] = ()) -> None:
        spec = _at(plain, key)
        if isinstance(spec, Mapping):
            kept = {name: value for name, value in spec.items() if name not in without}
            problems.extend(spec_errors(kept, key=key, provided=provided))

    shapes = ("input_shape", "num_classes", "in_chans")
    check("student", provided=shapes)
    check("teacher.model", provided=shapes)
    problems += _data_problems(plain)
    for part in ("training", "teacher.training"):
        check(f"{part}.optimizer", provided=("params",))
        check(f"{part}.schedule", provided=("optimizer", "T_max", "total_steps", "total_iters"))
        problems += _augmentation_problems(_at(plain, f"{part}.augmentation"), key=f"{part}.augmentation")
    terms = _at(plain, "objective.terms")
    if isinstance(terms, Mapping) and all(isinstance(term, Mapping) for term in terms.values()):
        from kdlab.objectives import objective_errors

        problems += objective_errors(terms)
    quality = _at(plain, "teacher.quality")
    if isinstance(quality, Mapping):
        problems += _quality_problems(quality)
    return problems


def _quality_problems(spec: Mapping[str, Any]) -> list[str]:
    """The preset of a teacher's quality, and the terms that it makes a teacher learn from."""
    from kdlab.objectives import objective_errors
    from kdlab.teachers import Quality, quality_errors

    if problems := quality_errors(spec):
        return problems
    quality = Quality.from_spec(spec)
    terms = quality.merged_terms({"hard_labels": HARD_LABELS_ALONE})
    if not all(isinstance(term, Mapping) for term in terms.values()):
        return [f"teacher.quality.terms = {dict(quality.terms)!r}: mappings of knobs are needed, by the name of a term"]
    problems = [line.replace("objective.terms.", "teacher.quality.terms.") for line in objective_errors(terms)]
    taught = [name for name, term in terms.items() if needs_teacher(term)]
    return problems + [f"teacher.quality.terms.{name}: a teacher learns from no other teacher" for name in taught]


def _augmentation_problems(steps: Any, *, key: str) -> list[str]:
    from kdlab.data.augmentation import augmentation_errors

    return augmentation_errors(steps, key=key) if isinstance(steps, Mapping) else []


def _data_problems(plain: Mapping[str, Any]) -> list[str]:
    """The data set and its slices: targets, knobs with their types, and names that keys of a record need."""
    from kdlab.data.loading import dataset_errors, shift_errors, slice_errors

    data, slices = _at(plain, "data"), _at(plain, "data.slices")
    problems: list[str] = []
    if isinstance(data, Mapping):
        ours = ("slices", "shift", "cache_dir")
        problems += dataset_errors({name: value for name, value in data.items() if name not in ours})
        problems += shift_errors(data.get("shift"))
    if isinstance(slices, Mapping):
        problems += slice_errors(slices)
        taken = sorted(set(slices) & set(RESERVED_NAMES) - {"train", "validation", "test"})
        problems += [f"data.slices.{name}: this name is reserved: {', '.join(RESERVED_NAMES)}" for name in taken]
    return problems


def _at(plain: Mapping[str, Any], key: str) -> Any:
    found: Any = plain
    for part in key.split("."):
        if not isinstance(found, Mapping):
            return None
        found = found.get(part)
    return found


def _cross_problems(config: RunConfig) -> list[str]:
    problems = []
    problems += _views_problems(config)
    if config.teacher is None and any(needs_teacher(term) for term in config.objective.terms.values()):
        problems.append("teacher = None: the objective has terms that learn from a teacher")
    if config.teacher is not None:
        try:
            config.teacher.effective_training()
        except ValidationError as error:
            problems += ["teacher.quality.training." + _message(detail) for detail in error.errors(include_url=False)]
        except UserError:
            pass  # the preset itself is wrong: reported by the check of the targets
        else:
            problems += _teacher_problems(config, config.teacher)
    for entry in config.study.compare:
        known = {*config.study.arms, "scratch"}
        unknown = [arm for arm in entry if arm not in known and not (arm == EVERY_ARM and arm == entry[0])]
        if len(entry) != 2:
            problems.append(f"study.compare = {entry!r}: must be a pair [arm, reference]")
        problems += [f"study.compare names '{arm}'; {nearest(arm, known)}" for arm in unknown]
    measured = expected_keys("student", ("train", "validation", "test"), _slice_names(config.data))
    if config.optimized_metric not in measured:
        told = nearest(config.optimized_metric, measured)
        problems.append(f"optimized_metric = {config.optimized_metric!r}: no measured key; {told}")
    if config.study.phase == "tune":
        if config.seed < FIRST_TUNING_SEED:
            problems.append(f"seed = {config.seed}: a tuning phase has seeds of its own, {FIRST_TUNING_SEED} and up")
        seen = [name for name in config.evaluation.sets if name in ("test", "slices")]
        if seen:
            problems.append(f"evaluation.sets = {seen}: a tuning phase looks at train and validation only")
    if not config.evaluation.sets:
        problems.append(f"evaluation.sets = []: at least one of {', '.join(SETS)}")
    return problems


def _slice_names(data: DataConfig) -> set[str]:
    """The slices of a config and those that come with its data set."""
    from kdlab.data.loading import own_slices

    try:
        return {*data.slices, *own_slices(data.spec)}
    except (UserError, TypeError):  # a file that cannot be read, a wrong knob: told where the data itself is checked
        return set(data.slices)


def _teacher_problems(config: RunConfig, teacher: TeacherConfig) -> list[str]:
    """What of a teacher's config contradicts its quality, or the data."""
    from kdlab.teachers import Quality, no_shift

    problems = []
    quality = Quality.from_spec(teacher.quality)
    problems += _cache_problems(config, teacher)
    if teacher.checkpoint is not None and quality.own_weights:
        told = f"teacher.quality.name = '{quality.name}' makes weights of its own; leave one of them out"
        problems.append(f"teacher.checkpoint = '{teacher.checkpoint}': {told}")
    teaches = any(needs_teacher(term) for term in config.objective.terms.values())
    if teaches and config.data.shift is None and quality.takes("shift", parts=("data",)):
        problems.append(no_shift(config.data.name))
    scales = {"logit_scale": teacher.logit_scale, "match_entropy": teacher.match_entropy}
    given = {name: value for name, value in scales.items() if value is not None}
    if len(given) == 2:
        told = "both multiply the logits; set one of them"
        problems.append(f"teacher.logit_scale = {teacher.logit_scale}, teacher.match_entropy: {told}")
    if not quality.is_network:
        told = f"the targets of the control '{quality.name}' keep the entropy they have"
        problems += [f"teacher.{name} = {value}: {told}" for name, value in given.items()]
    if teaches and teacher.match_entropy is not None and config.objective.temperature is None:
        told = "objective.temperature is needed, at which the student sees the targets"
        problems.append(f"teacher.match_entropy = {teacher.match_entropy}: {told}")
    return problems


def _views_problems(config: RunConfig) -> list[str]:
    """What contradicts stored views."""
    views, problems = config.shown_training().views, []
    if config.teacher is not None:
        if config.training.views not in (0, config.teacher.cache.views):
            told = f"beside a teacher set teacher.cache.views, which is {config.teacher.cache.views}"
            problems.append(f"training.views = {config.training.views}: {told}")
        if config.teacher.training.views:
            told = "a teacher learns from augmented inputs as they come; 0 is allowed"
            problems.append(f"teacher.training.views = {config.teacher.training.views}: {told}")
    if views and not config.training.augmentation:
        key = "training.views" if config.training.views else "teacher.cache.views"
        problems.append(f"{key} = {views}: training.augmentation is empty, so all views would be alike; 0 is allowed")
    return problems


def _cache_problems(config: RunConfig, teacher: TeacherConfig) -> list[str]:
    """What contradicts itself in ``teacher.cache``, or goes wrong with answers that are stored."""
    cache, augmented = teacher.cache, bool(config.training.augmentation)
    stored = {"views": cache.views, "fixed_targets": cache.fixed_targets}
    given = [f"teacher.cache.{name} = {value}" for name, value in stored.items() if value]
    problems = []
    if len(given) == 2:
        problems.append(f"{' and '.join(given)}: answers are for the views, or for the unchanged example; set one")
    if cache.fixed_targets and not augmented:
        told = "training.augmentation is empty, so that targets are fixed as it is; false is allowed"
        problems.append(f"teacher.cache.fixed_targets = True: {told}")
    if cache.mode == "never":
        half = [f"teacher.cache.dtype = {cache.dtype}"] if cache.dtype != "float32" else []
        told = "speaks of stored answers; 'auto' or 'always' is needed"
        problems += [f"teacher.cache.mode = 'never': {line} {told}" for line in [*given, *half][:1]]
    teaches = any(needs_teacher(term) for term in config.objective.terms.values())
    if cache.mode == "always" and teaches and augmented and not given:
        problems.append(
            "teacher.cache.mode = 'always': stored answers are for the inputs as they were, and training.augmentation "
            "changes them at random; set teacher.cache.views=N (N stored views, seen by teacher and student), "
            "teacher.cache.fixed_targets=true (a control: answers for the unchanged examples) or "
            "teacher.cache.mode=auto (the teacher is asked in every step)"
        )
    return problems


def needs_teacher(term: Mapping[str, Any]) -> bool:
    """Whether a term's function asks for a teacher's outputs, whatever its weight."""
    from kdlab.targets import resolve

    try:
        return bool(getattr(resolve(str(term.get("_target_"))), "needs", ()))
    except UserError:
        return False  # reported by the check of the targets


def identity_view(section: BaseModel) -> dict[str, Any]:
    """The fields of a section that train the network, by name (sections inside it likewise)."""
    view: dict[str, Any] = {}
    for name, field in type(section).model_fields.items():
        if NOT_IDENTITY in field.metadata:
            continue
        value = getattr(section, name)
        view[name] = identity_view(value) if isinstance(value, BaseModel) else value
    return view
