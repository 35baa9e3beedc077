"""Lines about whole commands: kdlab as a user starts it, in processes of its own, beside torchdistill as its users do.

Every measurement starts from a fresh copy of a store that holds the finished teacher and nothing else.
"""

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import torch
from lines import Line, NotMeasured, line, not_measured
from task import (
    ALPHAS,
    HERE,
    LEARNING_RATE,
    OVERRIDES,
    POINTS,
    TEACHER_WIDTH,
    TEMPERATURES,
    WEIGHT_DECAY,
    Bench,
    environment,
    grid,
    kdlab,
    words_of,
)
from torchdistill_env.make import CannotInstall, make
from torchdistill_env.make import environment as torchdistill_environment
from watch import Watch, ratios, spread

HOOKS = HERE / "hooks"
ONE_EPOCH = 40


def many(bench: Bench, points: int, *, steps: int, launcher: str = "stacked", more: Sequence[str] = ()) -> float:
    """Wall seconds of ``kdlab run -m`` over a number of points; what it left is checked."""
    store = bench.fresh_store()
    words = ["run", "-m", *OVERRIDES, *grid(points), f"training.steps={steps}", f"hydra/launcher={launcher}",
             "threads=auto", *more]  # fmt: skip
    seconds = kdlab(words, bench=bench, store=store)
    records = students(store)
    if len(records) != points or any(one["provenance"]["steps"] != steps for one in records):
        raise RuntimeError(f"{len(records)} students finished, {points} of {steps} steps were asked for")
    return seconds


def students(store: Path) -> list[dict[str, Any]]:
    """The records of the finished students of a store."""
    every = [json.loads(path.read_text(encoding="utf-8")) for path in sorted(store.glob("*/record.json"))]
    return [one for one in every if one["role"] == "student" and one["status"] == "finished"]


def sweep_against_torchdistill(bench: Bench) -> list[Line]:
    """The whole sweep as a command, and as one torchdistill process per point, as many at a time as there are cores."""
    watch, points, steps = Watch(), bench.sizes.points, bench.sizes.steps
    ours = f"{points} points of {steps} steps, {bench.cores} threads"
    try:
        python = _torchdistill(bench)
    except NotMeasured as error:
        alone = [watch.measure(lambda: many(bench, points, steps=steps)) for _ in range(bench.sizes.few)]
        return [
            not_measured("sweep", str(error)),
            not_measured("torchdistill", str(error)),
            line("sweep_seconds", spread(alone), watch, ours, threads=str(bench.cores)),
        ]
    bench.hand_over()
    told: list[dict[str, Any]] = []

    def theirs() -> float:
        seconds, found = torchdistill_sweep(bench, python, points=points, steps=steps)
        told.extend(found)
        return seconds

    def both() -> tuple[float, float, float]:
        seconds = many(bench, points, steps=steps)
        accuracy = [one["metrics"]["test/accuracy"] for one in students(bench.work / "measured")]
        return theirs(), seconds, sum(accuracy) / len(accuracy)

    many(bench, min(points, 2), steps=ONE_EPOCH)
    rows = [watch.measure(both) for _ in range(max(bench.sizes.few - 1, 1))]
    pairs = [(row[0], row[1]) for row in rows]
    accuracy = sum(one["test"] for one in told) / len(told)
    if abs(accuracy - rows[-1][2]) > (0.2 if bench.sizes.quick else 0.04):
        raise RuntimeError(f"not the same work: mean test accuracies {rows[-1][2]} and, torchdistill, {accuracy}")
    kd, td = spread([pair[1] for pair in pairs]), spread([pair[0] for pair in pairs])
    how = (
        f"{ours}: kdlab {kd.median:.1f} s (18 sets evaluated, records, tracking, scratch twin included; no "
        f"latency), torchdistill {td.median:.1f} s ({bench.cores} processes at a time on one thread each; validation "
        f"after every epoch and the test set at the end); mean test accuracy {rows[-1][2]:.3f} and {accuracy:.3f}"
    )
    step = spread([1000 * one["train_seconds"] / steps for one in told])
    return [
        line("sweep", ratios(pairs), watch, how, threads=str(bench.cores)),
        line("sweep_seconds", kd, watch, ours, threads=str(bench.cores)),
        line("torchdistill", step, watch, f"validation after every epoch included, {bench.cores} processes at a time"),
    ]


