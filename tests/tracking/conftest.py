import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / "tests" / "support"))  # wandbstub


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
