"""What every term keeps that compares features. Adding one is a row in CASES."""

from collections.abc import Callable
from typing import Any, NamedTuple

import pytest
import torch
from equipped_terms import ROWS, assert_stack_is_a_loop, draw, equipped, modules_in, setting_of, step_of
from torch import Tensor, nn

from kdlab.objectives.features.attention import attention_transfer
from kdlab.objectives.features.correlation import correlation_congruence
from kdlab.objectives.features.cosine import hidden_cosine
from kdlab.objectives.features.hint import hint
from kdlab.objectives.features.probabilistic import probabilistic_transfer
from kdlab.objectives.features.relational import relational_angle, relational_distance
from kdlab.objectives.features.selectivity import neuron_selectivity
from kdlab.objectives.features.similarity import similarity_preserving
from kdlab.objectives.features.solution_flow import solution_flow
from kdlab.objectives.setting import Setting
from kdlab.outputs import ModelOutput

LISTS = {"student_layers": ["a", "b"], "teacher_layers": ["a", "b"]}
PAIR = {"student_layer": "a", "teacher_layer": "a"}
VECTORS, BY_POSITION = "vectors", (attention_transfer, neuron_selectivity)
SHAPES = {
    VECTORS: ({"a": (5,), "b": (7,)}, {"a": (6,), "b": (4,)}),
    "signals": ({"a": (3, 8), "b": (5, 5)}, {"a": (4, 4), "b": (3, 9)}),
    "images": ({"a": (3, 8, 8), "b": (5, 4, 4)}, {"a": (4, 8, 8), "b": (3, 6, 5)}),
    "vectors and images": ({"a": (3,), "b": (5,)}, {"a": (4, 3, 3), "b": (3, 2, 5)}),
    "signals and vectors": ({"a": (3, 9), "b": (5, 5)}, {"a": (4,), "b": (3,)}),
}
SIGNALS = setting_of(*SHAPES["signals"])


class Case(NamedTuple):
    function: Callable[..., Tensor]
    knobs: dict[str, Any]
    has_tokens: bool = False


CASES = {
    "hint": Case(hint, {**PAIR, "rectified": False}, has_tokens=True),
    "attention_transfer": Case(attention_transfer, LISTS, has_tokens=True),
    "neuron_selectivity": Case(neuron_selectivity, PAIR, has_tokens=True),
    "solution_flow": Case(solution_flow, LISTS, has_tokens=True),
    "hidden_cosine": Case(hidden_cosine, LISTS, has_tokens=True),
    "similarity_preserving": Case(similarity_preserving, PAIR),
    "correlation_congruence": Case(correlation_congruence, {**PAIR, "dimension": 4}),
    "relational_distance": Case(relational_distance, PAIR),
    "relational_angle": Case(relational_angle, PAIR),
    "probabilistic_transfer": Case(probabilistic_transfer, PAIR),
}
every_case = pytest.mark.parametrize("case", [pytest.param(case, id=name) for name, case in CASES.items()])


def called(case: Case, network: nn.Module, setting: Setting, *, dtype: torch.dtype = torch.float64) -> Tensor:
    said, taught, batch = step_of(setting)
    features = {name: value.to(dtype) for name, value in said.features.items()}
    told = taught._replace(features={name: value.to(dtype) for name, value in taught.features.items()})
    return case.function(ModelOutput(said.logits, features), told, batch, 0, **modules_in(network), **case.knobs)


@pytest.mark.parametrize(
    ("name", "shapes"),
    [
        (name, shapes)
        for name, case in CASES.items()
        for shapes in SHAPES
        if VECTORS not in shapes or case.function not in BY_POSITION
    ],
)
def test_a_stack_is_a_loop(name: str, shapes: str) -> None:
    case = CASES[name]
    settings = [setting_of(*SHAPES[shapes]) for _ in range(2)]
    assert_stack_is_a_loop(case.function, settings, steps=2, **case.knobs)


@every_case
def test_gradient_is_right(case: Case) -> None:
    """Of the student's features, and of every parameter beside them."""
    network = equipped(case.function, SIGNALS, **case.knobs)
    said, taught, batch = step_of(SIGNALS)
    names, modules = ["a", "b"], modules_in(network)
    weights = [parameter for parameter in network.beside.parameters() if parameter.requires_grad]

    def value(*tensors: Tensor) -> Tensor:
        features = {**said.features, **dict(zip(names, tensors[:2], strict=True))}
        return case.function(ModelOutput(said.logits, features), taught, batch, 0, **modules, **case.knobs)

    assert torch.autograd.gradcheck(value, [*(said.features[name] for name in names), *weights], fast_mode=True)


