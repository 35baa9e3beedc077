"""Runs that fail, are cut off, or are given a teacher from elsewhere."""

import json
import math

import pytest
import torch
from plain_config import config

from kdlab.errors import UserError
from kdlab.experiments.plan import plan, plan_teacher
from kdlab.experiments.preflight import preflight
from kdlab.records.history import read_history
from kdlab.training import NonFiniteLossError

DIVERGING = {"_target_": "torch.optim.SGD", "lr": 1e9}


def test_a_diverging_run_leaves_a_failed_record_and_its_neighbours_alone(bench):
    good = bench.run()
    with pytest.raises(NonFiniteLossError):
        bench.run(training__optimizer=DIVERGING)
    failed = bench.store.load(plan(config(training__optimizer=DIVERGING)).twin.run_id)
    assert failed.status == "failed"
    assert failed.error["type"] == "NonFiniteLossError"
    assert "not finite at step" in failed.error["message"]
    assert "term hard_labels" in failed.error["message"]
    assert failed.metrics == {}
    folder = bench.store.folder(failed.run_id)
    log = (folder / "log.txt").read_text()
    assert "Traceback (most recent call last)" in log
    assert "NonFiniteLossError" in log
    assert "NaN" not in (folder / "record.json").read_text()
    assert bench.store.load(good.run_id) == good
    assert bench.run() == good


def test_a_failed_run_is_tried_again_by_the_same_command(bench, monkeypatch, trainings):
    import kdlab.experiments.students as students

    assess = students.assess

    def broken(*arguments, **keywords):
        raise ZeroDivisionError("a bad day")

    monkeypatch.setattr(students, "assess", broken)
    with pytest.raises(ZeroDivisionError):
        bench.run()
    twin = plan(config()).twin
    record = bench.store.load(twin.run_id)
    assert (record.status, record.error) == ("failed", {"type": "ZeroDivisionError", "message": "a bad day"})
    assert record.curves["validation/accuracy"]
    assert bench.store.finished(twin.run_id) is None
    monkeypatch.setattr(students, "assess", assess)
    assert bench.run().status == "finished"
    assert bench.store.load(twin.run_id).provenance["attempt"] == 2
    assert len(trainings) == 4


def cut_off(bench, monkeypatch, *, at=13, error=KeyboardInterrupt):
    """Run until the student (not its twin) has done ``at`` steps, then stop it."""
    import kdlab.experiments.runs as runs

    twin = plan(config()).twin.run_id

    class Cut(runs._HistorySink):
        def log(self, metrics, *, step, epoch):
            super().log(metrics, step=step, epoch=epoch)
            of_student = "train/terms/soft_targets" in metrics
            if of_student and step >= at:
                raise error

    with monkeypatch.context() as patch:
        patch.setattr(runs, "_HistorySink", Cut)
        with pytest.raises(error):
            bench.run(trainer__checkpoint_every_seconds=1e-9)
    assert bench.store.finished(twin) is not None
    return bench.store.folder(plan(config()).run.run_id)


def test_a_run_cut_off_is_taken_up_at_its_checkpoint_and_ends_the_same(bench, monkeypatch, capsys):
    folder = cut_off(bench, monkeypatch, at=12)
    record = bench.store.load(folder.name)
    assert (record.status, record.error["message"]) == ("failed", "interrupted by the user")
    assert (folder / "checkpoint.ckpt").exists()
    assert {row.step for row in read_history(folder / "history.jsonl")} == {6, 12}
    resumed = bench.run()
    assert "taking up a cut-off run at step 6" in capsys.readouterr().out
    assert resumed.provenance["resumed_from"] == 6
    assert not (folder / "checkpoint.ckpt").exists()
    rows = read_history(folder / "history.jsonl")
    assert [row.step for row in rows if row.key == "train/loss"] == [6, 12, 15]
    assert [row.step for row in rows if row.key == "validation/accuracy"] == [6, 12]
    whole = bench.__class__(bench.store.root.parent / "other")
    expected = whole.run()
    assert bench.weights(resumed.run_id) == whole.weights(expected.run_id)
    assert resumed.curves == expected.curves


def test_a_run_stopped_while_it_is_measured_only_has_to_be_measured(bench, monkeypatch):
    import kdlab.experiments.students as students

    def stopped(*arguments, **keywords):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(students, "assess", stopped)
        with pytest.raises(KeyboardInterrupt):
            bench.run()
    twin = bench.store.load(plan(config()).twin.run_id)
    assert (twin.status, twin.error["message"]) == ("failed", "interrupted by the user")
    bench.run()
    measured = bench.store.load(twin.run_id)
    assert (measured.status, measured.provenance["resumed_from"], measured.curves) == ("finished", 15, twin.curves)


def test_force_begins_anew_even_where_a_checkpoint_lies(bench, monkeypatch):
    cut_off(bench, monkeypatch)
    assert bench.run(force=True).provenance["resumed_from"] == 0


@pytest.mark.parametrize("content", [b"", b"not a checkpoint", None])
def test_a_damaged_checkpoint_is_said_and_the_run_begins_anew(bench, monkeypatch, capsys, content):
    path = cut_off(bench, monkeypatch) / "checkpoint.ckpt"
    path.write_bytes(path.read_bytes()[:-200] if content is None else content)
    record = bench.run()
    assert (record.status, record.provenance["resumed_from"]) == ("finished", 0)
    assert "checkpoint.ckpt is damaged" in capsys.readouterr().out
    steps = [
        row.step for row in read_history(bench.store.folder(record.run_id) / "history.jsonl") if row.key == "train/loss"
    ]
    assert steps == [6, 12, 15]


