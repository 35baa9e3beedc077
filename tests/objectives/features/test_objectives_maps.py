"""Terms about one example's maps, beside slow loops over positions and channels."""

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest
import torch
from equipped_terms import draw
from torch import Tensor

from kdlab.errors import UserError
from kdlab.objectives.features.attention import attention_transfer
from kdlab.objectives.features.cosine import hidden_cosine
from kdlab.objectives.features.hint import hint
from kdlab.objectives.features.selectivity import neuron_selectivity
from kdlab.objectives.features.solution_flow import solution_flow
from kdlab.outputs import Batch, ModelOutput, TeacherOutput

Maps = Sequence[np.ndarray]
NO_BATCH: Any = None
WITH_PROJECTION = (solution_flow, hidden_cosine)
ROWS = 3


def values(function: Any, student: Sequence[Tensor], teacher: Sequence[Tensor], **knobs: Any) -> Tensor:
    """The term with layers named 0, 1, ...; projections and regressors leave features as they are."""
    logits, batch = torch.zeros(len(student[0]), 3), Batch(NO_BATCH, NO_BATCH, NO_BATCH, NO_BATCH)
    names = [str(at) for at in range(len(student))]
    if function in (neuron_selectivity, hint):
        knobs |= {"student_layer": "0", "teacher_layer": "0"}
    else:
        knobs |= {"student_layers": names, "teacher_layers": names}
    if function in WITH_PROJECTION:
        knobs.setdefault("projection", list)
    if function is hint:
        knobs.setdefault("regressor", lambda features: features)
    said = ModelOutput(logits, dict(zip(names, student, strict=True)))
    taught = TeacherOutput(logits, dict(zip(names, teacher, strict=True)))
    found: Tensor = function(said, taught, batch, 0, **knobs)
    return found


def places(features: np.ndarray) -> list[tuple[int, ...]]:
    """All positions of ``[C, *positions]``."""
    return list(np.ndindex(features.shape[1:]))


def halved(features: np.ndarray) -> np.ndarray:
    """``[C, 2 H, 2 W]`` to ``[C, H, W]``, by means of four."""
    return sum(features[:, i::2, j::2] for i in (0, 1) for j in (0, 1)) / 4  # type: ignore[no-any-return]


def slow_attention(student: Maps, teacher: Maps, *, power: float = 2) -> float:
    def attention(features: np.ndarray) -> dict[tuple[int, ...], float]:
        found = {at: sum(abs(float(one[at])) ** power for one in features) for at in places(features)}
        size = math.sqrt(sum(value**2 for value in found.values()))
        return {at: value / size for at, value in found.items()}

    total = 0.0
    for own, wanted in zip(student, teacher, strict=True):
        a, b = attention(own), attention(wanted)
        total += sum((a[at] - b[at]) ** 2 for at in a) / len(a)
    return total


def slow_selectivity(student: Maps, teacher: Maps) -> float:
    def kernel(first: np.ndarray, second: np.ndarray) -> float:
        dot = sum(float(a) * float(b) for a, b in zip(first.flat, second.flat, strict=True))
        sizes = math.sqrt(sum(float(a) ** 2 for a in first.flat) * sum(float(b) ** 2 for b in second.flat))
        return (dot / sizes) ** 2

    def mean(first: np.ndarray, second: np.ndarray) -> float:
        return sum(kernel(a, b) for a in first for b in second) / (len(first) * len(second))

    own, wanted = student[0], teacher[0]
    return mean(wanted, wanted) + mean(own, own) - 2 * mean(wanted, own)


def slow_flow(student: Maps, teacher: Maps) -> float:
    def flow(lower: np.ndarray, upper: np.ndarray, i: int, j: int) -> float:
        return sum(float(lower[i][at]) * float(upper[j][at]) for at in places(upper)) / len(places(upper))

    total = 0.0
    for at in range(len(student) - 1):
        a, b, c, d = student[at], student[at + 1], teacher[at], teacher[at + 1]
        pairs = [(i, j) for i in range(len(a)) for j in range(len(b))]
        total += sum((flow(a, b, i, j) - flow(c, d, i, j)) ** 2 for i, j in pairs) / len(pairs)
    return total


