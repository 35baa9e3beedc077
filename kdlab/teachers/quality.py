"""Teacher quality: what a preset of ``conf/teacher/quality`` may say, and the teacher it makes.

A preset has a name, its dose as plain numbers (``steps``, ``scale``: the knob a user sweeps), and says in one or more
of these parts where the dose acts. The teacher is trained apart, with weights of its own, where it changes

- ``training``: merged over ``teacher.training`` (weak: fewer steps),
- ``terms``: merged over the terms it learns from, its hard labels (label_smoothed),
- ``data``: ``{_target_: (examples, ...) -> examples}``, its training set (label_noise, shifted),
- ``trained: false``: no training at all, the initial weights (untrained).

It transforms one trained parent, shared over all doses, where it has only

- ``weights``: ``{_target_: (model, ...) -> model}``: the parent's network is changed (low_bit),
- ``outputs``: ``{_target_: (teacher, ...) -> teacher}``: what the parent says is changed (overconfident, calibrated).

``control``: ``{_target_: (num_classes, ...) -> teacher}`` is no network at all (uniform), and excludes all others.

Each target may also take by name what kdlab offers it (``OFFERED``), so a new preset is one function and one file. The
preset is only the knob: what the teacher measured stands in the student's record.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn

from kdlab import targets
from kdlab.data.dataset import Examples
from kdlab.errors import UserError, nearest
from kdlab.mappings import laid_over
from kdlab.teachers.providers import OnlineTeacher, Teacher

KEY, STANDARD, MEMBER = "teacher.quality", "standard", "teacher.ensemble.members.NAME"
PARTS = ("training", "terms", "data", "weights", "outputs", "control")
CALLED = ("data", "weights", "outputs", "control")
GIVEN = {"data": "examples", "weights": "model", "outputs": "teacher"}
"""What the target of a part gets as its first argument, from kdlab."""
OFFERED = ("num_classes", "seed", "train", "validation", "predict", "fitted")
"""What kdlab may pass to a target by name: class count, the teacher's seed, the two sets, ``predict(teacher, set)``,
and what was fitted for this teacher before (empty the first time)."""
OFFERED_WITH_DATA = ("num_classes", "seed", "dataset", "shift", "cache_dir", "progress")
"""The same for the part ``data``; ``shift`` is the spec of ``data.shift``."""
UNFITTED: Mapping[str, float] = {"fitted_temperature": 1.0, "entropy_factor": 1.0, "smoothing": 0.5}
"""Stands for what would be fitted, where a teacher is only tried or timed."""


@dataclass(frozen=True)
class Quality:
    """A preset.

    Args:
        name: its name in tables.
        doses: the plain values beside the parts, for example ``{"scale": 3.0}``.
        trained: False where its network keeps its initial weights.
        training: what is merged over ``teacher.training``.
        terms: what is merged over the terms it learns from.
        data: spec of a transformation of its training set, empty for none.
        weights: spec of a transformation of the trained network, empty for none.
        outputs: spec of a transformation of what it says, empty for none.
        control: spec of a teacher without network, empty for none.
    """

    name: str
    doses: Mapping[str, Any] = field(default_factory=dict)
    trained: bool = True
    training: Mapping[str, Any] = field(default_factory=dict)
    terms: Mapping[str, Any] = field(default_factory=dict)
    data: Mapping[str, Any] = field(default_factory=dict)
    weights: Mapping[str, Any] = field(default_factory=dict)
    outputs: Mapping[str, Any] = field(default_factory=dict)
    control: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def from_spec(cls, spec: Mapping[str, Any]) -> "Quality":
        """The preset of a config.

        Raises:
            UserError: listing every mistake in it.
        """
        problems = quality_errors(spec)
        if problems:
            raise UserError("\n".join(problems))
        parts = {part: dict(spec.get(part) or {}) for part in PARTS}
        own = (*PARTS, "name", "trained")
        doses = {name: value for name, value in spec.items() if name not in own and value is not None}
        return cls(name=spec["name"], doses=doses, trained=spec.get("trained", True), **parts)

    @property
    def needs_network(self) -> bool:
        """Whether a network is trained (or loaded) for it."""
        return not self.control

    @property
    def own_weights(self) -> bool:
        """Whether its network is trained differently from the standard one, so that it is no shared parent."""
        return bool(self.training or self.terms or self.data) or not self.trained

    @property
    def is_network(self) -> bool:
        """Whether a network teaches: False for uniform, and for a target that says so of what it makes (virtual)."""
        return self.needs_network and bool(getattr(_target(self.outputs), "is_network", True))

    def takes(self, offered: str, *, parts: Sequence[str] = CALLED) -> bool:
        """Whether the target of one of these parts takes this by name from kdlab (``seed``, ``shift``)."""
        specs = [spec for part in parts if (spec := getattr(self, part))]
        return any(offered in targets.parameters(targets.resolve(spec["_target_"]))[0] for spec in specs)

    @property
    def transformation(self) -> dict[str, Any]:
        """What stands beside the parent's identity in this teacher's: empty where it is the trained network itself."""
        parts = {"weights": self.weights, "outputs": self.outputs, "control": self.control}
        return {part: dict(spec) for part, spec in parts.items() if spec}

    def merged_training(self, training: Mapping[str, Any]) -> dict[str, Any]:
        """``teacher.training`` with what the preset changes, nested mappings merged."""
        return laid_over(training, self.training)

    def merged_terms(self, terms: Mapping[str, Any]) -> dict[str, Any]:
        """The terms a teacher learns from with what the preset changes in them."""
        return laid_over(terms, self.terms)

    def training_set(self, examples: Examples, **offered: Any) -> Examples:
        """The teacher's training set (``OFFERED_WITH_DATA`` may be offered)."""
        if not self.data:
            return examples
        made: Examples = targets.build(self.data, examples, **offered)
        return made