@pytest.mark.parametrize("name", [name for name, case in CASES.items() if not case.function.modules])
def test_the_teacher_may_be_one_for_all_students(name: str) -> None:
    """Features without the axis of the students are those of each."""
    case = CASES[name]
    said, _, batch = step_of(SIGNALS, 3)
    _, taught, _ = step_of(SIGNALS)
    found = case.function(said, taught, batch, 0, **case.knobs)
    copied = taught._replace(
        logits=taught.logits.expand(3, -1, -1),
        features={name: value.expand(3, *value.shape) for name, value in taught.features.items()},
    )
    torch.testing.assert_close(found, case.function(said, copied, batch, 0, **case.knobs))
    assert found.shape == (3, ROWS)


@every_case
def test_the_teacher_gets_no_gradient_and_is_not_changed(case: Case) -> None:
    network = equipped(case.function, SIGNALS, **case.knobs)
    said, taught, batch = step_of(SIGNALS)
    before = {name: value.clone() for name, value in taught.features.items()}
    case.function(said, taught, batch, 0, **modules_in(network), **case.knobs).sum().backward()
    assert said.features["a"].grad is not None
    for name, value in taught.features.items():
        assert torch.equal(value, before[name])
        assert value.grad is None


@every_case
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_mixed_precision_gives_single_values(case: Case, dtype: torch.dtype) -> None:
    network = equipped(case.function, SIGNALS, **case.knobs).float()
    whole = called(case, network, SIGNALS, dtype=torch.float32)
    with torch.autocast("cpu", dtype=dtype):
        mixed = called(case, network, SIGNALS, dtype=dtype)
    assert mixed.dtype == torch.float32
    torch.testing.assert_close(mixed, whole, rtol=0.05, atol=0.02)


@pytest.mark.parametrize("name", [name for name, case in CASES.items() if case.has_tokens])
def test_tokens_are_a_signal_turned(name: str) -> None:
    case = CASES[name]
    turned = setting_of(*({key: shape[::-1] for key, shape in one.items()} for one in SHAPES["signals"]))
    plain = equipped(case.function, SIGNALS, **case.knobs)
    tokens = equipped(case.function, turned, tokens=True, **case.knobs)
    said, taught, batch = step_of(SIGNALS)
    flipped = {key: value.mT if value.ndim > 2 else value for key, value in said.features.items()}
    told = taught._replace(features={key: value.mT for key, value in taught.features.items()})
    expected = case.function(said, taught, batch, 0, **modules_in(plain), **case.knobs)
    found = case.function(
        ModelOutput(said.logits, flipped), told, batch, 0, tokens=True, **modules_in(tokens), **case.knobs
    )
    torch.testing.assert_close(found, expected)


@every_case
def test_a_student_with_the_teachers_features_learns_nothing_more(case: Case) -> None:
    """Where both networks say the same through the same modules, value and gradient are 0."""
    features = {"a": draw(ROWS, 4, 6), "b": draw(ROWS, 3, 6, seed=1)}
    setting = setting_of(*({name: tuple(one.shape[1:]) for name, one in features.items()} for _ in range(2)))
    said, taught, batch = step_of(setting)
    own = {name: one.clone().requires_grad_() for name, one in features.items()}
    same = {name: nn.Identity() if name != "projection" else list for name in case.function.modules}
    if case.function is correlation_congruence:
        same = dict.fromkeys(same, nn.Flatten(1))
    found = case.function(
        ModelOutput(said.logits, own), taught._replace(features=features), batch, 0, **same, **case.knobs
    )
    torch.testing.assert_close(found, torch.zeros_like(found), rtol=0, atol=1e-14)
    found.sum().backward()
    assert own["a"].grad is not None
    assert own["a"].grad.abs().max() < 1e-7


@every_case
def test_needs_the_features_it_names(case: Case) -> None:
    assert case.function.needs in ({"features.{teacher_layer}"}, {"features.{teacher_layers}"})
    assert case.function.student_needs in ({"features.{student_layer}"}, {"features.{student_layers}"})
    said, _, batch = step_of(SIGNALS)
    network = equipped(case.function, SIGNALS, **case.knobs)
    with pytest.raises(ValueError, match="there is no teacher"):
        case.function(said, None, batch, 0, **modules_in(network), **case.knobs)
