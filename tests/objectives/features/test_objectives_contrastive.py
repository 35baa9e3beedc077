"""Contrastive distillation beside a slow loop over examples, with its own hash, memory and normaliser."""

import math
from typing import Any

import numpy as np
import pytest
import torch
from equipped_terms import EXAMPLES, equipped, modules_in, setting_of, step_of

from kdlab.errors import UserError
from kdlab.objectives import Objective
from kdlab.objectives.features.contrastive import contrastive
from kdlab.objectives.features.memory import Memory, draws, hashed
from kdlab.objectives.setting import Setting
from kdlab.outputs import NO_LABEL

SETTING = setting_of({"penultimate": (5,)}, {"penultimate": (3, 2)})
KNOBS = {"dimension": 4, "negatives": 7, "temperature": 0.2, "momentum": 0.3}
WORD = 2**64


def split_mix(state: int) -> int:
    """The finaliser of SplitMix64, in Python's integers (Steele et al. 2014, figure 16)."""
    state = ((state ^ (state >> 30)) * 0xBF58476D1CE4E5B9) % WORD
    state = ((state ^ (state >> 27)) * 0x94D049BB133111EB) % WORD
    return state ^ (state >> 31)


def drawn(seed: int, step: int, index: int, number: int) -> int:
    stride = 0x9E3779B97F4A7C15
    key = split_mix((seed + stride * step) % WORD)
    key = split_mix((key + stride * index) % WORD)
    return split_mix((key + stride * number) % WORD) % 2**63


class Slow:
    """The method example by example: memories by example index, probabilities as in the paper, no logarithms shared."""

    def __init__(self, network: Any, *, temperature: float, momentum: float, negatives: int, **other: Any) -> None:
        modules = modules_in(network)
        self.embeddings = [modules[f"{who}_embedding"].linear for who in ("student", "teacher")]
        memory = modules["memory"]
        self.temperature, self.momentum, self.negatives = temperature, momentum, negatives
        self.seed, self.normalisers = int(memory.seed), [0.0, 0.0]
        self.labels = dict(zip(SETTING.index.tolist(), SETTING.labels.tolist(), strict=True))
        # rows lie by class, in the order of the training set within each
        self.order = sorted(self.labels, key=lambda index: (self.labels[index], SETTING.index.tolist().index(index)))
        self.banks = [
            {index: memory.banks[row, side].numpy().copy() for row, index in enumerate(self.order)} for side in (0, 1)
        ]

    def others(self, index: int) -> list[int]:
        """Examples of other classes, from the one behind the example's own class on and round."""
        mine = self.labels[index]
        after = [one for one in self.order if self.labels[one] > mine]
        return after + [one for one in self.order if self.labels[one] < mine]

    def __call__(self, features: list[np.ndarray], indices: list[int], step: int) -> list[float]:
        seen = []
        for linear, values in zip(self.embeddings, features, strict=True):
            flat = values.reshape(len(values), -1) @ linear.weight.detach().numpy().T + linear.bias.detach().numpy()
            seen.append(flat / np.sqrt((flat**2).sum(1, keepdims=True)))
        pairs = []  # for each example and side: exp(score) of the true pair, then of the false ones
        for row, index in enumerate(indices):
            others = self.others(index)
            false = [
                others[drawn(self.seed, step, index, number) % len(others)] for number in range(1, self.negatives + 1)
            ]
            for side in (0, 1):
                bank = self.banks[1 - side]
                pairs.append([math.exp(seen[side][row] @ bank[one] / self.temperature) for one in (index, *false)])
        for side in (0, 1):
            if not self.normalisers[side]:
                self.normalisers[side] = float(np.mean(pairs[side::2])) * len(self.order)
        for row, index in enumerate(indices):
            for side in (0, 1):
                moved = self.momentum * self.banks[side][index] + (1 - self.momentum) * seen[side][row]
                self.banks[side][index] = moved / np.sqrt((moved**2).sum())
        noise = self.negatives / len(self.order)
        values = []
        for row in range(len(indices)):
            value = 0.0
            for side in (0, 1):
                p = [one / self.normalisers[side] for one in pairs[2 * row + side]]
                value -= math.log(p[0] / (p[0] + noise)) + sum(math.log(noise / (one + noise)) for one in p[1:])
            values.append(value)
        return values


