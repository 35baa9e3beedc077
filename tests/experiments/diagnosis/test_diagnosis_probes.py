"""Probes are runs like any other: named by what trains them, found whoever made them, stacked when they are trained."""

import json

import numpy as np
import pytest
from plain_config import QUALITIES, config, overconfident

from kdlab.errors import UserError
from kdlab.experiments.diagnosis import diagnose
from kdlab.experiments.diagnosis.gathering import gather, subject_of
from kdlab.experiments.diagnosis.probes import CannotProbe, probe_plan, regularisers
from kdlab.experiments.diagnosis.probing import probes_needed, run_probes
from kdlab.experiments.plan import plan
from kdlab.records.store import RECORD


def subject(record, bench):
    return subject_of(record, bench.lab, allow=["tiny_data.*"], sections={})


def test_a_wide_probe_is_the_run_of_four_times_the_width():
    probe = probe_plan("wide", config(), ["student.width=6", "seed=0"])
    assert probe.run.run_id == plan(config(student__width=24)).run.run_id
    assert probe.run.overrides == ("seed=0", "student.width=24")
    assert probe.teacher.run_id == plan(config()).teacher.run_id
    assert probe.run.config.evaluation.sets == ["train", "validation"]


def test_a_long_probe_is_the_run_of_four_times_the_steps_with_the_same_teacher():
    probe = probe_plan("long", config(training__steps=15), ["training.steps=15", "seed=0"])
    assert probe.run.run_id == plan(config(training__steps=60)).run.run_id
    assert probe.run.overrides == ("seed=0", "training.steps=60")
    assert probe.teacher.run_id == plan(config()).teacher.run_id


@pytest.mark.parametrize(
    ("schedule", "expected"),
    [
        ({"_target_": "torch.optim.lr_scheduler.MultiStepLR", "milestones": [8, 12]}, {"milestones": [32, 48]}),
        ({"_target_": "torch.optim.lr_scheduler.OneCycleLR", "max_lr": 0.1, "total_steps": 15}, {"total_steps": 60}),
    ],
)
def test_a_long_probe_stretches_a_schedule_that_counts_steps(schedule, expected):
    probe = probe_plan("long", config(training__steps=15, training__schedule=schedule), [])
    ((key, value),) = expected.items()
    assert probe.run.config.plain["training"]["schedule"] == {**schedule, **expected}
    assert f"training.schedule.{key}={value}" in probe.run.overrides


@pytest.mark.parametrize("name", ["long", "wide"])
def test_a_probe_that_would_change_its_teacher_is_not_made(name):
    """A generation before the student has the student's architecture and recipe."""
    with pytest.raises(CannotProbe, match="its teacher is trained with what the probe changes"):
        probe_plan(name, config(teacher__generations=1), [])


def test_an_unregularised_probe_is_the_run_without_regularisation():
    terms = "objective__terms__hard_labels__label_smoothing"
    told = {"student__dropout": 0.3, "training__optimizer__weight_decay": 0.1, terms: 0.2}
    bare = {"student__dropout": 0.0, "training__optimizer__weight_decay": 0.0, terms: 0.0}
    probe = probe_plan("unregularised", config(**told), [])
    assert probe.run.run_id == plan(config(**bare)).run.run_id
    assert sorted(probe.run.overrides) == [
        "objective.terms.hard_labels.label_smoothing=0.0", "student.dropout=0.0", "training.optimizer.weight_decay=0.0"
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("optimizer", "counts"),
    [
        ({"_target_": "torch.optim.AdamW", "lr": 0.01, "weight_decay": 0.06}, False),  # 15 steps: .009
        ({"_target_": "torch.optim.AdamW", "lr": 0.01, "weight_decay": 0.07}, True),  # .0105
        ({"_target_": "torch.optim.SGD", "lr": 0.01, "weight_decay": 0.0001}, True),
        ({"_target_": "torch.optim.SGD", "lr": 0.01}, False),
    ],
)
def test_a_decay_counts_where_it_can_shrink_weights_by_a_hundredth(optimizer, counts):
    found = regularisers(config(student__dropout=0.0, training__optimizer=optimizer))
    assert found == (["training.optimizer.weight_decay"] if counts else [])


