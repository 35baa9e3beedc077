"""Words for layers: which of the stages of two networks they stand for."""

import pytest

from kdlab.errors import UserError
from kdlab.models import build_model, stages
from kdlab.objectives import Objective, term
from kdlab.objectives.layers import placed_knobs, spread_over

STAGES = {"student": ["s1", "s2", "s3"], "teacher": ["t1", "t2", "t3", "t4", "t5", "t6"]}


@term(needs=("features.{teacher_layers}",), student_needs=("features.{student_layers}", "features.{student_layer}"))
def compares(student, teacher, batch, step, *, student_layers="all", teacher_layers="all", student_layer="middle"):
    return student.logits.sum(-1)


def placed(**knobs):
    return placed_knobs(knobs, stages=STAGES, key="objective.terms.hint")


@pytest.mark.parametrize(
    ("word", "layer"),
    [("first", "t1"), ("middle", "t3"), ("last", "t6"), ("penultimate", "penultimate"), ("a.0", "a.0")],
)
def test_one_layer(word, layer):
    assert placed(teacher_layer=word) == {"teacher_layer": layer}


def test_all_stages_of_two_depths_pair_up_by_depth():
    assert placed(student_layers="all", teacher_layers="all") == {
        "student_layers": ["s1", "s2", "s3"], "teacher_layers": ["t2", "t4", "t6"],
    }  # fmt: skip
    assert spread_over(["a", "b", "c"], count=3) == ["a", "b", "c"]
    assert spread_over(list("abcdefg"), count=2) == ["d", "g"]


def test_a_list_decides_how_many():
    assert placed(student_layers=["first", "s3"], teacher_layers="all")["teacher_layers"] == ["t3", "t6"]


@pytest.mark.parametrize(
    "knobs",
    [
        {"student_layers": ["s1"], "teacher_layers": ["t1", "t2"]},
        {"student_layers": "all", "teacher_layers": ["t1"] * 4},
    ],
)
def test_lists_of_two_lengths_are_refused(knobs):
    with pytest.raises(UserError, match=r"objective\.terms\.hint\.student_layers.*as many layers"):
        placed(**knobs)


@pytest.mark.parametrize("knobs", [{"student_layer": "middle"}, {"student_layers": "all", "teacher_layers": ["t1"]}])
def test_a_network_without_stages_wants_names(knobs):
    with pytest.raises(
        UserError, match=r"objective\.terms\.hint\.student_layers? = '\w+': the student names no stages"
    ):
        placed_knobs(knobs, stages={**STAGES, "student": ()}, key="objective.terms.hint")


def test_a_list_asks_for_each_of_its_layers():
    spec = {"hint": {"_target_": "test_objectives_layers.compares", "weight": 1}}
    objective = Objective.from_specs(spec).placed(student=STAGES["student"], teacher=STAGES["teacher"])
    assert objective.teacher_features == {"t2", "t4", "t6"}
    assert objective.student_features == {"s1", "s2", "s3"}
    assert objective.layers["hint.student_layer"] == "s2"


@pytest.mark.parametrize("value", [[], None, "last", "", 1, [1], ["all"], [""], [None], {"first": 1}, True])
def test_several_layers_are_all_or_a_list_of_names(value):
    spec = {"hint": {"_target_": "test_objectives_layers.compares", "weight": 1, "teacher_layers": value}}
    with pytest.raises(UserError, match=r"hint\.teacher_layers = .*: all, or a list of at least one layer \(first"):
        Objective.from_specs(spec)


@pytest.mark.parametrize("value", [[], None, "", 1, ["last"], "all", {"first": 1}, False])
def test_one_layer_is_one_name(value):
    spec = {"hint": {"_target_": "test_objectives_layers.compares", "weight": 1, "student_layer": value}}
    with pytest.raises(UserError, match=r"hint\.student_layer = .*: one layer \(first, middle, last, penultimate, the"):
        Objective.from_specs(spec)


@pytest.mark.parametrize(
    ("spec", "shape", "names"),
    [
        ({"_target_": "kdlab.models.MLP", "depth": 3}, (8,), ("hidden1", "hidden2", "hidden3")),
        ({"_target_": "kdlab.models.CNN1d", "depth": 2}, (1, 16), ("block1", "block2")),
        ({"_target_": "kdlab.models.CNN2d", "depth": 2}, (1, 8, 8), ("block1", "block2")),
        ({"_target_": "kdlab.models.ResNet", "depth": 8}, (1, 8, 8), ("stage1", "stage2", "stage3")),
        ({"_target_": "torch.nn.Identity"}, (8,), ()),
    ],
)
def test_the_stages_of_the_families(spec, shape, names):
    network = build_model(spec, input_shape=shape, num_classes=3, seed_value=0)
    assert stages(network) == names
    assert set(names) <= set(getattr(network, "feature_names", ()))
