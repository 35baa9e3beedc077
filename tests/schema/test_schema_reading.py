"""A config is read whole or refused with every mistake: key, value, what is allowed, nearest names."""

import copy

import pytest
from plain_config import config, plain

from kdlab.schema.config import RunConfig
from kdlab.schema.reading import ConfigError, read_config


def mistakes(mapping):
    with pytest.raises(ConfigError) as caught:
        read_config(mapping)
    return str(caught.value).splitlines()


def test_a_good_config_is_read_and_kept_whole():
    mapping = plain()
    before = copy.deepcopy(mapping)
    read = read_config(mapping)
    assert isinstance(read, RunConfig)
    assert mapping == before
    assert read.plain == mapping
    assert read.data.spec == {"_target_": "tiny_data.tiny", "train": 60}
    assert read.data.slices["loud"].spec == {"_target_": "tiny_data.louder", "factor": 1.0}
    assert read.trainer.validate_every_epochs == 1  # a default


@pytest.mark.parametrize("value", [1, 2.5, 4.0])
def test_integers_and_floats_are_both_temperatures_and_alphas(value):
    assert config(temperature=value).objective.temperature == value
    assert config(alpha=1).objective.alpha == 1
    assert config(alpha=0).objective.alpha == 0


# what is wrong -> (changes, what the one line must hold)
BAD = {
    "unknown root key": ({"sede": 1}, ["unknown key sede = 1", "did you mean seed"]),
    "unknown key in a section": ({"training__step": 5}, ["unknown key training.step = 5", "did you mean steps"]),
    "unknown key in the teacher's recipe": ({"teacher__training__stepss": 5}, ["teacher.training.stepss", "steps"]),
    "unknown key of evaluation.latency": ({"evaluation__latency__thread": 2}, ["evaluation.latency.thread", "threads"]),
    "unknown model knob": ({"student__widht": 8}, ["unknown key student.widht", "did you mean width"]),
    "unknown teacher knob": ({"teacher__model__widht": 8}, ["unknown key teacher.model.widht", "width"]),
    "unknown optimizer knob": ({"training__optimizer__learning_rate": 1.0}, ["training.optimizer.learning_rate"]),
    "unknown schedule knob": ({"training__schedule__factr": 1.0}, ["training.schedule.factr", "did you mean factor"]),
    "unknown data knob": ({"data__trian": 8}, ["unknown key data.trian", "did you mean train"]),
    "unknown slice knob": ({"data__slices__loud__facto": 8}, ["unknown key data.slices.loud.facto", "factor"]),
    "unknown knob of a term": (
        {"objective__terms__soft_targets__temprature": 3},
        ["temprature", "did you mean temperature"],
    ),
    "unknown part of a quality": ({"teacher__quality__output": {"a": 1}}, ["teacher.quality.output", "outputs"]),
    "no such model": ({"student___target_": "kdlab.models.MPL"}, ["student", "MPL", "did you mean MLP"]),
    "no such term": ({"objective__terms__hard_labels___target_": "kdlab.objectives.terms.hard"}, ["hard_labels"]),
    "not a term": ({"objective__terms__hard_labels___target_": "tiny_data.not_a_term"}, ["is no term"]),
    "no such data": ({"data___target_": "tiny_data.teeny"}, ["data", "teeny"]),
    "wrong type: text": ({"seed": "abc"}, ["seed = 'abc'", "integer"]),
    "wrong type: empty": ({"objective__alpha": ""}, ["objective.alpha = ''", "number"]),
    "wrong type: fraction of a step": ({"training__steps": 1.5}, ["training.steps = 1.5", "integer"]),
    "wrong type: boolean": ({"training__batch_size": True}, ["training.batch_size = True"]),
    "wrong type of a data knob": ({"data__train": "many"}, ["data.train = 'many'"]),
    "wrong type of a slice knob": (
        {"data__slices__loud__reference": "twin"},
        ["data.slices.loud.reference = 'twin'", "twins"],
    ),
    "alpha above 1": ({"objective__alpha": 1.5}, ["objective.alpha = 1.5", "less than or equal to 1"]),
    "alpha below 0": ({"objective__alpha": -0.1}, ["objective.alpha = -0.1", "greater than or equal to 0"]),
    "alpha not a number": ({"objective__alpha": float("nan")}, ["objective.alpha = nan"]),
    "an infinite knob of a dose": (
        {"teacher__quality__scale": float("inf")},
        ["teacher.quality.scale = inf", "finite"],
    ),
    "an infinite knob of an optimizer": (
        {"training__optimizer__lr": float("inf")},
        ["training.optimizer.lr = inf", "finite"],
    ),
    "T of 0": ({"objective__temperature": 0}, ["objective.temperature = 0", "greater than 0"]),
    "T below 0, in the term": (
        {"objective__terms__soft_targets__temperature": -1},
        ["soft_targets.temperature = -1", "> 0"],
    ),
    "weight below 0": ({"objective__terms__hard_labels__weight": -1.0}, ["hard_labels.weight = -1.0", ">= 0"]),
    "weight missing": (
        {"objective__terms__hard_labels__weight": ...},
        ["missing key objective.terms.hard_labels.weight"],
    ),
    "no terms": ({"objective__terms": {}}, ["objective.terms = {}"]),
    "no steps": ({"training__steps": 0}, ["training.steps = 0", "greater than 0"]),
    "an unknown set": ({"evaluation__sets": ["tset"]}, ["evaluation.sets.0 = 'tset'", "'test'"]),
    "no set": ({"evaluation__sets": []}, ["evaluation.sets = []"]),
    "an unknown precision": ({"training__precision": "8"}, ["training.precision = '8'", "'32-true'"]),
    "a missing section": ({"training": ...}, ["missing key training"]),
    "a teacher that is needed": ({"teacher": None}, ["teacher = None", "learn from a teacher"]),
    "a bad dose": (
        {"teacher__quality": {"name": "weak", "training": {"steps": 0}}},
        ["teacher.quality.training.steps = 0"],
    ),
    "too few calls": ({"evaluation__latency__calls": 10}, ["evaluation.latency.calls = 10", "1000"]),
    "a comparison with nobody": (
        {"study__compare": [["a", "scratch"]], "study__arms": {"aa": []}},
        ["study.compare", "'a'", "aa"],
    ),
    "a comparison of three": ({"study__compare": [["scratch"] * 3]}, ["study.compare", "[arm, reference]"]),
}


