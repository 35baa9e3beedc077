"""Runs with a transfer set, fewer labels or unseen classes: who is who, what they see, and what their records say."""

import math
from collections import Counter

import numpy as np
import pytest
import tiny_data
import torch
from plain_config import config, plain

import kdlab.experiments.fitting as fitting
from kdlab.errors import UserError
from kdlab.evaluation.fidelity import target_entropy
from kdlab.evaluation.metrics import accuracy
from kdlab.experiments.again import evaluate_again
from kdlab.experiments.assembling import assemble
from kdlab.experiments.lab import Lab
from kdlab.experiments.labels import shown_config
from kdlab.experiments.plan import plan, plan_teacher
from kdlab.experiments.preflight import preflight
from kdlab.experiments.stacks import run_points, stack_key
from kdlab.experiments.students import run_point
from kdlab.experiments.teachers import obtain_teacher
from kdlab.experiments.transfer import kept_rows
from kdlab.outputs import NO_LABEL
from kdlab.records.identity import identity
from kdlab.records.store import Store
from kdlab.records.weights import load_weights
from kdlab.schema.reading import ConfigError, read_config
from kdlab.tempering import mean_entropy, smoothing_of_entropy
from kdlab.tracking.base import NullTracker

MAKERS = "kdlab.data.transfer."
POOL = {"data__pool": 50, "data__transfer": {"_target_": MAKERS + "pool", "size": 40, "labelled_fraction": 0.3}}
HELDOUT = {"data__shown": {"labelled": 25}, "data__transfer": {"_target_": MAKERS + "heldout"}}
MIXUP = {"data__transfer": {"_target_": MAKERS + "mixup", "size": 45}}
NOISE = {"data__transfer": {"_target_": MAKERS + "noise", "size": 45}}
OMIT = {"data__shown": {"omit": [1]}}
EACH = {"pool": POOL, "heldout": HELDOUT, "mixup": MIXUP, "noise": NOISE, "omit": OMIT}
VIRTUAL = {"name": "virtual", "outputs": {"_target_": "kdlab.teachers.virtual", "temperature": 2.0}}
JITTER = {"noise": {"_target_": "kornia.augmentation.RandomGaussianNoise", "std": 0.1, "p": 1.0}}


def ids(**changes):
    point = plan(config(**changes))
    return point.run.run_id, point.twin.run_id, point.teacher and point.teacher.run_id


def transfer(base=NOISE, **knobs):
    """The same transfer set with other knobs."""
    return {**base, "data__transfer": {**base["data__transfer"], **knobs}}


@pytest.fixture
def learners(monkeypatch):
    """Every student (or twin) that is trained."""
    seen, fit = [], fitting.fit

    def watched(members, **keywords):
        seen.extend(one for one in members if one.role == "student")
        return fit(members, **keywords)

    monkeypatch.setattr(fitting, "fit", watched)
    return seen


# --- who is who ------------------------------------------------------------------------------------------------------

STUDENT, TWIN, TEACHER = ids()


def test_none_is_what_it_was_before_there_were_any():
    for none in ({}, None, {"size": None, "labelled_fraction": 0.5, "labels": False}, {"size": 3}):
        assert ids(data__transfer=none, data__shown={}) == (STUDENT, TWIN, TEACHER)
    spelled = {"only": [], "omit": [], "labelled": None, "bias_correction": False}
    assert ids(data__shown=spelled) == (STUDENT, TWIN, TEACHER)
    told = plan(config(data__shown=spelled)).run.identity_config
    assert not {"shown", "transfer"} & set(told)
    assert identity(told) == plan(config()).run.identity


def test_a_transfer_set_is_of_the_student_alone():
    found = [NOISE, transfer(size=46), transfer(labelled_fraction=0.4), MIXUP, transfer(MIXUP, concentration=0.5)]
    students = {ids(**one)[0] for one in found}
    assert len(students | {STUDENT}) == 6
    assert {ids(**one)[1:] for one in found} == {(TWIN, TEACHER)}
    oracle = ids(**transfer(POOL, labels=True))
    assert oracle[1:] == ids(**POOL)[1:]
    assert oracle[0] != ids(**POOL)[0]


