"""The front door: ``kdlab COMMAND ...``. Nothing heavy is imported before a command needs it.

``run``, ``sweep`` and ``teacher`` speak Hydra's own grammar; this file only finds the command, puts options and
overrides into the order Hydra wants, and turns what went wrong into a few lines and a true exit code.
"""

import importlib
import os
import shlex
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from kdlab.commands.help import COMMANDS, command_help, main_help
from kdlab.errors import nearest


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command; returns the exit code (0 done, 1 some runs failed, 2 a mistake in what was asked, 130 Ctrl-C)."""
    words = list(sys.argv[1:] if argv is None else argv)
    if not words or words[0] in ("-h", "--help", "help"):
        print(main_help())
        return 0
    if words[0] in ("-V", "--version"):
        from kdlab import __version__

        print(f"kdlab {__version__}")
        return 0
    if any(word in ("-sc", "--shell-completion") for word in words[:2]):
        from kdlab.commands.completion.protocol import hydra_protocol
        from kdlab.commands.failures import reported

        return reported(lambda: hydra_protocol(words), command="")
    name, rest = words[0], words[1:]
    if name not in COMMANDS:
        print(f"kdlab: no command '{name}'; {nearest(name, COMMANDS)} (kdlab --help)", file=sys.stderr)
        return 2
    if any(word in ("-h", "--help") for word in rest):
        print(command_help(name))
        return 0
    from kdlab.commands.failures import reported

    return reported(lambda: _command(name)(rest), command=shlex.join(["kdlab", *words]))


def _command(name: str) -> Callable[[list[str]], int]:
    if name in ("run", "sweep", "teacher"):
        from kdlab.commands import hydra_front

        return {"run": hydra_front.run, "sweep": hydra_front.sweep, "teacher": hydra_front.teacher}[name]
    if name == "completion":
        from kdlab.commands.completion.protocol import completion

        return completion
    module, function = _READING[name]
    found: Callable[[list[str]], int] = getattr(importlib.import_module(f"kdlab.commands.{module}"), function)
    return found


#: The commands that Hydra does not run: module and function.
_READING = {
    "diagnose": ("diagnosis.command", "diagnose"),
    "evaluate": ("evaluating", "evaluate"),
    "report": ("reports", "report"),
    "list": ("listing.command", "list_runs"),
    "sync": ("sync", "sync"),
    "pull": ("pull", "pull"),
    "view": ("view", "view"),
    "board": ("board", "board"),
}


SPINS = "10000"
"""Turns of an OpenMP thread that waits, some ten microseconds: longer than the gap between two operations of a step."""


def entry() -> None:
    """The console script: exits with the code, and quietly where the reader of the pipe has gone.

    Modules in the folder where the user stands can be named as targets, as under ``python -m``; behind all others, so
    that no file lying there takes the place of a library.

    Threads that wait for their share of a stack spin for a moment and then sleep, unless the user said otherwise: those
    that spin on (the default of OpenMP) make a step ten times as slow on a busy machine, those that sleep at once make
    it as slow as a single thread on an idle one. It is read once, when torch is imported.
    """
    if "OMP_WAIT_POLICY" not in os.environ:
        os.environ.setdefault("GOMP_SPINCOUNT", SPINS)
    here = str(Path.cwd())
    if not {"", here} & set(sys.path):
        sys.path.append(here)
    code = 0
    try:
        code = main()
        sys.stdout.flush()
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    sys.exit(code)


if __name__ == "__main__":
    entry()
