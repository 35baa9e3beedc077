"""Teachers put together from finished weights: a network, what its quality makes of it, several of them as one.

The same is put together with weights that nobody trained where a teacher is only tried before work starts, or timed.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

from torch import nn

from kdlab.data import Dataset
from kdlab.data.dataset import Examples
from kdlab.errors import UserError
from kdlab.evaluation.predict import predict_teacher
from kdlab.experiments.lab import Lab, cache_dir, device_of
from kdlab.experiments.plan import fitted_to_rows, scaling
from kdlab.experiments.planned import PlannedRun
from kdlab.experiments.runs import WEIGHTS
from kdlab.experiments.several import (
    Member,
    generation_seed,
    last_assistant,
    members,
    quality_of,
    teaching_model,
    told_as,
)
from kdlab.experiments.transfer import rows_of
from kdlab.models import build_model, check_model
from kdlab.outputs import Predictions
from kdlab.records.weights import load_weights, match_state, read_state
from kdlab.schema.config import RunConfig
from kdlab.schema.learning import TeacherConfig
from kdlab.streams import stream_seed
from kdlab.teachers import (
    UNFITTED,
    EnsembleTeacher,
    RandomMember,
    ScaledTeacher,
    SideBySide,
    Teacher,
    make_teacher,
    matched,
)
from kdlab.teachers.ensemble import RANDOM, measured_form

FACTS = "quality"
"""Where in the provenance stands what was fitted or counted when the teacher was made."""


@dataclass(frozen=True)
class Assembled:
    """A teacher put together from finished weights: what answers, and the network that teaches (None: a control)."""

    provider: Teacher
    network: nn.Module | None


def assemble(planned: PlannedRun, lab: Lab, *, fitted: Mapping[str, float] = MappingProxyType({})) -> Assembled:
    """The provider of a planned teacher, from the finished weights of its network.

    Args:
        planned: the teacher.
        lab: where it lies.
        fitted: what was fitted for it when its record was made; what is not there is fitted now.
    """
    config, dataset = planned.config, lab.dataset(planned.config)
    quality, whole = quality_of(config), planned.parent or planned
    if whole.members:
        return _ensemble(planned, whole.members, lab, fitted=fitted)
    network = load_network(whole, lab, dataset) if quality.needs_network else None
    provider = put_together(config, network, dataset, fitted=fitted)
    return Assembled(provider, network if quality.is_network else None)


def _ensemble(
    planned: PlannedRun, members: Sequence[PlannedRun], lab: Lab, *, fitted: Mapping[str, float]
) -> Assembled:
    """What finished members say together, and their networks side by side."""
    records = [lab.store.load(member.run_id) for member in members]
    found = [
        assemble(member, lab, fitted=record.provenance.get(FACTS, {}))
        for member, record in zip(members, records, strict=True)
    ]
    combined = combined_by(planned.config, [member.provider for member in found])
    provider = _on_top(planned.config, combined, lab.dataset(planned.config), fitted=fitted)
    return Assembled(provider, SideBySide([member.network for member in found if member.network is not None]))


def combined_by(config: RunConfig, members: Sequence[Teacher]) -> Teacher:
    """The members of an ensemble as one teacher."""
    assert config.teacher is not None
    combination = config.teacher.ensemble.combination
    if combination == RANDOM:
        return RandomMember(members, seed=config.teacher.seed)
    return EnsembleTeacher(members, combination=combination, temperature=config.shown_temperature)


def untrained_teacher(config: RunConfig, dataset: Dataset) -> Teacher:
    """The teacher of a config with weights that nobody trained: for what is only tried, or timed."""
    assert config.teacher is not None
    if config.teacher.ensemble.is_one:
        combined = combined_by(config, [_untrained_member(member, dataset) for member in members(config)])
        return _on_top(config, combined, dataset, fitted=UNFITTED)
    network = build_teacher_network(config, dataset) if quality_of(config).needs_network else None
    return put_together(config, network, dataset, fitted=UNFITTED)


def _untrained_member(member: Member, dataset: Dataset) -> Teacher:
    try:
        return untrained_teacher(member.config, dataset)
    except UserError as error:
        raise told_as(error, {"teacher.": member.key}) from error


def put_together(
    config: RunConfig, network: nn.Module | None, dataset: Dataset, *, fitted: Mapping[str, float]
) -> Teacher:
    """The teacher of a config over a network: what its quality makes of it, and the scaling on top."""
    assert config.teacher is not None
    made = make_teacher(
        quality_of(config),
        network,
        num_classes=dataset.num_classes,
        seed=config.teacher.seed,
        validation=dataset.validation,
        **_offered(config, dataset, fitted),
    )
    return _on_top(config, made, dataset, fitted=fitted)


def _offered(config: RunConfig, dataset: Dataset, fitted: Mapping[str, float]) -> dict[str, Any]:
    """What is known to whatever is fitted for a teacher."""
    to_rows = fitted_to_rows(config, quality_of(config))
    return {
        "train": rows_of(config, dataset).train if to_rows else dataset.train,
        "predict": lambda teacher, examples: predicted(teacher, examples, config),
        "fitted": fitted,
    }


def _on_top(config: RunConfig, made: Teacher, dataset: Dataset, *, fitted: Mapping[str, float]) -> Teacher:
    """The scaling of a config on top of its teacher."""
    on_top = scaling(config)
    if "match_entropy" in on_top:
        return matched(made, **on_top["match_entropy"], **_offered(config, dataset, fitted))
    return ScaledTeacher(made, scale=on_top["logit_scale"]) if on_top else made


def training_set(config: RunConfig, examples: Examples, dataset: Dataset) -> Examples:
    """What a teacher of this config learns from, of these training examples: as they are, or as its quality says."""
    assert config.teacher is not None
    return quality_of(config).training_set(
        examples,
        num_classes=dataset.num_classes,
        seed=config.teacher.seed,
        dataset=dataset,
        shift=config.data.shift,
        cache_dir=cache_dir(config),
        progress=config.trainer.progress,
    )


def build_teacher_network(config: RunConfig, dataset: Dataset) -> nn.Module:
    """The architecture of what teaches, initialised from the stream (teacher, init, seed, generation).

    The networks of an ensemble, side by side, are those that are timed; its members have streams of their own.
    """
    assert config.teacher is not None
    shape: dict[str, Any] = {"input_shape": dataset.input_shape, "num_classes": dataset.num_classes}
    model, seed = teaching_model(config), stream_seed("teacher", "init", config.teacher.seed)
    assert model is not None
    if config.teacher.is_taught:
        seed = generation_seed(config)
    key = f"teacher.assistants.{last}" if (last := last_assistant(config.teacher)) else "teacher.model"
    network = build_model(model, **shape, seed_value=seed, key=key)
    check_model(network, **shape, key=key)
    return network


def load_network(planned: PlannedRun, lab: Lab, dataset: Dataset) -> nn.Module:
    """The trained network of a finished teacher, in eval mode."""
    network = build_teacher_network(planned.config, dataset)
    match_state(network, load_weights(lab.store.folder(planned.run_id) / WEIGHTS))
    return network.eval()


def load_checkpoint(teacher: TeacherConfig, network: nn.Module) -> nn.Module:
    """The user's own weights in the teacher's architecture: safetensors, state_dict or Lightning .ckpt."""
    assert teacher.checkpoint is not None
    try:
        match_state(network, read_state(Path(teacher.checkpoint)))
    except UserError as error:
        raise UserError(f"teacher.checkpoint = '{teacher.checkpoint}': {error}") from error
    return network.eval()


def predicted(provider: Teacher, examples: Examples, config: RunConfig) -> Predictions:
    """What a teacher says of some examples, in batches; a random member as the mean of all."""
    device = device_of(config)
    asked = measured_form(provider.to(device))
    return predict_teacher(asked, examples, batch_size=config.evaluation.batch_size, device=device)
