"""One thread per process whatever the environment says, W&B silent and offline, data cached for this session only."""

import os
import shutil
import signal
import sys
import tempfile
from pathlib import Path

for _name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMEXPR_NUM_THREADS"):
    os.environ[_name] = "1"  # before torch and numpy are imported, here and in every process the tests start
os.environ |= {"WANDB_MODE": "offline", "WANDB_SILENT": "true", "WANDB_ERROR_REPORTING": "false"}
os.environ.pop("CUDA_LAUNCH_BLOCKING", None)

# Under nohup, or as a background job of a script, Ctrl-C is ignored, and every process started from here inherits that:
# tests that interrupt one would wait for ever.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

# The controller of pytest-xdist chooses the folder, its workers inherit it: a small data set is made once a session.
_OWNS_CACHE = "KDLAB_TEST_CACHE" not in os.environ
if _OWNS_CACHE:
    os.environ["KDLAB_TEST_CACHE"] = tempfile.mkdtemp(prefix="kdlab-tests-")
os.environ["KDLAB_CACHE_DIR"] = os.environ["KDLAB_TEST_CACHE"]

SUPPORT = Path(__file__).parent / "support"
sys.path.insert(0, str(SUPPORT))
os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [str(SUPPORT), os.environ.get("PYTHONPATH", "")]))

import pytest  # noqa: E402
import torch  # noqa: E402
from parsed_once import parse_once  # noqa: E402

torch.set_num_threads(1)
parse_once()
os.fsync = lambda descriptor: None  # no test cuts the power, and a file takes a tenth of the time


LONG_FOLDERS = ("reporting", "tracking", "commands", "board", "experiments")
"""Where the long files are. They go first: one that starts last leaves the other workers with nothing to do."""


def pytest_collection_modifyitems(items) -> None:
    def place(item) -> int:
        folder = item.path.relative_to(Path(__file__).parent).parts[0]
        return LONG_FOLDERS.index(folder) if folder in LONG_FOLDERS else len(LONG_FOLDERS)

    items.sort(key=place)  # within a folder as they were


def pytest_sessionfinish() -> None:
    if _OWNS_CACHE:
        shutil.rmtree(os.environ["KDLAB_TEST_CACHE"], ignore_errors=True)


@pytest.fixture(scope="module")
def lab(tmp_path_factory):
    """A lab with a store of its own and no tracker, for the tests of a module."""
    from kdlab.experiments.lab import Lab
    from kdlab.records.store import Store
    from kdlab.tracking.base import NullTracker

    return Lab(Store(tmp_path_factory.mktemp("lab") / "runs"), NullTracker())


@pytest.fixture
def trainings(monkeypatch):
    """The roles and seeds of every training that happens."""
    import kdlab.experiments.fitting as fitting

    seen, fit = [], fitting.fit

    def counted(learners, **keywords):
        seen.extend((learner.role, learner.seed) for learner in learners)
        return fit(learners, **keywords)

    monkeypatch.setattr(fitting, "fit", counted)
    return seen


@pytest.fixture
def sizes(monkeypatch):
    """The size of every stack that is trained."""
    import kdlab.experiments.fitting as fitting

    found, fit = [], fitting.fit

    def counted(learners, **keywords):
        found.append(len(learners))
        return fit(learners, **keywords)

    monkeypatch.setattr(fitting, "fit", counted)
    return found
