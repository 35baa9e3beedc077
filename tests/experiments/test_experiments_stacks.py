"""Many points at once: the same runs as one by one, whatever happens to one of them."""

import multiprocessing
import time
from collections import Counter

import pytest
import torch
from plain_config import QUALITIES, config
from torch import nn

from kdlab.errors import UserError
from kdlab.evaluation.machine import computing_with
from kdlab.experiments import fitting, runs, stack_size, students, together
from kdlab.experiments.lab import Lab
from kdlab.experiments.plan import plan, plan_teacher
from kdlab.experiments.planned import Plan
from kdlab.experiments.stacks import cut, run_points, stack_key
from kdlab.experiments.threads import threads_alone, threads_stacked
from kdlab.records.history import read_history
from kdlab.records.record import RunRecord
from kdlab.records.store import Store
from kdlab.tracking.base import NullRun, NullTracker
from kdlab.training import Fitted, NonFiniteLossError
from kdlab.training.checkpoints import saved_step
from kdlab.training.stack_module import StackModule

EXACT = {"training__precision": "64-true", "teacher__training__precision": "64-true"}
DIVERGING = {"_target_": "torch.optim.SGD", "lr": 1e9}
TIMES = ("cost/train_seconds", "cost/teacher_train_seconds", "cost/stack_size")


def points_of(*changes, **shared):
    return [plan(config(**shared, **one)) for one in changes]


def grid(**shared):
    """Twins that are points, temperatures, seeds, and teachers of three kinds: 8 points."""
    return points_of(
        *({"temperature": temperature, "seed": seed} for temperature in (1, 4) for seed in (0, 1)),
        {"alpha": 0},
        {"training__optimizer": {"_target_": "torch.optim.AdamW", "lr": 0.01}, "training__gradient_clip_norm": 0.1},
        {"teacher__quality": QUALITIES["uniform"]},
        {"teacher__quality": QUALITIES["overconfident"]},
        **shared,
    )


def statuses(bench):
    return Counter((record.role, record.status) for record in bench.records())


# --- what is the same ------------------------------------------------------------------------------------------------


def test_points_together_leave_the_runs_that_they_leave_one_by_one(bench, sizes):
    points, told = grid(**EXACT), {}
    records = run_points(points, bench.lab, tell=told.__setitem__)
    assert sizes == [1, 10], "the teacher; three twins and seven students"
    assert told == dict(enumerate(records))
    alone = bench.__class__(bench.store.root.parent / "alone")
    expected = [stacks_alone(alone, point) for point in points]
    assert [record.run_id for record in records] == [record.run_id for record in expected]
    assert bench.store.ids() == alone.store.ids()
    for run_id in alone.store.ids():
        found, one = bench.store.load(run_id), alone.store.load(run_id)
        assert set(found.to_json()) == set(one.to_json())
        assert set(found.metrics) == set(one.metrics)
        assert found.metrics_undefined == one.metrics_undefined
        for name in ("twin", "parent", "overrides", "seeds", "weights", "config"):
            assert getattr(found, name) == getattr(one, name)
        for key, value in one.metrics.items():
            if key not in TIMES:
                assert found.metrics[key] == pytest.approx(value, abs=1e-6), (run_id, key)
        assert set(found.curves) == set(one.curves)
        for key, curve in one.curves.items():
            assert found.curves[key] == [pytest.approx(point, rel=1e-6, abs=1e-9) for point in curve], (run_id, key)
    assert {record.metrics["cost/stack_size"] for record in bench.records() if record.role != "teacher"} == {10.0}
    assert {record.metrics["cost/stack_size"] for record in alone.records() if record.role != "teacher"} == {1.0}
    places = [record.provenance["stack_position"] for record in bench.records() if record.role != "teacher"]
    assert sorted(places) == list(range(10))


def stacks_alone(bench, point):
    from kdlab.experiments.students import run_point

    return run_point(point, bench.lab)


def test_what_is_finished_is_found_and_what_lacks_a_set_is_measured_again(bench, sizes):
    few = points_of({}, {"temperature": 4}, evaluation__sets=["validation"])
    first = run_points(few, bench.lab)
    trained = list(sizes)
    weights = {record.run_id: bench.weights(record.run_id) for record in first}
    more = points_of({}, {"temperature": 4}, {"temperature": 8}, evaluation__sets=["validation", "test"])
    again = run_points(more, bench.lab)
    assert [record.run_id for record in again[:2]] == [record.run_id for record in first]
    assert all("test/accuracy" in record.metrics for record in again)
    assert {run_id: bench.weights(run_id) for run_id in weights} == weights
    assert sizes == [*trained, 1], "the one that is new"
    assert [record.metrics["cost/stack_size"] for record in again] == [3.0, 3.0, 1.0]


