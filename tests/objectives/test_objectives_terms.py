"""The contract every term keeps. Adding a term is one row in CASES."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import equipped_terms
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from kdlab.objectives import hard_labels, soft_targets
from kdlab.outputs import Batch, ModelOutput, TeacherOutput

Row = Callable[..., float]


def softmax_row(logits: list[float], *, temperature: float) -> list[float]:
    """Hinton et al. 2015, equation 1: q_i = exp(z_i / T) / sum_j exp(z_j / T)."""
    exponentials = [math.exp(z / temperature) for z in logits]
    return [value / math.fsum(exponentials) for value in exponentials]


def soft_targets_row(
    student: list[float], teacher: list[float], label: int, *, temperature: float, t2_scaling: bool = True
) -> float:
    """Cross-entropy of the soft targets minus their entropy, times T^2: by the definition, in plain Python."""
    p = softmax_row(teacher, temperature=temperature)
    q = softmax_row(student, temperature=temperature)
    cross_entropy = -math.fsum(p_c * math.log(q_c) for p_c, q_c in zip(p, q, strict=True))
    entropy = -math.fsum(p_c * math.log(p_c) for p_c in p)
    return (cross_entropy - entropy) * (temperature**2 if t2_scaling else 1)


def hard_labels_row(student: list[float], teacher: list[float], label: int, *, label_smoothing: float = 0.0) -> float:
    q = softmax_row(student, temperature=1)
    target = [label_smoothing / len(q) + (1 - label_smoothing) * (c == label) for c in range(len(q))]
    return -math.fsum(t * math.log(q_c) for t, q_c in zip(target, q, strict=True))


@dataclass(frozen=True)
class Case:
    function: Callable[..., Tensor]
    oracle: Row
    knobs: Mapping[str, Any] = field(default_factory=dict)
    zero_at_teacher: bool = False
    reads_labels: bool = False
    per_student: Mapping[str, list[float]] = field(default_factory=dict)


CASES = {
    "hard_labels": Case(hard_labels, hard_labels_row, reads_labels=True),
    "hard_labels_smoothed": Case(hard_labels, hard_labels_row, {"label_smoothing": 0.1}, reads_labels=True),
    "soft_targets": Case(
        soft_targets,
        soft_targets_row,
        {"temperature": 4.0},
        zero_at_teacher=True,
        per_student={"temperature": [1.0, 2.5, 8.0]},
    ),
    "soft_targets_integer_temperature": Case(soft_targets, soft_targets_row, {"temperature": 3}, zero_at_teacher=True),
    "soft_targets_unscaled": Case(
        soft_targets, soft_targets_row, {"temperature": 0.5, "t2_scaling": False}, zero_at_teacher=True
    ),
}
every_case = pytest.mark.parametrize("case", [pytest.param(case, id=name) for name, case in CASES.items()])


draw = partial(equipped_terms.draw, scale=3.0)


def make_batch(rows: int, classes: int, *, labelled: Tensor | None = None) -> Batch:
    labels = torch.arange(rows) * 7 % classes
    mask = torch.ones(rows, dtype=torch.bool) if labelled is None else labelled
    return Batch(torch.zeros(rows, 1), labels, torch.arange(rows), mask)


def call(case: Case, student: Tensor, teacher: Tensor, batch: Batch, **knobs: Any) -> Tensor:
    return case.function(ModelOutput(student, {}), TeacherOutput(teacher, {}), batch, 0, **{**case.knobs, **knobs})


@every_case
@pytest.mark.parametrize(("rows", "classes"), [(1, 2), (5, 3), (8, 10), (3, 1)])
def test_equals_the_slow_loop(case: Case, rows: int, classes: int) -> None:
    student, teacher, batch = draw(rows, classes), draw(rows, classes, seed=1), make_batch(rows, classes)
    expected = [
        case.oracle(student[row].tolist(), teacher[row].tolist(), int(batch.labels[row]), **case.knobs)
        for row in range(rows)
    ]
    found = call(case, student, teacher, batch)
    assert found.shape == (rows,)
    torch.testing.assert_close(found, torch.tensor(expected, dtype=torch.float64), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("name", [name for name, case in CASES.items() if case.zero_at_teacher])
def test_is_zero_and_flat_at_the_teacher(name: str) -> None:
    case = CASES[name]
    student = draw(6, 10).requires_grad_()
    value = call(case, student, draw(6, 10), make_batch(6, 10))
    (gradient,) = torch.autograd.grad(value.sum(), student)
    assert value.abs().max() <= 1e-14
    assert gradient.abs().max() <= 1e-14
    # a shift of all logits changes no probability
    assert call(case, student + 5, draw(6, 10), make_batch(6, 10)).abs().max() <= 1e-13


@every_case
def test_gradient_is_right(case: Case) -> None:
    teacher, labelled = draw(4, 5, seed=1), torch.tensor([True, False, True, True])
    batch = make_batch(4, 5, labelled=labelled)
    assert torch.autograd.gradcheck(lambda logits: call(case, logits, teacher, batch), draw(4, 5).requires_grad_())


@every_case
@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 10**6), shift=st.floats(-50, 50))
def test_invariant_to_class_order_and_logit_shift(case: Case, seed: int, shift: float) -> None:
    student, teacher, batch = draw(5, 7, seed=seed), draw(5, 7, seed=seed + 1), make_batch(5, 7)
    order = torch.randperm(7, generator=torch.Generator().manual_seed(seed))
    renamed = batch._replace(labels=order.argsort()[batch.labels])
    value = call(case, student, teacher, batch)
    torch.testing.assert_close(call(case, student[:, order], teacher[:, order], renamed), value)
    torch.testing.assert_close(call(case, student + shift, teacher - 2 * shift, batch), value, rtol=1e-9, atol=1e-9)


@every_case
@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 10**6))
def test_never_negative(case: Case, seed: int) -> None:
    value = call(case, draw(5, 7, seed=seed), draw(5, 7, seed=seed + 1), make_batch(5, 7))
    assert (value >= -1e-12).all()


@every_case
@pytest.mark.parametrize("shared_teacher", [True, False])
def test_leading_axis_is_a_loop(case: Case, shared_teacher: bool) -> None:
    student = draw(3, 4, 5)
    teacher = draw(4, 5, seed=1) if shared_teacher else draw(3, 4, 5, seed=1)
    batch = make_batch(4, 5)
    per_student = {name: torch.tensor(values, dtype=torch.float64) for name, values in case.per_student.items()}
    stacked = call(case, student, teacher, batch, **per_student)
    for k in range(3):
        knobs = {name: values[k].item() for name, values in per_student.items()}
        alone = call(case, student[k], teacher if shared_teacher else teacher[k], batch, **knobs)
        torch.testing.assert_close(stacked[k], alone, rtol=1e-14, atol=1e-14)


@every_case
def test_leading_axis_with_its_own_batch_each(case: Case) -> None:
    labels = torch.randint(5, (3, 4), generator=torch.Generator().manual_seed(0))
    labelled = torch.tensor([[True] * 4, [False, True, True, False], [False] * 4])
    batch = Batch(torch.zeros(3, 4, 1), labels, labels, labelled)
    student, teacher = draw(3, 4, 5), draw(3, 4, 5, seed=1)
    stacked = call(case, student, teacher, batch)
    for k in range(3):
        alone = call(case, student[k], teacher[k], Batch(*(part[k] for part in batch[:4])))
        torch.testing.assert_close(stacked[k], alone, rtol=1e-14, atol=1e-14)


@every_case
@pytest.mark.parametrize("size", [1e4, 1e30])
def test_extreme_logits_stay_finite(case: Case, size: float) -> None:
    signs = torch.sign(draw(6, 10)).float()
    student = (size * signs).requires_grad_()
    value = call(case, student, size * torch.sign(draw(6, 10, seed=1)).float(), make_batch(6, 10))
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
def test_knobs_of_another_dtype_leave_the_dtype_of_the_logits(case: Case) -> None:
    student, teacher = draw(3, 4, 5).float(), draw(4, 5, seed=1).float()
    knobs = {name: torch.tensor(values, dtype=torch.float64) for name, values in case.per_student.items()}
    assert call(case, student, teacher, make_batch(4, 5), **knobs).dtype == torch.float32


@every_case
def test_marks_say_what_it_needs_and_how_it_is_reduced(case: Case) -> None:
    assert case.function.needs == (frozenset() if case.reads_labels else {"logits"})
    assert case.function.reduction == ("mean_labelled" if case.reads_labels else "mean")


def test_labels_of_unlabelled_rows_are_not_read() -> None:
    labelled = torch.tensor([True, False, True, False])
    batch = make_batch(4, 5, labelled=labelled)
    marked = batch._replace(labels=torch.where(labelled, batch.labels, -1))
    value = hard_labels(ModelOutput(draw(4, 5), {}), None, marked, 0, label_smoothing=0.2)
    assert torch.equal(value, hard_labels(ModelOutput(draw(4, 5), {}), None, batch, 0, label_smoothing=0.2))
    assert value[~labelled].tolist() == [0.0, 0.0]
    assert (value[labelled] > 0).all()


def mixed(batch: Batch, classes: int, *, seed: int = 0) -> Batch:
    """The batch as mixup leaves it: other labels, and shares that include 0, 1/2 and 1."""
    stream = torch.Generator().manual_seed(seed)
    shape = batch.labels.shape
    shares = torch.rand(shape, generator=stream, dtype=torch.float64)
    shares.view(-1)[:3] = torch.tensor([0.0, 0.5, 1.0], dtype=torch.float64)
    return batch._replace(other_labels=torch.randint(classes, shape, generator=stream), mixing=shares)


@pytest.mark.parametrize("label_smoothing", [0.0, 0.1])
def test_mixed_rows_have_the_cross_entropy_with_mixed_targets(label_smoothing: float) -> None:
    """By the definition: the target is ``m`` of one label and ``1 - m`` of the other (Zhang et al. 2018)."""
    labelled = torch.tensor([True, True, True, True, False])
    batch = mixed(make_batch(5, 7, labelled=labelled), 7)
    student = draw(5, 7)
    expected = []
    for row in range(5):
        own, other, share = (int(batch.labels[row]), int(batch.other_labels[row]), float(batch.mixing[row]))
        one = hard_labels_row(student[row].tolist(), [], own, label_smoothing=label_smoothing)
        two = hard_labels_row(student[row].tolist(), [], other, label_smoothing=label_smoothing)
        expected.append((share * one + (1 - share) * two) * bool(labelled[row]))
    found = hard_labels(ModelOutput(student, {}), None, batch, 0, label_smoothing=label_smoothing)
    torch.testing.assert_close(found, torch.tensor(expected, dtype=torch.float64), rtol=1e-12, atol=1e-12)
    targets = batch.mixing[:, None] * F.one_hot(batch.labels, 7) + (1 - batch.mixing)[:, None] * F.one_hot(
        batch.other_labels, 7
    )
    whole = F.cross_entropy(student, targets, reduction="none", label_smoothing=label_smoothing)
    torch.testing.assert_close(found[labelled], whole[labelled])
    assert torch.equal(found[2], hard_labels(ModelOutput(student, {}), None, batch._replace(mixing=None), 0,
                                             label_smoothing=label_smoothing)[2])  # fmt: skip


@pytest.mark.parametrize("own_batches", [True, False])
def test_mixed_rows_in_a_stack_are_a_loop(own_batches: bool) -> None:
    shape = (3, 4) if own_batches else (4,)
    labels = torch.randint(5, shape, generator=torch.Generator().manual_seed(0))
    batch = mixed(Batch(torch.zeros(*shape, 1), labels, labels, torch.ones(shape, dtype=torch.bool)), 5)
    student = draw(3, 4, 5)
    stacked = hard_labels(ModelOutput(student, {}), None, batch, 0)
    for k in range(3):
        mine = batch.mapped(lambda part, k=k: part[k]) if own_batches else batch
        torch.testing.assert_close(stacked[k], hard_labels(ModelOutput(student[k], {}), None, mine, 0))


def test_mixed_rows_gradient_and_dtype() -> None:
    batch = mixed(make_batch(4, 5), 5)
    assert torch.autograd.gradcheck(
        lambda logits: hard_labels(ModelOutput(logits, {}), None, batch, 0), draw(4, 5).requires_grad_()
    )
    assert hard_labels(ModelOutput(draw(4, 5).bfloat16(), {}), None, batch, 0).dtype == torch.float32


def test_the_main_label_has_the_larger_share() -> None:
    batch = make_batch(3, 5)
    assert batch.main_labels is batch.labels
    other = torch.tensor([4, 4, 4])
    told = batch._replace(other_labels=other, mixing=torch.tensor([0.6, 0.5, 0.4]))
    assert told.main_labels.tolist() == [*batch.labels[:2].tolist(), 4]


@pytest.mark.parametrize("label_smoothing", [0.0, 0.1])
def test_hard_labels_is_torch_cross_entropy(label_smoothing: float) -> None:
    student, batch = draw(50, 10), make_batch(50, 10)
    found = hard_labels(ModelOutput(student, {}), None, batch, 0, label_smoothing=label_smoothing)
    expected = F.cross_entropy(student, batch.labels, reduction="none", label_smoothing=label_smoothing)
    torch.testing.assert_close(found, expected, rtol=1e-13, atol=1e-13)


def test_soft_targets_needs_a_teacher() -> None:
    with pytest.raises(ValueError, match="soft_targets needs a teacher"):
        soft_targets(ModelOutput(draw(2, 3), {}), None, make_batch(2, 3), 0, temperature=4)


def test_a_class_the_teacher_rules_out_contributes_nothing() -> None:
    student, teacher = draw(4, 5), draw(4, 5, seed=1)
    teacher[:, 2] = -math.inf
    student.requires_grad_()
    kept = [0, 1, 3, 4]
    value = call(CASES["soft_targets"], student, teacher, make_batch(4, 5))
    p = torch.softmax(teacher[:, kept] / 4, -1)
    expected = 16 * (p * (p.log() - torch.log_softmax(student / 4, -1)[:, kept])).sum(-1)
    torch.testing.assert_close(value, expected)
    assert torch.autograd.grad(value.sum(), student)[0].isfinite().all()


def gradient_norm(temperature: float, *, t2_scaling: bool) -> float:
    student, teacher = draw(64, 10).requires_grad_(), draw(64, 10, seed=1)
    term = partial(soft_targets, temperature=temperature, t2_scaling=t2_scaling)
    value = term(ModelOutput(student, {}), TeacherOutput(teacher, {}), make_batch(64, 10), 0)
    return float(torch.autograd.grad(value.sum(), student)[0].norm())


@pytest.mark.parametrize("temperature", [1, 4, 20.0])
def test_gradient_is_hintons_equation_2(temperature: float) -> None:
    """dC/dz_i = 1/T (q_i - p_i), here times T^2."""
    student, teacher = draw(4, 6).requires_grad_(), draw(4, 6, seed=1)
    value = call(CASES["soft_targets"], student, teacher, make_batch(4, 6), temperature=temperature)
    (gradient,) = torch.autograd.grad(value.sum(), student)
    for row in range(4):
        q = softmax_row(student[row].tolist(), temperature=temperature)
        p = softmax_row(teacher[row].tolist(), temperature=temperature)
        expected = [temperature * (q_c - p_c) for q_c, p_c in zip(q, p, strict=True)]
        torch.testing.assert_close(gradient[row], torch.tensor(expected, dtype=torch.float64))


def test_t2_keeps_the_size_of_the_gradient() -> None:
    scaled = [gradient_norm(temperature, t2_scaling=True) for temperature in (50, 100, 200)]
    plain = [gradient_norm(temperature, t2_scaling=False) for temperature in (50, 100, 200)]
    assert scaled[0] / scaled[2] == pytest.approx(1, rel=0.02)
    assert plain[0] / plain[2] == pytest.approx(16, rel=0.02)


@pytest.mark.parametrize("spread", [0.5, 1.0, 2.0, 4.0])
def test_t2_gradient_is_constant_above_the_spread_of_the_logits(spread: float) -> None:
    """Within 5 % of its limit ``(z - v) / C`` once T exceeds 1.5 times the logits' SD; up to half of it below."""

    def row(seed: int) -> Tensor:
        centred = draw(256, 10, seed=seed) - draw(256, 10, seed=seed).mean(-1, keepdim=True)
        return spread * centred / centred.square().mean(-1, keepdim=True).sqrt()

    student, teacher, batch = row(0).requires_grad_(), row(1), make_batch(256, 10)
    limit = ((student.detach() - teacher) / 10).norm(dim=-1).mean()
    sizes = {}
    for temperature in (1.0, 1.5 * spread, 8.0, 20.0, 50.0, 100.0):
        value = call(CASES["soft_targets"], student, teacher, batch, temperature=temperature)
        (gradient,) = torch.autograd.grad(value.sum(), student)
        sizes[temperature] = float(gradient.norm(dim=-1).mean() / limit)
    assert all(0.95 < size < 1.05 for temperature, size in sizes.items() if temperature >= 1.5 * spread)
    assert sizes[100.0] == pytest.approx(1, abs=2e-3)
    assert spread < 4 or 0.5 < sizes[1.0] < 0.7