def test_equals_the_slow_loop_over_some_steps() -> None:
    network = equipped(contrastive, SETTING, **KNOBS)
    slow = Slow(network, **KNOBS)
    for step in range(5):
        said, taught, batch = step_of(SETTING, seed=step)
        found = contrastive(said, taught, batch, step, **modules_in(network), **KNOBS)
        features = [output.features["penultimate"].detach().numpy() for output in (said, taught)]
        expected = slow(features, batch.index.tolist(), step)
        torch.testing.assert_close(found, torch.tensor(expected, dtype=torch.float64), rtol=1e-10, atol=1e-10)


def test_hash_is_split_mix() -> None:
    """The first outputs of SplitMix64 seeded with 1234567, as published with its reference code."""
    known = [6457827717110365317, 3203168211198807973, 9817491932198370423, 4593380528125082431, 16408922859458223821]
    stride = 0x9E3779B97F4A7C15
    states = torch.tensor([(1234567 + stride * n + 2**63) % WORD - 2**63 for n in range(1, 6)])
    assert [value % WORD for value in hashed(states).tolist()] == known


def test_draws_are_even_and_differ_in_everything_they_depend_on() -> None:
    def of(seed: int, step: int, index: int) -> torch.Tensor:
        found: torch.Tensor = draws(torch.tensor(seed), torch.tensor(step), torch.tensor([index]), count=20_000)[0]
        return found

    counts = torch.bincount(of(3, 5, -8) % 50, minlength=50).double()
    assert ((counts - 400).square() / 400).sum() < 90  # chi-squared of 49 degrees of freedom: .9996
    shares = [
        (of(3, 5, -8) == of(*other)).double().mean() for other in ((4, 5, -8), (3, 6, -8), (3, 5, -7), (3, 5, 2**62))
    ]
    assert max(shares) < 1e-3
    pairs = torch.corrcoef(torch.stack([of(3, step, 1).double() for step in range(4)]))
    assert (pairs - torch.eye(4)).abs().max() < 0.03


def memory(labels: list[int], index: list[int] | None = None, **knobs: Any) -> Memory:
    numbers = torch.tensor(index if index is not None else range(len(labels)))
    told = {"dimension": 3, "negatives": 1000, "momentum": 0.5, "temperature": 0.1, **knobs}
    return Memory(labels=torch.tensor(labels), index=numbers, **told)


def test_false_pairs_are_of_other_classes_and_all_of_them_come_up() -> None:
    labels = [2, 0, 0, 7, 2, 2, 0, 7, -1, 2]
    held = memory(labels, index=[50, 3, -4, 12, 9, 8, 7, 6, 5, 4])
    assert held.negatives == 6  # examples of other classes than the largest
    rows = {int(index): int(row) for index, row in zip(held.sorted_index, held.row_of, strict=True)}
    label_of = {row: labels[[50, 3, -4, 12, 9, 8, 7, 6, 5, 4].index(index)] for index, row in rows.items()}
    found: dict[int, set[int]] = {}
    for step in range(60):
        for index, row in rows.items():
            drawn_rows = held._negatives(torch.tensor([row]), torch.tensor([index]), torch.tensor(step))
            assert drawn_rows.shape == (1, 6)
            found.setdefault(row, set()).update(drawn_rows.flatten().tolist())
    for row, others in found.items():
        assert others == {other for other, label in label_of.items() if label != label_of[row]}


