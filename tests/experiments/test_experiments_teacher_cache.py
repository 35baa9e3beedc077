"""Stored answers in place of the live teacher: the same run, the rules of augmentation, and what names a run."""

import json
import math

import pytest
import torch
from plain_config import config

import kdlab.experiments.fitting as fitting
import kdlab.experiments.teacher_cache as teacher_cache
from kdlab.data import stored
from kdlab.data.augmentation import Augmentation
from kdlab.errors import UserError
from kdlab.experiments.lab import Lab
from kdlab.experiments.plan import plan
from kdlab.experiments.preflight import preflight
from kdlab.experiments.step_cost import bare_step
from kdlab.experiments.students import run_point
from kdlab.experiments.teacher_cache import is_cached, teaching
from kdlab.experiments.teachers import obtain_teacher
from kdlab.outputs import Batch
from kdlab.records.identity import identity
from kdlab.records.store import Store
from kdlab.schema.reading import ConfigError, read_config
from kdlab.streams import drawing_from, generator
from kdlab.teachers import CachedTeacher, OnlineTeacher, UniformTeacher
from kdlab.tracking.base import NullTracker

JITTER = {"noise": {"_target_": "kornia.augmentation.RandomGaussianNoise", "std": 0.1, "p": 1.0}}
MIXUP = {"mix": {"_target_": "kornia.augmentation.RandomMixUpV2", "p": 1.0}}
PERMUTED = {"name": "permuted", "outputs": {"_target_": "kdlab.teachers.PermutedTeacher"}}
VIEWS = {"training__augmentation": JITTER, "teacher__cache__views": 3}
FIXED = {"training__augmentation": JITTER, "teacher__cache__fixed_targets": True}


@pytest.fixture
def learners(monkeypatch):
    """The learners of every student that was trained."""
    seen, fit = [], fitting.fit

    def watched(members, **keywords):
        seen.extend(one for one in members if one.role == "student")
        return fit(members, **keywords)

    monkeypatch.setattr(fitting, "fit", watched)
    return seen


def taught(bench, **changes):
    asked = config(**changes)
    return obtain_teacher(plan(asked).teacher, bench.lab), asked


def test_a_run_is_the_same_with_the_teacher_online_or_stored(tmp_path, learners):
    records = {}
    for mode in ("never", "auto", "always"):
        bench = Lab(Store(tmp_path / mode), NullTracker())
        records[mode] = run_point(plan(config(teacher__cache__mode=mode)), bench)
    assert [type(one.teacher) for one in learners if one.teacher is not None] == [
        *(OnlineTeacher, CachedTeacher, CachedTeacher)
    ]
    assert len({record.run_id for record in records.values()}) == 1
    never, auto = records["never"], records["auto"]
    told = {mode: record.provenance["teacher_answers"] for mode, record in records.items()}
    assert told == {"never": "online", "auto": "stored", "always": "stored"}
    for key, value in never.metrics.items():
        if value is not None and key.split("/")[0] in ("train", "validation", "test"):
            assert math.isclose(auto.metrics[key], value, rel_tol=1e-5, abs_tol=1e-6), key
    assert never.teacher == auto.teacher
    losses = [record.curves["train/loss"] for record in (never, auto)]
    assert len(losses[0]) >= 2
    assert losses[1] == [[step, pytest.approx(value, rel=1e-6)] for step, value in losses[0]]


def test_stored_once_for_all_students_of_a_teacher(bench, learners):
    bench.run(seed=0)
    (folder,) = [path for path in (bench.store.root / "teacher_outputs").iterdir() if path.is_dir()]
    files = {path: path.stat().st_mtime_ns for path in folder.iterdir()}
    bench.run(seed=1, temperature=3.0)
    taught_by = [one.teacher for one in learners if one.teacher is not None]
    assert taught_by[0] is taught_by[1], "two students of a process share what was opened"
    assert {path: path.stat().st_mtime_ns for path in folder.iterdir()} == files
    described = json.loads((folder / "manifest.json").read_text())["described"]
    assert described["teacher"] == bench.store.load(plan(config()).run.run_id).teacher["id"]
    assert described["data"]["seed"] == 0


def test_features_that_terms_read_are_stored(bench, learners):
    layers = {"teacher_layer": "blocks.0.affine", "student_layer": "penultimate"}
    hint = {"_target_": "user_terms.same_scale", "weight": 0.5, **layers}
    record = bench.run(objective__terms__hint=hint, allow_targets=["tiny_data.*", "user_terms.*"])
    student = learners[-1]
    assert student.teacher.provides == {"logits", "features.blocks.0.affine"}
    live, train = obtain_teacher(plan(config()).teacher, bench.lab).provider, student.train
    live.tap(["blocks.0.affine"])
    answers, expected = (one(train.inputs, train.index).features["blocks.0.affine"] for one in (student.teacher, live))
    torch.testing.assert_close(answers, expected)
    assert record.status == "finished"


