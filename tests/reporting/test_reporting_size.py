"""How a compact record is brought under its size: the same points as a slow search over whole lines."""

import numpy as np
import pytest

from kdlab.reporting import compact as module
from kdlab.reporting.compact import MOST_POINTS, decimate, most_bytes, plain, size_of


def slowly(line, curves):
    """Every choice made whole and weighed whole."""
    for most in (MOST_POINTS, 30, 20, 10):
        line = {**line, "curves": {key: plain(decimate(curves[key], most=most)) for key in sorted(curves)}}
        if size_of(line) <= most_bytes(len(line["slices"])):
            return line
    return {**line, "curves": {key: value for key, value in line["curves"].items() if key == "validation/accuracy"}}


@pytest.mark.parametrize("num_curves", [0, 1, 9, 13, 17, 27, 60])
def test_as_many_points_are_kept_as_fit(num_curves):
    draws = np.random.default_rng(num_curves)
    names = ["validation/accuracy", *(f"é{number}/loss" for number in range(num_curves))][:num_curves]
    curves = {name: [[step, float(draws.normal())] for step in range(55)] for name in names}
    line = {"run_id": "a", "slices": {}, "metrics": {"x": 1.0}, "curves": {}}
    assert module._within_size(dict(line), curves) == slowly(line, curves)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (True, True),
        (float("nan"), None),
        (float("-inf"), None),
        (np.float32(0.1), 0.1),
        (np.int64(7), 7),
        (10**20, 10**20),
        (-0.0, -0.0),
        ((1, 2.00000049), [1, 2.0]),
        ({2: [None, "/home/a/b"], 1: {}}, {"1": {}, "2": [None, "b"]}),
    ],
)
def test_values_become_plain(value, expected):
    found = plain(value)
    assert found == expected
    assert type(found) is type(expected)
