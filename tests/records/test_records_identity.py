import hashlib
import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kdlab.records import identity as identity_module
from kdlab.records.identity import TRAINING_VERSION, canonical_json, identity, run_id

CONFIG = {
    "training_version": 1,
    "data": {"name": "mnist1d", "hash": "abc", "seed": 0},
    "model": {"_target_": "kdlab.models.MLP", "width": 100, "norm": None},
    "optimizer": {"lr": 1e-3, "weight_decay": 0},
    "terms": {"soft_targets": {"weight": 0.9, "temperature": 4}},
    "seeds": {"student": 3, "teacher": 3},
}


def test_golden_identities_hold():
    """These never change: a changed one would orphan every record ever written."""
    assert TRAINING_VERSION == 1
    assert identity({}) == hashlib.sha256(b"{}").hexdigest()
    assert identity(CONFIG) == "c1c824741c162157a5ce414f01f828eb73f352012d3d5148f1556ef07e6280b8"
    assert identity({**CONFIG, "steps": 2000}) == "8d011d288dc8a4a8c07ffe14e053aafe8af34a358a5a2bba271f97e579450933"
    assert run_id(identity(CONFIG)) == "c1c824741c162157a5ce414f01f828eb73f352012d3d5148f1556ef07e6280b8"[:16]


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ({"T": 4}, {"T": 4.0}),
        ({"a": 1, "b": 2}, {"b": 2, "a": 1}),
        ({"a": {"x": 1, "y": 2}}, {"a": {"y": 2.0, "x": 1.0}}),
        ({"z": 0.0}, {"z": -0.0}),
        ({"z": 0}, {"z": -0.0}),
        ({"v": 0.1 + 0.2}, {"v": 0.3}),
        ({"v": 1 - 0.9}, {"v": 0.1}),
        ({"v": 1e15}, {"v": 10**15}),
        ({"v": 3.9999999999999996}, {"v": 4}),
        ({"v": (1, 2)}, {"v": [1, 2]}),
        ({3: "a"}, {"3": "a"}),
    ],
)
def test_same_training_same_identity(one, other):
    assert identity(one) == identity(other)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ({"v": True}, {"v": 1}),
        ({"v": False}, {"v": 0}),
        ({"v": False}, {"v": None}),
        ({"v": "4"}, {"v": 4}),
        ({"v": [1, 2]}, {"v": [2, 1]}),
        ({"v": {}}, {"v": []}),
        ({"v": 0.3}, {"v": 0.3 + 1e-11}),
        ({"seed": 2**62}, {"seed": 2**62 + 1}),
        ({"a": 1}, {"a": 1, "b": None}),
        ({"a": "x,y"}, {"a": ["x", "y"]}),
    ],
)
def test_other_training_other_identity(one, other):
    assert identity(one) != identity(other)


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -float("inf")])
def test_non_finite_numbers_are_refused_by_name(bad):
    with pytest.raises(ValueError, match=r"optimizer\.rates\[1\]"):
        identity({"optimizer": {"rates": [0.1, bad]}})


@pytest.mark.parametrize("bad", [{"a": object()}, {"a": {1, 2}}, {"a": b"x"}, {True: 1}, {None: 1}, {1: 2, "1": 3}])
def test_what_json_does_not_know_is_refused(bad):
    with pytest.raises(ValueError, match=r"a |key"):
        canonical_json(bad)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text() | st.floats(allow_nan=False, allow_infinity=False),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)


@settings(max_examples=60, deadline=None)
@given(JSON)
def test_canonical_json_is_json_and_a_fixed_point(value):
    text = canonical_json(value)
    assert canonical_json(json.loads(text)) == text
    assert canonical_json(json.loads(json.dumps(value))) == text


def test_fields_added_later_leave_old_identities_alone(monkeypatch):
    old = identity(CONFIG)
    monkeypatch.setattr(identity_module, "ADDED_LATER", {"terms.soft_targets.top_k": None, "augment": {"name": "none"}})
    assert identity(CONFIG) == old
    soft = CONFIG["terms"]["soft_targets"]

    def with_top_k(value):
        return {**CONFIG, "terms": {"soft_targets": {**soft, "top_k": value}}}

    assert identity(with_top_k(None)) == old
    assert identity({**with_top_k(None), "augment": {"name": "none"}}) == old
    assert identity(with_top_k(5)) != old
    assert identity({**CONFIG, "augment": {"name": "crop"}}) != old


def test_a_neutral_value_is_told_from_its_look_alikes(monkeypatch):
    monkeypatch.setattr(identity_module, "ADDED_LATER", {"flag": 0})
    assert identity({"flag": 0.0}) == identity({})
    assert identity({"flag": False}) != identity({})
