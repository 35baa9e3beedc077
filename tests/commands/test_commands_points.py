"""The points of a sweep: composed and read in plain Python, each part once, the same as composed and read whole."""

import pytest
from omegaconf import OmegaConf

from kdlab.commands import checking, composing
from kdlab.commands.checking import PointReader, resolved, typed
from kdlab.commands.composing import Composer, make_loader
from kdlab.commands.grid import expand
from kdlab.commands.planning import Sweep, plan_points
from kdlab.commands.raw import Sections, raw_config
from kdlab.errors import UserError
from kdlab.experiments.plan import plan


@pytest.fixture(scope="module")
def composer():
    return Composer(make_loader())


def points_of(*arguments, composer, arms=None, kind="run"):
    axes, fixed = expand(arguments, grid={})
    return plan_points(axes, fixed, arms=arms or {}, sweep=Sweep("s", None, kind), composer=composer).points


ODD = [
    ["seed=3", "objective.alpha=1", "objective.temperature=2.5"],
    ["evaluation.sets=[train,test]", "seed=2"],
    ["student.width=${teacher.model.width}", "teacher.model.width=7"],
    ["student.width=???"],
    ["teacher.checkpoint='a b.pt'", "tracker.notes='x: ${seed}'"],
    ["teacher=null", "teacher.seed=3"],
    ["teacher.quality=weak"],
    ["student.width=null", "students.width=3"],
    ["objective=hard_labels", "objective.temperature=2"],
    ["++objective.alpha=0.5", "+student.extra=1", "~teacher.checkpoint"],
    ["teacher/quality=weak", "teacher.quality.steps=9", "teacher.training.steps=8"],
]


def outcome(do):
    try:
        return do()
    except Exception as error:
        return type(error), str(error)


@pytest.mark.parametrize("lines", ODD, ids=" ".join)
def test_set_in_plain_python_is_what_omegaconf_sets(composer, lines):
    def whole():
        cfg, absent = composer.compose(lines, with_hydra=False)
        return raw_config(cfg), absent

    assert outcome(lambda: composer.compose_raw(lines)) == outcome(whole)


@pytest.mark.parametrize("lines", ODD, ids=" ".join)
def test_a_point_is_read_as_its_whole_config_is(composer, lines):
    reader = PointReader()
    reader.typed(composer.compose_raw(["seed=2"])[0])  # what others left behind must not speak for this one
    made = outcome(lambda: reader.typed(composer.compose_raw(lines)[0]))
    assert made == outcome(lambda: typed(composer.compose(lines, with_hydra=False)[0]))


@pytest.mark.parametrize(
    "text",
    ["${b.x}", "${one_minus:${b.x}}", "${b.${c}}", "${${c2}}", "${oc.select:b.x}", "${b}", "${d.via}", "v${b.x}-${c}"],
)
def test_what_a_section_reads_is_resolved_anew_when_it_changes(text):
    checking.register_resolvers()
    sections = Sections()
    for number in (1, 2, 1):
        raw = {"a": {"v": text}, "b": {"x": number, "y": 5}, "c": "x", "c2": "b.x", "d": {"via": "${b.x}"}}
        assert sections.resolved(raw) == resolved(OmegaConf.create(raw))


def test_a_shared_part_is_not_changed_by_setting_a_value(composer):
    before, _ = composer.compose_raw([])
    width = before["student"]["width"]
    after, _ = composer.compose_raw([f"student.width={width + 1}"])
    assert (before["student"]["width"], after["student"]["width"]) == (width, width + 1)
    assert after["data"] is before["data"]


def test_the_twin_of_many_points_is_read_once(composer, monkeypatch):
    read = []

    def counted(plain, **known):
        read.append(plain)
        return checking_read(plain, **known)

    checking_read = checking.read_config
    monkeypatch.setattr(checking, "read_config", counted)
    points = points_of("objective.temperature=1,2,4,8,16", "objective.alpha=0.1,0.2,0.3,0.4,0.5", composer=composer)
    assert len(points) == 25
    assert len({point.plan.run.run_id for point in points}) == 25
    assert len([plain for plain in read if plain["teacher"] is None]) == 1
    assert len(read) == 26


def test_points_of_a_sweep_are_planned_as_alone(composer):
    arms = {"a": [], "b": ["teacher/quality=overconfident", "teacher.quality.scale=3"]}
    for point in points_of("objective.alpha=0,0.5", "seed=0,1", composer=composer, arms=arms):
        alone = typed(composer.compose(list(point.launch), with_hydra=False)[0])
        assert point.config == alone
        assert point.plan == plan(alone, point.overrides)


def test_a_wrong_value_is_told_whatever_was_sound_before(composer):
    with pytest.raises(UserError) as told:
        points_of("objective.alpha=0.5,7", "training.batch_size=0,10", "seed=0,1", composer=composer)
    assert "objective.alpha = 7: must be less than or equal to 1" in str(told.value)
    assert "training.batch_size = 0: must be greater than 0" in str(told.value)
    assert len(str(told.value).splitlines()) == 2


def test_telling_who_would_read_a_key_composes_few_configs(monkeypatch):
    composed = []
    load = composing.ConfigLoaderImpl.load_configuration

    def counted(self, name, overrides, **keywords):
        composed.append(overrides)
        return load(self, name, overrides, **keywords)

    monkeypatch.setattr(composing.ConfigLoaderImpl, "load_configuration", counted)
    with pytest.raises(UserError) as told:
        points_of("teacher.quality.scale=2,3", "teacher.quality.bits=2,3", composer=Composer(make_loader()))
    assert "teacher/quality=overconfident it is read" in str(told.value)
    assert "teacher/quality=low_bit it is read" in str(told.value)
    assert len(composed) <= 4  # the point and each objective, not each of the twelve qualities
