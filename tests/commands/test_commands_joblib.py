"""``hydra/launcher=joblib`` as shipped; a failing point beside others is in ``test_commands_sweeps.py``."""

import dataclasses
import importlib.util

import pytest

from kdlab.commands.composing import Composer, make_loader

pytest.importorskip("hydra_plugins.hydra_joblib_launcher", reason="needs kdlab[joblib]")

TIMES = ("cost/train_seconds", "cost/teacher_train_seconds", "latency/", "throughput/", "cost/step_ms")


def test_the_settings_are_those_that_the_plugin_reads():
    from hydra_plugins.hydra_joblib_launcher.config import JobLibLauncherConf

    config, _ = Composer(make_loader()).compose(["hydra/launcher=joblib"])
    ours = config.hydra.launcher
    theirs = {field.name: field.default for field in dataclasses.fields(JobLibLauncherConf)}
    assert set(ours) == set(theirs)
    changed = {name: ours[name] for name in theirs if ours[name] != theirs[name]}
    assert changed == {"pre_dispatch": "n_jobs", "batch_size": 1}, "as the file says why"


@pytest.mark.long
def test_the_results_are_those_of_the_basic_launcher(kdlab):
    words = ["run", "-m", "seed=0,1"]
    root = f"store.root={kdlab.here}/runs"  # processes of an earlier test, which stand elsewhere, are used again
    beside = kdlab.tiny(*words, root, "hydra/launcher=joblib", "hydra.launcher.n_jobs=2")
    assert (beside.code, beside.err) == (0, "")
    told = [line for line in beside.out.splitlines() if "validation/accuracy 0." in line]
    assert len(told) == 2, "every point says what the metric is that a sweep gets back"
    found = kdlab.records()
    assert kdlab.tiny(*words, "store.root=alone", "hydra/launcher=basic").code == 0
    (kdlab.here / "runs").rename(kdlab.here / "beside")
    (kdlab.here / "alone").rename(kdlab.here / "runs")
    alone = kdlab.records()
    assert set(alone) == set(found)
    for run_id, record in alone.items():
        same = {key: value for key, value in record.metrics.items() if not key.startswith(TIMES)}
        assert len(same) > 20
        assert same == {key: found[run_id].metrics[key] for key in same}


def test_without_the_package_the_message_names_what_installs_it(kdlab, monkeypatch):
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name, *a: None if "joblib" in name else find(name, *a))
    said = kdlab.tiny("run", "-m", "hydra/launcher=joblib", "seed=0,1")
    assert said.code == 2
    assert "pip install 'kdlab[joblib]'" in said.err