def test_what_is_shown_is_of_student_and_twin_and_not_of_their_teacher():
    wishes = [{"omit": [1]}, {"only": [0, 2]}, {"labelled": 25}, {"omit": [1], "bias_correction": True}]
    found = [ids(data__shown=wish) for wish in wishes]
    assert len({student for student, _, _ in found} | {STUDENT}) == 5
    assert len({twin for _, twin, _ in found} | {TWIN}) == 5
    assert {teacher for _, _, teacher in found} == {TEACHER}
    assert ids(data__shown={"only": [2, 0]}) == ids(data__shown={"only": [0, 2]})


@pytest.mark.parametrize("taught", [{"teacher__quality": VIRTUAL}, {"teacher__match_entropy": 0.7}])
def test_a_teacher_that_is_fitted_to_the_transfer_set_is_another_one_for_another_set(taught):
    plainly = ids(**taught)[2]
    assert ids(**taught, data__shown={}, data__transfer={})[2] == plainly
    found = [ids(**taught, **one)[2] for one in (NOISE, transfer(size=46), OMIT, HELDOUT)]
    assert len({*found, plainly}) == 5
    assert ids(**taught, **transfer(labelled_fraction=0.3))[2] == found[0], "it is fitted to rows, not to batches"
    corrected = {"data__shown": {"omit": [1], "bias_correction": True}}
    assert ids(**taught, **corrected)[2] == found[2]
    parents = {plan_teacher(config(**taught, **one)).parent.run_id for one in ({}, NOISE, OMIT)}
    assert parents == {TEACHER}


def test_where_nothing_is_learned_from_it_a_transfer_set_is_none_unless_it_brings_labels():
    point = plan(config(alpha=0, **NOISE))
    assert point.run.run_id == point.twin.run_id == TWIN
    oracle = plan(config(alpha=0, **transfer(POOL, labels=True)))
    assert oracle.run.run_id != oracle.twin.run_id
    assert oracle.teacher is None


def test_overrides_go_to_whom_they_concern():
    lines = ["data/transfer=noise", "data.transfer.size=45", "data.shown.omit=[1]", "seed=0"]
    point = plan(config(**NOISE, **OMIT), lines)
    assert point.run.overrides == tuple(lines)
    assert point.twin.overrides == ("data.shown.omit=[1]", "seed=0")
    assert point.teacher.overrides == ("seed=0",)
    fitted = plan(config(**NOISE, **OMIT, teacher__match_entropy=0.7), lines).teacher
    assert fitted.overrides == tuple(lines)
    assert fitted.parent.overrides == ("seed=0",)


def test_what_concerns_the_student_alone_is_shown_of_no_one_else():
    plainly, fitted = plan(config(**NOISE, **OMIT)), plan(config(**NOISE, **OMIT, teacher__match_entropy=0.7))
    assert plainly.twin.config.plain["data"]["transfer"] == {}
    assert plainly.twin.config.data.shown.omit == [1]
    assert not {"shown", "transfer"} & set(shown_config(plainly.teacher)["data"])
    for planned in (plainly.run, fitted.teacher):
        assert shown_config(planned)["data"]["transfer"]["size"] == 45


# --- what they see ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", EACH)
def test_a_tiny_run_of_each_kind(bench, learners, name):
    record = bench.run(**EACH[name])
    assert record.status == "finished"
    assert math.isfinite(record.metrics["test/accuracy"])
    twin, student = learners
    dataset = bench.lab.dataset(config(**EACH[name]))
    assert twin.mixture is None
    assert set(twin.train.index.tolist()) <= set(dataset.train.index.tolist())
    assert (twin.recipe.batch_size, twin.recipe.steps) == (student.recipe.batch_size, student.recipe.steps) == (10, 15)
    own = student.train.index[student.train.labels != NO_LABEL]
    assert torch.equal(own, twin.train.index), "the twin learns from what the student has labels of"
    if name == "omit":
        assert student.mixture is None
        assert student.train is twin.train
        assert set(student.train.labels.tolist()) == {0, 2}
        return
    assert student.mixture.labelled().tolist() == (student.train.labels != NO_LABEL).tolist()
    assert student.mixture.labelled_rows == {"pool": 3}.get(name, 5)
    assert len(student.train) - len(own) == {"pool": 40, "heldout": 35}.get(name, 45)