def test_a_twin_that_points_share_has_all_that_each_of_them_asks_for(bench):
    points = [plan(config(evaluation__sets=["validation"])), plan(config(temperature=4, evaluation__sets=["test"]))]
    run_points(points, bench.lab)
    twin = bench.store.load(points[0].twin.run_id)
    assert {"validation/accuracy", "test/accuracy"} <= set(twin.metrics)


def test_force_trains_the_points_again_and_nothing_that_they_need(bench, trainings):
    run_points(points_of({}, {"temperature": 4}), bench.lab)
    del trainings[:]
    again = run_points(points_of({}, {"temperature": 4}, force=True), bench.lab)
    assert trainings == [("student", 0), ("student", 0)]
    assert [record.provenance["attempt"] for record in again] == [2, 2]
    assert not (bench.store.root / "repeated").exists() or not list((bench.store.root / "repeated").iterdir())


def teachers_of(*changes):
    planned = [plan_teacher(config(**one)) for one in changes]
    return [Plan(one, one, one) for one in planned]


def test_teachers_are_a_stack_and_their_transformations_come_after_them(bench, sizes):
    doses = [QUALITIES["overconfident"], QUALITIES["weak"], {"name": "standard"}]
    points = teachers_of(
        *({"seed": seed, "teacher__seed": seed, "teacher__quality": dose} for seed in (0, 1) for dose in doses)
    )
    records = run_points(points, bench.lab)
    assert sizes == [2, 2], "full ones; weak ones have fewer steps"
    assert [record.role for record in records] == ["teacher"] * 6
    expected = bench.__class__(bench.store.root.parent / "alone").teacher(teacher__quality=doses[0])
    assert records[0].run_id == expected.run_id
    assert records[0].metrics["validation/accuracy"] == expected.metrics["validation/accuracy"]
    assert records[0].metrics["cost/stack_size"] == 2.0


# --- what fails ------------------------------------------------------------------------------------------------------


def test_a_student_that_diverges_fails_alone(bench, sizes):
    points = points_of({}, {"training__optimizer": DIVERGING}, {"temperature": 4})
    outcomes = run_points(points, bench.lab)
    assert sizes[-1] == 5
    assert [isinstance(one, RunRecord) for one in outcomes] == [True, False, True]
    assert isinstance(outcomes[1], NonFiniteLossError)
    assert statuses(bench)["student", "failed"] == 1
    failed = bench.store.load(points[1].run.run_id)
    assert "not finite at step" in failed.error["message"]
    assert "NonFiniteLossError" in (bench.store.folder(failed.run_id) / "log.txt").read_text()
    alone = bench.__class__(bench.store.root.parent / "alone")
    for at in (0, 2):
        expected = stacks_alone(alone, points[at]).metrics["validation/nll"]
        assert outcomes[at].metrics["validation/nll"] == pytest.approx(expected, abs=1e-4)


def test_points_whose_teacher_fails_fail_with_its_error_and_the_others_go_on(bench):
    points = points_of({}, {"seed": 1, "teacher__seed": 1}, {"seed": 1, "temperature": 4, "teacher__seed": 1})
    broken = points_of({"seed": 2, "teacher__training__optimizer": DIVERGING, "teacher__model__norm": "none"})
    told = []
    outcomes = run_points([*points, *broken], bench.lab, tell=lambda at, found: told.append(at))
    assert [isinstance(one, RunRecord) for one in outcomes] == [True, True, True, False]
    assert isinstance(outcomes[3], NonFiniteLossError)
    assert sorted(told) == [0, 1, 2, 3]
    assert told[0] == 3, "at once"
    assert bench.store.find(broken[0].run.run_id) is None
    assert bench.store.find(broken[0].twin.run_id) is None


def test_a_point_whose_twin_fails_fails_and_its_student_is_kept(bench, monkeypatch):
    points = points_of({}, {"seed": 1})
    made = together._finish

    def broken(one, trained, put):
        if one.wanted.run_id == points[0].twin.run_id:
            together._end(one.wanted, one.sitting, RuntimeError("no twin"), put)
        else:
            made(one, trained, put)

    monkeypatch.setattr(together, "_finish", broken)
    outcomes = run_points(points, bench.lab)
    assert (str(outcomes[0]), outcomes[1].status) == ("no twin", "finished")
    assert bench.store.finished(points[0].run.run_id) is not None


