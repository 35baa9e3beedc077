"""What every term keeps that learns or remembers something beside the student. Adding one is a row in CASES."""

import copy
from collections.abc import Callable
from typing import Any, NamedTuple

import pytest
import torch
from equipped_terms import ROWS, assert_stack_is_a_loop, equipped, modules_in, setting_of, step_of
from torch import Tensor, nn

from kdlab.errors import UserError
from kdlab.objectives.features.boundaries import activation_boundaries
from kdlab.objectives.features.contrastive import contrastive
from kdlab.objectives.features.factor import factor_transfer
from kdlab.objectives.features.review import review
from kdlab.objectives.features.variational import variational
from kdlab.objectives.setting import Setting
from kdlab.outputs import ModelOutput

LISTS = {"student_layers": ["a", "b"], "teacher_layers": ["a", "b"]}
PAIR = {"student_layer": "a", "teacher_layer": "a"}


class Case(NamedTuple):
    function: Callable[..., Tensor]
    knobs: dict[str, Any]
    has_tokens: bool = True


CASES = {
    "variational": Case(variational, LISTS),
    "factor_transfer": Case(factor_transfer, {**PAIR, "reconstruction": 0.7}),
    "activation_boundaries": Case(activation_boundaries, LISTS),
    "review": Case(review, LISTS),
    "contrastive": Case(contrastive, {**PAIR, "dimension": 5, "negatives": 9}, has_tokens=False),
}
every_case = pytest.mark.parametrize("case", [pytest.param(case, id=name) for name, case in CASES.items()])
SHAPES = {
    "vectors": ({"a": (5,), "b": (7,)}, {"a": (6,), "b": (4,)}),
    "signals": ({"a": (3, 8), "b": (5, 5)}, {"a": (4, 4), "b": (3, 9)}),
    "images": ({"a": (3, 8, 8), "b": (5, 4, 4)}, {"a": (4, 8, 8), "b": (3, 6, 5)}),
    "vectors and images": ({"a": (3,), "b": (5,)}, {"a": (4, 3, 3), "b": (3, 2, 5)}),
    "signals and vectors": ({"a": (3, 9), "b": (5, 5)}, {"a": (4,), "b": (3,)}),
}
SIGNALS = setting_of(*SHAPES["signals"])


def call(
    case: Case, network: nn.Module, setting: Setting, *, seed: int = 0, step: int = 0
) -> tuple[Tensor, ModelOutput]:
    said, taught, batch = step_of(setting, seed=seed)
    return case.function(said, taught, batch, step, **modules_in(network), **case.knobs), said


@every_case
@pytest.mark.parametrize("shapes", SHAPES)
def test_a_stack_is_a_loop(case: Case, shapes: str) -> None:
    settings = [setting_of(*SHAPES[shapes]) for _ in range(2)]
    assert_stack_is_a_loop(case.function, settings, steps=2, **case.knobs)


@every_case
def test_gradient_is_right(case: Case) -> None:
    """Of the student's features, and of one weight of every parameter; each call begins with the same memory."""
    network = equipped(case.function, SIGNALS, **case.knobs)
    call(
        case, network, SIGNALS, seed=50
    )  # a normaliser that is estimated at the first batch is a constant from then on
    said, taught, batch = step_of(SIGNALS)
    names = [name for name in said.features if name in "ab"]

    def value(*tensors: Tensor, of: nn.Module | None = None) -> Tensor:
        modules = modules_in(of or copy.deepcopy(network))
        features = {**said.features, **dict(zip(names, tensors, strict=False))}
        return case.function(ModelOutput(said.logits, features), taught, batch, 0, **modules, **case.knobs)

    assert torch.autograd.gradcheck(value, [said.features[name] for name in names], fast_mode=True)
    fresh = copy.deepcopy(network)
    value(of=fresh).sum().backward()
    for name, parameter in fresh.beside.named_parameters():
        if name.startswith("term:paraphraser"):
            continue  # what the student is compared with is detached, which a difference quotient does not see
        slopes = [value(of=_moved(network, f"beside.{name}", by=by)).sum().item() for by in (1e-6, -1e-6)]
        assert parameter.grad is not None, name
        assert parameter.grad.flatten()[0].item() == pytest.approx((slopes[0] - slopes[1]) / 2e-6, rel=1e-4, abs=1e-6)


def _moved(network: nn.Module, name: str, *, by: float) -> nn.Module:
    moved = copy.deepcopy(network)
    with torch.no_grad():
        moved.get_parameter(name).view(-1)[0] += by
    return moved


