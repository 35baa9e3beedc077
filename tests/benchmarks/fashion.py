"""The large sweep: Fashion-MNIST, student mlp of width 30, 5 x 5 x 3 seeds, stacked against one by one.

Both commands run in stores of their own under the folder of work and go on where they were stopped: what is finished is
skipped by the command itself, and the seconds of every sitting are added up. Equality: the same runs in both stores,
their test accuracies compared run by run. One pinned teacher, trained beforehand.
"""

import math
import shutil
import statistics
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path

from commands import students
from lines import Line, line, not_measured
from task import Bench, environment, kdlab, words_of
from watch import Watch, others, spread

DEBIAN = Path("/usr/share/datasets/fashion-mnist")
TRAIN, BATCH = 55_000, 100
COMMON = ("data=fashion_mnist", "teacher.seed=0", "evaluation.latency.enabled=false")
LAUNCHERS = ("stacked", "basic")


def stacked_against_one_by_one(bench: Bench) -> list[Line]:
    """Wall time of both, and how far apart their results are."""
    if not DEBIAN.is_dir():
        why = f"no Fashion-MNIST at {DEBIAN} (Debian: apt install dataset-fashion-mnist)"
        return [not_measured("fashion_mnist", why), not_measured("fashion_mnist_equal", why)]
    folder = bench.work / ("fashion_mnist_quick" if bench.sizes.quick else "fashion_mnist")
    prepared = folder / "prepared"
    short = ["teacher.training.steps=50", "teacher/model=mlp"] if bench.sizes.quick else []
    kdlab(["teacher", *COMMON, *short], bench=bench, store=prepared)
    watch = Watch()
    seconds: dict[str, float] = {}
    for launcher in LAUNCHERS:
        store = folder / launcher
        if not store.exists():
            shutil.copytree(prepared, store)
        seconds[launcher], load = _run(_words(bench, launcher, short), bench=bench, store=store)
        watch.loads.append(load)
        watch.loaded = watch.loaded or (load is not None and load > watch.quiet)
    pairs = same_runs(folder / LAUNCHERS[0], folder / LAUNCHERS[1])
    apart = [abs(one - other) for one, other in pairs]
    differences = [one - other for one, other in pairs]
    error = statistics.stdev(differences) / math.sqrt(len(pairs)) if len(pairs) > 1 else 0.0
    how = (
        f"{len(pairs)} points of {_steps(bench)} steps ({bench.sizes.epochs} epochs), kdlab run -m with "
        f"hydra/launcher=stacked on {bench.cores} threads {seconds['stacked']:.0f} s, hydra/launcher=basic "
        f"{seconds['basic']:.0f} s, start-up, evaluation, records, tracking and twins included"
    )
    equal = (
        f"{len(pairs)} runs; test accuracy stacked {_of([one for one, _ in pairs])}, one by one "
        f"{_of([other for _, other in pairs])} (mean over the runs, SD); difference of a run on the mean "
        f"{100 * statistics.fmean(differences):+.3f} points (standard error {100 * error:.3f}), largest "
        f"{100 * max(apart):.2f}"
    )
    return [
        line("fashion_mnist", spread([seconds["basic"] / seconds["stacked"]]), watch, how, threads=str(bench.cores)),
        line("fashion_mnist_equal", spread([100 * statistics.fmean(apart)]), watch, equal, threads=str(bench.cores)),
    ]


def same_runs(first: Path, second: Path) -> list[tuple[float, float]]:
    """The test accuracies of the students that both stores hold.

    Raises:
        RuntimeError: one of them has a student that the other has not.
    """
    found = [
        {one["run_id"]: float(one["metrics"]["test/accuracy"]) for one in students(store)} for store in (first, second)
    ]
    if not found[0] or found[0].keys() != found[1].keys():
        raise RuntimeError(f"not the same runs: {len(found[0])} students and {len(found[1])}")
    return [(found[0][name], found[1][name]) for name in sorted(found[0])]


def _steps(bench: Bench) -> int:
    return 20 if bench.sizes.quick else bench.sizes.epochs * TRAIN // BATCH


def _words(bench: Bench, launcher: str, short: Sequence[str]) -> list[str]:
    quick = bench.sizes.quick
    return [
        "run", "-m", *COMMON, *short, "student=mlp", "student.width=30", f"training.steps={_steps(bench)}",
        "objective.temperature=1,4" if quick else "objective.temperature=1,2,4,8,16",
        "objective.alpha=0.5,0.9" if quick else "objective.alpha=0.1,0.3,0.5,0.7,0.9",
        "seed=0" if quick else "seed=0,1,2", f"hydra/launcher={launcher}",
        f"threads={'auto' if launcher == 'stacked' else 1}",
    ]  # fmt: skip


def _run(words: list[str], *, bench: Bench, store: Path) -> tuple[float, float | None]:
    """Wall seconds of a command over all its sittings, and the load of others during the last; none if it had ended.

    Raises:
        RuntimeError: it failed.
    """
    clock, ended = store / "bench_seconds.txt", store / "bench_ended.txt"
    before = float(clock.read_text(encoding="utf-8")) if clock.exists() else 0.0
    if ended.exists():
        return before, float(ended.read_text(encoding="utf-8")) if ended.stat().st_size else None

    def sitting() -> float:
        with (store / "bench_output.txt").open("a", encoding="utf-8") as output:
            started = time.monotonic()
            process = subprocess.Popen(words_of(words, store), cwd=bench.work, env=environment(bench), stdout=output,
                                       stderr=subprocess.STDOUT)  # fmt: skip
            try:
                while process.poll() is None:
                    time.sleep(0.2)
                    clock.write_text(repr(before + time.monotonic() - started), encoding="utf-8")
            finally:
                if process.poll() is None:  # we are stopped, and it goes on another time
                    process.terminate()
                    process.wait()
        if process.returncode:
            raise RuntimeError(f"kdlab {' '.join(words)}: exit code {process.returncode}; see {output.name}")
        return before + time.monotonic() - started

    seconds, load = others(sitting)
    clock.write_text(repr(seconds), encoding="utf-8")
    ended.write_text("" if load is None else repr(load), encoding="utf-8")
    return seconds, load


def _of(values: Sequence[float]) -> str:
    deviation = statistics.stdev(values) if len(values) > 1 else 0.0
    return f"{statistics.fmean(values):.4f} ± {deviation:.4f}"
