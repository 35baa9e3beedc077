"""What is one run and what is another: identities of runs, twins and teachers."""

import json
from pathlib import Path

import pytest
from plain_config import QUALITIES, config, overconfident, plain

from kdlab.experiments.plan import plan, plan_teacher
from kdlab.records.identity import TRAINING_VERSION, identity
from kdlab.schema.reading import read_config

GOLDEN = Path(__file__).parents[1] / "golden" / "run_ids.json"


def ids(**changes):
    point = plan(config(**changes))
    return point.run.run_id, point.twin.run_id, point.teacher and point.teacher.run_id


STUDENT, TWIN, TEACHER = ids()


def test_student_twin_and_teacher_are_three_runs():
    assert len({STUDENT, TWIN, TEACHER}) == 3
    point = plan(config(), ["seed=0"])
    assert [run.role for run in point.runs()] == ["teacher", "scratch", "student"]
    assert point.run.overrides == ("seed=0",)
    assert point.run.seeds == {"student": 0, "teacher": 0, "data": 0}
    assert point.twin.seeds == {"student": 0, "teacher": None, "data": 0}
    assert point.teacher.seeds == {"student": None, "teacher": 0, "data": 0}


@pytest.mark.parametrize("temperature", [1, 2.0, 8])
def test_alpha_0_is_the_scratch_twin_itself_for_every_temperature(temperature):
    point = plan(config(alpha=0, temperature=temperature))
    assert point.run.run_id == point.twin.run_id == TWIN
    assert (point.run.role, point.teacher) == ("scratch", None)
    assert point.run.config.teacher is None
    assert point.runs() == [point.run]


@pytest.mark.parametrize(
    "changes",
    [
        {"temperature": 4}, {"alpha": 0.5}, {"alpha": 1}, {"teacher__seed": 7}, {"teacher__model__width": 20},
        {"teacher__training__steps": 3}, {"objective__terms__soft_targets__t2_scaling": False},
        *({"teacher__quality": quality} for quality in QUALITIES.values()),
    ],
)  # fmt: skip
def test_what_concerns_soft_targets_makes_another_student_of_the_same_twin(changes):
    student, twin, _ = ids(**changes)
    assert student != STUDENT
    assert twin == TWIN


@pytest.mark.parametrize(
    "changes",
    [
        {"seed": 1}, {"student__width": 7}, {"training__steps": 16}, {"training__batch_size": 11}, {"data__train": 59},
        {"training__optimizer__lr": 0.06}, {"training__schedule__factor": 0.9}, {"training__gradient_clip_norm": 1.0},
        {"training__precision": "64-true"}, {"data__seed": 1}, {"data__name": "other"},
    ],
)  # fmt: skip
def test_what_trains_the_student_makes_another_twin_too(changes):
    student, twin, _ = ids(**changes)
    assert student != STUDENT
    assert twin != TWIN


@pytest.mark.parametrize(
    "changes",
    [
        {"evaluation__sets": ["validation"]}, {"evaluation__batch_size": 7}, {"evaluation__keep_predictions": "none"},
        {"tracker__mode": "online"}, {"tracker__project": "x"}, {"store": {"root": "elsewhere"}}, {"threads": 2},
        {"trainer__accelerator": "auto"}, {"trainer__validate_every_epochs": 3}, {"trainer__progress": True},
        {"data__slices": {}}, {"data__cache_dir": "somewhere"}, {"study": {"name": "x", "arm": "y"}},
        {"report": {"root": "r"}, "force": True, "allow_targets": ["a.b", "tiny_data"]},
        {"objective__temperature": 3.0},  # the knob: what the term reads is what counts
    ],
)  # fmt: skip
def test_what_does_not_train_changes_nothing(changes):
    assert ids(**changes) == (STUDENT, TWIN, TEACHER)


def test_numbers_count_and_not_how_they_are_written_nor_in_which_order():
    assert ids(temperature=2, training__optimizer__lr=0.05) == (STUDENT, TWIN, TEACHER)

    def turned(value):
        return {key: turned(item) for key, item in reversed(value.items())} if isinstance(value, dict) else value

    mapping = turned(plain())
    assert list(mapping) != list(plain())
    assert plan(read_config(mapping)).run.run_id == STUDENT


def test_a_default_that_is_spelled_out_is_the_same_objective():
    left_out = ids(objective__terms__hard_labels__label_smoothing=..., objective__terms__soft_targets__t2_scaling=...)
    assert left_out == (STUDENT, TWIN, TEACHER)


def test_doses_of_one_transformation_share_one_parent():
    doses = [plan_teacher(config(teacher__quality=overconfident(scale))) for scale in (2, 3, 5)]
    assert len({dose.run_id for dose in doses}) == 3
    assert {dose.parent.run_id for dose in doses} == {TEACHER}
    assert doses[0].identity_config["parent"] == plan_teacher(config()).identity_config
    weak = plan_teacher(config(teacher__quality=QUALITIES["weak"]))
    assert weak.parent is None
    assert weak.run_id == plan_teacher(config(teacher__training__steps=4)).run_id  # the preset is only the knob