def torchdistill_sweep(bench: Bench, python: Path, *, points: int, steps: int) -> tuple[float, list[dict[str, Any]]]:
    """Wall seconds of one process per point, and what each printed last."""
    asked = [
        [str(python), str(HERE / "torchdistill_env" / "distill.py"), "--work", str(bench.work), "--width",
         str(TEACHER_WIDTH), "--steps", str(steps), "--temperature", str(T), "--alpha", str(alpha), "--lr",
         str(LEARNING_RATE), "--weight-decay", str(WEIGHT_DECAY)]
        for T, alpha in POINTS[:points]
    ]  # fmt: skip
    variables = torchdistill_environment(dict(os.environ))
    started = time.perf_counter()
    with ThreadPoolExecutor(bench.cores) as pool:
        found = list(pool.map(lambda words: _told(words, variables, bench.work), asked))
    seconds = time.perf_counter() - started
    for one in found:
        if one["steps"] != steps or one["threads"] != 1:
            raise RuntimeError(f"torchdistill did {one['steps']} steps of {steps} on {one['threads']} threads")
    return seconds, found


def _told(words: list[str], variables: dict[str, str], folder: Path) -> dict[str, Any]:
    done = subprocess.run(words, env=variables, cwd=folder, text=True, capture_output=True, check=False)
    if done.returncode:
        raise RuntimeError(f"torchdistill: exit code {done.returncode}\n{done.stderr[-3000:]}")
    return dict(json.loads(done.stdout.splitlines()[-1]))


def _torchdistill(bench: Bench) -> Path:
    try:
        python = make(bench.work / "torchdistill")
    except CannotInstall as error:
        raise NotMeasured(str(error)) from error
    asked = [str(python), "-c", "import torch; print(torch.__version__)"]
    theirs = subprocess.run(asked, text=True, capture_output=True, check=True).stdout.strip()
    if theirs != torch.__version__:
        raise NotMeasured(f"its environment has torch {theirs}, kdlab's {torch.__version__}")
    return python


def start(bench: Bench) -> list[Line]:
    """From the start of the process to the end of the first optimizer step of ``kdlab run``."""
    watch, note = Watch(), bench.work / "first_step.txt"
    words = ["run", *OVERRIDES, f"training.steps={ONE_EPOCH}", "training.optimizer._target_=first_step.AdamW"]

    def first() -> float:
        store = bench.fresh_store()
        note.unlink(missing_ok=True)
        path = os.pathsep.join(filter(None, [str(HOOKS), os.environ.get("PYTHONPATH", "")]))
        spawned = time.monotonic()
        kdlab(words, bench=bench, store=store, FIRST_STEP=str(note), PYTHONPATH=path)
        return float(note.read_text(encoding="utf-8")) - spawned

    first()
    found = [watch.measure(first) for _ in range(bench.sizes.repeats)]
    how = (
        "kdlab run with a finished teacher and cached data, files warm; the optimizer notes the time of its first step"
    )
    return [line("start", spread(found), watch, how, threads="auto")]


def help_page(bench: Bench) -> list[Line]:
    """How long a user who only wants to read waits."""
    watch, words = Watch(), ["sweep", "--help"]
    command = [sys.executable, "-m", "kdlab.commands.cli", *words]

    def once() -> float:
        started = time.perf_counter()
        subprocess.run(command, check=True, capture_output=True, env=environment(bench), cwd=bench.work)
        return time.perf_counter() - started

    once()
    found = [watch.measure(once) for _ in range(bench.sizes.repeats)]
    return [line("help", spread(found), watch, "start-up of the interpreter included")]


