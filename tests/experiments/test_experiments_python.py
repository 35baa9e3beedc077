"""``kdlab.run`` from Python: what it gives, and what it leaves as it was."""

import random

import numpy as np
import pytest
import torch

import kdlab


def legacy_state():
    return np.random.get_state()[1].copy()  # noqa: NPY002 - the state that must not move


@pytest.fixture(scope="module")
def quick(tmp_path_factory):
    root = tmp_path_factory.mktemp("python") / "runs"
    return ["data=digits", "tracker.mode=disabled", "evaluation.latency.enabled=false", f"store.root={root}",
            "teacher/model=mlp", "teacher.model.width=20", "teacher.training.steps=20", "training.steps=20",
            "trainer.progress=false"]  # fmt: skip


def test_global_random_states_stay_as_they_were(quick):
    torch.manual_seed(1)
    np.random.seed(1)  # noqa: NPY002
    random.seed(1)
    before = torch.get_rng_state(), legacy_state(), random.getstate()
    record = kdlab.run(quick)
    assert record.status == "finished"
    assert torch.equal(torch.get_rng_state(), before[0])
    assert np.array_equal(legacy_state(), before[1])
    assert random.getstate() == before[2]


def test_what_a_global_seed_says_changes_nothing(quick, tmp_path):
    torch.manual_seed(99)
    again = kdlab.run([*quick[:3], f"store.root={tmp_path}", *quick[4:]])
    assert again.metrics["test/nll"] == kdlab.run(quick).metrics["test/nll"]
