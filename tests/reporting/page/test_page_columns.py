"""Columns of a payload: few bytes, the same values."""

import math

import pytest

from kdlab.reporting.page.columns import column, numbers, short


def expanded(made, length):
    """What the page makes of a column."""
    if isinstance(made, list):
        return made
    return [made["of"][place] for place in made["at"]] if "at" in made else [made["all"]] * length


@pytest.mark.parametrize(
    "values",
    [
        ["a", "b", "a", "a", None, "b", "a", "a"],
        [None] * 5,
        [{"x": 1}, {"x": 1}, {"x": 2}, {"x": 1}],
        ["all", "values", "differ"],
        [1, True, "1", 1, True, "1"],  # told apart though two of them are equal in Python
        [],
    ],
)
def test_a_column_is_read_back_as_it_was(values):
    found = expanded(column(values), len(values))
    assert found == values
    assert [type(value) for value in found] == [type(value) for value in values]


def test_numbers_keep_four_digits_and_their_gaps():
    assert numbers([0.123456, None, 12345.6, 4.0]) == [0.1235, None, 12350, 4]
    assert numbers([2.0, 2.0]) == {"all": 2}
    assert numbers([None, None]) == {"all": None}


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_what_is_no_number_is_nothing(value):
    assert short({"loss": [value, 1.0]}) == {"loss": [None, 1]}


def test_whole_numbers_have_no_point_and_flags_stay_flags():
    assert [str(short(value)) for value in (10000.0, -3.0, True, 7)] == ["10000", "-3", "True", "7"]
