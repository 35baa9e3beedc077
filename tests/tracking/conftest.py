import functools
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / "tests" / "support"))  # wandbstub
BEGUN = "2026-01-02T03:04:05+00:00"


def _clean_environment(**extra: str) -> dict[str, str]:
    """This environment without any word of W&B's, and with kdlab importable."""
    kept = {key: value for key, value in os.environ.items() if not key.startswith("WANDB_")}
    return {**kept, "PYTHONPATH": os.pathsep.join([str(ROOT), kept.get("PYTHONPATH", "")]), **extra}


def _inspect_run(folder: Path, *, summary: bool = True):
    """What wandb's own reader finds in a run folder: one object, or with ``summary=False`` the list of records."""
    command = [sys.executable, "-m", "wandb", "leet", "inspect", "--json", *(["--summary"] if summary else [])]
    environment = _clean_environment(WANDB_ERROR_REPORTING="false")
    done = subprocess.run([*command, str(folder)], capture_output=True, text=True, check=True, env=environment)
    return json.loads(done.stdout) if summary else [json.loads(line) for line in done.stdout.splitlines()]


@pytest.fixture(autouse=True)
def no_wandb_settings(monkeypatch, tmp_path):
    """Neither the settings nor the key of whoever runs the tests."""
    for key in list(os.environ):
        if key.startswith("WANDB_") and key != "WANDB_SERVICE":
            monkeypatch.delenv(key)
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    monkeypatch.setenv("WANDB_CONFIG_DIR", str(tmp_path / "wandb_config"))
    monkeypatch.setenv("WANDB_CACHE_DIR", str(tmp_path / "wandb_cache"))


@pytest.fixture(scope="session")
def clean_environment():
    """``clean_environment(**extra)``: an environment for a process of its own."""
    return _clean_environment


@pytest.fixture(scope="session")
def inspect_run():
    """``inspect_run(folder, summary=True)``: what wandb's own reader finds there."""
    return _inspect_run


@pytest.fixture(scope="session")
def mirrored():
    """``mirrored(root, mode="offline", ..., **environment)``: a store whose runs are mirrored, made in a process."""

    def make(root, *, mode="offline", count=3, begun=BEGUN, finish_seconds=40, **environment):
        script = ROOT / "tests" / "support" / "mirrored_store.py"
        command = [sys.executable, str(script), str(root), mode, str(count), begun, str(finish_seconds)]
        subprocess.run(command, check=True, env=_clean_environment(**environment), timeout=120)
        return root

    return make


@pytest.fixture(scope="session")
def offline_store(tmp_path_factory, mirrored):
    """A store of three runs that wait for a sync; the last of them failed. Copy it before you change it."""
    return mirrored(tmp_path_factory.mktemp("offline") / "runs", WANDB_ERROR_REPORTING="false")


@pytest.fixture
def copied(offline_store, tmp_path):
    """A copy of the store of three runs."""
    return Path(shutil.copytree(offline_store, tmp_path / "runs", symlinks=True))


@pytest.fixture
def server():
    """The stand-in server; every operation it was asked for is one it knows."""
    from wandbstub import WandbStub

    with WandbStub() as stub:
        yield stub
        assert not stub.unknown


@pytest.fixture(scope="session")
def command():
    """``command(folder, "sync", "store.root=...", server=stub)``: a command of kdlab's in a process of its own."""

    def call(folder, *words, server=None, environment=None, background=False):
        told = {"WANDB_ERROR_REPORTING": "false", "NETRC": str(folder / "netrc")}
        told |= server.env(str(folder / "home")) if server is not None else {}
        arguments = [sys.executable, "-m", "kdlab.commands.cli", *words]
        settings = {"cwd": folder, "env": _clean_environment(**told | (environment or {})), "text": True}
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "stdin": subprocess.DEVNULL}
        process = subprocess.Popen(arguments, **settings, **pipes)
        if background:
            return process
        out, err = process.communicate(timeout=120)
        return subprocess.CompletedProcess(arguments, process.returncode, out, err)

    return call


@pytest.fixture
def kdlab(tmp_path, command):
    """``kdlab("sync", ...)``: a command in the folder of this test."""
    return functools.partial(command, tmp_path)
