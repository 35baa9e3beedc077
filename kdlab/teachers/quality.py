"""Teacher quality: what a preset of ``conf/teacher/quality`` may say, and the teacher it makes.

A preset has a name, its dose as plain numbers (``steps``, ``scale``: the knob a user sweeps), and says in one or more
of these mappings where the dose acts:

- ``training``: merged over ``teacher.training``. The teacher is trained apart (weak: fewer steps).
- ``weights``: ``{_target_: (model, ...) -> model}``. The trained parent's network is transformed (low-bit).
- ``outputs``: ``{_target_: (teacher, ...) -> teacher}``. What the parent says is transformed (over-confident).
- ``control``: ``{_target_: (num_classes, ...) -> teacher}``. No network at all (uniform); excludes the other three.

Presets with ``weights`` or ``outputs`` alone share one trained parent over all their doses. Each target may also take
by name whatever else the caller offers (validation examples, labels, a seed), so a new preset is one function and one
file. The preset is only the knob: what the teacher measured stands in the student's record.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from torch import nn

from kdlab import targets
from kdlab.errors import UserError, nearest
from kdlab.teachers.providers import OnlineTeacher, Teacher

KEY = "teacher.quality"
PARTS = ("training", "weights", "outputs", "control")
GIVEN = {"weights": "model", "outputs": "teacher"}
"""What the target of a part gets as its first argument, from kdlab."""
OFFERED = ("num_classes", "seed", "validation", "train", "labels", "temperature")
"""What kdlab may pass to a target by name."""


@dataclass(frozen=True)
class Quality:
    """A preset.

    Args:
        name: its name in tables.
        doses: the plain values beside the parts, for example ``{"scale": 3.0}``.
        training: what is merged over ``teacher.training``.
        weights: spec of a transformation of the trained network, empty for none.
        outputs: spec of a transformation of what it says, empty for none.
        control: spec of a teacher without network, empty for none.
    """

    name: str
    doses: Mapping[str, Any] = field(default_factory=dict)
    training: Mapping[str, Any] = field(default_factory=dict)
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
        doses = {name: value for name, value in spec.items() if name not in (*PARTS, "name") and value is not None}
        return cls(name=spec["name"], doses=doses, **parts)

    @property
    def needs_network(self) -> bool:
        """Whether a network is trained (or loaded) for it."""
        return not self.control

    @property
    def own_weights(self) -> bool:
        """Whether its network is trained differently from the standard one, so that it is no shared parent."""
        return bool(self.training)

    @property
    def transformation(self) -> dict[str, Any]:
        """What stands beside the parent's identity in this teacher's: empty where it is the trained network itself."""
        parts = {"weights": self.weights, "outputs": self.outputs, "control": self.control}
        return {part: dict(spec) for part, spec in parts.items() if spec}

    def merged_training(self, training: Mapping[str, Any]) -> dict[str, Any]:
        """``teacher.training`` with what the preset changes, nested mappings merged."""
        return _merge(training, self.training)


def quality_errors(spec: Mapping[str, Any], *, key: str = KEY) -> list[str]:
    """Every mistake in a preset: its name, its parts and their targets."""
    problems = []
    if not isinstance(spec.get("name"), str) or not spec["name"]:
        problems.append(f"{key}.name = {spec.get('name')!r}: the name of the preset is needed")
    for name, value in spec.items():
        if isinstance(value, Mapping) and name not in PARTS:
            problems.append(f"unknown key {key}.{name}; {nearest(name, PARTS)}")
        elif name in PARTS and value is not None and not isinstance(value, Mapping):
            problems.append(f"{key}.{name} = {value!r}: a mapping is needed")
    present = [part for part in PARTS if isinstance(spec.get(part), Mapping) and spec[part]]
    if "control" in present and len(present) > 1:
        problems.append(f"{key}: control has no network, so {', '.join(present[:-1])} cannot apply beside it")
    for part in present:
        if part != "training":
            given = GIVEN.get(part)
            provided = (*OFFERED, given) if given else OFFERED
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
    teacher: Teacher = OnlineTeacher(model, num_classes=num_classes)
    if quality.weights:
        changed = targets.build(quality.weights, OnlineTeacher(model, num_classes=num_classes).model, **facts)
        teacher = OnlineTeacher(changed, num_classes=num_classes)
    return targets.build(quality.outputs, teacher, **facts) if quality.outputs else teacher


def _merge(base: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    merged = dict(base)
    for name, value in over.items():
        below = merged.get(name)
        both = isinstance(below, Mapping) and isinstance(value, Mapping)
        merged[name] = _merge(below, value) if both else value  # type: ignore[arg-type]
    return merged
