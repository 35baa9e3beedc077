"""The front door in this process: an empty folder to stand in, a tiny data set of the user's own, and what was said."""

import fcntl
import json
import logging
import os
import pty
import re
import select
import signal
import struct
import subprocess
import sys
import termios
import time
from dataclasses import dataclass

import pytest

from kdlab.commands.cli import main
from kdlab.records.record import RunRecord

TERMINAL_SECONDS = 240  # a tenth of it is usual; a display that hangs is killed and told
TINY = """\
# @package _global_
# Three noisy patterns.   kdlab run data=tiny --config-dir DIR
defaults:
  - override /student: mlp
  - override /teacher/model: mlp
  - _self_
student: {width: 4, depth: 1}
teacher:
  model: {width: 8, depth: 1}
  training: {steps: 12, batch_size: 10}
training: {steps: 12, batch_size: 10}
evaluation: {latency: {enabled: false}}
tracker: {mode: disabled}
data:
  name: tiny
  _target_: tiny_data.tiny
  seed: 0
  train: 60
  slices:
    loud: {_target_: tiny_data.louder, reference: twins, ood: true}
"""
MARGIN = """\
# @package objective.terms.margin
_target_: user_terms.margin_loss
weight: 0.5
"""
FRAGILE = """\
# @package objective.terms.fragile
_target_: user_terms.fragile
weight: 0.5
patience: 5
"""
MINE = """\
# @package _global_
study:
  question: A question of the user's own?
hydra:
  mode: MULTIRUN
  sweeper:
    params: {objective.temperature: "1,2", seed: "0,1"}
"""
ARMS = """\
# @package _global_
defaults:
  - override /data: tiny
study:
  question: Arms, and a value at the root of the file?
  arms: {distilled: [], uniform: [teacher/quality=uniform]}
  compare: [[distilled, scratch], [distilled, uniform]]
training: {steps: 9}
hydra:
  mode: MULTIRUN
  sweeper:
    params: {objective.temperature: "1,2", seed: "0,1"}
"""


@dataclass
class Said:
    """What a command said."""

    code: int
    out: str
    err: str

    @property
    def last(self):
        return self.out.rstrip().splitlines()[-1]


class Desk:
    """Where a user stands: an empty folder, with configs of their own beside it."""

    def __init__(self, here, conf, capsys):
        self.here, self.conf, self._capsys = here, conf, capsys

    def __call__(self, *words):
        """Run a command as it is."""
        self._capsys.readouterr()
        code = main([str(word) for word in words])
        said = self._capsys.readouterr()
        return Said(code, said.out, said.err)

    def tiny(self, command, *words):
        """Run a command on the tiny data set."""
        return self(command, "--config-dir", self.conf, "data=tiny", *words)

    def left(self):
        """Everything below the folder, relative, without what a run folder holds."""
        found = [path.relative_to(self.here) for path in self.here.rglob("*")]
        return sorted({str(path) for path in found if len(path.parts) <= 2})

    def ids(self, role=None):
        """The run ids in the store, of one role."""
        return [run_id for run_id, record in self.records().items() if role in (None, record.role)]

    def records(self):
        """Run id -> record."""
        found = sorted((self.here / "runs").glob("*/record.json"))
        return {path.parent.name: RunRecord.from_json(json.loads(path.read_text())) for path in found}

    def members(self, study):
        """The members of a study as they are written."""
        lines = (self.here / "runs" / "studies" / f"{study}.jsonl").read_text().splitlines()
        return [row for row in map(json.loads, lines) if row["kind"] == "member"]


@pytest.fixture(scope="session")
def user_conf(tmp_path_factory):
    folder = tmp_path_factory.mktemp("user") / "conf"
    files = {
        "data/tiny.yaml": TINY,
        "objective/term/margin.yaml": MARGIN,
        "objective/term/fragile.yaml": FRAGILE,
        "sweeps/mine.yaml": MINE,
        "sweeps/deep/er.yaml": MINE,
        "sweeps/arms.yaml": ARMS,
        "sweeps/empty.yaml": "# @package _global_\nhydra: {mode: MULTIRUN}\n",
    }
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return folder


@pytest.fixture
def kdlab(tmp_path, monkeypatch, capsys, user_conf):
    """The command line, in an empty folder."""
    here = tmp_path / "here"
    here.mkdir()
    monkeypatch.chdir(here)
    handlers, level = list(logging.getLogger().handlers), logging.getLogger().level
    yield Desk(here, user_conf, capsys)
    if (
        "joblib.externals.loky" in sys.modules
    ):  # its workers would serve the next sweep of this process from this folder
        from joblib.externals.loky import get_reusable_executor

        get_reusable_executor().shutdown(wait=True)
    logging.getLogger().handlers[:] = handlers  # Hydra's, which write to the stdout of this test
    logging.getLogger().setLevel(level)


@pytest.fixture
def shell(tmp_path):
    """A real process, where one is needed."""

    def run(*words, cwd=None, **options):
        options = {"capture_output": True, "text": True, "timeout": 120} | options
        return subprocess.run(
            [sys.executable, "-m", "kdlab.commands.cli", *map(str, words)], cwd=cwd or tmp_path, **options
        )

    return run


@pytest.fixture
def on_terminal(tmp_path):
    """A real process on a terminal: (exit code, what it got without colours and movements, and with)."""

    def run(*words, width=100, cwd=None, kill_at=None, **environment):
        ours, theirs = pty.openpty()
        fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 30, width, 0, 0))
        env = {name: value for name, value in os.environ.items() if name not in ("COLUMNS", "NO_COLOR")}
        env |= {"TERM": "xterm-256color", **environment}
        command = [sys.executable, "-m", "kdlab.commands.cli", *map(str, words)]
        process = subprocess.Popen(
            command, stdin=theirs, stdout=theirs, stderr=theirs, cwd=cwd, env=env, start_new_session=True
        )
        os.close(theirs)
        raw = b""
        until = time.monotonic() + TERMINAL_SECONDS
        while True:
            if not select.select([ours], [], [], max(0.0, until - time.monotonic()))[0]:
                process.kill()
                pytest.fail(f"still going after {TERMINAL_SECONDS} s: {raw[-2000:].decode(errors='replace')}")
            try:
                piece = os.read(ours, 65536)
            except OSError:  # the last writer has gone
                break
            if not piece:
                break
            raw += piece
            if kill_at is not None and kill_at in raw:
                process.send_signal(signal.SIGINT)
                kill_at = None
        os.close(ours)
        code = process.wait(timeout=60)
        text = raw.decode("utf-8", errors="replace")
        return code, re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", text).replace("\r", "\n"), text

    return run
