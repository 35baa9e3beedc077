"""Which knobs a config reads, and what a sweep does with a value that a point does not read."""

import pytest
from hydra.types import RunMode
from hypothesis import given, settings
from hypothesis import strategies as st

from kdlab.commands.checking import read, typed
from kdlab.commands.composing import Composer, has_key, make_loader
from kdlab.commands.knobs import section_of, unread
from kdlab.commands.raw import raw_config, references
from kdlab.errors import UserError


@pytest.fixture(scope="module")
def composer(user_conf):
    return Composer(make_loader(user_conf))


@pytest.fixture(scope="module")
def whole(user_conf):
    """Composes with Hydra alone, each time anew."""
    loader = make_loader(user_conf)
    return lambda lines: loader.load_configuration("config", lines, run_mode=RunMode.RUN)


# choices -> (keys that are read, keys that are not)
READS = {
    "": (
        [
            *("objective.alpha", "objective.temperature", "objective.t2_scaling", "teacher.seed", "teacher/model"),
            *("teacher.training.steps", "teacher.model.width", "teacher/quality", "student.width", "seed", "data"),
        ],
        ["teacher.quality.scale", "teacher.quality.steps", "objective.temprature"],
    ),
    "data/transfer=noise": (["data.transfer.size", "data/transfer", "data.shown.omit"], []),
    "objective=hard_labels data/transfer=pool data.transfer.labels=true": (["data/transfer", "data.transfer.size"], []),
    "objective=hard_labels data/transfer=pool": (["data.shown.labelled"], ["data/transfer", "data.transfer.size"]),
    "objective=confidence_weighted data/transfer=pool": (["data.shown.labelled"], ["data/transfer"]),
    "objective=hard_labels": (
        ["objective", "objective.terms.hard_labels.label_smoothing", "student.width", "training.steps"],
        ["objective.alpha", "teacher.seed", "teacher/quality", "teacher.training.steps", "teacher.model.width"],
    ),
    "teacher/quality=weak": (
        ["teacher.quality.steps", "teacher.seed"],
        ["teacher.training.steps", "teacher.quality.scale"],
    ),
    "teacher/quality=overconfident": (["teacher.quality.scale", "teacher.training.steps"], ["teacher.quality.steps"]),
    "teacher/quality=uniform": (
        ["teacher/quality", "objective.temperature"],
        ["teacher.seed", "teacher.model.width", "teacher/model", "teacher.training.steps", "teacher.checkpoint"],
    ),
    "teacher.checkpoint=mine.pt": (
        ["teacher.model.width", "teacher.checkpoint"],
        ["teacher.training.steps", "teacher.seed"],
    ),
    "teacher/quality=virtual": (
        ["teacher/quality", "teacher.seed", "teacher.training.steps", "teacher.checkpoint", "objective.temperature"],
        ["teacher.logit_scale", "teacher.match_entropy", "teacher.quality.scale"],
    ),
    "teacher/quality=untrained": (
        ["teacher.seed", "teacher.model.width", "teacher.logit_scale", "teacher.match_entropy"],
        ["teacher.training.steps", "teacher.training.optimizer.lr", "teacher.quality.steps", "data.shift.by"],
    ),
    "teacher/quality=label_smoothed": (["teacher.quality.epsilon", "teacher.training.steps"], ["teacher.quality.bits"]),
    "teacher/quality=label_noise": (["teacher.quality.label_noise"], ["teacher.quality.severity", "data.shift.by"]),
    "teacher/quality=shifted": (["teacher.quality.severity", "data.shift.by", "data.shift"], ["teacher.quality.scale"]),
    "teacher/quality=low_bit": (["teacher.quality.bits", "teacher.quality.granularity"], ["teacher.quality.epsilon"]),
    "teacher/ensemble=seeds": (
        ["teacher/ensemble", "teacher.ensemble.count", "teacher.ensemble.combination", "teacher.model.width"],
        [],
    ),
    "teacher/ensemble=none": (["teacher/ensemble", "teacher.ensemble.count"], ["teacher.ensemble.combination"]),
    "teacher/ensemble=models": (["teacher.ensemble.members.mlp.model.width", "teacher.ensemble.combination"], []),
    "teacher/chain=assistant": (["teacher/chain", "teacher.assistants.middle.width", "teacher.training.steps"], []),
    "teacher/chain=born_again": (
        ["teacher/chain", "teacher.generations", "teacher.seed", "teacher/quality", "student.width"],
        ["teacher/model", "teacher.model.width", "teacher.training.steps"],
    ),
    "objective/term=[soft_targets]": (["objective.temperature", "objective.alpha"], []),
    "objective/term=[hard_labels]": (["objective.alpha"], ["objective.temperature", "teacher.seed"]),
}