def test_the_oracle_has_true_labels_for_the_very_rows_of_the_student(bench, learners):
    bench.run(**POOL)
    bench.run(**transfer(POOL, labels=True))
    student, oracle = learners[1], learners[2]
    assert torch.equal(student.train.index, oracle.train.index)
    pool = bench.lab.dataset(config(**POOL)).pool
    assert torch.equal(oracle.train.labels[60:], pool.labels[:40])
    assert oracle.mixture.labelled().all()
    assert (oracle.mixture.labelled_rows, oracle.mixture.transfer_rows) == (3, 7)


def test_a_class_that_is_left_out_stands_in_no_transfer_set_either(bench, learners):
    both = {**POOL, **OMIT, "data__transfer": {**POOL["data__transfer"], "size": None}}
    bench.run(**both)
    rows = kept_rows(config(**both), bench.lab)
    assert set(rows.known.labels.tolist()) == {0, 2}
    assert torch.equal(learners[-1].train.index, rows.known.index)


def test_the_same_run_with_the_teacher_online_or_stored(tmp_path, learners):
    for made in (NOISE, HELDOUT, POOL):
        found = {}
        for mode in ("never", "always"):
            bench = Lab(Store(tmp_path / f"{mode}{len(found)}{id(made)}"), NullTracker())
            found[mode] = run_point(plan(config(**made, teacher__cache__mode=mode)), bench)
        online, stored = found["never"], found["always"]
        assert online.run_id == stored.run_id
        told = [one.provenance["teacher_answers"] for one in (online, stored)]
        assert told == ["online", "stored"]
        assert stored.metrics["test/nll"] == pytest.approx(online.metrics["test/nll"], rel=1e-5)
        assert online.teacher == stored.teacher


def test_answers_for_what_a_student_may_see_are_those_for_the_training_set(bench):
    def stored():
        return [path for path in (bench.store.root / "teacher_outputs").iterdir() if path.is_dir()]

    bench.run()
    for one in (OMIT, HELDOUT, {"data__shown": {"labelled": 30}}):
        bench.run(**one)
        assert len(stored()) == 1
    bench.run(**NOISE)
    bench.run(**transfer(labelled_fraction=0.2))
    assert len(stored()) == 2, "other rows, once for all mixtures"


# --- together --------------------------------------------------------------------------------------------------------


def test_with_and_without_a_transfer_set_they_are_stacks_of_their_own_and_as_alone(bench, sizes):
    exact = {"training__precision": "64-true", "teacher__training__precision": "64-true"}
    changes = [{**NOISE, "seed": seed, "temperature": temperature} for seed in (0, 1) for temperature in (1, 4)]
    changes += [{"seed": 0}, {**transfer(labelled_fraction=0.2)}]
    points = [plan(config(**exact, **one)) for one in changes]
    assert len({stack_key(point.run) for point in points}) == 3
    records = run_points(points, bench.lab)
    assert Counter(sizes) == Counter([1, 1, 3, 4]), "the teacher; another fraction; twins and the plain one; the rest"
    alone = bench.__class__(bench.store.root.parent / "alone")
    for point, record in zip(points, records, strict=True):
        expected = run_point(point, alone.lab)
        assert record.run_id == expected.run_id
        assert record.metrics["test/nll"] == pytest.approx(expected.metrics["test/nll"], abs=1e-6)


def test_students_who_miss_other_classes_are_one_stack_where_as_many_examples_are_left(bench, learners, sizes):
    points = [plan(config(data__shown={"labelled": 20, "omit": [label]})) for label in range(3)]
    records = run_points(points, bench.lab)
    assert sizes == [1, 6]
    assert len({record.run_id for record in records}) == 3
    assert {tuple(sorted(set(one.train.labels.tolist()))) for one in learners} == {(0, 1), (0, 2), (1, 2)}