def test_the_uniform_control_has_no_seed_and_no_network():
    first, second = (
        plan(config(seed=seed, teacher__seed=seed, teacher__quality=QUALITIES["uniform"])) for seed in (0, 1)
    )
    assert first.teacher.run_id == second.teacher.run_id
    assert first.run.seeds == {"student": 0, "teacher": None, "data": 0}
    assert "seeds" not in json.dumps(first.teacher.identity_config)
    wider = plan(config(teacher__model__width=50, teacher__quality=QUALITIES["uniform"]))
    assert wider.run.run_id == first.run.run_id


def test_a_control_made_of_the_data_is_another_one_for_another_draw_of_it():
    prior = {"name": "prior", "control": {"_target_": f"{__name__}.class_prior"}}
    first, second = (plan_teacher(config(data__seed=seed, teacher__quality=prior)) for seed in (0, 1))
    assert first.run_id != second.run_id
    assert first.seeds == {"student": None, "teacher": None, "data": 0}


def class_prior(*, num_classes, train):
    """A control that reads the training set."""


def test_a_pinned_teacher_is_one_teacher_of_many_students():
    points = [plan(config(seed=seed, teacher__seed=0)) for seed in range(3)]
    assert len({point.teacher.run_id for point in points}) == 1
    assert len({point.run.run_id for point in points}) == len({point.twin.run_id for point in points}) == 3


def test_a_scratch_student_of_another_recipe_is_a_student_with_a_twin():
    terms = {"hard_labels": {"_target_": "kdlab.objectives.hard_labels", "weight": 1.0, "label_smoothing": 0.1}}
    point = plan(config(objective={"terms": terms}))
    assert (point.run.role, point.teacher) == ("student", None)
    assert point.twin.run_id == TWIN


def test_seeds_stand_under_keys_of_that_name_alone():
    def stripped(value):
        if isinstance(value, dict):
            return {key: stripped(item) for key, item in value.items() if key != "seeds"}
        return value

    one, two = (plan(config(seed=seed, teacher__seed=seed, data__seed=seed)) for seed in (0, 5))
    assert one.run.run_id != two.run.run_id
    assert stripped(one.run.identity_config) == stripped(two.run.identity_config)


def test_an_identity_can_be_computed_from_what_the_record_holds():
    run = plan(config()).run
    assert identity(json.loads(json.dumps(run.identity_config))) == run.identity
    assert run.identity_config["version"] == TRAINING_VERSION


def golden_points():
    return {
        "student": plan(config()).run,
        "scratch": plan(config()).twin,
        "teacher": plan(config()).teacher,
        "overconfident": plan_teacher(config(teacher__quality=QUALITIES["overconfident"])),
        "uniform": plan_teacher(config(teacher__quality=QUALITIES["uniform"])),
        "clipped, seed 3": plan(config(seed=3, training__gradient_clip_norm=1.0)).run,
        "noise beside": plan(config(data__transfer={"_target_": "kdlab.data.transfer.noise", "size": 45})).run,
        "class 1 unseen": plan(config(data__shown={"omit": [1]})).twin,
        "ensemble of 2": plan_teacher(config(teacher__ensemble={"count": 2})),
        "two models": plan_teacher(config(teacher__ensemble={"members": {"a": {}, "b": {"model": {"width": 4}}}})),
        "assistant": plan_teacher(config(teacher__assistants={"middle": {"width": 8}})),
        "generation 2": plan(config(teacher__generations=2)).run,
    }


def test_identities_of_old_stay_valid():
    """A run id that changes without TRAINING_VERSION orphans every run of every store: see ADDED_LATER."""
    found = {name: run.run_id for name, run in golden_points().items()}
    assert found == json.loads(GOLDEN.read_text())[f"training_version {TRAINING_VERSION}"]


CROP = {"_target_": "kornia.augmentation.RandomCrop", "padding": 2}
NOISE = {"_target_": "kornia.augmentation.RandomGaussianNoise", "std": 0.1}


def test_augmentation_is_part_of_what_trains_its_order_included():
    found = {}
    for name, steps in {
        "crop": {"crop": CROP}, "wider": {"crop": {**CROP, "padding": 3}},
        "crop first": {"crop": CROP, "noise": NOISE}, "noise first": {"noise": NOISE, "crop": CROP},
    }.items():  # fmt: skip
        student, twin, teacher = ids(training__augmentation=steps)
        assert teacher == TEACHER
        found |= {f"{name} student": student, f"{name} twin": twin}
    assert len({*found.values(), STUDENT, TWIN}) == 10
    assert ids(training__augmentation={}) == (STUDENT, TWIN, TEACHER)
    student, twin, teacher = ids(teacher__training__augmentation={"crop": CROP})
    assert twin == TWIN
    assert student != STUDENT
    assert teacher != TEACHER