def quality_errors(spec: Mapping[str, Any], *, key: str = KEY) -> list[str]:
    """Every mistake in a preset: its name, its parts and their targets."""
    problems = []
    if not isinstance(spec.get("name"), str) or not spec["name"]:
        problems.append(f"{key}.name = {spec.get('name')!r}: the name of the preset is needed")
    trained = spec.get("trained", True)
    if not isinstance(trained, bool):
        problems.append(f"{key}.trained = {trained!r}: true or false is needed")
    for name, value in spec.items():
        if isinstance(value, Mapping) and name not in PARTS:
            problems.append(f"unknown key {key}.{name}; {nearest(name, PARTS)}")
        elif name in PARTS and value is not None and not isinstance(value, Mapping):
            problems.append(f"{key}.{name} = {value!r}: a mapping is needed")
    present = [part for part in PARTS if isinstance(spec.get(part), Mapping) and spec[part]]
    if not present and trained is True and not problems and spec["name"] != STANDARD:
        name = spec["name"]
        told = f"teacher/quality={name} chooses the preset, of a member +teacher/quality@{MEMBER}.quality={name}"
        problems.append(f"{key}.name = '{name}': a name alone changes nothing; {told}")
    if "control" in present and len(present) > 1:
        problems.append(f"{key}: control has no network, so {', '.join(present[:-1])} cannot apply beside it")
    untaught = [part for part in present if part in ("training", "terms", "data", "control")]
    if trained is False and untaught:
        problems.append(f"{key}.trained = False: {', '.join(untaught)} cannot apply to a network that is not trained")
    for part in CALLED:
        if part in present:
            offered = OFFERED_WITH_DATA if part == "data" else OFFERED
            provided = (*offered, GIVEN[part]) if part in GIVEN else offered
            problems += targets.spec_errors(spec[part], key=f"{key}.{part}", provided=provided)
    return problems


def make_teacher(quality: Quality, model: nn.Module | None, *, num_classes: int, **offered: Any) -> Teacher:
    """The teacher of a preset.

    Args:
        quality: the preset.
        model: the trained network (the parent's, where the preset transforms it), or None for a control. It is copied
            before it is transformed: a parent serves many doses.
        num_classes: number of classes of the data.
        **offered: what else a target may take by name (``OFFERED``).
    """
    facts = {"num_classes": num_classes, **offered}
    if not quality.needs_network:
        control: Teacher = targets.build(quality.control, **facts)
        return control
    if model is None:
        raise UserError(f"{KEY}.name = '{quality.name}': a trained network is needed")
    teacher = OnlineTeacher(model, num_classes=num_classes)
    if quality.weights:
        changed = targets.build(quality.weights, OnlineTeacher(model, num_classes=num_classes).model, **facts)
        teacher = OnlineTeacher(changed, num_classes=num_classes)
        teacher.facts = {"tensors_changed": _tensors_changed(model, changed)}
    made: Teacher = targets.build(quality.outputs, teacher, **facts) if quality.outputs else teacher
    return made


def _tensors_changed(before: nn.Module, after: nn.Module) -> int:
    """How many tensors of the state a transformation of the weights changed."""
    old = before.state_dict()
    return sum(
        name not in old or not torch.equal(value, old[name].to(value)) for name, value in after.state_dict().items()
    )


def _target(spec: Mapping[str, Any]) -> Any:
    return targets.resolve(spec["_target_"]) if spec else None
