"""Completion: what may stand at the cursor, how each shell takes it, and real shells where they are installed."""

import os
import pty
import select
import shutil
import subprocess
import sys
import time

import pytest

from kdlab.commands.completion import candidates, shown, split
from kdlab.commands.help import COMMANDS
from kdlab.commands.places import configs_in, names_under, resource
from kdlab.commands.shells import SCRIPTS


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(autouse=True)
def desk(tmp_path, monkeypatch, cache):
    """An empty folder to stand in, and a cache of one's own."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("KDLAB_CACHE_DIR", str(cache))
    return tmp_path


def offered(line):
    """What a shell would offer for a line, without the space that ends a word."""
    return [name.rstrip() for name in shown(line)]


# --- the line -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("line", "words", "current", "kept"),
    [
        ("kdlab ", ["kdlab"], "", 0),
        ("kdlab ru", ["kdlab"], "ru", 0),
        ("kdlab run student=", ["kdlab", "run"], "student=", 8),
        ("kdlab run student=mlp,c", ["kdlab", "run"], "student=mlp,c", 8),
        ("kdlab run 'student=ml", ["kdlab", "run"], "student=ml", 0),
        ("kdlab run student='ml", ["kdlab", "run"], "student=ml", 8),
        ('kdlab run "a b" x', ["kdlab", "run", "a b"], "x", 0),
        ("kdlab run a\\ b", ["kdlab", "run"], "a b", 0),
        ("cd /x && OMP_NUM_THREADS=1 kdlab ru", ["kdlab"], "ru", 0),
        ("kdlab run note='' x", ["kdlab", "run", "note="], "x", 0),
        ("kdlab run '' x", ["kdlab", "run", ""], "x", 0),
        ("", [], "", 0),
    ],
)
def test_a_line_is_read_as_the_shell_reads_it(line, words, current, kept):
    assert split(line, breaks="\"'><=;|&(:") == (words, current, kept)


def test_bash_is_given_what_follows_its_word_break():
    assert "mlp" in shown("kdlab run student=", breaks="=:")
    assert "mlp,cnn1d" in shown("kdlab run student=mlp,", breaks="=:")
    assert "student=mlp" in shown("kdlab run student=", breaks="")
    assert "student=mlp" in shown("kdlab run 'student=m", breaks="=:")
    assert shown("kdlab run store.root=C:x", breaks="=:") == []


# --- what may stand there -------------------------------------------------------------------------------------------


def test_commands_end_their_word_and_keys_do_not():
    assert shown("kdlab ") == [f"{name} " for name in COMMANDS]
    assert shown("kdlab sw") == ["sweep "]
    assert shown("kdlab nope ") == shown("kdlab nope") == []
    assert "student=" in shown("kdlab run s")


def test_sweeps_kdlabs_and_the_users_nested_ones_too(user_conf):
    assert offered("kdlab sweep ") == names_under(resource("sweeps"))
    found = offered(f"kdlab sweep --config-dir {user_conf} ")
    assert {"mine", "deep/er", "quickstart"} <= set(found)
    assert offered(f"kdlab sweep --config-dir={user_conf} deep") == ["deep/er"]
    assert offered("kdlab run sweeps=quick") == ["sweeps=quickstart"]
    assert "quickstart" not in offered("kdlab sweep quickstart "), "one name is enough; overrides follow"


def test_groups_and_their_options(user_conf):
    assert offered("kdlab run student=") == [f"student={name}" for name in configs_in(resource("conf") / "student")]
    assert {"teacher/model=", "teacher/quality=", "teacher."} == set(offered("kdlab run teacher"))
    assert "training/optimizer@teacher.training.optimizer=adamw" in offered(
        "kdlab run training/optimizer@teacher.training.optimizer="
    )
    assert "data=tiny" in offered(f"kdlab run --config-dir {user_conf} data=")
    assert "data=tiny" not in offered("kdlab run data=")
    assert {"hydra/launcher=basic"} <= set(offered("kdlab run hydra/launcher="))


def test_no_stray_folder_is_a_group():
    """The parent of sweeps/ is on Hydra's search path, and whatever lies beside it is no config."""
    names = {name.split("=")[0].split("@")[0] for name in offered("kdlab run ") if name.endswith("=")}
    groups = {str(path.parent.relative_to(resource("conf"))) for path in resource("conf").rglob("*.yaml")}
    assert not names & {"tests", "reports", "kdlab", "hydra_plugins", "conf"}
    assert {name for name in names if "/" in name} <= groups