def test_high_temperature_limit_matches_centred_logits() -> None:
    """Hinton et al. 2015, equation 4: the gradient tends to (z_i - v_i) / C for logits centred per example."""
    student, teacher = draw(8, 10).requires_grad_(), draw(8, 10, seed=1)
    value = call(CASES["soft_targets"], student, teacher, make_batch(8, 10), temperature=10_000)
    (gradient,) = torch.autograd.grad(value.sum(), student)
    difference = student.detach() - teacher
    expected = (difference - difference.mean(-1, keepdim=True)) / 10
    torch.testing.assert_close(gradient, expected, rtol=1e-2, atol=1e-3)


def test_mistake_kldivloss_mean_is_not_ours() -> None:
    """``KLDivLoss(reduction="mean")`` divides by the class count too."""
    student, teacher = draw(16, 100), draw(16, 100, seed=1)
    ours = call(CASES["soft_targets"], student, teacher, make_batch(16, 100)).mean()
    log_q, p = F.log_softmax(student / 4, -1), F.softmax(teacher / 4, -1)
    with pytest.warns(UserWarning, match="batchmean"):
        wrong = 16 * torch.nn.KLDivLoss(reduction="mean")(log_q, p)
    torch.testing.assert_close(ours, 16 * torch.nn.KLDivLoss(reduction="batchmean")(log_q, p))
    assert float(ours / wrong) == pytest.approx(100)


def test_mistake_indexing_by_all_targets_is_not_ours() -> None:
    """``-log_probs[..., targets].mean()`` averages B x B entries, of every row with every label."""
    student, batch = draw(16, 10), make_batch(16, 10)
    ours = call(CASES["hard_labels"], student, student, batch)
    table = -F.log_softmax(student, -1)[..., batch.labels]
    assert ours.shape == (16,)
    assert table.shape == (16, 16)
    torch.testing.assert_close(ours, table.diagonal())
    assert abs(float(ours.mean() - table.mean())) > 0.1