def test_examples_without_a_label_are_told_from_all_others() -> None:
    held = memory([0, NO_LABEL, 0, NO_LABEL, 1, NO_LABEL])
    rows = [int(held.row_of[at]) for at in range(6)]
    for at, expected in ((0, {1, 3, 4, 5}), (1, {0, 2, 3, 4, 5}), (5, {0, 1, 2, 3, 4})):
        place = torch.tensor([rows[at]])
        drawn_rows = [held._negatives(place, torch.tensor([at]), torch.tensor(step)) for step in range(60)]
        assert {rows.index(row) for row in torch.cat(drawn_rows).flatten().tolist()} == expected


def test_one_class_is_refused() -> None:
    with pytest.raises(UserError, match="at least two classes"):
        memory([3, 3, 3])


def test_an_example_that_is_not_remembered_is_not_a_number() -> None:
    held = memory([0, 1, 0, 1], index=[5, 10, 15, 20])
    ones = torch.nn.functional.normalize(torch.ones(4, 3), dim=-1)
    odds = held(ones, ones, torch.tensor([10, 11, 5, 99]), torch.tensor(0))
    assert odds[:, [0, 2]].isfinite().all()
    assert odds[:, [1, 3]].isnan().all()


def test_memories_are_unit_vectors_that_move_towards_what_is_seen() -> None:
    held = memory([0, 1, 0, 1], momentum=0.5)
    student, teacher = torch.eye(3)[:2], torch.eye(3)[1:]
    for step in range(40):
        held(student, teacher, torch.tensor([1, 3]), torch.tensor(step))
    rows = held.row_of[torch.searchsorted(held.sorted_index, torch.tensor([1, 3]))]
    torch.testing.assert_close(held.banks[rows, 0], student)
    torch.testing.assert_close(held.banks[rows, 1], teacher)


def test_the_normaliser_is_that_of_the_first_batch() -> None:
    held = memory([0, 1, 0, 1])
    ones = torch.nn.functional.normalize(torch.ones(2, 3), dim=-1)
    kept = []
    for step in range(3):
        held(ones, -ones, torch.tensor([step, 3]), torch.tensor(step))
        kept.append(held.log_normalisers.clone())
    assert kept[0].abs().min() > 0
    assert torch.equal(kept[0], kept[1])
    assert torch.equal(kept[0], kept[2])
    assert int(held.batches) == 3


def test_learning_pulls_true_pairs_together() -> None:
    """From random features, gradient steps on the embeddings alone tell examples apart."""
    setting: Setting = setting_of({"penultimate": (16,)}, {"penultimate": (16,)})
    network = equipped(contrastive, setting, dimension=8, negatives=25)
    table = torch.randn(EXAMPLES, 16, dtype=torch.float64, generator=torch.Generator().manual_seed(3))
    at = {int(index): row for row, index in enumerate(setting.index)}
    optimizer = torch.optim.Adam(network.beside.parameters(), lr=0.01)
    values = []
    for step in range(150):
        said, taught, batch = step_of(setting, seed=step)
        same = table[[at[int(index)] for index in batch.index]]
        said, taught = (output._replace(features={"penultimate": same}) for output in (said, taught))
        value = contrastive(said, taught, batch, step, dimension=8, negatives=25, **modules_in(network)).mean()
        optimizer.zero_grad()
        value.backward()
        optimizer.step()
        values.append(value.item())
    assert sum(values[-20:]) < 0.4 * sum(values[:20])


@pytest.mark.parametrize(
    ("knob", "value", "words"),
    [("negatives", 0, "an integer >= 1"), ("dimension", 2.5, "an integer >= 1"), ("momentum", 1.0, "number in"),
     ("temperature", 0, "> 0")],
)  # fmt: skip
def test_knobs_are_checked(knob: str, value: float, words: str) -> None:
    path = "kdlab.objectives.features.contrastive.contrastive"
    with pytest.raises(UserError, match=rf"objective.terms.crd.{knob} = {value}: .*{words}"):
        Objective.from_specs({"crd": {"_target_": path, "weight": 1, knob: value}})