def slow_cosine(student: Maps, teacher: Maps) -> float:
    def apart(own: np.ndarray, wanted: np.ndarray) -> float:
        dot = sum(float(a) * float(b) for a, b in zip(own, wanted, strict=True))
        return 1 - dot / math.sqrt(sum(float(a) ** 2 for a in own) * sum(float(b) ** 2 for b in wanted))

    layers = []
    for own, wanted in zip(student, teacher, strict=True):
        layers.append(sum(apart(own[(slice(None), *at)], wanted[(slice(None), *at)]) for at in places(own)))
        layers[-1] /= len(places(own))
    return sum(layers) / len(layers)


def slow_hint(student: Maps, teacher: Maps) -> float:
    pairs = list(zip(student[0].flat, teacher[0].flat, strict=True))
    return sum((float(a) - float(b)) ** 2 for a, b in pairs) / len(pairs)


SLOW: dict[Any, Callable[[Maps, Maps], float]] = {
    attention_transfer: slow_attention,
    neuron_selectivity: slow_selectivity,
    solution_flow: slow_flow,
    hidden_cosine: slow_cosine,
    hint: slow_hint,
}
every_term = pytest.mark.parametrize("function", [pytest.param(one, id=one.__name__) for one in SLOW])
SHAPES = {"signals": ((4, 6), (5, 6)), "images": ((4, 2, 3), (5, 2, 3))}


def drawn(shapes: Sequence[tuple[int, ...]], *, seed: int) -> list[Tensor]:
    return [draw(ROWS, *shape, seed=seed + at) for at, shape in enumerate(shapes)]


def looped(function: Any, student: Sequence[Tensor], teacher: Sequence[Tensor], **knobs: Any) -> Tensor:
    pairs = [([one[row].numpy() for one in student], [one[row].numpy() for one in teacher]) for row in range(ROWS)]
    return torch.tensor([SLOW[function](*pair, **knobs) for pair in pairs], dtype=torch.float64)


@every_term
@pytest.mark.parametrize("kind", SHAPES)
def test_is_the_loop_of_the_paper(function: Any, kind: str) -> None:
    student, teacher = drawn(SHAPES[kind], seed=0), drawn(SHAPES[kind], seed=10)
    expected = looped(function, student, teacher)
    assert function.reduction == "mean"
    assert expected.min() > 1e-3
    torch.testing.assert_close(values(function, student, teacher), expected)


@pytest.mark.parametrize("power", [1.0, 1.5, 4.0])
def test_attention_is_to_a_power(power: float) -> None:
    student, teacher = drawn(SHAPES["images"], seed=0), drawn(SHAPES["images"], seed=10)
    found = values(attention_transfer, student, teacher, power=power)
    torch.testing.assert_close(found, looped(attention_transfer, student, teacher, power=power))


@pytest.mark.parametrize("function", [attention_transfer, neuron_selectivity])
def test_channels_may_differ_in_number(function: Any) -> None:
    student, teacher = drawn([(2, 2, 3)], seed=0), drawn([(5, 2, 3)], seed=10)
    torch.testing.assert_close(values(function, student, teacher), looped(function, student, teacher))


@pytest.mark.parametrize("function", [attention_transfer, neuron_selectivity, hidden_cosine])
@pytest.mark.parametrize("larger", ["student", "teacher"])
def test_the_one_with_more_positions_is_pooled(function: Any, larger: str) -> None:
    large, small = drawn([(4, 4, 6)], seed=0), drawn([(4, 2, 3)], seed=10)
    pooled = [torch.stack([torch.from_numpy(halved(row.numpy())) for row in large[0]])]
    pair, expected = ((large, small), (pooled, small)) if larger == "student" else ((small, large), (small, pooled))
    torch.testing.assert_close(values(function, *pair), looped(function, *expected))


def test_a_flow_pools_the_layer_with_more_positions() -> None:
    student, teacher = drawn([(4, 4, 6), (5, 2, 3)], seed=0), drawn([(4, 2, 3), (5, 2, 3)], seed=10)
    pooled = torch.stack([torch.from_numpy(halved(row.numpy())) for row in student[0]])
    expected = looped(solution_flow, [pooled, student[1]], teacher)
    torch.testing.assert_close(values(solution_flow, student, teacher), expected)


