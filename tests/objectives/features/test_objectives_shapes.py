"""Features as vectors and maps, with any leading axes."""

import pytest
import torch
from equipped_terms import draw, equipped, setting_of
from torch import Tensor

from kdlab.errors import UserError
from kdlab.objectives.features.cosine import hidden_cosine
from kdlab.objectives.features.shapes import check_positions, feature_of, maps, products, unit
from kdlab.outputs import ModelOutput, TeacherOutput


def said(feature: Tensor, *leading: int) -> ModelOutput:
    return ModelOutput(torch.zeros(*leading, feature.shape[len(leading)], 4), {"a": feature})


@pytest.mark.parametrize("leading", [(), (3,), (3, 2)])
@pytest.mark.parametrize("shape", [(5,), (5, 8), (5, 4, 6)])
def test_leading_axes_are_those_of_the_logits(shape: tuple[int, ...], leading: tuple[int, ...]) -> None:
    values = draw(*leading, 7, *shape)
    feature = feature_of(said(values, *leading), "a")
    assert feature.shape == shape
    assert feature.axes == len(shape) - 1
    assert feature.rows.shape == (*leading, 7, values[(0,) * len(leading)][0].numel())
    assert torch.equal(feature.rows.reshape(values.shape), values)
    assert feature.at(shape[1:]).shape == (*leading, 7, 5, feature.rows.shape[-1] // 5)


def test_maps_are_pooled_to_fewer_positions_along_each_axis() -> None:
    tall, wide = draw(2, 3, 8, 2), draw(2, 5, 4, 6)
    own, wanted = maps(feature_of(said(tall), "a"), feature_of(said(wide), "a"))
    assert own.shape == (2, 3, 4 * 2)
    assert wanted.shape == (2, 5, 4 * 2)
    torch.testing.assert_close(own[1, 2, 3], tall[1, 2, 2:4, 1].mean())
    torch.testing.assert_close(wanted[1, 4, 7], wide[1, 4, 3, 3:].mean())


def test_a_vector_beside_a_map_is_a_map_of_one_position() -> None:
    vector, image = draw(2, 3), draw(2, 5, 4, 6)
    own, wanted = maps(feature_of(said(vector), "a"), feature_of(said(image), "a"))
    assert torch.equal(own, vector.unsqueeze(-1))
    torch.testing.assert_close(wanted.squeeze(-1), image.mean((-2, -1)))


def test_signals_beside_images_are_refused() -> None:
    pair = feature_of(said(draw(2, 3, 8)), "a"), feature_of(said(draw(2, 3, 8, 8)), "a")
    with pytest.raises(UserError, match=r"features.a of the student \[3, 8\] and .* \[3, 8, 8\] cannot be compared"):
        maps(*pair)


@pytest.mark.parametrize("shape", [(5,), (5, 1), (5, 1, 1)])
def test_what_has_no_positions_is_refused(shape: tuple[int, ...]) -> None:
    good, bad = feature_of(said(draw(2, 3, 2)), "a"), feature_of(TeacherOutput(*said(draw(2, *shape))), "a")
    check_positions(good, term="attention_transfer")
    with pytest.raises(UserError, match=r"objective.terms.attention_transfer: features.a of the teacher \[5.*no posi"):
        check_positions(good, bad, term="attention_transfer")


def test_tokens_have_their_channels_last() -> None:
    tokens, image = draw(2, 7, 5), draw(2, 5, 3, 4)
    assert feature_of(said(tokens), "a").shape == (7, 5)
    turned = feature_of(said(tokens), "a", tokens=True)
    assert turned.shape == (5, 7)
    assert torch.equal(turned.at((7,)), tokens.mT)
    assert feature_of(said(image), "a", tokens=True).shape == (5, 3, 4), "only sequences are turned"
    assert feature_of(said(draw(2, 5)), "a", tokens=True).shape == (5,)


def test_half_precision_is_computed_in_single() -> None:
    feature = feature_of(said(draw(2, 3, 4).half()), "a")
    assert feature.rows.dtype == feature.at((2,)).dtype == torch.float32


def test_unit_vectors_have_no_gradient_at_zero() -> None:
    vectors = torch.tensor([[3.0, 4.0], [0.0, 0.0], [1e-30, 0.0]], dtype=torch.float64, requires_grad=True)
    found = unit(vectors)
    torch.testing.assert_close(found, torch.tensor([[0.6, 0.8], [0, 0], [1, 0]], dtype=torch.float64))
    found.sum().backward()
    assert vectors.grad is not None
    torch.testing.assert_close(vectors.grad[0], torch.tensor([0.032, -0.024], dtype=torch.float64))
    assert torch.equal(vectors.grad[1], torch.zeros(2, dtype=torch.float64))


def test_products_are_not_rounded_by_mixed_precision() -> None:
    first, second = draw(2, 3, 50).float(), draw(2, 4, 50, seed=1).float()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert (first @ second.mT).dtype == torch.bfloat16
        found = products(first, second)
    torch.testing.assert_close(found, torch.einsum("kmd,knd->kmn", first, second))


def test_projections_stand_only_where_channels_differ() -> None:
    setting = setting_of({"a": (3, 8), "b": (5, 4), "c": (6,)}, {"a": (3, 4), "b": (7, 4), "c": (2, 9)})
    layers = {"student_layers": ["a", "b", "c"], "teacher_layers": ["a", "b", "c"]}
    network = equipped(hidden_cosine, setting, **layers)
    shapes = {name: tuple(value.shape) for name, value in network.beside.named_parameters()}
    assert shapes == {"term:projection.1.weight": (7, 5, 1), "term:projection.2.weight": (2, 6)}