def test_when_a_stack_stops_for_all_its_networks_are_trained_one_after_the_other(bench, monkeypatch, capsys):
    fit, points = fitting.fit, points_of({}, {"temperature": 4})

    def fails_together(learners, **keywords):
        if len(learners) > 1:
            for learner in learners:
                learner.sinks[0].log({"train/loss": 1.0}, step=3, epoch=0.5)
                next(learner.network.parameters()).data.fill_(9)
            raise MemoryError("too much at once")
        return fit(learners, **keywords)

    monkeypatch.setattr(fitting, "fit", fails_together)
    outcomes = run_points(points, bench.lab)
    assert [one.status for one in outcomes] == ["finished", "finished"]
    assert "a stack of 3 networks stopped (MemoryError: too much at once)" in capsys.readouterr().out
    alone = bench.__class__(bench.store.root.parent / "alone")
    assert bench.weights(outcomes[1].run_id) == alone.weights(stacks_alone(alone, points[1]).run_id)
    steps = [row.step for row in read_history(bench.store.folder(outcomes[1].run_id) / "history.jsonl")]
    assert 3 not in steps


def test_what_cannot_be_one_stack_is_said_and_trained_alone(bench, monkeypatch, sizes, capsys):
    monkeypatch.setattr(together, "why_not_together", lambda lessons: "they are too proud")
    outcomes = run_points(points_of({}, {"temperature": 4}), bench.lab)
    assert sizes == [1, 1, 1, 1]
    assert [one.status for one in outcomes] == ["finished"] * 2
    assert "3 networks are trained one after the other: they are too proud" in capsys.readouterr().out


def test_points_whose_step_cannot_be_measured_fail_by_themselves(bench, capsys):
    broken = {"student": {"_target_": "kdlab.models.MLP", "width": -3}}
    outcomes = run_points(points_of({}, {"temperature": 4}, broken, {**broken, "temperature": 2}), bench.lab)
    assert [getattr(one, "status", type(one)) for one in outcomes] == ["finished"] * 2 + [UserError] * 2
    assert "2 networks are trained one after the other: UserError: student.width = -3" in capsys.readouterr().out


def test_an_optimizer_that_asks_for_the_loss_is_trained_alone(bench, capsys):
    lbfgs = {"training__optimizer": {"_target_": "torch.optim.LBFGS", "lr": 0.1}, "training__steps": 3}
    assert [one.status for one in run_points(points_of({}, {"temperature": 4}, **lbfgs), bench.lab)] == ["finished"] * 2
    assert "torch.optim.LBFGS asks for the loss several times a step" in capsys.readouterr().out


class Tracker(NullTracker):
    """Counts what is begun and ended."""

    def __init__(self):
        self.begun, self.ended = [], []

    def start(self, *, run_id, **told):
        self.begun.append(run_id)
        run = NullRun()
        run.finish = lambda summary, *, tables, files, failed: self.ended.append((run_id, failed))
        return run


def test_each_run_is_tracked_once_and_ctrl_c_ends_all_that_are_open(tmp_path, monkeypatch):
    lab = Lab(Store(tmp_path / "runs"), Tracker())
    points = points_of({}, {"temperature": 4})
    with monkeypatch.context() as patch:
        log = runs._HistorySink.log

        def interrupted(self, metrics, *, step, epoch):
            log(self, metrics, step=step, epoch=epoch)
            if "train/terms/soft_targets" in metrics and step >= 12:
                raise KeyboardInterrupt

        patch.setattr(runs._HistorySink, "log", interrupted)
        with pytest.raises(KeyboardInterrupt):
            run_points(points_of({}, {"temperature": 4}, trainer__checkpoint_every_seconds=1e-9), lab)
    students = [lab.store.load(run_id) for run_id in lab.store.ids() if lab.store.load(run_id).role != "teacher"]
    assert [record.error["message"] for record in students] == ["interrupted by the user"] * 3
    assert sorted(lab.tracker.begun) == sorted(run_id for run_id, _ in lab.tracker.ended) == lab.store.ids()
    outcomes = run_points(points, lab)
    assert {record.provenance["resumed_from"] for record in outcomes} == {6}
    whole = Lab(Store(tmp_path / "whole"), NullTracker())
    for one, other in zip(outcomes, run_points(points, whole), strict=True):
        assert one.curves.keys() == other.curves.keys()
        assert one.metrics["validation/nll"] == pytest.approx(other.metrics["validation/nll"], abs=1e-5)
    roles = {run_id: lab.store.load(run_id).role for run_id in lab.store.ids()}
    assert Counter(lab.tracker.begun) == {run_id: 1 if role == "teacher" else 2 for run_id, role in roles.items()}


