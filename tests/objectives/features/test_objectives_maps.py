"""Terms about one example's maps, beside slow loops over positions and channels."""

import math
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import pytest
import torch
from equipped_terms import draw
from oracles import features as oracles
from torch import Tensor

from kdlab.errors import UserError
from kdlab.objectives.features.attention import attention_transfer
from kdlab.objectives.features.cosine import hidden_cosine
from kdlab.objectives.features.hint import hint
from kdlab.objectives.features.selectivity import neuron_selectivity
from kdlab.objectives.features.solution_flow import solution_flow
from kdlab.outputs import Batch, ModelOutput, TeacherOutput

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


SLOW: dict[Any, Callable[..., list[float]]] = {
    attention_transfer: partial(oracles.over_layers, oracles.attention_transfer),
    neuron_selectivity: lambda student, teacher: oracles.neuron_selectivity(student[0], teacher[0]),
    solution_flow: oracles.solution_flow,
    hidden_cosine: partial(oracles.over_layers, oracles.hidden_cosine, how="mean"),
    hint: lambda student, teacher: oracles.hint(student[0], teacher[0]),
}
every_term = pytest.mark.parametrize("function", [pytest.param(one, id=one.__name__) for one in SLOW])
SHAPES = {"signals": ((4, 6), (5, 6)), "images": ((4, 2, 3), (5, 2, 3))}


def drawn(shapes: Sequence[tuple[int, ...]], *, seed: int) -> list[Tensor]:
    return [draw(ROWS, *shape, seed=seed + at) for at, shape in enumerate(shapes)]


def looped(function: Any, student: Sequence[Tensor], teacher: Sequence[Tensor], **knobs: Any) -> Tensor:
    both = ([one.numpy() for one in side] for side in (student, teacher))
    return torch.tensor(SLOW[function](*both, **knobs), dtype=torch.float64)


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


@pytest.mark.parametrize("function", [attention_transfer, neuron_selectivity])
@pytest.mark.parametrize("shapes", [((4, 6, 4), (4, 2, 3)), ((4, 2, 3), (4, 6, 4)), ((4, 5), (3, 7))])
def test_the_one_with_more_positions_is_pooled(function: Any, shapes: Any) -> None:
    student, teacher = drawn(shapes[:1], seed=0), drawn(shapes[1:], seed=10)
    torch.testing.assert_close(values(function, student, teacher), looped(function, student, teacher))


def test_cosines_are_of_pooled_maps() -> None:
    student, teacher = drawn([(4, 6, 4)], seed=0), drawn([(4, 2, 3)], seed=10)
    pooled = torch.stack([torch.from_numpy(oracles.pooled(row.numpy(), (2, 3))) for row in student[0]])
    torch.testing.assert_close(values(hidden_cosine, student, teacher), looped(hidden_cosine, [pooled], teacher))


def test_a_flow_pools_the_layer_with_more_positions() -> None:
    shapes = [[(4, 6, 4), (5, 2, 3), (3, 2, 3)], [(4, 2, 3), (5, 2, 3), (3, 5, 5)]]
    student, teacher = drawn(shapes[0], seed=0), drawn(shapes[1], seed=10)
    torch.testing.assert_close(values(solution_flow, student, teacher), looped(solution_flow, student, teacher))


def test_a_flow_of_vectors_is_their_outer_product() -> None:
    student, teacher = drawn([(4,), (5,), (3,)], seed=0), drawn([(4,), (5,), (3,)], seed=10)
    first, second, third = ([one.unsqueeze(-1) for one in pair] for pair in zip(student, teacher, strict=True))
    expected = sum(
        ((lower[1] @ upper[1].mT - lower[0] @ upper[0].mT) ** 2).mean((1, 2))
        for lower, upper in ((first, second), (second, third))
    )
    torch.testing.assert_close(values(solution_flow, student, teacher), expected)


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
