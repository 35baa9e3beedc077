import gc
import json
import os
import platform
import socket
import subprocess
import sys
import textwrap
import threading
import time

import numpy as np
import pytest
import torch
from torch import nn

from kdlab.evaluation import latency
from kdlab.evaluation.latency import measure_latency
from kdlab.evaluation.machine import (
    LATENCY_LOCK,
    machine_dir,
    machine_name,
    others_train,
    quiet_machine,
    training_marker,
)
from kdlab.keys import expected_keys

HOLD = """
    import sys, pathlib
    from filelock import FileLock
    with FileLock(sys.argv[1]):
        print("ready", flush=True)
        sys.stdin.read()
"""
TRAIN = """
    import sys, pathlib
    from kdlab.evaluation.machine import training_marker
    with training_marker(pathlib.Path(sys.argv[1])):
        print("ready", flush=True)
        sys.stdin.read()
"""
ASK = """
    import sys, pathlib
    from kdlab.evaluation.machine import others_train
    print(others_train(pathlib.Path(sys.argv[1])))
"""


class Fake(nn.Module):
    """Writes its name into a journal and sleeps."""

    def __init__(self, name="s", journal=None, seconds=0.0):
        super().__init__()
        self.name, self.journal, self.seconds = name, [] if journal is None else journal, seconds
        self.states = set()

    def forward(self, inputs):
        self.journal.append(self.name)
        self.states.add(
            (self.training, torch.is_grad_enabled(), gc.isenabled(), torch.get_num_threads(), tuple(inputs.shape))
        )
        if self.seconds:
            time.sleep(self.seconds)
        return inputs


def run(student, reference, lock_dir, **knobs):
    knobs = {"min_calls": 40, "blocks": 4, "warmup": 4, "pause_seconds": 0.0, "wait_seconds": 0.0} | knobs
    return measure_latency(student, reference, input_shape=(3,), device="cpu", lock_dir=lock_dir, **knobs)


