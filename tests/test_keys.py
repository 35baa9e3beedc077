import doctest

import pytest

from kdlab import keys
from kdlab.evaluation import EVALUATION_VERSION
from kdlab.keys import CATALOGUE, ROLES, direction, expected_keys, key_of, out_of_scope, table_markdown

SETS = ("train", "validation", "test")


def test_patterns_are_unique_and_every_entry_is_whole():
    patterns = [key.pattern for key in CATALOGUE]
    assert len(patterns) == len(set(patterns))
    for key in CATALOGUE:
        assert key.unit
        assert key.equation
        assert key.meaning
        assert key.scope
        assert set(key.scope) <= set(ROLES)
        assert "%" not in key.unit
    assert EVALUATION_VERSION == 1


@pytest.mark.parametrize(
    ("name", "pattern"),
    [
        ("test/accuracy", "<set>/accuracy"),
        ("noise_2/ece", "<set>/ece"),
        ("a/b/gap", "<slice>/gap"),
        ("test/ece_floor", "test/ece_floor"),
        ("ood/mean_gap", "ood/mean_gap"),
        ("validation/parent_accuracy", "validation/parent_accuracy"),
        ("noise/accuracy_vs_teacher", "<set>/accuracy_vs_teacher"),
    ],
)
def test_a_name_finds_its_entry(name, pattern):
    assert key_of(name).pattern == pattern


@pytest.mark.parametrize("name", ["train/loss", "accuracy", "/accuracy", "noise/ece_floor", "test/accuracy/x", ""])
def test_other_names_are_no_keys(name):
    assert key_of(name) is None
    with pytest.raises(ValueError, match="no measured key"):
        direction(name)


def test_directions():
    assert direction("noise/accuracy") == "higher"
    assert [direction(f"x/{q}") for q in ("nll", "brier", "ece", "gap", "teacher_kl")] == ["lower"] * 5
    assert direction("test/ece_floor") == direction("cost/train_seconds") == "none"
    assert direction("throughput/examples_per_s") == "higher"


def test_every_role_carries_every_key_once():
    lists = [expected_keys(role, SETS, ["a", "b"]) for role in ROLES]
    assert lists[0] == lists[1] == lists[2]
    assert len(set(lists[0])) == len(lists[0])
    assert {key_of(name).pattern for name in lists[0]} == {key.pattern for key in CATALOGUE}
    for place in (*SETS, "a", "b"):
        assert f"{place}/brier" in lists[0]
    assert "test/gap" not in lists[0]


def test_the_keys_of_sets_that_were_not_evaluated_are_not_demanded():
    found = expected_keys("student", ("train", "validation"), ())
    assert not [name for name in found if name.startswith(("test/", "ood/"))]
    assert "validation/parent_accuracy" in found
    assert "cost/macs" in found


def test_an_unknown_role_is_refused():
    with pytest.raises(ValueError, match=r"twin.*student, scratch, teacher"):
        expected_keys("twin", SETS, ())


def test_out_of_scope_gives_the_reason():
    assert out_of_scope("test/agreement", "scratch") == "measured of student records only"
    assert out_of_scope("test/accuracy", "teacher") is None
    assert out_of_scope("latency/p50_ratio", "scratch") is None


def test_the_table_has_a_row_for_every_key_and_no_stray_column():
    lines = table_markdown().strip().splitlines()
    assert len(lines) == len(CATALOGUE) + 2
    assert {line.replace("\\|", "").count("|") for line in lines} == {7}


def test_doctests():
    assert doctest.testmod(keys).failed == 0