# --- unseen classes --------------------------------------------------------------------------------------------------

CORRECTED = {"alpha": 1, "data__shown": {"omit": [1], "bias_correction": True}, "training__steps": 60}


def test_after_training_the_biases_of_unseen_classes_are_raised_and_nothing_else(bench):
    record = bench.run(**CORRECTED)
    asis = bench.run(**{**CORRECTED, "data__shown": {"omit": [1]}})
    told = record.provenance["bias_correction"]
    assert told["classes"] == [1]
    before, after = (load_weights(bench.store.folder(one.run_id) / "weights.safetensors") for one in (asis, record))
    apart = {name: after[name] - before[name] for name in before}
    assert {name for name, value in apart.items() if value.abs().max() > 0} == {"head.bias"}
    torch.testing.assert_close(apart["head.bias"], torch.tensor([0.0, told["bias"], 0.0]))
    assert told["bias"] > 0
    assert told["accuracy_before"] == asis.metrics["validation/accuracy"]
    assert told["accuracy"] == record.metrics["validation/accuracy"] > asis.metrics["validation/accuracy"]
    assert "bias_correction" not in asis.provenance
    twin = bench.store.load(record.twin)
    assert twin.provenance["bias_correction"]["classes"] == [1], "a choice that is made for all alike"


def test_a_corrected_network_is_measured_again_as_it_was(bench):
    record = bench.run(**CORRECTED)
    again = evaluate_again(bench.store.folder(record.run_id), bench.lab, config(**CORRECTED))
    assert again.metrics["test/accuracy"] == record.metrics["test/accuracy"]
    assert again.provenance["bias_correction"] == record.provenance["bias_correction"]


# --- what records say of the teacher ---------------------------------------------------------------------------------


@pytest.mark.parametrize("made", [{}, POOL, HELDOUT, NOISE])
def test_a_record_tells_of_the_targets_that_its_student_was_shown(bench, made):
    record, asked = bench.run(**made), config(**made)
    shown = kept_rows(asked, bench.lab).known
    provider = obtain_teacher(plan(asked).teacher, bench.lab).provider
    logits = provider(shown.inputs, shown.index).logits.numpy()
    labels = shown.labels.numpy()
    told = record.teacher["targets"]
    assert told["entropy"] == pytest.approx(target_entropy(logits, temperature=2.0), rel=1e-5)
    known = labels != NO_LABEL
    assert told["accuracy"] == accuracy(logits[known], labels[known])
    assert (
        len(shown)
        == {"": 60, "pool": 100, "heldout": 60, "noise": 105}[
            made.get("data__transfer", {}).get("_target_", "").rpartition(".")[2]
        ]
    )


@pytest.mark.parametrize("made", [HELDOUT, NOISE, OMIT])
def test_a_matched_teacher_has_that_entropy_on_the_rows_of_its_student(bench, made):
    record = bench.run(teacher__match_entropy=0.7, temperature=1, **made)
    assert record.teacher["targets"]["entropy"] == pytest.approx(0.7, abs=1e-5)
    teacher = bench.store.load(record.teacher["id"])
    assert teacher.metrics["transfer/target_entropy"] == pytest.approx(0.7, abs=1e-5)


def test_a_virtual_teacher_knows_the_labels_that_its_student_has_and_no_others(bench):
    asked = config(teacher__quality=VIRTUAL, **HELDOUT)
    taught = obtain_teacher(plan(asked).teacher, bench.lab)
    rows = kept_rows(asked, bench.lab)
    top = taught.provider(rows.train.inputs, rows.train.index).logits.argmax(-1)
    parent = assemble(plan(asked).teacher.parent, bench.lab).provider(rows.train.inputs, rows.train.index).logits
    assert torch.equal(top[:25], rows.known.labels[:25])
    assert torch.equal(top[25:], parent[25:].argmax(-1))
    expected = smoothing_of_entropy(mean_entropy(parent.numpy(), temperature=2.0), num_classes=3)
    assert taught.record.provenance["quality"]["smoothing"] == pytest.approx(expected, rel=1e-5)