def test_uniform_needs_no_file_and_online_is_the_rule_under_augmentation(bench):
    uniform = {"name": "uniform", "control": {"_target_": "kdlab.teachers.UniformTeacher"}}
    assert isinstance(teaching(*taught(bench, teacher__quality=uniform), bench.lab), UniformTeacher)
    assert isinstance(teaching(*taught(bench, training__augmentation=JITTER), bench.lab), OnlineTeacher)
    assert isinstance(teaching(*taught(bench, teacher__cache__mode="never"), bench.lab), OnlineTeacher)
    assert not (bench.store.root / "teacher_outputs").exists()
    assert teaching(None, config(), bench.lab) is None
    assert isinstance(teaching(*taught(bench), bench.lab), CachedTeacher)


# --- too large, no room ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("insists", [{}, {"teacher__cache__mode": "always"}, {"teacher__cache__dtype": "float16"}])
def test_no_room_or_too_large_is_online_unless_files_are_insisted_on(bench, monkeypatch, capsys, insists):
    told, asked = taught(bench, **insists)
    monkeypatch.setattr(stored.shutil, "disk_usage", lambda path: stored.shutil._ntuple_diskusage(10, 5, 5))
    if insists:
        with pytest.raises(UserError, match="the disk has"):
            teaching(told, asked, bench.lab)
        return
    assert teaching(told, asked, bench.lab) is told.provider
    assert "the teacher is asked online" in capsys.readouterr().out
    monkeypatch.undo()
    monkeypatch.setattr(teacher_cache, "AUTO_LIMIT_BYTES", 10)
    assert teaching(told, asked, bench.lab) is told.provider
    assert "teacher.cache.mode=always stores them" in capsys.readouterr().out


# --- views and fixed targets ----------------------------------------------------------------------------------------


def redrawn(asked, dataset):
    """The views of the training set, drawn as they were promised to be."""
    augment = Augmentation(JITTER, input_shape=dataset.input_shape, facts=dataset.facts)
    train, views = dataset.train, []
    for view in range(asked.teacher.cache.views):
        with drawing_from(generator("data", "augment", asked.data.seed, generation=view)):
            whole = Batch(train.inputs, train.labels, train.index, torch.ones(len(train), dtype=torch.bool))
            views.append(augment(whole).inputs)
    return torch.stack(views)


@pytest.mark.parametrize("quality", [{"name": "standard"}, PERMUTED])
def test_teacher_and_student_see_the_same_stored_view(bench, learners, quality):
    changes = {**VIEWS, "teacher__quality": quality}
    record = bench.run(**changes)
    twin, student = learners
    asked, dataset = config(**changes), bench.lab.dataset(config(**changes))
    views, rows = redrawn(asked, dataset), len(dataset.train)
    for one in (twin, student):
        assert torch.equal(one.train.inputs, views.flatten(0, 1))
        assert one.recipe.views == 3
        assert not one.recipe.augmentation
    live = obtain_teacher(plan(asked).teacher, bench.lab).provider
    answers = student.teacher(student.train.inputs, student.train.index).logits
    for view in range(3):
        expected = live(views[view], dataset.train.index).logits
        torch.testing.assert_close(answers[view * rows : (view + 1) * rows], expected, rtol=1e-5, atol=1e-5)
    assert record.identity_config["training"]["views"] == 3
    scratch = bench.store.load(record.twin)
    assert scratch.identity_config["training"] == record.identity_config["training"]
    assert scratch.config["training"]["views"] == 3
    assert plan(read_config(scratch.config)).twin.run_id == scratch.run_id, "the twin's config makes the twin again"


def test_fixed_targets_answer_for_the_unchanged_example(bench, learners):
    record = bench.run(**FIXED)
    student, dataset = learners[-1], bench.lab.dataset(config())
    live = obtain_teacher(plan(config()).teacher, bench.lab).provider
    shown = torch.randn_like(dataset.train.inputs)
    expected = live(dataset.train.inputs, dataset.train.index).logits
    torch.testing.assert_close(student.teacher(shown, dataset.train.index).logits, expected)
    assert student.recipe.augmentation == JITTER, "the student's inputs are augmented anew in every epoch"
    online = plan(config(training__augmentation=JITTER))
    assert record.run_id != online.run.run_id
    assert record.twin == online.twin.run_id


def test_a_teacher_by_index_under_augmentation(bench):
    by_index = {"teacher__quality": PERMUTED, "training__augmentation": JITTER}
    with pytest.raises(UserError, match=r"permuted.*teacher\.cache\.views=N.*teacher\.cache\.fixed_targets=true"):
        preflight([config(**by_index)], bench.lab)
    preflight([config(**by_index, **{"teacher__cache__views": 2})], bench.lab)
    preflight([config(**by_index, **{"teacher__cache__fixed_targets": True})], bench.lab)


@pytest.mark.parametrize("key", ["views", "fixed_targets"])
def test_mixed_examples_have_no_stored_answers(bench, key):
    asked = config(training__augmentation=MIXUP, **{f"teacher__cache__{key}": 2 if key == "views" else True})
    with pytest.raises(UserError, match=rf"teacher\.cache\.{key}: training\.augmentation\.mix mixes examples"):
        preflight([asked], bench.lab)
    with pytest.raises(UserError, match="mixes examples"):
        run_point(plan(asked), bench.lab)
    preflight([config(training__augmentation=MIXUP)], bench.lab)


