"""What a student is shown, and who answers: the live teacher, or its stored answers where they are for the same inputs.

Answers lie under ``<store.root>/teacher_outputs``, views under ``<store.root>/augmented_views``: one folder for each
teacher, data set, transformation, dtype and choice of outputs, written once, whoever asks first.
"""

from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

import torch

from kdlab.data.augmentation import Augmentation
from kdlab.data.dataset import Examples
from kdlab.data.loading import data_identity
from kdlab.data.stored import NoRoomError, megabytes, total_bytes
from kdlab.data.transfer_order import Mixture
from kdlab.data.views import Views, check_unmixed, stored_views
from kdlab.experiments.lab import Lab, device_of, say
from kdlab.experiments.transfer import kept_rows, rows_identity, transfer_of
from kdlab.records.identity import canonical_json
from kdlab.schema.config import RunConfig
from kdlab.schema.learning import TrainingConfig
from kdlab.teachers import Teacher, UniformTeacher
from kdlab.teachers.cached import CachedTeacher, cached, output_specs
from kdlab.teachers.ensemble import answers_by_batch

if TYPE_CHECKING:  # a teacher that was taught itself asks its own: teachers.py imports this file
    from kdlab.experiments.teachers import Taught

Kept = TypeVar("Kept")
ANSWERS, VIEWS = "teacher_outputs", "augmented_views"
AUTO_LIMIT_BYTES = 2_000_000_000
"""What ``teacher.cache.mode=auto`` stores of one teacher at most; features of images may be many times their inputs."""
_KEPT = 64
"""How many stored sets a process keeps open: a stack may have that many teachers."""


class Shown(NamedTuple):
    """What a student (or its twin) learns from, by which recipe, and how batches are mixed of it.

    Stored views are not augmented again. Without a transfer set there is nothing to mix.
    """

    train: Examples
    recipe: TrainingConfig
    mixture: Mixture | None = None


def shown_to(config: RunConfig, lab: Lab) -> Shown:
    """What a config's student is shown of the training set, or the stored views of it; its transfer set behind it."""
    recipe, rows, transfer = config.shown_training(), kept_rows(config, lab), transfer_of(config)
    if transfer is not None:
        fraction = transfer.labelled_fraction
        return Shown(rows.train, recipe, rows.mixture(batch_size=recipe.batch_size, labelled_fraction=fraction))
    if not recipe.views:
        return Shown(rows.train, recipe)
    views = _views(config, lab)
    examples = views.examples
    if rows_identity(config):
        examples = examples.select(torch.isin(views.original, rows.train.index))
    return Shown(examples, recipe.model_copy(update={"augmentation": {}}))


def is_cached(config: RunConfig) -> bool:
    """Whether ``teacher.cache`` has the teacher of this config answer from files."""
    if config.teacher is None or config.teacher.cache.mode == "never":
        return False
    return not config.training.augmentation or _changes_targets(config)


def _changes_targets(config: RunConfig) -> bool:
    """Whether what the student is shown or told depends on the files: then nothing else can stand in for them."""
    assert config.teacher is not None
    cache = config.teacher.cache
    return cache.dtype != "float32" or bool(_stored_inputs(config))


def _stored_inputs(config: RunConfig) -> bool:
    assert config.teacher is not None
    return config.teacher.cache.fixed_targets or bool(config.teacher.cache.views)


def is_stored(teacher: Teacher) -> bool:
    """Whether a teacher's answers are read from files."""
    return isinstance(teacher, CachedTeacher)


