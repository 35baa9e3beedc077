import math
import pickle
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from kdlab.errors import UserError
from kdlab.objectives import Objective, TermSpec, effective_terms, objective_errors, one_minus, term
from kdlab.outputs import Batch, ModelOutput, TeacherOutput

HARD = "kdlab.objectives.terms.hard_labels"
SOFT = "kdlab.objectives.terms.soft_targets"


@term()
def infinite(student: ModelOutput, teacher: TeacherOutput | None, batch: Batch, step: int) -> Tensor:
    return student.logits.sum(-1) * math.inf


@term(reduction="sum")
def share(student: ModelOutput, teacher: TeacherOutput | None, batch: Batch, step: int) -> Tensor:
    return student.logits.sum(-1) / batch.labels.shape[-1]


@term(needs=("features.block2",))
def count_steps(student: ModelOutput, teacher: TeacherOutput | None, batch: Batch, step: int) -> Tensor:
    return torch.full_like(student.logits[..., 0], step)


def specs(alpha: float, temperature: float = 4.0) -> dict[str, dict[str, Any]]:
    return {
        "hard_labels": {"_target_": HARD, "weight": one_minus(alpha)},
        "soft_targets": {"_target_": SOFT, "weight": alpha, "temperature": temperature},
    }


def step_of(rows: int = 8, *, labelled: Tensor | None = None) -> tuple[Tensor, TeacherOutput, Batch]:
    generator = torch.Generator().manual_seed(0)
    student = torch.randn(rows, 5, generator=generator, dtype=torch.float64).requires_grad_()
    teacher = TeacherOutput(3 * torch.randn(rows, 5, generator=generator, dtype=torch.float64), {})
    mask = torch.ones(rows, dtype=torch.bool) if labelled is None else labelled
    return student, teacher, Batch(torch.zeros(rows, 1), torch.arange(rows) % 5, torch.arange(rows), mask)


def loss_and_gradient(alpha: float) -> tuple[Tensor, Tensor]:
    student, teacher, batch = step_of()
    loss = Objective.from_specs(specs(alpha))(ModelOutput(student, {}), teacher, batch, 0).loss
    return loss, torch.autograd.grad(loss, student)[0]


def test_is_the_documented_sum() -> None:
    student, teacher, batch = step_of()
    value = Objective.from_specs(specs(0.9))(ModelOutput(student, {}), teacher, batch, 0)
    cross_entropy = F.cross_entropy(student, batch.labels)
    log_q, p = F.log_softmax(student / 4, -1), F.softmax(teacher.logits / 4, -1)
    divergence = 16 * F.kl_div(log_q, p, reduction="batchmean")
    torch.testing.assert_close(value.loss, 0.1 * cross_entropy + 0.9 * divergence)
    torch.testing.assert_close(value.terms["hard_labels"], cross_entropy)
    torch.testing.assert_close(value.terms["soft_targets"], divergence)
    assert value.loss.shape == ()


@pytest.mark.parametrize(("end", "inside"), [(0, 1e-9), (1, 1 - 1e-9), (0.0, 1e-12), (1.0, 1 - 1e-12)])
def test_loss_and_gradient_are_continuous_at_the_ends(end: float, inside: float) -> None:
    for at_end, near in zip(loss_and_gradient(end), loss_and_gradient(inside), strict=True):
        torch.testing.assert_close(at_end, near, rtol=1e-7, atol=1e-7)


def test_the_ends_are_the_single_terms() -> None:
    student, teacher, batch = step_of()
    scratch = Objective.from_specs(specs(0))(ModelOutput(student, {}), None, batch, 0)
    alone = Objective.from_specs({"hard_labels": {"_target_": HARD, "weight": 1.0}})
    assert torch.equal(scratch.loss, alone(ModelOutput(student, {}), None, batch, 0).loss)
    assert set(scratch.terms) == {"hard_labels"}
    soft = Objective.from_specs(specs(1))(ModelOutput(student, {}), teacher, batch, 0)
    assert torch.equal(soft.loss, soft.terms["soft_targets"])


def test_weights_are_absolute() -> None:
    student, teacher, batch = step_of()
    doubled = {name: {**spec, "weight": 2 * spec["weight"]} for name, spec in specs(0.5).items()}
    output = ModelOutput(student, {})
    single = Objective.from_specs(specs(0.5))(output, teacher, batch, 0)
    double = Objective.from_specs(doubled)(output, teacher, batch, 0)
    torch.testing.assert_close(double.loss, 2 * single.loss)
    assert torch.equal(double.terms["hard_labels"], single.terms["hard_labels"])


