"""Ensembles: several frozen teachers that answer as one, together or one of them for each batch.

Both give logits alone: layers of different networks have no mean. What an ensemble costs is told by ``SideBySide``,
which runs all networks on the same inputs.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from kdlab.errors import UserError
from kdlab.models import as_output, build_model
from kdlab.outputs import TeacherOutput
from kdlab.streams import stream_seed
from kdlab.teachers.by_index import class_hashes
from kdlab.teachers.combining import COMBINATIONS
from kdlab.teachers.providers import Teacher, answers_by_index

RANDOM = "random"
KEY = "teacher.ensemble.combination"


class EnsembleTeacher:
    """What its members say, combined.

    Args:
        members: two teachers or more, of the same classes.
        combination: a name in ``COMBINATIONS``.
        temperature: T at which the student sees the targets; None where the combination does not read it.

    Raises:
        UserError: fewer than two members, members of different classes, or no temperature where one is read.
    """

    provides = frozenset({"logits"})

    def __init__(self, members: Sequence[Teacher], *, combination: str, temperature: float | None = None) -> None:
        self.members, self.num_classes = _checked(members)
        combine, reads_temperature = COMBINATIONS[combination]
        if reads_temperature and temperature is None:
            raise UserError(f"{KEY} = '{combination}': the temperature at which targets are shown is needed")
        self._combine, self._temperature = combine, 1.0 if temperature is None else temperature
        self.by_index = any(answers_by_index(member) for member in self.members)

    def __call__(self, inputs: Tensor, index: Tensor) -> TeacherOutput:
        """Logits ``[B, C]``; every member is asked."""
        logits = torch.stack([member(inputs, index).logits for member in self.members])
        return TeacherOutput(self._combine(logits, temperature=self._temperature), {})

    def to(self, device: torch.device | str, dtype: torch.dtype | None = None) -> "EnsembleTeacher":
        """Move the members."""
        self.members = [member.to(device, dtype) for member in self.members]
        return self


class RandomMember:
    """One of its members, another for each batch.

    Which one is a function of the seed and of the examples of the batch in their order. The batch of a step is a
    function of the student's seed and the step alone, so the draws are too: they are the same after an interruption and
    in a stack, and no two steps share one. Outside training ``mean`` answers: what a student hears on average.

    Args:
        members: two teachers or more, of the same classes.
        seed: the teacher's seed.
    """

    provides = frozenset({"logits"})
    by_batch = True

    def __init__(self, members: Sequence[Teacher], *, seed: int) -> None:
        self.members, self.num_classes = _checked(members)
        self.key = stream_seed("teacher", "member", seed)
        self.by_index = any(answers_by_index(member) for member in self.members)

    @property
    def mean(self) -> EnsembleTeacher:
        """The mean of its members' probabilities."""
        return EnsembleTeacher(self.members, combination="probabilities_then_temper")

    def __call__(self, inputs: Tensor, index: Tensor) -> TeacherOutput:
        """Logits ``[B, C]`` of the member that is drawn for this batch; the others are not asked.

        Raises:
            UserError: a batch without the index of its examples.
        """
        if bool((index < 0).any()):
            raise UserError(f"{KEY} = '{RANDOM}' draws by example index: load batches of (inputs, labels, index)")
        drawn = drawn_by(index, count=len(self.members), key=self.key)
        return TeacherOutput(self.members[drawn](inputs, index).logits, {})

    def to(self, device: torch.device | str, dtype: torch.dtype | None = None) -> "RandomMember":
        """Move the members."""
        self.members = [member.to(device, dtype) for member in self.members]
        return self


def drawn_by(index: Tensor, *, count: int, key: int) -> int:
    """A number below ``count`` for each (key, batch): the examples ``[B]`` count with their places."""
    places = 2 * torch.arange(len(index), device=index.device) + 1
    of_batch = (class_hashes(index, num_classes=1, key=key).squeeze(-1) * places).sum()
    return int(class_hashes(of_batch.reshape(1), num_classes=1, key=key)) % count


def answers_by_batch(teacher: Teacher | None) -> bool:
    """Whether what it says of an example depends on the batch: it is asked for one batch at a time, and not stored."""
    if teacher is None:
        return False
    return bool(getattr(teacher, "by_batch", False)) or answers_by_batch(getattr(teacher, "teacher", None))


def measured_form(teacher: Teacher) -> Teacher:
    """The teacher as it is measured: itself, and in the place of a random member the mean of all."""
    return teacher.mean if isinstance(teacher, RandomMember) else teacher


def _checked(members: Sequence[Teacher]) -> tuple[list[Teacher], int]:
    classes = {member.num_classes for member in members}
    if len(members) < 2 or len(classes) > 1:
        told = f"{len(members)} of {' and '.join(map(str, sorted(classes)))} classes"
        raise UserError(f"teacher.ensemble: two members or more of the same classes are needed, these are {told}")
    return list(members), classes.pop()


class SideBySide(nn.Module):
    """Networks that are all run on the same inputs; logits ``[B, C]`` are their mean.

    Args:
        networks: of the same inputs and classes.
    """

    def __init__(self, networks: Sequence[nn.Module]) -> None:
        super().__init__()
        self.networks = nn.ModuleList(networks)

    def forward(self, inputs: Tensor) -> Tensor:
        """The mean of their logits."""
        return torch.stack([as_output(network(inputs)).logits for network in self.networks]).mean(0)


def side_by_side(members: Sequence[Mapping[str, Any]], *, input_shape: Sequence[int], num_classes: int) -> SideBySide:
    """The networks of some specs side by side, with weights that nobody trained: what is timed as an ensemble.

    Args:
        members: ``{"function": import path, "knobs": {...}}`` each.
        input_shape: of one example.
        num_classes: C.
    """
    shape: dict[str, Any] = {"input_shape": input_shape, "num_classes": num_classes}
    specs = [{"_target_": member["function"], **member["knobs"]} for member in members]
    return SideBySide([build_model(spec, **shape, seed_value=at) for at, spec in enumerate(specs)])


def side_by_side_spec(models: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """The spec of ``side_by_side`` for these model specs, themselves no specs in it: they are built with the data."""
    members = [
        {"function": model["_target_"], "knobs": {name: value for name, value in model.items() if name != "_target_"}}
        for model in models
    ]
    return {"_target_": "kdlab.teachers.side_by_side", "members": members}