def teaching(
    taught: "Taught | None", config: RunConfig, lab: Lab, *, features: frozenset[str] = frozenset()
) -> Teacher | None:
    """Who answers a student during its training: the teacher itself, or its stored answers.

    Args:
        taught: the teacher; None where nobody teaches.
        config: the student's.
        lab: where answers are stored.
        features: those of the teacher that the student's terms read.

    Raises:
        UserError: ``teacher.cache`` asks for what cannot be stored.
    """
    if taught is None or not is_cached(config) or _is_never_stored(taught.provider):
        return None if taught is None else taught.provider
    assert config.teacher is not None
    cache = config.teacher.cache
    if cache.fixed_targets:
        augmentation = _augmentation(config, lab)
        check_unmixed(augmentation, key="teacher.cache.fixed_targets")
    record = taught.record
    made = {name: record.provenance.get(name) for name in ("attempt", "seconds")}
    examples, told = _answered(config, lab)
    described = {"teacher": record.run_id, "data": _data(config), "shown": _transform(config), **told}
    wanted = {"outputs": sorted(features), "dtype": cache.dtype, "fixed_targets": cache.fixed_targets}
    key = canonical_json({**described, **wanted, "made": made})
    if key in lab.kept:
        found: Teacher = lab.kept[key]
        return found
    insists = cache.mode == "always" or _changes_targets(config)
    views = _views(config, lab) if cache.views else None
    examples = examples if views is None else views.examples
    specs = output_specs(taught.provider, examples, features=features, dtype=cache.dtype, device=device_of(config))
    if total_bytes(specs) > AUTO_LIMIT_BYTES and not insists:
        size = megabytes(total_bytes(specs))
        say(
            f"  teacher {record.run_id} is asked online: its outputs take {size}; teacher.cache.mode=always stores them"
        )
        return taught.provider
    try:
        answers = cached(
            taught.provider,
            examples,
            folder=lab.store.root / ANSWERS,
            described=described,
            features=features,
            dtype=cache.dtype,
            batch_size=config.evaluation.batch_size,
            device=device_of(config),
            asked=None if views is None else views.original,
            fixed_targets=cache.fixed_targets,
            say=say,
        )
    except NoRoomError as error:
        if insists:
            raise
        say(f"  {error}: the teacher is asked online")
        return taught.provider
    return _keep(lab, key, answers)


def _is_never_stored(teacher: Teacher) -> bool:
    """A uniform teacher says the same whatever it is shown; a random member is another one in each batch."""
    return isinstance(teacher, UniformTeacher) or answers_by_batch(teacher)


def _answered(config: RunConfig, lab: Lab) -> tuple[Examples, dict[str, Any]]:
    """The rows whose answers are stored, and what names them.

    It is the training set, of which a student may see less, unless its transfer set holds other rows.
    """
    train, rows = lab.dataset(config).train, kept_rows(config, lab).known
    if torch.isin(rows.index, train.index).all():
        return train, {}
    return rows, {"rows": rows_identity(config)}


def _views(config: RunConfig, lab: Lab) -> Views:
    described = {"data": _data(config), "shown": _transform(config)}
    key = canonical_json({"views": described})
    if key in lab.kept:
        found: Views = lab.kept[key]
        return found
    views = stored_views(
        lab.dataset(config).train,
        _augmentation(config, lab),
        count=config.shown_training().views,
        seed=config.data.seed,
        folder=lab.store.root / VIEWS,
        described=described,
        say=say,
    )
    return _keep(lab, key, views)


def _augmentation(config: RunConfig, lab: Lab) -> Augmentation:
    dataset = lab.dataset(config)
    return Augmentation(config.training.augmentation, input_shape=dataset.input_shape, facts=dataset.facts)


def _keep(lab: Lab, key: str, made: Kept) -> Kept:
    while len(lab.kept) >= _KEPT:
        lab.kept.pop(next(iter(lab.kept)))
    lab.kept[key] = made
    return made


def _data(config: RunConfig) -> dict[str, Any]:
    return {"name": config.data.name, "seed": config.data.seed, **data_identity(config.data.spec)}


def _transform(config: RunConfig) -> dict[str, Any]:
    """What was done to the inputs that the answers are for: nothing, or stored views of them."""
    recipe = config.shown_training()
    if not recipe.views:
        return {}
    return {"augmentation": recipe.augmentation, "order": list(recipe.augmentation), "views": recipe.views}