def test_a_list_goes_on_after_its_comma():
    assert "student=mlp,cnn1d" in offered("kdlab run -m student=mlp,")
    assert "student=mlp,mlp" not in offered("kdlab run -m student=mlp,")
    assert offered("kdlab run objective/term=[hard_labels,soft") == ["objective/term=[hard_labels,soft_targets"]


def test_keys_are_those_of_the_chosen_groups():
    assert offered("kdlab run objective.temp") == ["objective.temperature="]
    assert "objective.terms." in offered("kdlab run objective.")
    digits, mnist1d = (set(offered(f"kdlab run data={name} data.")) for name in ("digits", "mnist1d"))
    assert "data.padding=" in mnist1d - digits
    assert "data.train=" in mnist1d & digits
    assert offered("kdlab run -m data=digits,mnist1d data.padd") == []
    assert set(offered("kdlab sweep quickstart data.")) == digits, "the sweep's own choice of groups counts"
    assert offered("kdlab run data=nope objective.temp") == ["objective.temperature="], "a wrong choice costs nothing"


def test_values():
    assert offered("kdlab run tracker.mode=o") == ["tracker.mode=offline", "tracker.mode=online"]
    assert offered("kdlab run training.precision=") == [
        f"training.precision={name}" for name in ("16-mixed", "32-true", "64-true", "bf16-mixed")
    ]
    assert offered("kdlab run force=") == ["force=true", "force=false"]
    assert offered("kdlab run objective.temperature=1,") == []
    assert offered("kdlab run teacher.seed=") == [], "an interpolation is nothing to start from"


def test_signs_of_hydra_and_terms_with_their_place():
    assert "+objective/term@objective.terms.soft_targets=soft_targets" in offered("kdlab run +objective/term@")
    assert "+objective/term@objective.terms.x=soft_targets" in offered("kdlab run +objective/term@objective.terms.x=s")
    assert offered("kdlab run ++objective.temp") == ["++objective.temperature="]


def test_options_and_their_values(desk):
    (desk / "folder").mkdir()
    (desk / "file.npz").touch()
    assert {"-m", "--cfg", "--config-dir", "--dry-run"} <= set(offered("kdlab run -"))
    assert offered("kdlab run --cfg ") == ["job", "hydra", "all"]
    assert shown("kdlab run --config-dir f") == ["file.npz ", "folder/"]
    assert shown("kdlab run store.root=fo") == ["store.root=folder/"]
    assert shown("kdlab run data.path=fi") == ["data.path=file.npz "]
    assert offered("kdlab run store.root=nowhere/") == []


def test_studies_and_runs_of_the_store_on_the_line(desk):
    for root in ("runs", "other/runs"):
        (desk / root / "studies" / "deep").mkdir(parents=True)
    for path in ("runs/studies/first.jsonl", "other/runs/studies/deep/second.jsonl"):
        (desk / path).write_text('{"kind": "study", "name": "x"}\n')
    (desk / "reports" / "told").mkdir(parents=True)
    (desk / "reports" / "told" / "records.jsonl").touch()
    (desk / "runs" / ("a1" * 8)).mkdir()
    (desk / "runs" / ("a1" * 8) / "record.json").touch()
    (desk / "runs" / "hydra").mkdir()
    assert offered("kdlab report ")[:2] == ["first", "told"]
    assert offered("kdlab list ")[0] == "first"
    assert offered("kdlab list store.root=other/runs d")[0] == "deep/second"
    assert offered("kdlab evaluate a") == ["a1" * 8, "allow_targets="]
    assert offered("kdlab evaluate store.root=other/runs a1") == []
    assert offered("kdlab evaluate a1 evaluation.keep_predictions=") == [
        f"evaluation.keep_predictions={name}" for name in ("all", "none", "test")
    ]
    assert offered("kdlab evaluate a1 student.w") == [], "the network is trained"
    assert offered("kdlab list first role=s") == ["role=student", "role=scratch"]
    assert offered("kdlab list first quality=over") == ["quality=overconfident"]
    assert offered("kdlab list study=") == ["study=first"]
    assert "objective.temperature=" in offered("kdlab list first objective.")


def test_an_edited_config_is_seen_at_once(desk):
    path = desk / "conf" / "data" / "own.yaml"
    path.parent.mkdir(parents=True)
    line = f"kdlab run --config-dir {desk / 'conf'} data=own data."
    for key in ("depth", "height"):
        path.write_text(f"name: own\n{key}: 1\n")
        os.utime(path, ns=(time.time_ns(), time.time_ns() + len(key)))
        assert f"data.{key}=" in offered(line)