@pytest.mark.parametrize("choice", READS)
def test_what_a_config_reads(composer, choice):
    cfg, absent = composer.compose(["data=tiny", *choice.split()])
    assert absent == []
    does, does_not = READS[choice]
    assert unread(raw_config(cfg), does) == []
    assert unread(raw_config(cfg), does_not) == does_not


@pytest.mark.parametrize(
    ("choice", "does", "does_not"),
    [
        (
            "teacher/ensemble=seeds",
            ["objective", "objective.temperature", "objective.terms.soft_targets.temperature"],
            ["objective.alpha", "student.width", "training.steps", "data.shown.omit"],
        ),
        ("teacher/ensemble=seeds teacher.ensemble.combination=logits", [], ["objective", "objective.temperature"]),
        ("teacher/ensemble=seeds objective=decoupled", ["objective.terms.decoupled.temperature"], []),
        (
            "teacher/chain=assistant",
            ["objective.alpha", "objective.temperature", "training.steps", "data.shown.omit"],
            ["student.width"],
        ),
        ("teacher/chain=born_again", ["student.width", "training.steps"], ["objective.alpha", "data.shown.omit"]),
        ("teacher.generations=2", ["student.width", "training.steps", "objective.alpha"], ["teacher.model.width"]),
    ],
)
def test_what_several_teachers_alone_read(composer, choice, does, does_not):
    cfg, _ = composer.compose(["data=tiny", *choice.split()])
    assert unread(raw_config(cfg), does, kind="teacher") == []
    assert unread(raw_config(cfg), does_not, kind="teacher") == does_not


def test_a_weight_of_zero_is_still_read(composer):
    cfg, _ = composer.compose(["objective.alpha=0"])
    assert unread(raw_config(cfg), ["objective.temperature", "teacher.seed"]) == []


def test_a_teacher_alone_reads_nothing_of_its_students(composer):
    cfg, _ = composer.compose(["objective=hard_labels"])
    keys = [
        "student.width",
        "objective.alpha",
        "training.steps",
        "teacher.seed",
        "teacher.training.steps",
        "data",
        "seed",
    ]
    assert unread(raw_config(cfg), keys, kind="teacher") == keys[:3]


@pytest.mark.parametrize(
    ("choice", "is_read"),
    [
        ([], False),
        (["teacher/quality=virtual"], True),
        (["teacher/quality=permuted"], False),
        (["teacher.match_entropy=1"], True),
        (["teacher.logit_scale=2"], False),
    ],
)
def test_a_teacher_alone_reads_the_temperature_where_its_targets_depend_on_it(composer, choice, is_read):
    cfg, _ = composer.compose(["data=tiny", *choice])
    assert unread(raw_config(cfg), ["objective.temperature"], kind="teacher") == (
        [] if is_read else ["objective.temperature"]
    )
    assert unread(raw_config(cfg), ["objective.alpha"], kind="teacher") == ["objective.alpha"]


