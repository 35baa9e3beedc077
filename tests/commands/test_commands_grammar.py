"""Hydra's own grammar works everywhere, and a sweep is the grid that the user means."""

import pytest

from kdlab.commands.grid import Axis, expand, key_of, slot_of
from kdlab.errors import UserError


def shown(said, key):
    """A value in the config that ``--cfg job`` printed."""
    import yaml

    found = yaml.safe_load(said.out)
    for part in key.split("."):
        found = found[part]
    return found


@pytest.mark.parametrize(
    "words",
    [
        ["--cfg", "job", "data=digits", "seed=3"],
        ["data=digits", "--cfg", "job", "seed=3"],
        ["data=digits", "seed=3", "--cfg", "job"],
        ["data=digits", "-c", "job", "seed=3"],
    ],
)
def test_options_and_overrides_in_any_order(kdlab, words):
    said = kdlab("run", *words)
    assert said.code == 0
    assert (shown(said, "data.name"), shown(said, "seed")) == ("digits", 3)
    assert kdlab.left() == []


def test_a_data_set_brings_its_student_teacher_and_recipe(kdlab):
    said = kdlab("run", "data=digits", "--cfg", "job")
    assert shown(said, "teacher.model._target_") == "kdlab.models.CNN2d"
    assert shown(said, "training.batch_size") == 64
    said = kdlab("run", "data=digits", "student=cnn2d", "training.batch_size=7", "--cfg", "job")
    assert shown(said, "student._target_") == "kdlab.models.CNN2d", "the command line beats the data set"
    assert shown(said, "training.batch_size") == 7


@pytest.mark.parametrize(
    ("words", "key", "value"),
    [
        (["run", "-m", "seed=5,6"], "seed", 5),
        (["run", "seed=range(3,9)", "-m"], "seed", 3),
        (["sweep", "mine"], "objective.temperature", 1),
        (["sweep", "mine", "objective.temperature=7,8"], "objective.temperature", 7),
        (["sweep", "mine"], "study.question", "A question of the user's own?"),
        (["run", "sweeps=mine"], "seed", 0),
        (["sweep", "deep/er"], "objective.temperature", 1),
        (["teacher", "-m", "teacher.seed=4,5"], "teacher.seed", 4),
    ],
)
def test_the_config_of_a_sweep_is_that_of_its_first_point(kdlab, words, key, value):
    said = kdlab(*words, "--cfg", "job", "--config-dir", kdlab.conf)
    assert said.code == 0
    assert shown(said, key) == value
    assert said.err == "# the first point of the sweep\n"
    assert kdlab.left() == []


def test_configs_of_the_user_come_from_their_folder(kdlab):
    assert shown(kdlab.tiny("run", "--cfg", "job"), "data._target_") == "tiny_data.tiny"


@pytest.mark.parametrize(
    "words",
    [
        ["+objective/term@objective.terms.margin=margin"],
        ["objective/term=[hard_labels,soft_targets,margin]"],
    ],
)
def test_a_term_of_the_user(kdlab, words):
    said = kdlab.tiny("run", *words, "--cfg", "job")
    assert list(shown(said, "objective.terms")) == ["hard_labels", "soft_targets", "margin"]
    said = kdlab.tiny("run", *words, "objective.terms.margin.weight=2")
    (student,) = kdlab.ids("student")
    assert kdlab.records()[student].weights == {"hard_labels": 0.1, "soft_targets": 0.9, "margin": 2.0}
    assert said.last == f"runs/{student}"


def test_an_interpolation_on_the_command_line(kdlab):
    assert kdlab.tiny("run", "student.width=${teacher.model.width}").code == 0
    (student,) = kdlab.ids("student")
    assert kdlab.records()[student].config["student"]["width"] == 8


# --- the grid -------------------------------------------------------------------------------------------------------


def axes(arguments, grid):
    found, fixed = expand(arguments, grid=grid)
    return {axis.key: [choice.split("=")[1] for choice in axis.choices] for axis in found}, fixed


def test_the_grid_of_the_file_and_of_the_command_line_join():
    assert axes(["student.width=8,16", "data=digits"], {"seed": "range(0,3)"}) == (
        {"seed": ["0", "1", "2"], "student.width": ["8", "16"]},
        ["data=digits"],
    )


@pytest.mark.parametrize("word", ["seed=7,8", "+seed=7,8", "++seed=7,8"])
def test_a_value_of_the_command_line_replaces_the_grid_of_its_key(word):
    found, fixed = axes([word], {"seed": "0,1,2", "objective.alpha": "0.5"})
    assert found == {"seed": ["7", "8"], "objective.alpha": ["0.5"]}
    assert fixed == []
    assert axes(["seed=7"], {"seed": "0,1,2"}) == ({}, ["seed=7"])


def test_the_last_of_two_values_holds():
    assert axes(["seed=0,1", "seed=5"], {}) == ({}, ["seed=5"])
    assert axes(["seed=5", "seed=0,1"], {}) == ({"seed": ["0", "1"]}, [])


def test_a_group_is_an_axis_too():
    assert axes(["teacher/quality=standard,weak"], {}) == ({"teacher/quality": ["standard", "weak"]}, [])


def test_lists_and_quoted_commas_are_values():
    found, fixed = axes(["evaluation.sets=[train,test]", "tracker.notes='a,b'"], {"seed": "1"})
    assert found == {"seed": ["1"]}
    assert fixed == ["evaluation.sets=[train,test]", "tracker.notes='a,b'"]


def test_hydra_s_own_overrides_are_no_part_of_a_point():
    assert axes(["hydra/launcher=joblib", "hydra.launcher.n_jobs=2", "seed=1,2"], {})[1] == []


@pytest.mark.parametrize(
    "word", ["store.root=a,b", "study.name=a,b", "tracker.mode=offline,disabled", "force=true,false"]
)
def test_what_trains_nothing_is_no_axis(word):
    with pytest.raises(UserError, match="trains the network"):
        expand([word], grid={})


@pytest.mark.parametrize(
    ("line", "key", "slot"),
    [
        ("seed=1", "seed", "seed"),
        ("++a.b=1", "a.b", "a.b"),
        ("~a.b", "a.b", "a.b"),
        ("+objective/term@objective.terms.x=y", "objective/term", "objective/term@objective.terms.x"),
    ],
)
def test_words_of_an_override(line, key, slot):
    assert (key_of(line), slot_of(line)) == (key, slot)


def test_an_axis_keeps_the_way_it_was_written():
    assert expand(["++seed=1,2"], grid={})[0] == [Axis("seed", ("++seed=1", "++seed=2"))]
