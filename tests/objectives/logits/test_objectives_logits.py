"""The contract of the terms on logits, each beside a slow loop from its paper. Adding one is one row in CASES."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import equipped_terms
import numpy as np
import pytest
import torch
from oracles import logits as oracles
from torch import Tensor

from kdlab.objectives import Objective
from kdlab.objectives.logits.confidence import confidence_weighted
from kdlab.objectives.logits.decoupled import decoupled
from kdlab.objectives.logits.divergences import jensen_shannon, logit_mse, reverse_kl
from kdlab.objectives.logits.relations import dist_relations
from kdlab.objectives.logits.standardised import standardised_targets
from kdlab.objectives.logits.teacher_free import teacher_free
from kdlab.outputs import NO_LABEL, Batch, ModelOutput, TeacherOutput


@dataclass(frozen=True)
class Case:
    """A term, its loop ``(student, teacher, labels, **knobs) -> values or their sum``, and what holds of it."""

    function: Callable[..., Tensor]
    oracle: Callable[..., Any]
    knobs: Mapping[str, Any] = field(default_factory=dict)
    reads: frozenset[str] = frozenset({"teacher"})
    zero_at_teacher: bool = True
    shift: bool = True
    never_negative: bool = True


LABELS = frozenset({"labels"})
BOTH = frozenset({"labels", "teacher"})
CASES = {
    "reverse_kl": Case(reverse_kl, oracles.reverse_kl, {"temperature": 3.0}),
    "reverse_kl_unscaled": Case(reverse_kl, oracles.reverse_kl, {"temperature": 0.5, "t2_scaling": False}),
    "jensen_shannon": Case(jensen_shannon, oracles.jensen_shannon, {"temperature": 2.0}),
    "jensen_shannon_.1": Case(jensen_shannon, oracles.jensen_shannon, {"temperature": 2.0, "beta": 0.1}),
    "logit_mse": Case(logit_mse, oracles.logit_mse, shift=False),
    "logit_mse_centred": Case(logit_mse, oracles.logit_mse, {"centred": True}),
    "decoupled": Case(decoupled, oracles.decoupled, {"temperature": 4.0}, BOTH),
    "decoupled_odd": Case(
        decoupled, oracles.decoupled,
        {"temperature": 1.5, "target_weight": 0.3, "non_target_weight": 2.0, "t2_scaling": False}, BOTH,
    ),
    "dist": Case(dist_relations, oracles.dist_relations, {"temperature": 4.0, "inter": 2.0, "intra": 1.0}),
    "dist_within": Case(dist_relations, oracles.dist_relations, {"temperature": 1.0, "inter": 0.0, "intra": 2.0},
                        never_negative=False),
    "standardised": Case(standardised_targets, oracles.standardised_targets, {"temperature": 2.0}),
    "teacher_free": Case(teacher_free, oracles.teacher_free, {"t2_scaling": True}, LABELS, zero_at_teacher=False),
    "teacher_free_cold": Case(
        teacher_free, oracles.teacher_free, {"correct": 0.9, "temperature": 2.0, "t2_scaling": False}, LABELS,
        zero_at_teacher=False,
    ),
    "confidence_weighted": Case(confidence_weighted, oracles.confidence_weighted, {}, BOTH, zero_at_teacher=False),
}  # fmt: skip
every_case = pytest.mark.parametrize("case", [pytest.param(case, id=name) for name, case in CASES.items()])


draw = partial(equipped_terms.draw, scale=3.0)


def make_batch(rows: int, classes: int, *, labelled: Tensor | None = None) -> Batch:
    mask = torch.ones(rows, dtype=torch.bool) if labelled is None else labelled
    labels = torch.where(mask, torch.arange(rows) * 7 % classes, NO_LABEL)
    return Batch(torch.zeros(rows, 1), labels, torch.arange(rows), mask, all_labelled=bool(mask.all()))


def call(case: Case, student: Tensor, teacher: Tensor, batch: Batch, **knobs: Any) -> Tensor:
    said = TeacherOutput(teacher, {}) if "teacher" in case.reads else None
    return case.function(ModelOutput(student, {}), said, batch, 0, **{**case.knobs, **knobs})


def expected(case: Case, student: Tensor, teacher: Tensor, labels: Tensor) -> Any:
    arrays = [student.numpy()] + ([teacher.numpy()] if "teacher" in case.reads else [])
    return case.oracle(*arrays, *([labels.tolist()] if "labels" in case.reads else []), **case.knobs)


@every_case
@pytest.mark.parametrize(("rows", "classes"), [(1, 2), (5, 3), (8, 10), (4, 20)])
def test_equals_the_slow_loop(case: Case, rows: int, classes: int) -> None:
    student, teacher, batch = draw(rows, classes), draw(rows, classes, seed=1), make_batch(rows, classes)
    found, wanted = call(case, student, teacher, batch), expected(case, student, teacher, batch.labels)
    assert found.shape == (rows,)
    if isinstance(wanted, float):
        assert case.function.reduction == "sum"
        found, wanted = found.sum(), [wanted]
    torch.testing.assert_close(found.reshape(-1), torch.tensor(np.array(wanted)), rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("name", [name for name, case in CASES.items() if case.zero_at_teacher])
def test_is_zero_and_flat_at_the_teacher(name: str) -> None:
    student = draw(6, 10).requires_grad_()
    value = call(CASES[name], student, draw(6, 10), make_batch(6, 10)).sum()
    (gradient,) = torch.autograd.grad(value, student)
    assert abs(float(value.detach())) <= 1e-12
    assert gradient.abs().max() <= 1e-12


@every_case
def test_gradient_is_right_and_unlabelled_rows_have_none_from_labels(case: Case) -> None:
    teacher, labelled = draw(4, 5, seed=1), torch.tensor([True, False, True, True])
    batch, student = make_batch(4, 5, labelled=labelled), draw(4, 5).requires_grad_()
    assert torch.autograd.gradcheck(lambda logits: call(case, logits, teacher, batch), student)
    (gradient,) = torch.autograd.grad(call(case, student, teacher, batch).sum(), student)
    assert bool((gradient[1] == 0).all()) == ("labels" in case.reads)


@pytest.mark.parametrize("name", [name for name, case in CASES.items() if "labels" in case.reads])
def test_the_loop_of_the_labelled_rows_alone(name: str) -> None:
    case = CASES[name]
    labelled = torch.tensor([True, False, True, True, False])
    student, teacher, batch = draw(5, 6), draw(5, 6, seed=1), make_batch(5, 6, labelled=labelled)
    wanted = expected(case, student[labelled], teacher[labelled], batch.labels[labelled])
    found = call(case, student, teacher, batch)[labelled]
    if isinstance(wanted, float):
        found, wanted = found.sum(), wanted
    torch.testing.assert_close(found, torch.tensor(wanted, dtype=torch.float64), rtol=1e-10, atol=1e-12)


@every_case
@pytest.mark.parametrize("seed", range(4))
def test_invariant_to_class_order_and_logit_shift(case: Case, seed: int) -> None:
    student, teacher, batch = draw(5, 7, seed=seed), draw(5, 7, seed=seed + 50), make_batch(5, 7)
    order = torch.randperm(7, generator=torch.Generator().manual_seed(seed))
    renamed = batch._replace(labels=order.argsort()[batch.labels])
    value = call(case, student, teacher, batch)
    torch.testing.assert_close(call(case, student[:, order], teacher[:, order], renamed), value)
    moved = call(case, student + 13.0, teacher - 5.0, batch)
    if case.shift:
        torch.testing.assert_close(moved, value, rtol=1e-9, atol=1e-9)
    else:
        assert (moved - value).abs().max() > 1
    assert not case.never_negative or (value >= -1e-12).all()


@every_case
@pytest.mark.parametrize("shared_teacher", [True, False])
def test_a_stack_is_a_loop(case: Case, shared_teacher: bool) -> None:
    student, labels = draw(3, 4, 5), torch.arange(12).reshape(3, 4) % 5
    teacher = draw(4, 5, seed=1) if shared_teacher else draw(3, 4, 5, seed=1)
    labelled = torch.tensor([[True] * 4, [False, True, True, False], [True, True, False, True]])
    batch = Batch(torch.zeros(3, 4, 1), torch.where(labelled, labels, NO_LABEL), labels, labelled)
    temperatures = torch.tensor([1.0, 2.5, 8.0], dtype=torch.float64)
    varied = {"temperature": temperatures} if "temperature" in case.function.per_student else {}
    stacked = call(case, student, teacher, batch, **varied)
    for k in range(3):
        own = Batch(*(part[k] for part in batch[:4]))
        knobs = {name: float(values[k]) for name, values in varied.items()}
        alone = call(case, student[k], teacher if shared_teacher else teacher[k], own, **knobs)
        torch.testing.assert_close(stacked[k], alone, rtol=1e-12, atol=1e-13)


@every_case
@pytest.mark.parametrize("size", [1e4, 1e30])
def test_extreme_logits_stay_finite(case: Case, size: float) -> None:
    size = min(size, 1e17) if case.function is logit_mse else size  # its square must be a single
    student = (size * torch.sign(draw(6, 10)).float()).requires_grad_()
    value = call(case, student, size * torch.sign(draw(6, 10, seed=1)).float(), make_batch(6, 10))
    (gradient,) = torch.autograd.grad(value.sum(), student)
    assert value.isfinite().all()
    assert gradient.isfinite().all()


@every_case
@pytest.mark.parametrize("of", ["student", "teacher", "both"])
def test_constant_logits_stay_finite(case: Case, of: str) -> None:
    student = (torch.zeros(4, 5) if of != "teacher" else draw(4, 5).float()).requires_grad_()
    teacher = torch.zeros(4, 5) if of != "student" else draw(4, 5, seed=1).float()
    value = call(case, student, teacher, make_batch(4, 5))
    (gradient,) = torch.autograd.grad(value.sum(), student)
    assert value.isfinite().all()
    assert gradient.isfinite().all()


@every_case
def test_half_precision_is_computed_in_single(case: Case) -> None:
    student, teacher = draw(6, 10).bfloat16(), draw(6, 10, seed=1).bfloat16()
    value = call(case, student, teacher, make_batch(6, 10))
    assert value.dtype == torch.float32
    torch.testing.assert_close(value, call(case, student.float(), teacher.float(), make_batch(6, 10)))


@every_case
def test_marks_say_what_it_needs(case: Case) -> None:
    assert case.function.needs == (frozenset({"logits"}) if "teacher" in case.reads else frozenset())
    if "teacher" in case.reads:
        with pytest.raises(ValueError, match="needs a teacher"):
            case.function(ModelOutput(draw(2, 3), {}), None, make_batch(2, 3), 0, **case.knobs)


@pytest.mark.parametrize("name", ["jensen_shannon", "decoupled", "dist"])
def test_a_class_the_teacher_rules_out_leaves_the_value_finite(name: str) -> None:
    student, teacher = draw(4, 5).requires_grad_(), draw(4, 5, seed=1)
    teacher[:, 4] = -torch.inf
    value = call(CASES[name], student, teacher, make_batch(4, 4))
    assert value.isfinite().all()
    assert torch.autograd.grad(value.sum(), student)[0].isfinite().all()


@pytest.mark.parametrize("term", [reverse_kl, jensen_shannon])
def test_hot_limit_is_centred_logit_matching(term: Callable[..., Tensor]) -> None:
    student, teacher, batch = draw(5, 6), draw(5, 6, seed=1), make_batch(5, 6)
    value = term(ModelOutput(student, {}), TeacherOutput(teacher, {}), batch, 0, temperature=3000.0)
    share = 1.0 if term is reverse_kl else 0.25
    wanted = share * torch.tensor(oracles.hot_limit(student.numpy(), teacher.numpy()), dtype=torch.float64)
    torch.testing.assert_close(value, wanted, rtol=5e-3, atol=1e-6)


def test_a_scaled_teacher_is_matched_in_scale() -> None:
    student, teacher, batch = draw(4, 5), draw(4, 5, seed=1), make_batch(4, 5)
    value = logit_mse(ModelOutput(student, {}), TeacherOutput(teacher, {}), batch, 0, teacher_scale=0.3)
    wanted = oracles.logit_mse(student.numpy(), 0.3 * teacher.numpy())
    torch.testing.assert_close(value, torch.tensor(wanted, dtype=torch.float64))


@pytest.mark.parametrize("beta", [0, 1, -0.1, 1.5, "half"])
def test_the_ends_of_jensen_shannon_are_refused(beta: object) -> None:
    spec = {"_target_": "kdlab.objectives.logits.divergences.jensen_shannon", "temperature": 1, "weight": 1}
    with pytest.raises(Exception, match=r"beta = .*: a number between 0 and 1, and neither is needed"):
        Objective.from_specs({"jsd": {**spec, "beta": beta}})
