"""Layers between features: positions that differ, and shapes that cannot be compared."""

import pytest
import torch
from equipped_terms import draw, setting_of
from torch import nn

from kdlab.errors import UserError
from kdlab.objectives.features.projections import (
    check_axes,
    convolution,
    fewer_positions,
    normalisation,
    num_axes,
    resized,
)


@pytest.mark.parametrize("leading", [(), (2,), (3, 2)])
def test_fewer_positions_are_means_and_more_are_repetitions(leading: tuple[int, ...]) -> None:
    features = draw(*leading, 5, 6)
    torch.testing.assert_close(resized(features, (3,), axes=1), features.unflatten(-1, (3, 2)).mean(-1))
    assert torch.equal(resized(features, (12,), axes=1), features.repeat_interleave(2, dim=-1))
    assert resized(features, (6,), axes=1) is features


def test_images_are_averaged_in_blocks() -> None:
    features = draw(2, 3, 6, 4)
    expected = features.unflatten(-1, (2, 2)).unflatten(-3, (3, 2)).mean((-3, -1))
    torch.testing.assert_close(resized(features, (3, 2), axes=2), expected)


def test_a_vector_is_a_map_of_one_position() -> None:
    features = draw(2, 3)
    assert torch.equal(resized(features, (1, 1), axes=0), features[..., None, None])
    assert torch.equal(resized(features, (2, 2), axes=0), features[..., None, None].expand(2, 3, 2, 2))
    assert resized(features, (), axes=0) is features


@pytest.mark.parametrize(
    ("student", "teacher", "expected"),
    [((5,), (6,), ()), ((5,), (6, 9), (1,)), ((5, 4), (6, 9), (4,)), ((5, 4, 9), (6, 9, 4), (4, 4)),
     ((5, 4, 9), (6,), (1, 1))],
)  # fmt: skip
def test_pairs_meet_at_fewer_positions(
    student: tuple[int, ...], teacher: tuple[int, ...], expected: tuple[int, ...]
) -> None:
    assert fewer_positions(student, teacher) == expected
    assert num_axes(student, teacher) == len(expected)


@pytest.mark.parametrize("shape", [(3,), (3, 7), (3, 7, 5)])
@pytest.mark.parametrize("kernel", [1, 3])
def test_a_convolution_keeps_positions(shape: tuple[int, ...], kernel: int) -> None:
    axes = len(shape) - 1
    layer = nn.Sequential(convolution(3, 4, axes=axes, kernel=kernel), normalisation(4, axes=axes))
    assert layer(torch.randn(6, *shape)).shape == (6, 4, *shape[1:])
    assert convolution(3, 4, axes=axes, bias=False).bias is None


@pytest.mark.parametrize(
    ("student", "teacher"), [((3, 8), (3, 8, 8)), ((3, 8, 8), (3, 8)), ((3, 8, 8, 8), (3,)), ((3,), (3, 8, 8, 8))]
)
def test_what_cannot_be_compared_is_refused(student: tuple[int, ...], teacher: tuple[int, ...]) -> None:
    setting = setting_of({"mine": student}, {"yours": teacher})
    with pytest.raises(UserError, match=r"objective.terms.x: features.mine of the student \[3") as caught:
        check_axes(setting, student="mine", teacher="yours", term="x")
    assert str(list(student)) in str(caught.value)
    assert str(list(teacher)) in str(caught.value)


@pytest.mark.parametrize(("student", "teacher"), [((3,), (4,)), ((3, 8), (4,)), ((3,), (4, 8, 8)), ((3, 8), (4, 5))])
def test_others_are_taken(student: tuple[int, ...], teacher: tuple[int, ...]) -> None:
    check_axes(setting_of({"a": student}, {"a": teacher}), student="a", teacher="a", term="x")