@every_case
def test_the_teacher_gets_no_gradient_and_is_not_changed(case: Case) -> None:
    network = equipped(case.function, SIGNALS, **case.knobs)
    said, taught, batch = step_of(SIGNALS)
    before = {name: value.clone() for name, value in taught.features.items()}
    case.function(said, taught, batch, 0, **modules_in(network), **case.knobs).sum().backward()
    for name, value in taught.features.items():
        assert torch.equal(value, before[name])
        assert value.grad is None


@every_case
def test_goes_on_from_a_state_dict(case: Case) -> None:
    network, again = (equipped(case.function, SIGNALS, seed=seed, **case.knobs) for seed in (0, 1))
    for step in range(3):
        call(case, network, SIGNALS, seed=step, step=step)
    again.load_state_dict(network.state_dict())
    first, second = (call(case, one, SIGNALS, seed=9, step=3)[0] for one in (network, again))
    assert torch.equal(first, second)


@every_case
def test_features_of_zeros_have_a_finite_gradient(case: Case) -> None:
    network = equipped(case.function, SIGNALS, **case.knobs)
    said, taught, batch = step_of(SIGNALS)
    zeros = {name: torch.zeros_like(value).requires_grad_() for name, value in said.features.items()}
    with torch.no_grad():
        for parameter in network.beside.parameters():
            if parameter.ndim == 1:
                parameter.mul_(0)
    nothing = taught._replace(features={name: torch.zeros_like(value) for name, value in taught.features.items()})
    value = case.function(ModelOutput(said.logits, zeros), nothing, batch, 0, **modules_in(network), **case.knobs)
    value.sum().backward()
    gradients = [one.grad for one in (*zeros.values(), *network.beside.parameters()) if one.grad is not None]
    assert value.isfinite().all()
    assert all(gradient.isfinite().all() and gradient.abs().max() < 1e6 for gradient in gradients)


@every_case
def test_mixed_precision_gives_single_values(case: Case) -> None:
    network = equipped(case.function, SIGNALS, **case.knobs).float()
    said, taught, batch = step_of(SIGNALS)
    single = ModelOutput(said.logits.float(), {name: value.detach().float() for name, value in said.features.items()})
    told = taught._replace(features={name: value.float() for name, value in taught.features.items()})
    start = copy.deepcopy(network.state_dict())
    whole = case.function(single, told, batch, 0, **modules_in(network), **case.knobs)
    network.load_state_dict(start)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        mixed = case.function(single, told, batch, 0, **modules_in(network), **case.knobs)
    assert mixed.dtype == torch.float32
    torch.testing.assert_close(mixed, whole, rtol=0.05, atol=0.05)


@pytest.mark.parametrize("name", [name for name, case in CASES.items() if case.has_tokens])
def test_tokens_are_a_signal_turned(name: str) -> None:
    case = CASES[name]
    turned = setting_of(*({key: shape[::-1] for key, shape in one.items()} for one in SHAPES["signals"]))
    plain, tokens = (
        equipped(case.function, SIGNALS, **case.knobs),
        equipped(case.function, turned, tokens=True, **case.knobs),
    )
    said, taught, batch = step_of(SIGNALS)
    flipped = ModelOutput(
        said.logits, {key: value.mT if value.ndim > 2 else value for key, value in said.features.items()}
    )
    told = taught._replace(features={key: value.mT for key, value in taught.features.items()})
    expected = case.function(said, taught, batch, 0, **modules_in(plain), **case.knobs)
    found = case.function(flipped, told, batch, 0, tokens=True, **modules_in(tokens), **case.knobs)
    assert torch.equal(found, expected)
    assert found.shape == (ROWS,)


@pytest.mark.parametrize("name", [name for name in CASES if name != "contrastive"])
def test_signals_beside_images_are_refused(name: str) -> None:
    case = CASES[name]
    setting = setting_of({"a": (3, 8), "b": (3, 8)}, {"a": (3, 8, 8), "b": (4, 8, 8)})
    message = rf"objective.terms.{name}: features.a of the student \[3, 8\] and features.a of the teacher \[3, 8, 8\]"
    with pytest.raises(UserError, match=message):
        equipped(case.function, setting, **case.knobs)


@every_case
def test_needs_the_features_it_names(case: Case) -> None:
    assert case.function.needs in ({"features.{teacher_layer}"}, {"features.{teacher_layers}"})
    assert case.function.student_needs in ({"features.{student_layer}"}, {"features.{student_layers}"})
    assert case.function.reduction == "mean"
    said, _, batch = step_of(SIGNALS)
    network = equipped(case.function, SIGNALS, **case.knobs)
    with pytest.raises(ValueError, match="there is no teacher"):
        case.function(said, None, batch, 0, **modules_in(network), **case.knobs)