@pytest.mark.parametrize("alone", [False, True])
def test_a_record_that_was_written_wins_over_ctrl_c(tmp_path, monkeypatch, alone):
    lab = Lab(Store(tmp_path / "runs"), Tracker())
    points, write = points_of({}, {"temperature": 4}, stack={"max_size": 1 if alone else 9}), Store.write

    def interrupted(self, record):
        write(self, record)
        if record.role == "scratch":
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Store, "write", interrupted)
        with pytest.raises(KeyboardInterrupt):
            run_points(points, lab)
    twin = points[0].twin.run_id
    assert lab.store.finished(twin) is not None
    assert not (lab.store.folder(twin) / "checkpoint.ckpt").exists()
    assert "KeyboardInterrupt" not in (lab.store.folder(twin) / "log.txt").read_text()
    assert (twin, False) in lab.tracker.ended
    assert sorted(lab.tracker.begun) == sorted(run_id for run_id, _ in lab.tracker.ended)
    outcomes = run_points(points, lab)
    assert [one.status for one in outcomes] == ["finished"] * 2
    assert lab.store.load(twin).provenance["attempt"] == 1


@pytest.mark.parametrize("said", [OSError("the server is gone"), KeyboardInterrupt()])
def test_ctrl_c_ends_all_that_are_open_though_one_cannot_be_closed(tmp_path, monkeypatch, said):
    lab = Lab(Store(tmp_path / "runs"), Tracker())

    def interrupted(self, metrics, *, step, epoch):
        if "train/terms/soft_targets" in metrics:
            raise KeyboardInterrupt

    def stuck(summary, *, tables, failed):
        raise said

    start = lab.tracker.start

    def started(*, run_id, **told):
        run = start(run_id=run_id, **told)
        if len(lab.tracker.begun) == 2:  # the teacher is the first
            run.finish = stuck
        return run

    monkeypatch.setattr(runs._HistorySink, "log", interrupted)
    monkeypatch.setattr(lab.tracker, "start", started)
    with pytest.raises(KeyboardInterrupt):
        run_points(points_of({}, {"temperature": 4}), lab)
    assert len(lab.tracker.ended) == len(lab.tracker.begun) - 1 == 3
    records = [lab.store.load(run_id) for run_id in lab.tracker.begun[1:]]
    assert [record.error["message"] for record in records] == ["interrupted by the user"] * 3


def interrupted_while_measured(monkeypatch, *, after):
    """From the student ``after`` on, measuring is what Ctrl-C stops."""
    assess, seen = students.assess, []

    def stopped(*arguments, **keywords):
        seen.append(keywords["role"])
        if len(seen) > after:
            raise KeyboardInterrupt
        return assess(*arguments, **keywords)

    monkeypatch.setattr(students, "assess", stopped)


@pytest.mark.parametrize("after", [0, 1])
def test_ctrl_c_while_a_stack_is_measured_loses_no_step(bench, monkeypatch, after):
    points = points_of({}, {"temperature": 4}, {"training__optimizer": {**DIVERGING, "lr": 1e300}}, **EXACT)
    with monkeypatch.context() as patch:
        interrupted_while_measured(patch, after=after)
        with pytest.raises(KeyboardInterrupt):
            run_points(points, bench.lab)
    made = Counter({("teacher", "finished"): 1, ("student", "failed"): 3, ("scratch", "failed"): 2})
    made["scratch", "failed"] -= after
    made["scratch", "finished"] += after
    assert statuses(bench) == made
    with monkeypatch.context() as patch:
        patch.setattr(StackModule, "training_step", lambda *given: pytest.fail("a step was trained again"))
        outcomes = run_points(points[:2], bench.lab)
    assert [record.provenance["resumed_from"] for record in outcomes] == [15, 15]
    assert [record.metrics["cost/stack_size"] for record in outcomes] == [3.0 - after] * 2
    whole = bench.__class__(bench.store.root.parent / "whole")
    for one, other in zip(outcomes, run_points(points, whole.lab), strict=False):
        assert bench.weights(one.run_id) == whole.weights(other.run_id)
        assert one.curves == other.curves
        assert not (bench.store.folder(one.run_id) / "checkpoint.ckpt").exists()
    diverged = bench.store.folder(points[2].run.run_id)
    assert not (diverged / "checkpoint.ckpt").exists(), "it would end as if nothing had been"


