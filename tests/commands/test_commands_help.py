import subprocess
import sys
import time

import pytest
import yaml

from kdlab.commands.help import COMMANDS
from kdlab.commands.places import names_under, resource

HEAVY = (
    "torch",
    "hydra",
    "omegaconf",
    "numpy",
    "pydantic",
    "pytorch_lightning",
    "wandb",
    "pandas",
    "matplotlib",
    "yaml",
)


def test_help_is_instant_and_imports_nothing_heavy(shell):
    import_time = "import sys; sys.argv[1:] = {words}; import kdlab.commands.cli as cli; cli.main(); " + (
        "print(sorted(set(sys.modules) & set(" + repr(HEAVY) + ")), file=sys.stderr)"
    )
    for words in (["--help"], ["sweep", "--help"], ["run", "-h"], []):
        started = time.perf_counter()
        done = subprocess.run(
            [sys.executable, "-c", import_time.format(words=words)], capture_output=True, text=True, timeout=60
        )
        assert time.perf_counter() - started < 2, "0.05 s on an idle machine; half a second is promised"
        assert (done.returncode, done.stderr.strip()) == (0, "[]")


@pytest.mark.parametrize("words", [[], ["--help"], ["-h"], ["help"]])
def test_the_first_page_names_every_command(kdlab, words):
    said = kdlab(*words)
    assert (said.code, said.err) == (0, "")
    for name, text in COMMANDS.items():
        assert f"  {name} " in said.out
        assert text in said.out


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_a_page_that_fits(kdlab, name):
    said = kdlab(name, "--help")
    assert (said.code, said.err) == (0, "")
    assert said.out.startswith(f"kdlab {name}: ")
    assert f"Usage:  kdlab {name}" in said.out
    assert max(map(len, said.out.splitlines())) <= 120


def test_the_sweep_page_lists_every_sweep_with_its_question(kdlab):
    page = " ".join(kdlab("sweep", "--help").out.split())
    for name in names_under(resource("sweeps")):
        content = yaml.safe_load((resource("sweeps") / f"{name}.yaml").read_text())
        question = " ".join(content["study"]["question"].split())
        assert f"{name} {question}" in page


def test_the_run_page_lists_every_choice(kdlab):
    page = kdlab("run", "--help").out
    for group in ("data", "student", "teacher/model", "teacher/quality", "objective", "training/optimizer"):
        line = page.split(f"  {group}=")[1].split("=")[0]
        for path in (resource("conf") / group).glob("*.yaml"):
            assert path.stem in line
    assert "term/" not in page.split("Knobs")[0]


def test_an_unknown_command_names_the_nearest(kdlab):
    said = kdlab("swep", "quickstart")
    assert said.code == 2
    assert said.err.strip() == "kdlab: no command 'swep'; did you mean sweep? (kdlab --help)"


def test_version(kdlab):
    assert kdlab("--version").out.startswith("kdlab 0.")


def test_a_closed_pipe_is_no_error(shell, tmp_path):
    words = [sys.executable, "-m", "kdlab.commands.cli", "--help"]
    first = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd=tmp_path)
    first.stdout.close()  # nobody reads
    assert first.wait(timeout=60) == 0
    assert first.stderr.read() == b""
    assert list(tmp_path.iterdir()) == []