# --- what contradicts itself ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"training__augmentation": JITTER, "teacher__cache__mode": "always"},
         r"teacher\.cache\.mode = 'always'.*teacher\.cache\.views=N.*teacher\.cache\.fixed_targets=true.*mode=auto"),
        ({**VIEWS, "teacher__cache__fixed_targets": True}, r"teacher\.cache\.views = 3 and teacher\.cache\.fixed"),
        ({"teacher__cache__views": 3}, r"teacher\.cache\.views = 3: training\.augmentation is empty"),
        ({"teacher__cache__fixed_targets": True}, r"fixed_targets = True: training\.augmentation is empty"),
        ({**VIEWS, "teacher__cache__mode": "never"}, r"mode = 'never': teacher\.cache\.views = 3"),
        ({**FIXED, "teacher__cache__mode": "never"}, r"mode = 'never': teacher\.cache\.fixed_targets"),
        ({"teacher__cache__dtype": "float16", "teacher__cache__mode": "never"}, r"mode = 'never': teacher\.cache\.dt"),
        ({"training__augmentation": JITTER, "training__views": 2}, r"training\.views = 2: beside a teacher set"),
        ({"teacher__training__views": 2}, r"teacher\.training\.views = 2"),
        ({"teacher__cache__views": -1}, r"teacher\.cache\.views = -1"),
        ({"teacher__cache__mode": "sometimes"}, r"teacher\.cache\.mode = 'sometimes': allowed are"),
        ({"teacher__cache__dtype": "bfloat16"}, r"teacher\.cache\.dtype = 'bfloat16': allowed are"),
        ({"teacher__cache__vews": 1}, r"unknown key teacher\.cache\.vews.*views"),
    ],
)  # fmt: skip
def test_what_contradicts_itself_is_refused_by_its_key(changes, told):
    with pytest.raises(ConfigError, match=told):
        config(**changes)


def test_where_stored_answers_are_read():
    assert is_cached(config())
    assert is_cached(config(**VIEWS))
    assert is_cached(config(**FIXED))
    assert not is_cached(config(training__augmentation=JITTER))
    assert not is_cached(config(teacher__cache__mode="never"))
    assert not is_cached(config(teacher=None, alpha=0, objective__terms={"hard_labels": {
        "_target_": "kdlab.objectives.terms.hard_labels", "weight": 1.0}}))  # fmt: skip


# --- identity -------------------------------------------------------------------------------------------------------


def ids(**changes):
    point = plan(config(**changes))
    return {"run": point.run.run_id, "twin": point.twin.run_id, "teacher": point.teacher and point.teacher.run_id}


def test_what_of_the_cache_names_a_run():
    plain = ids()
    described = {name: value for name, value in plan(config()).run.identity_config.items() if name != "teacher_cache"}
    described["training"] = {name: value for name, value in described["training"].items() if name != "views"}
    assert identity(described)[:16] == plain["run"], "a record from before has neither key, and the same name"
    for mode in ("auto", "always", "never"):
        assert ids(teacher__cache__mode=mode) == plain
    half = ids(teacher__cache__dtype="float16")
    assert half["run"] != plain["run"]
    assert (half["twin"], half["teacher"]) == (plain["twin"], plain["teacher"])
    augmented, fixed, views = ids(training__augmentation=JITTER), ids(**FIXED), ids(**VIEWS)
    assert fixed["run"] != augmented["run"]
    assert (fixed["twin"], fixed["teacher"]) == (augmented["twin"], augmented["teacher"])
    assert len({augmented["run"], fixed["run"], views["run"]}) == 3
    assert views["twin"] != augmented["twin"], "the twin is shown the same views"
    assert views["teacher"] == augmented["teacher"]
    assert ids(**{**VIEWS, "teacher__cache__views": 4})["twin"] != views["twin"]
    assert ids(**VIEWS, alpha=0)["run"] == views["twin"], "alpha = 0 is the scratch twin"
    words = ["teacher.cache.views=3", "teacher.cache.mode=always", "student.width=6"]
    twin = plan(config(**VIEWS), words).twin
    assert set(twin.overrides) == {"teacher.cache.views=3", "student.width=6"}


# --- what a step is estimated to take -------------------------------------------------------------------------------


def test_an_estimate_pays_for_the_teacher_only_where_it_is_asked(bench, monkeypatch):
    asked, call = [], OnlineTeacher.__call__
    monkeypatch.setattr(OnlineTeacher, "__call__", lambda *given: asked.append(1) or call(*given))
    for stored_answers, once, three in ((True, 1, 1), (False, 0, 3)):
        asked.clear()
        step = bare_step(config(), dataset=bench.lab.dataset(config()), stored_answers=stored_answers)
        assert len(asked) == once
        for _ in range(3):
            step()
        assert len(asked) == three
