"""Terms about the examples of a batch among each other, beside slow loops over pairs and triplets."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from equipped_terms import draw, setting_of
from oracles import features as oracles
from torch import Tensor

from kdlab.objectives.features.correlation import correlation_congruence, make_teacher_embedding
from kdlab.objectives.features.probabilistic import probabilistic_transfer
from kdlab.objectives.features.relational import relational_angle, relational_distance
from kdlab.objectives.features.similarity import similarity_preserving
from kdlab.outputs import Batch, ModelOutput, TeacherOutput

LAYERS = {"student_layer": "a", "teacher_layer": "a"}
ROWS = 7
ITSELF: dict[str, Any] = {"student_embedding": lambda rows: rows, "teacher_embedding": lambda rows: rows}
NO_BATCH: Any = None


def shares(function: Any, student: Tensor, teacher: Tensor, **knobs: Any) -> Tensor:
    logits = torch.zeros(len(student), 3)
    batch = Batch(NO_BATCH, NO_BATCH, NO_BATCH, NO_BATCH)
    own = ITSELF if function is correlation_congruence else {}
    said, taught = ModelOutput(logits, {"a": student}), TeacherOutput(logits, {"a": teacher})
    found: Tensor = function(said, taught, batch, 0, **own, **LAYERS, **knobs)
    return found


SLOW: dict[Any, Callable[[np.ndarray, np.ndarray], float]] = {
    similarity_preserving: oracles.similarity_preserving,
    correlation_congruence: oracles.correlation_congruence,
    relational_distance: oracles.relational_distance,
    relational_angle: oracles.relational_angle,
    probabilistic_transfer: oracles.probabilistic_transfer,
}
every_term = pytest.mark.parametrize("function", [pytest.param(one, id=one.__name__) for one in SLOW])


def turned(rows: Tensor) -> Tensor:
    rotation, _ = torch.linalg.qr(draw(rows.shape[-1], rows.shape[-1], seed=77))
    return rows @ rotation


@every_term
@pytest.mark.parametrize("scale", [0.01, 1.0, 30.0])
def test_is_the_loop_of_the_paper(function: Any, scale: float) -> None:
    student, teacher = scale * draw(ROWS, 5), draw(ROWS, 9, seed=1) + 0.5
    found = shares(function, student, teacher)
    expected = SLOW[function](student.numpy(), teacher.numpy())
    assert function.reduction == "sum"
    assert found.shape == (ROWS,)
    assert expected > 1e-5
    # the published code of PKT adds 1e-7 to norms too
    assert found.sum().item() == pytest.approx(expected, rel=1e-4 if function is probabilistic_transfer else 1e-9)


@pytest.mark.parametrize(("gamma", "order"), [(0.4, 1), (1.0, 3)])
def test_correlations_follow_the_series(gamma: float, order: int) -> None:
    student, teacher = draw(ROWS, 5), draw(ROWS, 9, seed=1)
    found = shares(correlation_congruence, student, teacher, gamma=gamma, order=order)
    expected = oracles.correlation_congruence(student.numpy(), teacher.numpy(), gamma=gamma, order=order)
    assert found.sum().item() == pytest.approx(expected)


def test_the_series_approaches_the_gaussian() -> None:
    student, teacher = draw(ROWS, 5), draw(ROWS, 9, seed=1)

    def gaussian(rows: Tensor) -> Tensor:
        rows = rows / rows.norm(dim=1, keepdim=True)
        return torch.exp(-0.4 * (rows.unsqueeze(0) - rows.unsqueeze(1)).square().sum(-1))

    found = shares(correlation_congruence, student, teacher, order=20)
    torch.testing.assert_close(found, (gaussian(student) - gaussian(teacher)).square().sum(1) / ROWS**2)


def test_the_teachers_embedding_does_not_learn() -> None:
    embedding = make_teacher_embedding(setting_of({}, {"penultimate": (6,)}))
    assert not any(parameter.requires_grad for parameter in embedding.parameters())
    assert embedding(torch.randn(3, 6)).shape == (3, 128)


@pytest.mark.parametrize("function", [one for one in SLOW if one is not correlation_congruence])
def test_shapes_of_the_two_networks_do_not_matter(function: Any) -> None:
    student, teacher = draw(ROWS, 6), draw(ROWS, 12, seed=1)
    flat = shares(function, student, teacher)
    torch.testing.assert_close(shares(function, student.view(ROWS, 3, 2), teacher.view(ROWS, 3, 2, 2)), flat)


@every_term
def test_is_nothing_for_the_teachers_own_figure_turned_and_scaled(function: Any) -> None:
    teacher = draw(ROWS, 9)
    found = shares(function, 3 * turned(teacher), teacher)
    torch.testing.assert_close(found, torch.zeros_like(found), rtol=0, atol=1e-14)


@pytest.mark.parametrize("function", [relational_distance, relational_angle])
def test_the_figure_may_be_moved(function: Any) -> None:
    student, teacher = draw(ROWS, 5), draw(ROWS, 9, seed=1)
    expected = shares(function, student, teacher)
    torch.testing.assert_close(shares(function, student + draw(5, seed=3), teacher - 2), expected)


@pytest.mark.parametrize("function", [probabilistic_transfer, correlation_congruence])
def test_each_example_may_be_scaled_by_itself(function: Any) -> None:
    student, teacher = draw(ROWS, 5), draw(ROWS, 9, seed=1)
    expected = shares(function, student, teacher)
    torch.testing.assert_close(shares(function, student * draw(ROWS, 1, seed=3).exp(), teacher), expected)


@every_term
def test_shares_go_with_their_examples(function: Any) -> None:
    student, teacher, order = (
        draw(ROWS, 5),
        draw(ROWS, 9, seed=1),
        torch.randperm(ROWS, generator=torch.Generator().manual_seed(4)),
    )
    torch.testing.assert_close(
        shares(function, student[order], teacher[order]), shares(function, student, teacher)[order]
    )


@every_term
def test_what_an_example_is_wrong_about_is_in_its_share(function: Any) -> None:
    teacher = draw(ROWS, 9)
    student = teacher.clone()
    student[2] = draw(9, seed=5)
    found = shares(function, student, teacher)
    assert found.argmax() == 2
    assert found[2] > 2 * found.mean()


@every_term
@pytest.mark.parametrize("case", ["two alike", "all alike", "all zero", "one zero", "one row", "opposite"])
def test_degenerate_batches_have_finite_values_and_gradients(function: Any, case: str) -> None:
    rows = {
        "two alike": draw(ROWS, 5)[[0, 0, 1, 2, 3, 4, 5]],
        "all alike": draw(1, 5).expand(ROWS, 5),
        "all zero": torch.zeros(ROWS, 5, dtype=torch.float64),
        "one zero": draw(ROWS, 5) * (torch.arange(ROWS) > 0).unsqueeze(1),
        "one row": draw(1, 5),
        "opposite": draw(1, 5) * torch.tensor([[1.0], [-1.0]], dtype=torch.float64),
    }[case]
    student = rows.float().clone().requires_grad_()
    for teacher in (draw(len(rows), 9, seed=1).float(), rows.float()):
        found = shares(function, student, teacher)
        (gradient,) = torch.autograd.grad(found.sum(), student)
        assert found.isfinite().all()
        assert gradient.isfinite().all()
        assert gradient.abs().max() < 1e3


@pytest.mark.parametrize("function", [relational_distance, relational_angle])
def test_close_rows_keep_their_figure_in_single_precision(function: Any) -> None:
    """Distances from inner products would be noise here: rows 1e-3 apart, 18 from the origin."""
    student, teacher = 1e-3 * draw(ROWS, 5), draw(ROWS, 9, seed=1)
    expected = shares(function, student, teacher)
    found = shares(function, (student + 8).float(), teacher.float())
    torch.testing.assert_close(found.double(), expected, rtol=5e-3, atol=1e-6)
