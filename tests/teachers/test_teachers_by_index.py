"""The controls that answer by index: the label smoothed, and all but the top class permuted."""

import collections
import itertools
import math

import numpy as np
import pytest
import torch
from torch import Tensor

from kdlab.data import Examples
from kdlab.errors import UserError
from kdlab.evaluation.predict import predict_teacher
from kdlab.models import MLP
from kdlab.streams import stream_seed
from kdlab.teachers import OnlineTeacher, PermutedTeacher, ScaledTeacher, Teacher, answers_by_index, virtual
from kdlab.teachers.by_index import class_hashes
from kdlab.tempering import mean_entropy

CLASSES = 5
MASK = (1 << 64) - 1


def parent() -> OnlineTeacher:
    torch.manual_seed(0)
    return OnlineTeacher(MLP(input_shape=(1, 12), num_classes=CLASSES, width=8))


def examples(rows: int = 60, *, seed: int = 0) -> Examples:
    draws = torch.Generator().manual_seed(seed)
    index = torch.randperm(1000, generator=draws)[:rows]  # in no order, with gaps
    return Examples(3 * torch.randn(rows, 1, 12, generator=draws), torch.arange(rows) % CLASSES, index)


def predict(teacher: Teacher, asked: Examples):
    return predict_teacher(teacher, asked, batch_size=7, device="cpu")


def splitmix(value: int) -> int:
    """SplitMix64 in Python's own integers."""
    value = (value + 0x9E3779B97F4A7C15) & MASK
    value = ((value ^ (value >> 30)) * 0xBF58476D1CE4E5B9) & MASK
    value = ((value ^ (value >> 27)) * 0x94D049BB133111EB) & MASK
    return value ^ (value >> 31)


def slow_hash(key: int, index: int, which: int) -> int:
    return splitmix((splitmix((index + key) & MASK) + which) & MASK) & (MASK >> 1)


def slow_permuted(logits: Tensor, index: Tensor, *, seed: int) -> Tensor:
    """One example at a time: the classes other than the top one, in order, get the logits in the order of hashes."""
    key, result = stream_seed("teacher", "permute", seed), logits.clone()
    for row, (values, one) in enumerate(zip(logits.tolist(), index.tolist(), strict=True)):
        others = [which for which in range(len(values)) if which != values.index(max(values))]
        drawn = sorted(others, key=lambda which, one=one: slow_hash(key, one, which))
        for place, source in zip(others, drawn, strict=True):
            result[row, place] = values[source]
    return result


@pytest.mark.parametrize("key", [0, 1, 2**63 - 1])
def test_hashes_are_splitmix(key):
    index = torch.tensor([0, 1, 77, 2**40, 2**63 - 1])
    expected = [[slow_hash(key, one, which) for which in range(4)] for one in index.tolist()]
    assert class_hashes(index, num_classes=4, key=key).tolist() == expected


@pytest.mark.parametrize("seed", [0, 3])
def test_permuted_against_a_slow_loop(seed):
    asked, teacher = examples(), parent()
    plain = teacher(asked.inputs, asked.index).logits
    permuted = PermutedTeacher(teacher, seed=seed)(asked.inputs, asked.index).logits
    assert torch.equal(permuted, slow_permuted(plain, asked.index, seed=seed))
    assert torch.equal(permuted.argmax(-1), plain.argmax(-1))
    assert torch.equal(permuted.sort(-1).values, plain.sort(-1).values)
    assert not torch.equal(permuted, plain)


def test_a_permutation_belongs_to_the_example_and_the_seed():
    asked, teacher = examples(), parent()
    told = PermutedTeacher(teacher, seed=1)
    whole = told(asked.inputs, asked.index).logits
    rows = torch.randperm(60, generator=torch.Generator().manual_seed(2))
    shuffled = torch.cat([told(asked.inputs[part], asked.index[part]).logits for part in rows.split(13)])
    torch.testing.assert_close(shuffled, whole[rows], rtol=0, atol=1e-6)  # another batch size, other last bits
    assert not torch.equal(whole, PermutedTeacher(teacher, seed=2)(asked.inputs, asked.index).logits)