def composing(bench: Bench) -> list[Line]:
    """Composing, checking and de-duplicating the points of a grid, in this process."""
    from kdlab.commands.composing import Composer, make_loader
    from kdlab.commands.grid import expand
    from kdlab.commands.planning import Sweep, plan_points

    seeds = ",".join(str(seed) for seed in range(bench.sizes.grid // 100 or 1))
    asked = ["student=mlp,cnn1d", "training/schedule=cosine,constant", "objective.temperature=1,2,4,8,16",
             "objective.alpha=0.1,0.3,0.5,0.7,0.9", f"seed={seeds}"]  # fmt: skip
    watch = Watch()

    def once() -> tuple[float, int]:
        started = time.perf_counter()
        axes, fixed = expand(asked, grid={})
        planned = plan_points(axes, fixed, arms={}, sweep=Sweep("bench", None), composer=Composer(make_loader()))
        seconds = time.perf_counter() - started
        return 1000 * seconds / len(planned.points), len(planned.points)

    _, points = once()
    found = [watch.measure(once)[0] for _ in range(bench.sizes.few)]
    how = f"plan_points over {points} points with 4 choices of groups, a new composer each time, imports apart"
    return [line("composing", spread(found), watch, how)]


def per_student(bench: Bench) -> list[Line]:
    """What one more point adds to a sweep that hardly trains."""
    few, all_of_them = (1, 4) if bench.sizes.quick else (5, 25)
    watch = Watch()

    def added() -> float:
        seconds = [many(bench, points, steps=ONE_EPOCH) for points in (few, all_of_them)]
        return (seconds[1] - seconds[0]) / (all_of_them - few)

    many(bench, few, steps=ONE_EPOCH)
    found = [watch.measure(added) for _ in range(bench.sizes.few)]
    how = (
        f"whole wall time of kdlab run -m over {all_of_them} points of {ONE_EPOCH} steps, less that over {few}, per "
        "point: composing and the steps themselves are in it"
    )
    return [line("per_student", spread([max(one, 0.0) for one in found]), watch, how, threads=str(bench.cores))]


def report(bench: Bench) -> list[Line]:
    """``kdlab report`` over many records, tables and figures, start-up included."""
    sys.path.insert(0, str(HERE.parent / "reporting"))
    from synthetic_records import grid as synthetic

    from kdlab.reporting.compact import dump_lines

    cells = len(TEMPERATURES) * len(ALPHAS)
    # a unit is its students, their scratch twin and their teacher
    lines = synthetic(seeds=-(-bench.sizes.records // (cells + 2)), temperatures=TEMPERATURES, alphas=ALPHAS)
    folder = bench.work / "reports"
    shutil.rmtree(folder, ignore_errors=True)
    study = folder / str(lines[0]["name"])
    study.mkdir(parents=True)
    (study / "records.jsonl").write_text(dump_lines(lines), encoding="utf-8")
    records, watch = len(lines) - 1, Watch()
    words = ["report", study.name, f"report.root={folder}"]
    kdlab(words, bench=bench, store=bench.work / "empty")
    found = [
        watch.measure(lambda: kdlab(words, bench=bench, store=bench.work / "empty")) for _ in range(bench.sizes.few)
    ]
    return [
        line("report", spread(found), watch, f"{records:,} records of a T x alpha study, start-up and figures included")
    ]


def memory(bench: Bench) -> list[Line]:
    """The largest process of a sweep of 100 points trained as one stack, over that of one run."""
    watch, points = Watch(), 4 if bench.sizes.quick else 100

    def peak(words: list[str]) -> float:
        command = words_of([*words, *OVERRIDES, f"training.steps={ONE_EPOCH}"], bench.fresh_store())
        done = subprocess.run([sys.executable, str(HOOKS / "peak_memory.py"), *command], cwd=bench.work, text=True,
                              env=environment(bench), capture_output=True, check=False)  # fmt: skip
        if done.returncode:
            raise RuntimeError(f"kdlab {' '.join(words)}: {done.stderr[-3000:]}")
        return float(done.stdout.splitlines()[-1]) / 2**20

    def both() -> tuple[float, float]:
        sweep = ["run", "-m", *grid(points), "hydra/launcher=stacked", "threads=auto", f"stack.max_size={points + 1}"]
        stacked = peak(sweep)
        sizes = {one["metrics"]["cost/stack_size"] for one in students(bench.work / "measured")}
        if min(sizes) < points:  # their scratch twin may be one of the stack
            raise RuntimeError(f"not one stack of {points}: {sizes}")
        return stacked, peak(["run"])

    pairs = [watch.measure(both) for _ in range(max(bench.sizes.few - 1, 1))]
    found = [spread([pair[place] for pair in pairs]).median for place in (0, 1)]
    how = (
        f"peak resident memory of the whole command, {points} students of {ONE_EPOCH} steps: {found[0]:.0f} MiB, "
        f"one run {found[1]:.0f}"
    )
    return [line("memory", ratios(pairs), watch, how, threads=str(bench.cores))]


def cost_by_points(bench: Bench) -> dict[str, Any]:
    """The curve over the number of points: whole wall time, stacked and one by one."""
    rows = []
    for points in bench.sizes.sweeps:
        for launcher in ("stacked", "basic"):
            watch = Watch()
            seconds = watch.measure(lambda: many(bench, points, steps=bench.sizes.steps, launcher=launcher))  # noqa: B023
            rows.append({"points": points, "launcher": launcher, "seconds": seconds, "loaded": watch.loaded,
                         "steps": bench.sizes.steps})  # fmt: skip
            print(f"    {points} points, {launcher}: {seconds:.1f} s", flush=True)
    return {"by_points": rows}