def test_the_order_of_the_config_changes_no_bit() -> None:
    student, teacher, batch = step_of()
    three = {**specs(0.7), "again": {"_target_": SOFT, "weight": 0.3, "temperature": 1}}
    backwards = dict(reversed(three.items()))
    values = [Objective.from_specs(s)(ModelOutput(student, {}), teacher, batch, 0) for s in (three, backwards)]
    assert torch.equal(values[0].loss, values[1].loss)
    assert list(values[0].terms) == list(values[1].terms) == sorted(three)


def test_hard_labels_average_over_labelled_rows_and_soft_targets_over_all() -> None:
    labelled = torch.tensor([True, False, False, True, False, False, False, True])
    student, teacher, batch = step_of(labelled=labelled)
    value = Objective.from_specs(specs(0.5))(ModelOutput(student, {}), teacher, batch, 0)
    torch.testing.assert_close(value.terms["hard_labels"], F.cross_entropy(student[labelled], batch.labels[labelled]))
    full = Objective.from_specs(specs(0.5))(ModelOutput(student, {}), teacher, step_of()[2], 0)
    torch.testing.assert_close(value.terms["soft_targets"], full.terms["soft_targets"])


def test_a_batch_without_labels_has_no_hard_label_loss_and_no_nan() -> None:
    student, teacher, batch = step_of(labelled=torch.zeros(8, dtype=torch.bool))
    value = Objective.from_specs(specs(0.5))(ModelOutput(student, {}), teacher, batch, 0)
    assert value.terms["hard_labels"] == 0
    assert torch.autograd.grad(value.loss, student)[0].isfinite().all()


def test_shares_of_a_relational_term_are_summed() -> None:
    student, _, batch = step_of()
    value = Objective({"share": TermSpec(share, 1.0, "share")})(ModelOutput(student, {}), None, batch, 0)
    torch.testing.assert_close(value.loss, student.sum() / 8)


def test_the_step_reaches_the_terms() -> None:
    student, teacher, batch = step_of()
    objective = Objective({"count": TermSpec(count_steps, 2.0, "count")})
    assert objective(ModelOutput(student, {}), teacher, batch, 21).loss == 42


def test_vectors_over_students_are_a_loop() -> None:
    alphas, temperatures = [0.0, 0.5, 1.0], [1.0, 3.0, 4.0]
    student, teacher, batch = step_of()
    stacked_logits = torch.stack([student + k for k in range(3)]) * torch.tensor([1.0, 2.0, 0.5]).reshape(3, 1, 1)
    alpha = torch.tensor(alphas, dtype=torch.float64)
    objective = Objective.from_specs(
        {
            "hard_labels": {"_target_": HARD, "weight": 1 - alpha},
            "soft_targets": {"_target_": SOFT, "weight": alpha, "temperature": torch.tensor(temperatures).double()},
        }
    )
    value = objective(ModelOutput(stacked_logits, {}), teacher, batch, 0)
    assert value.loss.shape == (3,)
    assert objective.weights() == {"hard_labels": [1.0, 0.5, 0.0], "soft_targets": [0.0, 0.5, 1.0]}
    for k in range(3):
        alone = Objective.from_specs(specs(alphas[k], temperatures[k]))
        torch.testing.assert_close(value.loss[k], alone(ModelOutput(stacked_logits[k], {}), teacher, batch, 0).loss)


@pytest.mark.parametrize("weight", [0, 0.0, torch.zeros(1)])
def test_weight_zero_is_exactly_nothing_even_for_an_infinite_term(weight: Any) -> None:
    student, _, batch = step_of()
    terms = {"bad": TermSpec(infinite, weight, "bad"), "share": TermSpec(share, 1.0, "share")}
    value = Objective(terms)(ModelOutput(student, {}), None, batch, 0)
    assert torch.equal(value.loss, value.terms["share"])


def test_one_student_of_weight_zero_is_untouched_by_an_infinite_term() -> None:
    student, _, batch = step_of()
    output = ModelOutput(torch.stack([student, student]), {})
    terms = {
        "bad": TermSpec(infinite, torch.tensor([0.0, 1.0]), "bad"),
        "share": TermSpec(share, 1.0, "share"),
    }
    loss = Objective(terms)(output, None, batch, 0).loss
    torch.testing.assert_close(loss[0], student.sum() / 8)
    assert not loss[1].isfinite()