def test_a_cache_that_cannot_be_written_costs_no_answer(monkeypatch, desk):
    (desk / "taken").touch()
    monkeypatch.setenv("KDLAB_CACHE_DIR", str(desk / "taken"))
    assert offered("kdlab run objective.temp") == ["objective.temperature="]


def test_every_candidate_is_an_override_that_hydra_reads():
    from kdlab.commands.composing import parse_overrides

    names = [name.strip() for name in candidates(["kdlab", "run"], "") if "=" in name]
    assert len(names) > 10
    assert all(one.key_or_group for one in parse_overrides([name + "null" * name.endswith("=") for name in names]))


# --- the command and the protocol -----------------------------------------------------------------------------------


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


# --- real shells ----------------------------------------------------------------------------------------------------

TABS = {
    "kdlab swee\t": "kdlab sweep",
    "kdlab sweep quick\t": "kdlab sweep quickstart",
    "kdlab run objective.temp\t4": "kdlab run objective.temperature=4",
    "kdlab run student=cnn1\t": "kdlab run student=cnn1d",
    "kdlab run -m student=mlp,cnn1\t": "kdlab run -m student=mlp,cnn1d",
    "kdlab run training/optimizer@teacher.training.optimizer=ada\t": (
        "kdlab run training/optimizer@teacher.training.optimizer=adamw"
    ),
    "kdlab run data=digits data.tr\t100": "kdlab run data=digits data.train=100",
}
QUOTED = {
    "bash": "kdlab run 'objective.temp\t4",
    "zsh": "kdlab run 'objective.temp\t4'",
}  # bash closes the quote itself
START = {
    "bash": (["bash", "--norc", "--noprofile", "-i"], 'eval "$(kdlab completion bash)"'),
    "zsh": (["zsh", "-f", "-i"], 'eval "$(kdlab completion zsh)"; bindkey -e'),
    "fish": (["fish", "--no-config", "-i"], "kdlab completion fish | source"),
}


class Terminal:
    """A shell at a terminal of its own."""

    def __init__(self, words, folder):
        front = folder / "bin" / "kdlab"
        front.parent.mkdir()
        front.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m kdlab.commands.cli "$@"\n')
        front.chmod(0o755)
        path = f"{front.parent}:{os.environ['PATH']}"
        root = str(resource("conf").parent)
        env = {**os.environ, "PATH": path, "HOME": str(folder), "TERM": "xterm", "PYTHONPATH": root, "COLUMNS": "200"}
        self.pid, self.file = pty.fork()
        if self.pid == 0:
            os.execvpe(words[0], words, env)

    def type(self, text):
        os.write(self.file, text.encode())

    def read_until(self, mark, *, seconds=20):
        found, end = b"", time.monotonic() + seconds
        while mark not in found:
            ready, _, _ = select.select([self.file], [], [], max(end - time.monotonic(), 0))
            assert ready, f"waited for {mark!r}, saw {found[-400:]!r}"
            found += os.read(self.file, 65536)
        return found

    def close(self):
        os.kill(self.pid, 9)
        os.waitpid(self.pid, 0)
        os.close(self.file)


@pytest.mark.parametrize("name", START)
def test_tabs_in_a_real_shell(name, desk):
    """Types a line with TABs, puts ``printf`` before it, and looks at what the shell then has."""
    words, install = START[name]
    if shutil.which(words[0]) is None:
        pytest.skip(f"{name} is not installed")
    terminal = Terminal(words, desk)
    try:
        terminal.type(f"{install}\rprintf 'rea%s\\n' dy\r")
        terminal.read_until(b"ready")
        lines = TABS | {QUOTED.get(name, QUOTED["zsh"]): "kdlab run objective.temperature=4"}
        for place, (line, expected) in enumerate(lines.items()):
            for part in line.split("\t"):
                terminal.type(part)
                if part != line.split("\t")[-1]:
                    terminal.type("\t")
                    time.sleep(0.1)
            terminal.type(f"\x01printf '<%s> ' \x05; printf 'en{'%s'}\\n' d{place}\r")
            seen = terminal.read_until(b"end%d" % place).decode()
            assert " ".join(f"<{word}>" for word in expected.split()) in seen, line
    finally:
        terminal.close()