def sweep(root, barrier, told):
    """What each of two processes does with the same points."""
    fit = fitting.fit

    def counted(learners, **keywords):
        told.put([learner.role for learner in learners])
        return fit(learners, **keywords)

    fitting.fit = counted
    barrier.wait(60)
    outcomes = run_points(points_of({}, {"temperature": 4}, training__steps=150), Lab(Store(root), NullTracker()))
    told.put([one.status for one in outcomes])


def test_two_processes_with_the_same_points_train_each_once(tmp_path):
    forked = multiprocessing.get_context("fork")
    barrier, told = forked.Barrier(2), forked.Queue()
    both = [forked.Process(target=sweep, args=(tmp_path / "runs", barrier, told)) for _ in range(2)]
    for process in both:
        process.start()
    heard = [told.get(timeout=120) for _ in range(4)]
    for process in both:
        process.join(60)
    assert sorted(heard) == [["finished"] * 2, ["finished"] * 2, ["student"] * 3, ["teacher"]]


def train_long(root):
    """What a process does that is killed."""
    points = points_of({}, {"temperature": 4}, training__steps=100_000, trainer__checkpoint_every_seconds=0.02)
    run_points(points, Lab(Store(root), NullTracker()))


def test_killed_in_the_middle_it_goes_on_from_the_checkpoints(bench, capsys):
    """kill -9: no record. The same points go on from the checkpoints, in whatever stack."""
    long = {"training__steps": 100_000}
    process = multiprocessing.get_context("fork").Process(target=train_long, args=(bench.store.root,))
    process.start()
    deadline = time.monotonic() + 60
    while len(list(bench.store.root.glob("*/checkpoint.ckpt"))) < 3:
        assert process.is_alive()
        assert time.monotonic() < deadline
        time.sleep(0.01)
    process.kill()
    process.join(60)
    assert bench.records() == [record for record in bench.records() if record.role == "teacher"]
    reached = {path.parent.name: saved_step(path) for path in bench.store.root.glob("*/checkpoint.ckpt")}
    assert all(step > 0 for step in reached.values())
    fit = fitting.fit

    def seen(learners, **keywords):
        taken = [saved_step(learner.checkpoint) for learner in learners]
        assert len(set(taken)) == 1
        told.update({learner.checkpoint.parent.name: step for learner, step in zip(learners, taken, strict=True)})
        return [Fitted(1.0, 100_000, step, "cpu") for step in taken]

    told = {}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(fitting, "fit", seen)
        outcomes = run_points(points_of({}, {"temperature": 4}, **long), bench.lab)
    assert fitting.fit is fit
    assert told == reached
    assert "cut-off run" in capsys.readouterr().out
    for record in outcomes:
        assert record.provenance["resumed_from"] == reached[record.run_id]
        rows = read_history(bench.store.folder(record.run_id) / "history.jsonl")
        assert max(row.step for row in rows) <= reached[record.run_id], "later ones are measured again"


# --- what fits together ----------------------------------------------------------------------------------------------

OTHER = {"_target_": "torch.optim.AdamW", "lr": 1.0}
TOGETHER = [
    {"temperature": 9}, {"alpha": 0.3}, {"seed": 3}, {"training__optimizer": OTHER},
    {"training__gradient_clip_norm": 1.0}, {"teacher__seed": 5}, {"teacher__quality": QUALITIES["uniform"]},
    {"data__seed": 4}, {"evaluation__sets": ["test"]},
]  # fmt: skip
APART = [
    {"student__width": 7}, {"training__steps": 4}, {"training__batch_size": 5}, {"training__precision": "64-true"},
    {"data__train": 50}, {"evaluation__batch_size": 7}, {"trainer__validate_every_epochs": 2}, {"threads": 2},
]  # fmt: skip


@pytest.mark.parametrize("change", TOGETHER, ids=str)
def test_these_may_differ_within_a_stack(change):
    assert stack_key(plan(config(**change)).run) == stack_key(plan(config()).run) == stack_key(plan(config()).twin)


@pytest.mark.parametrize("change", APART, ids=str)
def test_these_part_a_stack(change):
    assert stack_key(plan(config(**change)).run) != stack_key(plan(config()).run)