def test_adamw_shrinks_a_weight_without_gradient_by_no_more_than_is_said():
    import torch

    weight = torch.nn.Parameter(torch.ones(1))
    optimizer = torch.optim.AdamW([weight], lr=0.01, weight_decay=0.06)
    for _ in range(15):
        weight.grad = torch.zeros(1)
        optimizer.step()
    assert 1 - 0.01 * 0.06 * 15 <= weight.item() < 1 - 0.008


def test_a_student_without_a_width_has_no_wide_probe():
    student = {"_target_": "torch.nn.Linear", "in_features": 8, "out_features": 3}
    with pytest.raises(CannotProbe, match=r"torch\.nn\.Linear has no width"):
        probe_plan("wide", config().model_copy(update={"plain": {**config().plain, "student": student}}), [])


def test_a_uniform_probe_is_the_run_that_a_uniform_teacher_teaches():
    wanted = plan(config(teacher__quality=QUALITIES["uniform"])).run.run_id
    assert probe_plan("uniform", config(), []).run.run_id == wanted
    assert (
        probe_plan("uniform", config(teacher__quality=overconfident(3.0), teacher__logit_scale=2.0), []).run.run_id
        == wanted
    )


def test_the_measurements_are_those_of_the_records(bench):
    record = bench.run(teacher__quality=overconfident(3.0))
    found = gather(subject(record, bench), bench.lab)
    twin, teacher = bench.store.load(record.twin), bench.store.load(record.teacher["id"])
    parent = bench.store.load(teacher.parent)
    assert found.student_validation == record.metrics["validation/accuracy"]
    assert found.agreement == record.metrics["train/agreement"]
    assert (found.scratch_train, found.scratch_validation) == (
        twin.metrics["train/accuracy"], twin.metrics["validation/accuracy"]
    )  # fmt: skip
    assert found.teacher_validation == teacher.metrics["validation/accuracy"]
    assert found.fitted_temperature == teacher.metrics["test/fitted_temperature"]
    assert found.parent_validation == parent.metrics["validation/accuracy"]
    assert (found.num_train, found.num_validation) == (60, 30)
    said = [np.load(bench.store.folder(run.run_id) / "predictions" / "validation.npz") for run in (record, twin)]
    hits = [(one["logits"].argmax(1) == one["labels"]).astype(float) for one in said]
    paired = found.paired["student_validation", "scratch_validation"]
    assert paired == pytest.approx((hits[0] - hits[1]).std() / np.sqrt(30))
    assert found.paired["parent_validation", "teacher_validation"] == 0.0


def test_a_temperature_that_no_record_has_is_fitted_to_what_was_kept(bench):
    record = bench.run(evaluation__sets=["train", "validation"])
    found = gather(subject(record, bench), bench.lab)
    bench.run()
    again = gather(subject(bench.store.load(record.run_id), bench), bench.lab)
    assert found.fitted_temperature == pytest.approx(again.fitted_temperature)
    assert found.fitted_temperature is not None


def test_nothing_of_the_test_set_is_read(bench):
    record = bench.run()
    before = gather(subject(record, bench), bench.lab)
    kept = "test/fitted_temperature"  # fitted on validation, whatever its name
    for run_id in bench.store.ids():
        folder = bench.store.folder(run_id)
        told = json.loads((folder / RECORD).read_text())
        told["metrics"] = {key: None if key.startswith(("test/", "loud/", "ood/")) and key != kept else value
                           for key, value in told["metrics"].items()}  # fmt: skip
        (folder / RECORD).write_text(json.dumps(told))
        (folder / "predictions" / "test.npz").unlink()
    assert gather(subject(bench.store.load(record.run_id), bench), bench.lab) == before


def test_probes_are_trained_once_and_found_afterwards(bench):
    record = bench.run()
    before = diagnose(gather(subject(record, bench), bench.lab))
    assert "unregularised" in probes_needed(before)
    ended = run_probes([subject(record, bench)], bench.lab)
    assert [outcome.status for outcome in ended] == ["finished"] * len(probes_needed(before))
    after = diagnose(gather(subject(record, bench), bench.lab))
    assert after.needs == ()
    assert run_probes([subject(record, bench)], bench.lab) == []
    mine = bench.run(student__dropout=0.0)
    assert mine.run_id in {outcome.run_id for outcome in ended}


