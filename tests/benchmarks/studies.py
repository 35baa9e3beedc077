"""Run every committed study again and rebuild all reports: ``make studies``, or a part: ``make studies ONLY=finding/``.

Each study is the command a user types. What is finished is skipped, so that the same command goes on where it stopped;
a study that fails does not stop the others. At the end stands what each of them cost.
"""

import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
FIRST = (
    *("temperature_alpha", "student_size", "teacher_quality", "fashion_mnist/teacher_quality"),
    *("methods", "fashion_mnist/methods", "failure_doses"),
)
"""In this order; the dose-responses, the findings and the matrix come after them."""

DIAGNOSED = ("diagnosis_development", "diagnosis", "fashion_mnist/diagnosis")
"""Studies of planted failures, whose students are diagnosed once they are trained."""


def names(only: str = "") -> list[str]:
    """The studies whose name begins with ``only``, in the order they are run."""
    failures, findings = (
        sorted(path.stem for path in (ROOT / "sweeps" / of).glob("*.yaml")) for of in ("failure", "finding")
    )
    every = [*FIRST, *(f"failure/{name}" for name in failures), "fashion_mnist/failure", "failure_fix_matrix"]
    every += [f"finding/{name}" for name in findings] + list(DIAGNOSED)
    return [name for name in every if name.startswith(only)]


def main(only: str = "") -> int:
    """Run them, then rebuild the reports; 1 where one of them failed."""
    kdlab = Path(sys.executable).parent / "kdlab"
    seconds, failed = {}, []
    for place, name in enumerate(wanted := names(only), start=1):
        print(f"\n== {name} ({place} of {len(wanted)})", flush=True)
        started = time.monotonic()
        steps = [["sweep", name], *([["diagnose", name, "--probe"]] if name in DIAGNOSED else [])]
        if any(subprocess.run([kdlab, *step], cwd=ROOT).returncode for step in steps):
            failed.append(name)
        seconds[name] = time.monotonic() - started
    if not wanted:
        print(f"no study begins with '{only}'; there are {', '.join(names())}", file=sys.stderr)
        return 1
    reported = subprocess.run([kdlab, "report"], cwd=ROOT).returncode
    for name, taken in seconds.items():
        print(f"{taken / 60:7.1f} min  {name}{'  FAILED' if name in failed else ''}")
    print(f"{sum(seconds.values()) / 60:7.1f} min  in all")
    return 1 if failed or reported else 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:2]))
