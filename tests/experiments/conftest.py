import pytest
from plain_config import config

from kdlab.experiments.lab import Lab
from kdlab.experiments.plan import plan, plan_teacher
from kdlab.experiments.students import run_point
from kdlab.experiments.teachers import obtain_teacher
from kdlab.records.store import Store
from kdlab.tracking.base import NullTracker


class _Bench:
    """A store of its own, and short ways to run a config in it."""

    def __init__(self, root):
        self.lab = Lab(Store(root), NullTracker())
        self.store = self.lab.store

    def run(self, *, force=False, **changes):
        return run_point(plan(config(**changes)), self.lab, force=force)

    def teacher(self, **changes):
        return obtain_teacher(plan_teacher(config(**changes)), self.lab).record

    def records(self):
        return [self.store.load(run_id) for run_id in self.store.ids()]

    def weights(self, run_id):
        return (self.store.folder(run_id) / "weights.safetensors").read_bytes()


@pytest.fixture
def bench(tmp_path):
    return _Bench(tmp_path / "runs")


@pytest.fixture(scope="module")
def shared(tmp_path_factory):
    """A bench for tests that only read what others of the module may have made too."""
    return _Bench(tmp_path_factory.mktemp("shared") / "runs")