@pytest.mark.parametrize(
    ("choice", "is_read"),
    [([], False), (["teacher/quality=virtual"], True), (["teacher.match_entropy=1"], True)],
)
def test_a_teacher_alone_reads_what_its_student_is_shown_where_it_is_fitted_to_that(composer, choice, is_read):
    cfg, _ = composer.compose(["data=tiny", "data/transfer=noise", *choice])
    keys = ["data.shown.omit", "data.transfer.size", "data/transfer"]
    assert unread(raw_config(cfg), keys, kind="teacher") == ([] if is_read else keys)


@pytest.mark.parametrize(("quality", "is_read"), [("permuted", True), ("calibrated", False)])
def test_a_checkpoint_leaves_the_seed_to_what_draws_with_it(composer, quality, is_read):
    cfg, _ = composer.compose(["data=tiny", f"teacher/quality={quality}", "teacher.checkpoint=mine.pt"])
    assert unread(raw_config(cfg), ["teacher.seed"]) == ([] if is_read else ["teacher.seed"])


@pytest.mark.parametrize(
    ("raw", "named"),
    [
        ({"a": "${b.c}"}, {"b.c"}),
        ({"a": {"b": "${.c}"}}, {"a.c"}),
        ({"a": {"b": {"c": "${..d}"}}}, {"a.d"}),
        ({"a": "${one_minus:${b}}"}, {"b"}),
        ({"a": "${add:b, c.d}"}, {"b", "c.d"}),
        ({"a": ["x", "${b}_${c}"]}, {"b", "c"}),
        ({"a": "$b {c} 3"}, set()),
        ({"a": None, "b": 3, "c": True}, set()),
    ],
)
def test_references(raw, named):
    assert set(references(raw)) == named


@pytest.mark.parametrize(("key", "section"), [("a.b", "a"), ("a/b", "a"), ("a/b@c.d", "a"), ("a", "a"), ("a@c", "a")])
def test_section(key, section):
    assert section_of(key) == section


def test_keys_with_missing_and_null_values_are_there(composer):
    cfg, _ = composer.compose(["student.width=???"])
    assert has_key(cfg, "student.width")
    assert has_key(cfg, "teacher.checkpoint")
    assert not has_key(cfg, "student.width.deeper")
    assert not has_key(cfg, "students")


# --- composing many points ------------------------------------------------------------------------------------------

CHOICES = st.fixed_dictionaries(
    {},
    optional={
        "data": st.sampled_from(["tiny", "digits"]),
        "student": st.sampled_from(["mlp", "cnn2d"]),
        "teacher/quality": st.sampled_from(["standard", "overconfident"]),
        "objective.alpha": st.sampled_from([0.25, 1]),
        "seed": st.integers(0, 3),
        "student.width": st.sampled_from([4, 16]),
        "training.optimizer.lr": st.sampled_from([0.1, 1e-4]),
    },
)


@settings(max_examples=8, deadline=None)
@given(CHOICES)
def test_a_point_composed_from_a_copy_is_the_point_composed_whole(composer, whole, choices):
    lines = [f"{key}={value}" for key, value in choices.items()]
    slow = whole(lines)
    quick, absent = composer.compose(lines, with_hydra=False)
    assert absent == []
    assert raw_config(quick) == raw_config(slow)
    assert typed(quick).plain == typed(slow).plain


def test_copies_do_not_share_values(composer):
    first, _ = composer.compose(["seed=1"])
    first.student.width = 999
    again, _ = composer.compose(["seed=1"])
    assert again.student.width != 999


def test_an_absent_key_is_left_out_and_named(composer):
    cfg, absent = composer.compose(["data=tiny", "objective=hard_labels", "objective.temperature=2", "seed=3"])
    assert absent == ["objective.temperature=2"]
    assert cfg.seed == 3


def test_reading_names_who_would_read_a_knob():
    with pytest.raises(UserError, match=r"teacher.quality.steps = 9: nothing .* teacher/quality=weak it is read"):
        read(["teacher.quality.steps=9"])