def test_a_twin_that_is_gone_is_a_probe_too(bench):
    import shutil

    record = bench.run(student__dropout=0.0)
    shutil.rmtree(bench.store.folder(record.twin))
    told = diagnose(gather(subject(record, bench), bench.lab))
    assert told.harm[0].word == "not measured"
    assert probes_needed(told)[0] == "scratch"
    run_probes([subject(record, bench)], bench.lab)
    assert diagnose(gather(subject(record, bench), bench.lab)).harm[0].estimate is not None


def test_a_control_that_is_no_network_leaves_the_rules_of_teachers_out(bench):
    record = bench.run(teacher__quality=QUALITIES["uniform"])
    told = diagnose(gather(subject(record, bench), bench.lab))
    notes = {finding.rule: finding.note for finding in told.findings}
    assert "no network taught" in notes["weak_teacher"]
    assert "no network taught" in notes["student_too_small"]
    assert "no network taught" in notes["under_trained"]


def test_others_than_distilled_students_are_refused_with_what_is_there(bench):
    record = bench.run()
    for run_id, word in ((record.twin, "scratch twin"), (record.teacher["id"], "a teacher; its students")):
        with pytest.raises(UserError, match=f"{word}.*{record.run_id}"):
            subject(bench.store.load(run_id), bench)


@pytest.mark.parametrize(("asked", "size"), [("loud", 30), ("pool", 30), ("shift:2", 30)])
def test_a_deployment_sample_is_made_of_no_test_example(bench, asked, size):
    from kdlab.experiments.diagnosis.deployment import deployment_sample

    shift = {"_target_": "tiny_data.moved", "by": 1.0}
    wanted = config(data__pool=40, data__shift=shift)
    sample = deployment_sample(asked, wanted, bench.lab)
    test = set(bench.lab.dataset(wanted).test.index.tolist())
    assert len(sample) == size
    assert not test & set(sample.index.tolist())


def test_a_shift_is_seen_where_the_student_is_deployed(bench):
    shift = {"_target_": "tiny_data.moved", "by": 1.0}
    record = bench.run(data__shift=shift, training__steps=60, teacher__training__steps=60)
    found = gather(subject(record, bench), bench.lab, deploy="shift:0")
    assert found.deployed_student == found.student_validation
    assert found.deployed_teacher == found.teacher_validation
    assert found.deployed_agreement == found.validation_agreement
    assert found.paired["student_validation", "deployed_student"] == 0.0
    far = gather(subject(record, bench), bench.lab, deploy="shift:9")
    assert far.deployed_student < found.deployed_student
    assert "domain_shift" in diagnose(far).fired


def test_a_file_of_the_users_own_is_a_sample_with_or_without_labels(bench, tmp_path):
    record = bench.run()
    validation = bench.lab.dataset(config()).validation
    path = tmp_path / "field.npz"
    np.savez(path, inputs=validation.inputs.numpy()[:, 0], labels=validation.labels.numpy())
    found = gather(subject(record, bench), bench.lab, deploy=str(path))
    assert found.deployed_student == found.student_validation
    np.savez(path, inputs=validation.inputs.numpy()[:, 0])
    found = gather(subject(record, bench), bench.lab, deploy=str(path))
    assert found.deployed_student is None
    assert found.deployed_agreement == found.validation_agreement


@pytest.mark.parametrize(
    ("asked", "told"),
    [("lout", "did you mean loud"), ("shift:1", "says no shift"), ("pool", "has no pool"), ("none.npz", "none.npz")],
)
def test_a_sample_that_is_not_there_is_told_with_what_is(bench, asked, told):
    from kdlab.experiments.diagnosis.deployment import deployment_sample

    with pytest.raises(UserError, match=told):
        deployment_sample(asked, config(), bench.lab)


def test_no_teacher_is_trained_for_a_deployment_sample(bench):
    import shutil

    record = bench.run()
    shutil.rmtree(bench.store.folder(record.teacher["id"]))
    found = gather(subject(record, bench), bench.lab, deploy="loud")
    assert found.deployed_student is not None
    assert (found.deployed_teacher, found.deployed_agreement) == (None, None)
    assert bench.store.finished(record.teacher["id"]) is None