@pytest.mark.parametrize("what", BAD)
def test_one_mistake_is_one_line_with_key_value_and_what_is_allowed(what):
    changes, told = BAD[what]
    lines = mistakes(plain(**changes))
    assert len(lines) == 1, lines
    assert all(text in lines[0] for text in told), lines[0]


@pytest.mark.parametrize(
    "name", ["train", "validation", "test", "ood", "transfer", "cost", "latency", "throughput", "pool"]
)
def test_names_of_slices_that_keys_of_a_record_need_are_reserved(name):
    spec = plain()["data"]["slices"]["loud"]
    lines = mistakes(plain(**{f"data__slices__{name}": spec}))
    assert len(lines) == 1
    assert f"data.slices.{name}" in lines[0]


def test_all_mistakes_are_told_at_once():
    changes = {"sede": 1, "student__widht": 8, "objective__alpha": 2, "training__steps": "x", "data__slices__ood": {}}
    lines = mistakes(plain(**changes))
    for key in ("sede", "student.widht", "objective.alpha", "training.steps", "data.slices.ood"):
        assert any(key in line for line in lines), (key, lines)


def test_mistakes_do_not_flood_the_screen_with_values():
    lines = mistakes(plain(training={"a": list(range(1000))}))
    assert all(len(line) < 300 for line in lines)