def test_every_permutation_is_as_likely_as_every_other():
    """Chi-square over the 24 permutations of the four other classes."""

    class Constant:
        num_classes = CLASSES
        provides = frozenset({"logits"})

        def __call__(self, inputs, index):
            from kdlab.outputs import TeacherOutput

            return TeacherOutput(torch.tensor([9.0, 1, 2, 3, 4]).expand(len(index), -1), {})

    count = 24_000
    said = PermutedTeacher(Constant(), seed=0)(torch.zeros(count, 1), torch.arange(count)).logits
    seen = collections.Counter(tuple(row) for row in said[:, 1:].int().tolist())
    assert set(seen) == set(itertools.permutations([1, 2, 3, 4]))
    chi_square = sum((found - count / 24) ** 2 / (count / 24) for found in seen.values())
    assert chi_square < 49.7  # the 99.9 % point of chi-square with 23 degrees of freedom


@pytest.mark.parametrize("classes", [1, 2])
def test_permuted_with_nothing_to_permute(classes):
    teacher = OnlineTeacher(MLP(input_shape=(1, 12), num_classes=classes, width=4))
    asked = examples()
    said = PermutedTeacher(teacher, seed=0)(asked.inputs, asked.index).logits
    assert torch.equal(said, teacher(asked.inputs, asked.index).logits)


@pytest.mark.parametrize("temperature", [0.5, 1.0, 4.0, 16.0])
def test_virtual_targets_are_the_smoothed_label_with_the_parents_entropy(temperature):
    train, teacher = examples(), parent()
    told = virtual(teacher, temperature=temperature, train=train, predict=predict, fitted={})
    said = told(train.inputs, train.index).logits
    targets = torch.softmax(said.double() / temperature, -1).numpy()
    entropy = mean_entropy(predict(teacher, train).logits, temperature=temperature)
    smoothing = told.facts["smoothing"]
    for row, label in zip(targets, train.labels.tolist(), strict=True):
        expected = np.full(CLASSES, smoothing / CLASSES)
        expected[label] += 1 - smoothing
        np.testing.assert_allclose(row, expected, rtol=1e-5, atol=1e-12)
        assert -(row * np.log(row)).sum() == pytest.approx(entropy, rel=1e-5)
    assert told.facts["target_entropy"] == pytest.approx(entropy, rel=1e-7)


def test_virtual_says_the_parents_top_class_where_it_knows_no_label():
    train, teacher = examples(), parent()
    others = Examples(examples(9, seed=5).inputs, torch.zeros(9, dtype=torch.int64), torch.arange(5000, 5009))
    told = virtual(teacher, temperature=2.0, train=train, predict=predict, fitted={})
    both = (torch.cat([train.inputs[:4], others.inputs]), torch.cat([train.index[:4], others.index]))
    said = told(*both).logits
    top = teacher(others.inputs, others.index).logits.argmax(-1)
    assert torch.equal(said.argmax(-1), torch.cat([train.labels[:4], top]))
    assert set(said.flatten().tolist()) == {0.0, float(np.float32(told.margin))}


def test_virtual_asks_its_parent_only_where_it_must(monkeypatch):
    train, teacher, asked = examples(), parent(), []
    told = virtual(teacher, temperature=2.0, train=train, predict=predict, fitted={"smoothing": 0.3})
    monkeypatch.setattr(teacher, "model", lambda inputs: asked.append(len(inputs)))
    told(train.inputs, train.index)
    assert asked == []
    assert told.facts["smoothing"] == 0.3


def virtual_teacher() -> Teacher:
    return virtual(parent(), temperature=2.0, train=examples(), predict=predict, fitted={})


@pytest.mark.parametrize(
    "make", [lambda: PermutedTeacher(parent(), seed=0), virtual_teacher], ids=["permuted", "virtual"]
)
def test_what_answers_by_index_says_so_and_refuses_a_batch_without(make):
    teacher = make()
    assert answers_by_index(teacher)
    assert answers_by_index(ScaledTeacher(teacher, scale=2.0))
    assert not answers_by_index(parent())
    asked = examples(6)
    with pytest.raises(UserError, match=r"answers by the index of an example, and a batch has index -1"):
        teacher(asked.inputs, torch.tensor([0, 1, 2, -1, 3, 4]))
    output = teacher.to("cpu", torch.float64)(asked.inputs.double(), asked.index)
    assert output.logits.dtype == torch.float64
    assert output.features == {}
    assert not output.logits.requires_grad
    assert math.isfinite(float(output.logits.sum()))
