"""An environment of its own for torchdistill: a venv with the pinned torch, and torchdistill without its dependencies.

torchdistill asks for torchvision at import, whose wheels bring a torch of another build; the folder ``torchvision``
beside this file stands in for it. ``python make.py FOLDER`` makes the environment; ``make bench`` does so by itself.
"""

import re
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).parent
CONSTRAINTS = HERE.parents[2] / "constraints.txt"
TORCHDISTILL = "torchdistill==1.1.5"
IMPORTS = ("numpy", "PyYAML", "pillow")
ASKED = "import torch, torchvision, torchdistill.core.distillation, torchdistill.misc.log; print(torch.__version__)"


class CannotInstall(Exception):
    """The environment cannot be made here, and why."""


def make(folder: Path) -> Path:
    """The Python of the environment; made where it is not there or not whole.

    Raises:
        CannotInstall: a package cannot be had, or does not import.
    """
    python = folder / "bin" / "python"
    if python.exists() and _torch_of(python):
        return python
    pinned = re.search(r"^torch==\S+", CONSTRAINTS.read_text(encoding="utf-8"), re.MULTILINE)
    if pinned is None:
        raise CannotInstall("constraints.txt pins no torch")
    pip = [str(python), "-m", "pip", "install", "--disable-pip-version-check", "-q"]
    _run([sys.executable, "-m", "venv", "--clear", str(folder)])
    _run([*pip, "-c", str(CONSTRAINTS), pinned.group(), *IMPORTS])
    _run([*pip, "--no-deps", TORCHDISTILL])
    if not _torch_of(python):
        raise CannotInstall(f"{TORCHDISTILL} is installed but does not import")
    return python


def environment(base: dict[str, str]) -> dict[str, str]:
    """The variables its processes run under: the stand-in on the path, and one thread a process."""
    return {**base, "PYTHONPATH": str(HERE), "OMP_NUM_THREADS": "1"}


def _torch_of(python: Path) -> str | None:
    done = subprocess.run([python, "-c", ASKED], env=environment({}), capture_output=True, text=True, check=False)
    return done.stdout.strip() if done.returncode == 0 else None


def _run(words: list[str]) -> None:
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    if done.returncode:
        print(done.stderr, file=sys.stderr)  # its words may name the user's index: they stay on the terminal
        raise CannotInstall(f"torchdistill's environment cannot be made, pip ended with exit code {done.returncode}")


if __name__ == "__main__":
    print(make(Path(sys.argv[1])))