def test_sets_of_other_sizes_and_other_checkpoints_are_stacks_of_their_own(bench, sizes):
    points = points_of({}, {"temperature": 4}, {"stack": {"max_size": 2}, "temperature": 8})
    outcomes = run_points(points, bench.lab)
    assert [one.status for one in outcomes] == ["finished"] * 3
    assert sizes == [1, 3, 1], "the bound is part of the key"


@pytest.mark.parametrize(
    ("count", "most", "expected"), [(7, 3, [2, 2, 3]), (6, 3, [3, 3]), (2, 400, [2]), (5, 1, [1] * 5)]
)
def test_groups_are_cut_evenly(count, most, expected):
    pieces = cut(count, most=most)
    assert sorted(piece.stop - piece.start for piece in pieces) == expected
    assert [at for piece in pieces for at in range(count)[piece]] == list(range(count))


def test_a_stack_is_as_large_as_it_may_be(bench, sizes):
    run_points(points_of(*({"seed": seed} for seed in range(3)), stack={"max_size": 4}), bench.lab)
    assert sizes == [1, 3, 3], "the teacher; six students and twins"
    sizes.clear()
    run_points(points_of({"seed": 5}, {"seed": 6}, stack={"max_size": 1}), bench.lab)
    assert sizes == [1] * 4


def test_memory_of_a_step_is_what_it_holds():
    from kdlab.data.dataset import Examples
    from kdlab.schema.learning import TrainingConfig

    recipe = TrainingConfig(steps=1, batch_size=50, optimizer={"_target_": "torch.optim.Adam"}, schedule={})
    examples = Examples(torch.zeros(80, 20), torch.zeros(80, dtype=torch.long), torch.arange(80))
    network = nn.Sequential(nn.Linear(20, 30), nn.Tanh(), nn.Linear(30, 10))
    weights = 20 * 30 + 30 + 30 * 10 + 10
    activations = 50 * (30 + 10)  # of tanh and of the log-softmax; the inputs come from the batch
    found = stack_size.step_bytes(network, examples, recipe)
    assert found == pytest.approx(4 * (4 * weights + 2 * activations + 50 * 20), rel=0.35)
    assert stack_size.fitting(10**6, free=10**8, files=10**6) == 50
    assert stack_size.fitting(10**12, free=10**8, files=10**6) == 1
    assert stack_size.fitting(1, free=10**12, files=10**9) == 400
    assert stack_size.fitting(1, free=10**12, files=500) == 100
    assert stack_size.free_bytes(torch.device("cpu")) > 10**6


def test_open_files_are_raised_to_what_is_allowed():
    resource = pytest.importorskip("resource")
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(400, before[1]), before[1]))
    try:
        stack_size.raise_file_limit()
        assert stack_size.file_limit() == before[1]
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)


def test_threads(monkeypatch):
    monkeypatch.setattr("os.sched_getaffinity", lambda pid: set(range(8)), raising=False)
    auto, three = config(threads="auto"), config(threads=3)
    for asked, expected in [(None, 8), ("1", 1), ("4,2", 4), ("99", 8), ("nonsense", 8)]:
        monkeypatch.delenv("OMP_NUM_THREADS") if asked is None else monkeypatch.setenv("OMP_NUM_THREADS", asked)
        assert (threads_alone(auto), threads_stacked(auto)) == (1, expected)
        assert (threads_alone(three), threads_stacked(three)) == (3, 3)
    before = torch.get_num_threads()
    with computing_with(2):
        assert torch.get_num_threads() == 2
    assert torch.get_num_threads() == before


def test_the_record_names_the_threads_that_were_used(bench):
    one, two = run_points(
        points_of({}, {"temperature": 4}, threads=2, training__steps=1, evaluation__sets=["validation"]), bench.lab
    )
    assert (one.provenance["threads"], two.provenance["threads"]) == (2, 2)
    assert torch.get_num_threads() == 1


def test_what_goes_wrong_around_a_stack_fails_its_points_and_not_the_sweep(bench, monkeypatch):
    lock = Store.lock

    def broken(self, run_id):
        if run_id == points[0].run.run_id:
            raise OSError("the disk is full")
        return lock(self, run_id)

    points = points_of({"student__width": 5}, {})
    monkeypatch.setattr(Store, "lock", broken)
    outcomes = run_points(points, bench.lab)
    assert (str(outcomes[0]), outcomes[1].status) == ("the disk is full", "finished")