# --- refusals --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        (transfer(labelled_fraction=0), r"data.transfer.labelled_fraction = 0: "),
        (transfer(labelled_fraction=1.01), r"data.transfer.labelled_fraction = 1.01: "),
        (transfer(labels=True), r"data.transfer.labels = True: what .*noise makes has no true labels"),
        (transfer(MIXUP, labels=True), "what kdlab.data.transfer.mixup makes has no true labels"),
        (transfer(share=0.5), r"unknown key data.transfer.share = 0.5"),
        (transfer(size=None), r"missing key data.transfer.size: kdlab.data.transfer.noise needs it"),
        (transfer(size="many"), r"data.transfer.size = 'many'"),
        (transfer(_target_=3), r"data.transfer._target_ = 3: an import path is needed"),
        ({"data__shown": {"omit": [-1]}}, r"data.shown.omit"),
        ({"data__shown": {"omit": ["3"]}}, r"data.shown.omit"),
        ({"data__shown": {"labelled": 0}}, r"data.shown.labelled = 0"),
        ({"data__shown": {"only": [0], "omit": [1]}}, r"data.shown.only = \[0\], data.shown.omit = \[1\]: both say"),
        ({"data__shown": {"bias_correction": True}}, r"data.shown.bias_correction = True: it concerns classes"),
        ({**NOISE, "training__augmentation": JITTER, "teacher__cache__views": 3}, r"teacher.cache.views = 3: views"),
        ({**NOISE, "training__augmentation": JITTER, "training__views": 3, "teacher": None, "objective": {"terms": {
            "hard": {"_target_": "kdlab.objectives.hard_labels", "weight": 1.0}}}}, r"training.views = 3: views are"),
    ],
)  # fmt: skip
def test_what_cannot_be_meant_is_refused_before_any_work(changes, told):
    with pytest.raises(ConfigError, match=told):
        read_config(plain(**changes))


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"data__shown": {"omit": [3]}}, r"data.shown.omit = \[3\]: classes are 0 to 2"),
        ({"data__shown": {"omit": [0, 1, 2]}}, "at least one class must be left to see"),
        ({"data__shown": {"labelled": 61}}, "data.shown.labelled = 61: the training set has 60"),
        ({"data__transfer": {"_target_": MAKERS + "pool"}}, "'tiny' has no unlabelled pool"),
        ({"data__transfer": {"_target_": MAKERS + "heldout"}}, "all training examples keep their labels"),
        ({"data__shown": {"only": [0, 1, 2], "bias_correction": True}}, "are all classes"),
        ({"data__transfer": {"_target_": "test_experiments_transfer.the_test_set"}}, "is that of a test example"),
        ({"data__shown": {"omit": [1], "bias_correction": True}, "student": {
            "_target_": "test_experiments_transfer.without_bias"}}, "has no last layer with a bias"),
    ],
)  # fmt: skip
def test_what_does_not_fit_the_data_is_told_before_anything_trains(bench, trainings, changes, told):
    with pytest.raises(UserError, match=told):
        preflight([config(**changes)], bench.lab)
    assert trainings == []


def the_test_set(material):
    return tiny_data.tiny().test


def without_bias(*, input_shape, num_classes):
    return torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(int(np.prod(input_shape)), num_classes, bias=False))


def test_views_of_what_a_student_may_see_are_those_of_the_training_set(bench, learners):
    views = {"training__augmentation": JITTER, "teacher__cache__views": 3}
    bench.run(**views)
    bench.run(**views, **OMIT)
    whole, part = learners[1].train, learners[3].train
    rows = (whole.labels != 1).nonzero().flatten()
    assert torch.equal(part.inputs, whole.inputs[rows])
    assert torch.equal(part.index, whole.index[rows])
    assert len(list((bench.store.root / "augmented_views").glob("*.lock"))) == 1