def test_a_flow_of_vectors_is_their_outer_product() -> None:
    student, teacher = drawn([(4,), (5,), (3,)], seed=0), drawn([(4,), (5,), (3,)], seed=10)
    torch.testing.assert_close(values(solution_flow, student, teacher), looped(solution_flow, student, teacher))


@every_term
def test_is_nothing_for_the_teachers_own_features(function: Any) -> None:
    teacher = drawn(SHAPES["images"], seed=0)
    torch.testing.assert_close(values(function, teacher, teacher), torch.zeros(ROWS).double(), rtol=0, atol=1e-14)


def test_attention_sees_neither_the_order_nor_the_sign_of_channels_nor_the_size() -> None:
    student, teacher = drawn([(4, 2, 3)], seed=0), drawn([(5, 2, 3)], seed=10)
    expected = values(attention_transfer, student, teacher)
    torch.testing.assert_close(values(attention_transfer, [-7 * student[0].flip(1)], teacher), expected)


def test_selectivity_is_of_a_distribution() -> None:
    """Twice as many channels of the same kinds, each of another size, are distributed alike."""
    (teacher,) = drawn([(4, 2, 3)], seed=0)
    student = torch.cat([teacher, teacher], dim=1) * draw(1, 8, 1, 1, seed=5).exp()
    found = values(neuron_selectivity, [student], [teacher])
    torch.testing.assert_close(found, torch.zeros(ROWS).double(), rtol=0, atol=1e-14)


def test_a_flow_does_not_see_where() -> None:
    student, teacher = drawn([(4, 6), (5, 6)], seed=0), drawn([(4, 6), (5, 6)], seed=10)
    expected = values(solution_flow, student, teacher)
    torch.testing.assert_close(values(solution_flow, [one.flip(-1) for one in student], teacher), expected)


def test_cosines_do_not_see_size() -> None:
    student, teacher = drawn([(4, 6)], seed=0), drawn([(4, 6)], seed=10)
    scaled = [student[0] * draw(ROWS, 1, 6, seed=3).exp()]
    torch.testing.assert_close(values(hidden_cosine, scaled, teacher), values(hidden_cosine, student, teacher))
    torch.testing.assert_close(values(hidden_cosine, [-teacher[0]], teacher), torch.full((ROWS,), 2.0).double())


@pytest.mark.parametrize("function", [attention_transfer, neuron_selectivity])
@pytest.mark.parametrize("shapes", [((5,), (5, 2, 3)), ((5, 2, 3), (5,)), ((5, 1, 1), (5, 2, 3))])
def test_what_compares_positions_refuses_features_without(function: Any, shapes: Any) -> None:
    student, teacher = drawn(shapes[:1], seed=0), drawn(shapes[1:], seed=10)
    owner = "student" if math.prod(shapes[0][1:]) == 1 else "teacher"
    with pytest.raises(
        UserError, match=rf"terms.{function.__name__}: features.0 of the {owner} \[5.*a signal \[C, L\]"
    ):
        values(function, student, teacher)


def test_a_flow_needs_two_layers() -> None:
    student = drawn([(4, 6)], seed=0)
    with pytest.raises(UserError, match=r"objective.terms.solution_flow.student_layers = \['0'\]: two layers or more"):
        values(solution_flow, student, student)


@every_term
@pytest.mark.parametrize("case", ["dead channels", "dead positions", "nothing"])
def test_dead_features_have_finite_values_and_gradients(function: Any, case: str) -> None:
    def dead(feature: Tensor) -> Tensor:
        feature = feature.float().clone()
        where = {"dead channels": (slice(None), 0), "dead positions": (..., 2), "nothing": (...,)}[case]
        feature[where] = 0
        return feature

    student = [dead(one).requires_grad_() for one in drawn(SHAPES["signals"], seed=0)]
    teacher = drawn(SHAPES["signals"], seed=10)
    for taught in ([one.float() for one in teacher], [dead(one) for one in teacher]):
        found = values(function, student, taught)
        found.sum().backward()
        assert found.isfinite().all()
        for feature in student:
            assert feature.grad is None or (feature.grad.isfinite().all() and feature.grad.abs().max() < 1e3)
