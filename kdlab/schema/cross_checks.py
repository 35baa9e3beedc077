"""Values of a config that contradict each other, each of them allowed by itself."""

from pydantic import ValidationError

from kdlab.errors import UserError, nearest
from kdlab.keys import expected_keys
from kdlab.schema.bookkeeping import EVERY_ARM, FIRST_TUNING_SEED, SETS
from kdlab.schema.config import RunConfig
from kdlab.schema.learning import DataConfig, TeacherConfig, needs_teacher
from kdlab.schema.matrix import matrix_problems
from kdlab.schema.messages import message
from kdlab.schema.prediction_checks import prediction_problems
from kdlab.schema.several_checks import several_problems


def cross_problems(config: RunConfig) -> list[str]:
    """Every contradiction, one a line."""
    problems = []
    problems += _views_problems(config)
    problems += _shown_problems(config)
    if config.teacher is None and any(needs_teacher(term) for term in config.objective.terms.values()):
        problems.append("teacher = None: the objective has terms that learn from a teacher")
    if config.teacher is not None:
        try:
            config.teacher.effective_training()
        except ValidationError as error:
            problems += ["teacher.quality.training." + message(detail) for detail in error.errors(include_url=False)]
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
    problems += prediction_problems(config.study, config.report, measured=measured)
    problems += matrix_problems(
        config.study.matrix, arms=config.study.arms, measured=measured, sesoi=config.report.sesoi
    )
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
    problems += several_problems(config, teacher)
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
    if teaches and teacher.match_entropy is not None and config.objective.fixed_temperature is None:
        told = "one objective.temperature is needed, at which the student sees the targets"
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


def _shown_problems(config: RunConfig) -> list[str]:
    """What contradicts what the student may see, or its transfer set."""
    shown, problems = config.data.shown, []
    if shown.only and shown.omit:
        told = "both say which classes the student sees; set one of them"
        problems.append(f"data.shown.only = {shown.only}, data.shown.omit = {shown.omit}: {told}")
    if shown.bias_correction and not (shown.only or shown.omit):
        told = "it concerns classes that the student never sees; set data.shown.omit or data.shown.only"
        problems.append(f"data.shown.bias_correction = True: {told}")
    views = config.shown_training().views
    if config.data.transfer is not None and views:
        key = "training.views" if config.training.views else "teacher.cache.views"
        told = "views are stored of training examples; beside a transfer set 0 is allowed (the teacher is asked online)"
        problems.append(f"{key} = {views}: {told}")
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
