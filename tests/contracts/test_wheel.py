"""What is installed from a wheel is whole: configs, sweeps and plugins, in an empty folder, without network."""

import json
import os
import subprocess
import sys
import sysconfig
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
OFFLINE = {"PIP_NO_INDEX": "1", "PIP_DISABLE_PIP_VERSION_CHECK": "1", "WANDB_MODE": "offline"}


def clean_env(**more):
    """The environment without what could let this checkout be found."""
    kept = {
        name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV")
    }
    return kept | OFFLINE | more


def call(*words, cwd, **more):
    done = subprocess.run(
        list(map(str, words)), cwd=cwd, env=clean_env(**more), capture_output=True, text=True, timeout=180
    )
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
    return done


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    folder = tmp_path_factory.mktemp("dist")
    pip = [sys.executable, "-m", "pip", "wheel", "--no-build-isolation", "--no-deps", "-q", "-w", folder, ROOT]
    call(*pip, cwd=folder)
    (built,) = folder.glob("kdlab-*.whl")
    return built


@pytest.fixture(scope="module")
def installed(wheel, tmp_path_factory):
    """A fresh environment with the wheel, which sees the packages of this interpreter and not its kdlab."""
    place = tmp_path_factory.mktemp("venv")
    call(sys.executable, "-m", "venv", "--without-pip", place, cwd=place)
    python = place / "bin" / "python"
    (site,) = (place / "lib").glob("python*/site-packages")
    # A line of a .pth file adds a folder and does not read the .pth files in it, so an editable kdlab stays out.
    (site / "packages.pth").write_text(sysconfig.get_paths()["purelib"] + "\n")
    call(sys.executable, "-m", "pip", "--python", python, "install", "--no-deps", "-q", wheel, cwd=place)
    return python


def test_the_wheel_holds_configs_sweeps_and_plugins_and_nothing_else(wheel):
    names = set(zipfile.ZipFile(wheel).namelist())
    for folder, inside in (("conf", "kdlab/conf"), ("sweeps", "kdlab/sweeps"), ("hydra_plugins", "hydra_plugins")):
        here = [path for path in (ROOT / folder).rglob("*") if path.suffix in (".yaml", ".py")]
        assert here
        assert {f"{inside}/{path.relative_to(ROOT / folder).as_posix()}" for path in here} <= names
    assert {name.split("/")[0].split("-")[0] for name in names} == {"kdlab", "hydra_plugins"}
    assert not [name for name in names if "__pycache__" in name]


@pytest.mark.long
def test_a_sweep_runs_from_an_empty_folder_without_network(installed, tmp_path):
    where = call(
        installed, "-c", "import kdlab, hydra_plugins.kdlab_study as p; print(kdlab.__file__, p.__file__)", cwd=tmp_path
    )
    site = str(installed.parent.parent)
    assert all(path.startswith(site) for path in where.stdout.split()), where.stdout
    tiny = ["training.steps=10", "teacher.training.steps=10", "evaluation.latency.enabled=false", "student.width=4"]
    words = ["sweep", "quickstart", "seed=0", "objective.temperature=2", *tiny]
    dead = {f"{kind}_proxy": "http://127.0.0.1:9" for kind in ("http", "https")}  # whoever asks the network fails
    done = call(installed.parent / "kdlab", *words, cwd=tmp_path, **dead)
    assert "study quickstart: all 2 runs are finished" in done.stdout
    assert {path.name for path in tmp_path.iterdir()} == {"runs"}
    records = [json.loads(path.read_text()) for path in tmp_path.glob("runs/*/record.json")]
    assert {record["status"] for record in records} == {"finished"}
    assert sorted(record["role"] for record in records) == ["scratch", "student", "student", "teacher", "teacher"]
