"""Controls that answer by the index of an example: its smoothed label, or its teacher's logits permuted.

Both need the index that the data set gives an example; a random augmentation would show the student an input that the
answer was not made for. Hence ``by_index = True``.
"""

import math
from collections.abc import Mapping

import torch
from torch import Tensor

from kdlab.data.dataset import Examples
from kdlab.errors import UserError
from kdlab.outputs import TeacherOutput
from kdlab.streams import stream_seed
from kdlab.teachers.providers import Teacher
from kdlab.teachers.scaling import Predict
from kdlab.tempering import mean_entropy, smoothed_entropy, smoothing_of_entropy

_WORD = 1 << 64


class VirtualTeacher:
    """The true label, smoothed: logits ``margin`` for the label and 0 for the rest.

    It is the virtual teacher of Yuan et al. 2020 (arXiv:1909.11723), with the entropy of a trained one. An example
    whose label it does not know gets its parent's top class in place of the label.

    Args:
        teacher: the parent.
        examples: whose labels it knows.
        margin: by how much the logit of the label is above the others.
        facts: what was fitted for it.
    """

    provides = frozenset({"logits"})
    by_index = True

    def __init__(
        self, teacher: Teacher, examples: Examples, *, margin: float, facts: Mapping[str, float] | None = None
    ) -> None:
        order = examples.index.argsort()
        self.teacher, self.margin, self.facts = teacher, margin, dict(facts or {})
        self.index, self.labels = examples.index[order], examples.labels[order]
        self.num_classes = teacher.num_classes

    def __call__(self, inputs: Tensor, index: Tensor) -> TeacherOutput:
        """Logits ``[B, C]``; the parent is asked only where a label is not known."""
        _check_index(index, "virtual")
        row = torch.searchsorted(self.index, index).clamp(max=len(self.index) - 1)
        known = self.index[row] == index
        top = self.labels[row]
        if not bool(known.all()):
            top = torch.where(known, top, self.teacher(inputs, index).logits.argmax(-1))
        logits = inputs.new_zeros((*index.shape, self.num_classes))
        return TeacherOutput(logits.scatter_(-1, top.unsqueeze(-1), self.margin), {})

    def to(self, device: torch.device | str, dtype: torch.dtype | None = None) -> "VirtualTeacher":
        """Move its labels and its parent."""
        self.teacher = self.teacher.to(device, dtype)
        self.index, self.labels = self.index.to(device), self.labels.to(device)
        return self


def virtual(
    teacher: Teacher, *, temperature: float, train: Examples, predict: Predict, fitted: Mapping[str, float]
) -> VirtualTeacher:
    """Labels smoothed until the targets have, at ``temperature``, the mean entropy of the parent's tempered targets.

    Every target has the same entropy ``H(e)`` of a label smoothed by e, so that ``H(e) = mean entropy of
    softmax(z_parent / T)`` on the transfer set has one solution. ``softmax(margin [k = y] / T)`` is that smoothed label
    for ``margin = T log(p_y / p_other)``.

    Args:
        teacher: the parent.
        temperature: T, at which the student sees the targets.
        train: the transfer set; a row with a label below 0 has none that is known.
        predict: what a teacher says of a set.
        fitted: ``smoothing`` where it is known.
    """
    smoothing = fitted.get("smoothing")
    if smoothing is None:
        entropy = mean_entropy(predict(teacher, train).logits, temperature=temperature)
        smoothing = smoothing_of_entropy(entropy, num_classes=teacher.num_classes)
    known = train.select(train.labels >= 0)
    facts = {"smoothing": smoothing, "target_entropy": smoothed_entropy(smoothing, num_classes=teacher.num_classes)}
    return VirtualTeacher(
        teacher, known, margin=_margin(smoothing, num_classes=teacher.num_classes, temperature=temperature), facts=facts
    )


virtual.is_network = False  # type: ignore[attr-defined]  # what it makes is no network that taught


def _margin(smoothing: float, *, num_classes: int, temperature: float) -> float:
    other = smoothing / num_classes
    return temperature * (math.log(other + 1.0 - smoothing) - math.log(other))


class PermutedTeacher:
    """The parent's top class stays; its other logits are permuted among the other classes.

    So confidence, entropy and accuracy are the parent's, and what it says of similarity between classes is gone. There
    is one fixed permutation for each (seed, index): the classes other than the top one, in their order, get the logits
    of the same classes ordered by a hash of (seed, index, class).

    Args:
        teacher: the parent.
        seed: the teacher's seed.
    """

    provides = frozenset({"logits"})
    by_index = True

    def __init__(self, teacher: Teacher, *, seed: int) -> None:
        self.teacher, self.num_classes = teacher, teacher.num_classes
        self.key = stream_seed("teacher", "permute", seed)

    def __call__(self, inputs: Tensor, index: Tensor) -> TeacherOutput:
        """Logits ``[B, C]``, permuted."""
        _check_index(index, "permuted")
        logits = self.teacher(inputs, index).logits
        top = logits.argmax(-1, keepdim=True)
        classes = torch.arange(self.num_classes, device=index.device)
        drawn = class_hashes(index, num_classes=self.num_classes, key=self.key)
        last = torch.iinfo(torch.int64).max
        ordered = drawn.scatter(-1, top, last).argsort(dim=-1, stable=True)[..., :-1]
        plain = classes.expand_as(drawn).scatter(-1, top, self.num_classes).argsort(dim=-1, stable=True)[..., :-1]
        return TeacherOutput(logits.scatter(-1, plain, logits.gather(-1, ordered)), {})

    def to(self, device: torch.device | str, dtype: torch.dtype | None = None) -> "PermutedTeacher":
        """Move the parent."""
        self.teacher = self.teacher.to(device, dtype)
        return self


def class_hashes(index: Tensor, *, num_classes: int, key: int) -> Tensor:
    """One 63-bit number for each (key, index, class): ``[B, C]`` int64, the same on every device.

    ``h = mix(mix(key + index) + class)`` with the finalizer of SplitMix64 (Steele et al. 2014), without its last bit.
    """
    classes = torch.arange(num_classes, device=index.device)
    return _mix(_mix(index + key).unsqueeze(-1) + classes) & (_WORD // 2 - 1)


def _mix(value: Tensor) -> Tensor:
    """SplitMix64's increment and finalizer; int64 arithmetic wraps as uint64 does."""
    value = value + _signed(0x9E3779B97F4A7C15)
    value = (value ^ _shifted(value, 30)) * _signed(0xBF58476D1CE4E5B9)
    value = (value ^ _shifted(value, 27)) * _signed(0x94D049BB133111EB)
    return value ^ _shifted(value, 31)


def _shifted(value: Tensor, bits: int) -> Tensor:
    """Shift to the right as an unsigned number: the sign is not drawn in."""
    return (value >> bits) & ((1 << (64 - bits)) - 1)


def _signed(word: int) -> int:
    return word - _WORD if word >= _WORD // 2 else word


def _check_index(index: Tensor, name: str) -> None:
    if bool((index < 0).any()):
        raise UserError(
            f"teacher.quality.name = '{name}' answers by the index of an example, and a batch has index "
            f"{int(index.min())}: load batches of (inputs, labels, index)"
        )