class Other:
    """Another process that runs ``code`` until it is told to stop."""

    def __init__(self, code, argument):
        self.process = subprocess.Popen(
            [sys.executable, "-c", textwrap.dedent(code), str(argument)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip

    def __enter__(self):
        assert self.process.stdout.readline() == "ready\n"
        return self

    def stop(self, *, kill=False):
        if kill:
            self.process.kill()
        self.process.communicate(timeout=10)

    def __exit__(self, *exc):
        if self.process.poll() is None:
            self.stop()


def test_student_and_reference_take_turns(tmp_path):
    journal = []
    found = run(Fake("s", journal, 0.0003), Fake("t", journal, 0.0003), tmp_path)
    assert journal == ["s", "t"] * (len(journal) // 2)
    assert len(journal) // 2 == 4 + 4 * 5 + 40  # warm-up, five calls before each block, the calls themselves
    assert found.facts["calls"] == 40


def test_fast_calls_are_repeated_five_times_as_often(tmp_path):
    assert run(Fake(), Fake("t", seconds=0.001), tmp_path).facts["calls"] == 200
    assert run(Fake(seconds=0.001), Fake("t", seconds=0.001), tmp_path).facts["calls"] == 40
    assert 1000 * (latency.FAST_CALLS // 1000) == 5000


def test_the_state_of_the_process_during_and_after(tmp_path):
    student, reference = Fake(seconds=0.0003), Fake("t", seconds=0.0003)
    reference.eval()
    threads = torch.get_num_threads()
    gc.enable()
    run(student, reference, tmp_path, threads=2, batch_size=5)
    assert student.states == reference.states == {(False, False, False, 2, (5, 3))}
    assert torch.get_num_threads() == threads
    assert gc.isenabled()
    assert torch.is_grad_enabled()
    assert not torch.is_inference_mode_enabled()
    assert student.training
    assert not reference.training


def test_everything_is_restored_when_a_network_fails(tmp_path):
    class Broken(nn.Module):
        def forward(self, inputs):
            raise RuntimeError("broken")

    with pytest.raises(RuntimeError, match="broken"):
        run(Broken(), None, tmp_path)
    assert gc.isenabled()
    with quiet_machine(wait_seconds=0.0, lock_dir=tmp_path) as quiet:
        assert quiet


def test_known_sleeps_give_the_ratio(tmp_path):
    found = run(Fake(seconds=0.002), Fake("t", seconds=0.006), tmp_path, batch_size=3).metrics
    assert found["latency/p50_ratio"] == pytest.approx(1 / 3, rel=0.15)
    assert found["latency/p50_ms"] == pytest.approx(2.1, rel=0.25)
    assert found["latency/p50_ms"] <= found["latency/p90_ms"] <= found["latency/p99_ms"]
    assert found["latency/p99_ms_low"] <= found["latency/p99_ms"] <= found["latency/p99_ms_high"]
    assert found["latency/p99_ratio_low"] <= found["latency/p99_ratio"] <= found["latency/p99_ratio_high"]
    assert 3 / 0.004 < found["throughput/examples_per_s"] <= 3 / 0.002
    assert found["latency/contended"] == 0.0


def test_the_numbers_against_plain_percentiles():
    random = np.random.default_rng(0)
    times = [random.lognormal(size=(100, 2)) for _ in range(10)]
    found = latency._result(times, batch_size=2, contended=True, facts={})
    student, reference = np.concatenate(times).T
    assert found.metrics["latency/p90_ms"] == pytest.approx(np.quantile(student, 0.9))
    assert found.metrics["latency/p99_ratio"] == pytest.approx(
        np.quantile(student, 0.99) / np.quantile(reference, 0.99)
    )
    assert found.metrics["throughput/examples_per_s"] == pytest.approx(2000 / (student.sum() / 1000))
    assert found.metrics["latency/contended"] == 1.0
    assert found.facts["reference"]["p50_ms"] == pytest.approx(np.median(reference))


def test_the_interval_of_p99_covers():
    inside = 0
    for seed in range(30):
        random = np.random.default_rng(seed)
        times = [random.exponential(size=(100, 1)) for _ in range(10)]
        found = latency._result(times, batch_size=1, contended=False, facts={}).metrics
        inside += found["latency/p99_ms_low"] <= np.log(100) <= found["latency/p99_ms_high"]
    assert inside >= 27  # nominally 28.5


def test_identical_blocks_have_an_interval_of_no_width():
    block = np.random.default_rng(0).exponential(size=(200, 2))
    found = latency._result([block] * 10, batch_size=1, contended=False, facts={}).metrics
    assert found["latency/p99_ratio_low"] == pytest.approx(found["latency/p99_ratio_high"])


def test_every_latency_key_is_there_and_facts_are_plain(tmp_path):
    keys = {k for k in expected_keys("student", (), ()) if k.startswith(("latency/", "throughput/"))}
    beside, alone = run(Fake(), Fake("t"), tmp_path), run(Fake(), None, tmp_path)
    for found in (beside, alone):
        assert set(found.metrics) == keys
        assert {key for key, value in found.metrics.items() if value is None} == set(found.undefined)
        json.dumps(found._asdict(), allow_nan=False)
    assert set(alone.undefined) == {key for key in keys if "_ratio" in key}
    for name in (
        "machine",
        "threads",
        "batch_size",
        "dtype",
        "backend",
        "load_before",
        "load_after",
        "calls",
        "blocks",
    ):
        assert name in beside.facts
    assert beside.facts["waited_seconds"] < 0.5


def test_inputs_have_the_type_of_the_network(tmp_path):
    net = nn.Linear(3, 2).double()
    found = run(net, nn.Linear(3, 2), tmp_path)
    assert found.facts["dtype"] == "float64"


def test_knobs_outside_their_range_are_refused(tmp_path):
    for knob in ({"batch_size": 0}, {"threads": 0}, {"blocks": 1}, {"min_calls": 3}, {"warmup": 0}):
        (name,) = knob
        with pytest.raises(ValueError, match=f"latency {name}"):
            run(Fake(), None, tmp_path, **knob)


def test_contended_when_another_process_holds_the_lock(tmp_path):
    with Other(HOLD, tmp_path / LATENCY_LOCK) as other:
        found = run(Fake(), Fake("t"), tmp_path, wait_seconds=0.2)
        assert found.metrics["latency/contended"] == 1.0
        assert 0.2 <= found.facts["waited_seconds"] < 2.0
        other.stop()
        assert run(Fake(), None, tmp_path).metrics["latency/contended"] == 0.0


def test_contended_while_another_process_trains_and_not_after_it_was_killed(tmp_path):
    with Other(TRAIN, tmp_path) as other:
        assert others_train(tmp_path)
        found = run(Fake(), None, tmp_path, wait_seconds=0.2)
        assert found.metrics["latency/contended"] == 1.0
        assert found.facts["waited_seconds"] >= 0.2
        again = run(Fake(), None, tmp_path, wait_seconds=30)
        assert again.facts["waited_seconds"] < 10, "whoever was waited for in vain is not waited for again"
        assert again.metrics["latency/contended"] == 1.0
        other.stop(kill=True)
    assert list(tmp_path.glob("training-*.lock")), "a killed process leaves its file"
    assert not others_train(tmp_path)
    assert run(Fake(), None, tmp_path).metrics["latency/contended"] == 0.0


def test_it_waits_for_the_end_of_a_training(tmp_path):
    with Other(TRAIN, tmp_path) as other:
        end = threading.Timer(0.4, other.stop)
        end.start()
        found = run(Fake(), None, tmp_path, wait_seconds=20.0)
        end.join()
    assert found.metrics["latency/contended"] == 0.0
    assert 0.3 < found.facts["waited_seconds"] < 10.0
    assert not list(tmp_path.glob("training-*.lock")), "an ended process takes its file along"


def test_a_training_that_starts_in_between_is_seen(tmp_path):
    class Starts(Fake):
        other = None

        def forward(self, inputs):
            if self.other is None and len(self.journal) > 30:
                self.other = Other(TRAIN, tmp_path).__enter__()
            return super().forward(inputs)

    student = Starts(seconds=0.0003)
    try:
        assert run(student, None, tmp_path).metrics["latency/contended"] == 1.0
    finally:
        student.other.stop()


def test_ones_own_marker_is_ignored_but_not_by_others(tmp_path):
    with training_marker(tmp_path), training_marker(tmp_path):
        assert not others_train(tmp_path)
        assert run(Fake(), None, tmp_path).metrics["latency/contended"] == 0.0
        told = subprocess.run(
            [sys.executable, "-c", textwrap.dedent(ASK), str(tmp_path)], capture_output=True, text=True, check=True
        )
        assert told.stdout.strip() == "True"
    assert not list(tmp_path.iterdir()) or [p.name for p in tmp_path.iterdir()] == [LATENCY_LOCK]


def test_old_stale_markers_are_swept_and_fresh_ones_left(tmp_path):
    old, fresh = tmp_path / "training-1-aa.lock", tmp_path / "training-1-bb.lock"
    old.touch()
    fresh.touch()
    past = time.time() - 3 * 24 * 3600
    os.utime(old, (past, past))
    assert not others_train(tmp_path)
    assert not old.exists()
    assert fresh.exists()


def test_the_machine_is_described_and_not_named(monkeypatch):
    def refuse():
        raise AssertionError("asked for the host name")

    monkeypatch.setattr(platform, "node", refuse)
    monkeypatch.setattr(socket, "gethostname", refuse)
    name = machine_name()
    assert f"{os.cpu_count()} core" in name
    assert machine_name() == name
    assert "\n" not in name


def test_the_folder_of_the_locks_is_private(tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    folder = machine_dir()
    assert folder.parent == tmp_path
    assert folder.stat().st_mode & 0o077 == 0
    assert machine_dir() == folder
