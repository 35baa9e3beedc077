"""Real shells, where they are installed."""

import os
import pty
import select
import shutil
import sys
import time

import pytest

from kdlab.commands.places import resource

TABS = {
    "kdlab swee\t": "kdlab sweep",
    "kdlab sweep quick\t": "kdlab sweep quickstart",
    "kdlab run objective.temp\t4": "kdlab run objective.temperature=4",
    "kdlab run student=cnn1\t": "kdlab run student=cnn1d",
    "kdlab run -m student=mlp,cnn1\t": "kdlab run -m student=mlp,cnn1d",
    "kdlab run training/optimizer@teacher.training.optimizer=ada\t": (
        "kdlab run training/optimizer@teacher.training.optimizer=adamw"
    ),
    "kdlab run data=digits data.trai\t100": "kdlab run data=digits data.train=100",
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