def test_a_network_whose_logits_are_not_finite_is_no_finished_run(bench, monkeypatch):
    import kdlab.experiments.fitting as fitting

    fit = fitting.fit

    def spoil(learners, **keywords):
        done = fit(learners, **keywords)
        if learners[0].role == "student":
            with torch.no_grad():
                next(learners[0].network.parameters()).fill_(math.nan)
        return done

    monkeypatch.setattr(fitting, "fit", spoil)
    with pytest.raises(ValueError, match="non-finite logits"):
        bench.run()
    assert {record.status for record in bench.records() if record.role == "scratch"} == {"failed"}


class TestCheckpointOfTheUsers:
    @pytest.fixture
    def network(self, bench):
        from kdlab.experiments.assembling import build_teacher_network

        other = config(teacher__seed=77)
        return build_teacher_network(other, bench.lab.dataset(other))

    @pytest.mark.parametrize("form", ["safetensors", "state_dict", "lightning"])
    def test_it_teaches(self, bench, network, tmp_path, form, trainings):
        from safetensors.torch import save_file

        path = tmp_path / {"safetensors": "net.safetensors", "state_dict": "net.pt", "lightning": "net.ckpt"}[form]
        state = network.state_dict()
        if form == "safetensors":
            save_file(state, path)
        elif form == "state_dict":
            torch.save(state, path)
        else:
            torch.save({"state_dict": {f"model.{name}": value for name, value in state.items()}, "epoch": 3}, path)
        record = bench.run(teacher__checkpoint=str(path))
        assert [role for role, _ in trainings] == ["student", "student"]
        teacher = bench.store.load(record.teacher["id"])
        logits = network.eval()(bench.lab.dataset(config()).test.inputs).logits
        accuracy = (logits.argmax(-1) == bench.lab.dataset(config()).test.labels).double().mean()
        assert teacher.metrics["test/accuracy"] == pytest.approx(float(accuracy))
        assert teacher.metrics_undefined["cost/train_seconds"] == "loaded from a checkpoint, not trained here"
        assert record.metrics_undefined["cost/teacher_train_seconds"] == "its teacher was not trained here"
        assert teacher.seeds == {"student": None, "teacher": None, "data": 0}
        assert str(tmp_path) not in json.dumps(teacher.identity_config)

    def test_its_content_is_its_identity(self, network, tmp_path):
        paths = [tmp_path / name for name in ("a.pt", "b.pt", "c.pt")]
        for path in paths[:2]:
            path.write_bytes(b"same")
        paths[2].write_bytes(b"other")
        found = [plan_teacher(config(teacher__checkpoint=str(path))).run_id for path in paths]
        assert found[0] == found[1] != found[2]

    def refused(self, bench, path):
        with pytest.raises(UserError) as caught:
            preflight([config(teacher__checkpoint=str(path))], bench.lab)
        assert bench.store.ids() == []
        return str(caught.value)

    def test_missing(self, bench, tmp_path):
        told = self.refused(bench, tmp_path / "none.pt")
        assert "none.pt" in told
        assert "no such file" in told.lower()

    def test_corrupt(self, bench, tmp_path):
        for name in ("net.safetensors", "net.pt", "net.ckpt"):
            (tmp_path / name).write_bytes(b"\x80\x02nothing of the kind")
            assert name in self.refused(bench, tmp_path / name)

    def test_every_mismatched_key_is_listed(self, bench, network, tmp_path):
        state = network.state_dict()
        names = list(state)
        state["extra.weight"] = torch.zeros(1)
        gone, odd = names[0], names[-1]
        del state[gone]
        state[odd] = torch.zeros(17)
        torch.save(state, tmp_path / "net.pt")
        told = self.refused(bench, tmp_path / "net.pt")
        assert all(name in told for name in ("extra.weight", gone, odd, "(17,)"))
        assert len(told.splitlines()) <= 10


@pytest.mark.parametrize("part", ["student", "teacher__model"])
def test_another_number_of_classes_than_the_data_is_refused_before_anything_trains(bench, part):
    with pytest.raises(UserError) as caught:
        preflight([config(**{f"{part}__num_classes": 5})], bench.lab)
    assert part.replace("__", ".") in str(caught.value)
    assert "[2, 5]" in str(caught.value)
    assert "[2, 3]" in str(caught.value)
    assert bench.store.ids() == []


def test_every_point_of_a_sweep_over_a_slice_is_tried(bench):
    points = [config(data__slices__loud__factor=factor) for factor in (1.0, 1e39)]
    with pytest.raises(UserError, match=r"data\.slices\.loud: the input with index 20000 is not finite"):
        preflight(points, bench.lab)
    preflight([config(evaluation__sets=["train", "validation"], data=points[1].plain["data"])], bench.lab)


def test_preflight_tells_all_that_fails_at_once(bench):
    points = [config(student__num_classes=5), config(teacher__model__num_classes=7, trainer__devices=2)]
    with pytest.raises(UserError) as caught:
        preflight(points, bench.lab)
    for text in ("student", "teacher.model", "trainer.devices = 2"):
        assert text in str(caught.value)