def test_needs_are_those_of_terms_that_count() -> None:
    assert Objective.from_specs(specs(0.9)).needs == {"logits"}
    assert Objective.from_specs(specs(0.0)).needs == frozenset()
    Objective.from_specs(specs(0.9)).check(frozenset({"logits"}))
    Objective.from_specs(specs(0.0)).check(frozenset())
    hint = Objective({"hint": TermSpec(count_steps, 1.0, "hint")})
    with pytest.raises(UserError, match=r"objective.terms.hint needs features.block2 of the teacher.* logits"):
        hint.check(frozenset({"logits"}))


def test_effective_terms_leave_out_what_has_weight_zero_and_fill_in_defaults() -> None:
    scratch = {"hard_labels": {"_target_": HARD, "weight": 1.0, "label_smoothing": 0.0}}
    assert effective_terms(specs(0, 1), num_steps=9) == effective_terms(specs(0.0, 20), num_steps=9) == scratch
    both = effective_terms(specs(0.9), num_steps=9)
    assert both["soft_targets"] == {"_target_": SOFT, "weight": 0.9, "temperature": 4.0, "t2_scaling": True}
    assert both["hard_labels"]["weight"] == 0.1
    short = {"hard_labels": {"_target_": "kdlab.objectives.hard_labels", "weight": 1}}
    assert effective_terms(short, num_steps=9) == scratch
    assert Objective.from_specs(specs(0.9)).weights() == {"hard_labels": 0.1, "soft_targets": 0.9}
    assert Objective.from_specs(specs(1)).weights() == {"soft_targets": 1.0}


def test_one_minus_is_rounded() -> None:
    assert 1 - 0.9 != 0.1
    assert [one_minus(value) for value in (0.9, 0.7, 0, 1, 0.1)] == [0.1, 0.3, 1, 0, 0.9]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"temperature": 0}, "objective.terms.soft_targets.temperature = 0: a finite number > 0"),
        ({"temperature": -1.5}, "temperature = -1.5"),
        ({"temperature": math.inf}, "temperature = inf"),
        ({"temperature": True}, "temperature = True"),
        ({"temperature": "4"}, "temperature = '4'"),
        ({"temperature": torch.tensor([1.0, 0.0])}, "temperature = 0.0"),
        ({"t2_scaling": "yes"}, "t2_scaling = 'yes': true or false"),
        ({"weight": -0.1}, "objective.terms.soft_targets.weight = -0.1: a finite number >= 0"),
        ({"weight": math.nan}, "weight = nan"),
        ({"weight": None}, "weight = None"),
        ({"temprature": 4}, "unknown key objective.terms.soft_targets.temprature.*temperature"),
        ({"_target_": HARD + "s"}, "did you mean hard_labels"),
    ],
)
def test_mistakes_are_named_at_construction(change: dict[str, Any], message: str) -> None:
    wrong = specs(0.9)
    wrong["soft_targets"].update(change)
    with pytest.raises(UserError, match=message) as caught:
        Objective.from_specs(wrong)
    assert str(pickle.loads(pickle.dumps(caught.value))) == str(caught.value)


def test_all_mistakes_are_reported_at_once() -> None:
    wrong = {
        "hard_labels": {"_target_": HARD, "weight": 1, "label_smoothing": 1.0},
        "soft_targets": {"_target_": SOFT, "weight": -1, "temperature": 0},
        "forgotten": {"_target_": SOFT},
        "plain": {"_target_": "torch.nn.functional.relu", "weight": 1},
    }
    problems = "\n".join(objective_errors(wrong))
    for part in (
        "hard_labels.label_smoothing = 1.0",
        "soft_targets.weight = -1",
        "soft_targets.temperature = 0",
        "missing key objective.terms.forgotten.temperature",
        "missing key objective.terms.forgotten.weight",
        "plain",
    ):
        assert part in problems


def test_a_function_that_is_no_term_is_refused() -> None:
    wrong = {"plain": {"_target_": "kdlab.objectives.objective.one_minus", "weight": 1, "value": 3}}
    assert "is no term" in "\n".join(objective_errors(wrong))


@pytest.mark.parametrize("alphas", [{}, {"hard_labels": {"_target_": HARD, "weight": 0.0}}])
def test_an_objective_needs_a_term_that_counts(alphas: dict[str, Any]) -> None:
    with pytest.raises(UserError, match="at least one term"):
        Objective.from_specs(alphas)


def test_unknown_reduction_is_refused() -> None:
    with pytest.raises(ValueError, match="reduction = 'median'"):
        term(reduction="median")  # type: ignore[arg-type]
