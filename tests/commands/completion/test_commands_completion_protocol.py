"""The command, and the protocol by which each shell asks."""

import os
import subprocess
import sys
import time

import pytest

from kdlab.commands.shells import SCRIPTS


@pytest.mark.parametrize("name", SCRIPTS)
def test_a_script_says_how_it_is_installed(kdlab, name):
    said = kdlab("completion", name)
    assert (said.code, said.err) == (0, "")
    assert f"kdlab completion {name}" in "".join(said.out.splitlines(keepends=True)[:3])
    assert kdlab("run", "-sc", f"install={name}").out == kdlab("-sc", f"install={name}").out == said.out
    assert f"kdlab completion {name}" in kdlab("completion", "--help").out


@pytest.mark.parametrize("words", [["completion"], ["completion", "tcsh"], ["completion", "bash", "zsh"], ["-sc", "x"]])
def test_no_or_an_unknown_shell(kdlab, words):
    said = kdlab(*words)
    assert (said.code, said.out) == (2, "")
    assert "bash, zsh, fish" in said.err


@pytest.mark.parametrize("words", [["-sc"], ["run", "-sc"], ["sweep", "--shell-completion"]])
@pytest.mark.parametrize("name", SCRIPTS)
def test_hydras_protocol_gets_the_same_answer(kdlab, monkeypatch, words, name):
    monkeypatch.setenv("COMP_LINE", "kdlab run student=cnn1 and more")
    monkeypatch.setenv("COMP_POINT", "22")
    assert kdlab(*words, f"query={name}").out == "student=cnn1d\n"


def test_a_tab_is_quick_and_imports_nothing_heavy(desk):
    code = (
        "import sys, kdlab.commands.cli as cli; sys.argv[1:] = ['-sc', 'query=bash']; cli.main(); "
        "print(sorted({'torch', 'numpy', 'pytorch_lightning', 'hydra'} & set(sys.modules)), file=sys.stderr)"
    )
    for again in range(2):
        started = time.perf_counter()
        done = subprocess.run(
            [sys.executable, "-c", code],
            capture_output=True,
            text=True,
            timeout=60,
            env={**os.environ, "COMP_LINE": "kdlab run data=digits objective.temp", "KDLAB_CACHE_DIR": str(desk / "c")},
        )
        assert done.stdout == "objective.temperature=\n"
        assert done.stderr.strip() == ("[]" if again else "['hydra']")
        assert time.perf_counter() - started < 2, "0.35 s, then 0.06 s on an idle machine; 0.4 s is promised"
