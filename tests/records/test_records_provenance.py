import getpass
import json
import os
import platform
import socket
import subprocess
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path

import kdlab
from kdlab.records.provenance import git_state, provenance


def test_provenance_says_what_a_rerun_needs():
    found = provenance(threads=1)
    assert found["kdlab"] == kdlab.__version__
    assert found["threads"] == 1
    assert found["python"] == platform.python_version()
    assert found["versions"]["torch"] == metadata.version("torch")
    assert set(found["versions"]) == {"torch", "lightning", "hydra", "wandb", "torchmetrics", "netcal", "numpy"}
    assert found["hardware"]["cores"] == os.cpu_count()
    age = datetime.now(UTC) - datetime.fromisoformat(found["started"])
    assert 0 <= age.total_seconds() < 60


def test_provenance_names_no_host_no_user_no_path():
    text = json.dumps(provenance(threads=1), allow_nan=False)
    values = [part for part in text.split('"') if part]
    assert socket.gethostname() not in values
    assert getpass.getuser() not in values
    assert str(Path.home()) not in text
    assert str(Path.cwd()) not in text
    assert not any(value.startswith("/") for value in values)


def test_callers_cannot_change_each_others_provenance():
    provenance(threads=1)["versions"]["torch"] = "0"
    assert provenance(threads=2)["versions"]["torch"] == metadata.version("torch")


def git(folder, *arguments):
    identity = ["-c", "user.name=a", "-c", "user.email=a@b", "-c", "commit.gpgsign=false"]
    done = subprocess.run(["git", *identity, "-C", str(folder), *arguments], check=True, capture_output=True, text=True)
    return done.stdout.strip()


def test_commit_and_dirty_of_a_checkout(tmp_path, monkeypatch):
    assert git_state(tmp_path) == {"commit": None, "dirty": None}
    git(tmp_path, "init", "-q")
    assert git_state(tmp_path) == {"commit": None, "dirty": None}  # no commit yet
    (tmp_path / "kdlab").mkdir()
    (tmp_path / "kdlab" / "a.py").write_text("1")
    git(tmp_path, "add", ".")
    git(tmp_path, "commit", "-qm", "x")
    commit = git(tmp_path, "rev-parse", "HEAD")
    assert git_state(tmp_path) == {"commit": commit, "dirty": False}
    (tmp_path / "reports").mkdir()
    (tmp_path / "reports" / "table.md").write_text("rebuilt")
    assert git_state(tmp_path) == {"commit": commit, "dirty": False}  # a report is no code
    monkeypatch.setenv("GIT_DIR", "/nowhere")  # as inside a git hook
    (tmp_path / "kdlab" / "new.py").write_text("2")
    assert git_state(tmp_path) == {"commit": commit, "dirty": True}
    assert git_state(tmp_path / "kdlab") == {"commit": None, "dirty": None}  # inside somebody's repository


def test_without_git_there_is_no_answer(tmp_path, monkeypatch):
    (tmp_path / ".git").mkdir()
    monkeypatch.setenv("PATH", str(tmp_path))
    assert git_state(tmp_path) == {"commit": None, "dirty": None}
