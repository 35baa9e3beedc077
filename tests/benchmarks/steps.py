"""Lines about training itself, in this process: kdlab's ``fit`` beside the loops it is compared with, in turn.

Where a line speaks of steps, no validation is done on either side; where it speaks of a run or of a sweep's training,
kdlab and Lightning validate after every epoch and the bare loop, as ever, does not.
"""

import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from lines import Line, line
from loops import bare_loop, cached, gemm_rate, online, plain
from plain_lightning import train as train_plainly
from task import ALPHA, BATCH, LEARNING_RATE, POINTS, TEMPERATURE, WEIGHT_DECAY, Bench
from torch import Tensor, nn
from torchdistill_env import networks
from watch import Spread, Watch, ratios, spread

from kdlab.evaluation.machine import computing_with
from kdlab.models import build_model
from kdlab.objectives import Objective, distillation
from kdlab.records.history import HistoryWriter
from kdlab.teachers import OnlineTeacher, Teacher
from kdlab.teachers.cached import cached as cached_teacher
from kdlab.training import Fitted, Learner, Recipe, Runtime, fit

ADAMW = {"_target_": "torch.optim.AdamW", "lr": LEARNING_RATE, "weight_decay": WEIGHT_DECAY}
CONSTANT = {"_target_": "torch.optim.lr_scheduler.ConstantLR", "factor": 1.0}
MLP = {"_target_": "kdlab.models.MLP", "width": 100, "depth": 2}
CNN = {"_target_": "kdlab.models.CNN1d", "width": 8, "depth": 3}
HARD = {"hard_labels": {"_target_": "kdlab.objectives.terms.hard_labels", "weight": 1.0}}
NEVER = 1_000_000_000
WEIGHTS_OF_A_STUDENT = 40 * 100 + 100 * 100 + 100 * 10


class History:
    """A sink as a run has one: every value goes to a file."""

    def __init__(self, folder: Path) -> None:
        self.writer = HistoryWriter(folder / "history.jsonl")

    def log(self, metrics: Any, *, step: int, epoch: float) -> None:
        self.writer.append(metrics, step=step, epoch=epoch)


class Ours:
    """Trainings of the task by kdlab."""

    def __init__(self, bench: Bench) -> None:
        self.data, self.bench = bench.dataset, bench
        self.live = OnlineTeacher(bench.teacher_network)
        self.stored = self.cached()

    def cached(self) -> Teacher:
        """The teacher's outputs, forwarded and stored now."""
        with tempfile.TemporaryDirectory() as folder:
            return cached_teacher(self.live, self.data.train, folder=Path(folder),
                                  described={"teacher": self.bench.teacher_id}, say=str)  # fmt: skip

    def learner(
        self, *, steps: int, teacher: Teacher | None, objective: Objective | None = None, model: Any = MLP,
        seed: int = 0, sinks: Sequence[Any] = (),
    ) -> Learner:  # fmt: skip
        """A student of the task; ``objective`` and ``model`` where they are others."""
        network = build_model(model, input_shape=(1, 40), num_classes=10, seed_value=seed)
        return Learner(
            network, objective or distillation(temperature=TEMPERATURE, alpha=ALPHA), self.data.train,
            self.data.validation, Recipe(steps, BATCH, ADAMW, CONSTANT), "student", seed, teacher=teacher, sinks=sinks,
        )  # fmt: skip

    def seconds(self, learners: Sequence[Learner], *, validate: bool) -> float:
        """Wall seconds of ``fit``, its set-up included."""
        runtime = Runtime(accelerator="cpu", progress=False, validate_every_epochs=1 if validate else NEVER)
        started = time.perf_counter()
        fitted = fit(learners, num_classes=10, runtime=runtime)
        seconds = time.perf_counter() - started
        check(fitted, learners)
        return seconds

    def stack(self, size: int, *, steps: int, model: Any = MLP) -> float:
        """Wall seconds of the steps of a stack of distilled students, each with a seed of its own."""
        return self.seconds(
            [self.learner(steps=steps, teacher=self.stored, model=model, seed=seed) for seed in range(size)],
            validate=False,
        )


def check(fitted: Sequence[Fitted], learners: Sequence[Learner]) -> None:
    """Refuse a training that did not do what is compared."""
    for one, learner in zip(fitted, learners, strict=True):
        if one.error is not None or one.steps != learner.recipe.steps:
            raise RuntimeError(f"a fit ended after {one.steps} of {learner.recipe.steps} steps: {one.error}")


class Bare:
    """The bare loops on the task's data, one thread."""

    def __init__(self, bench: Bench) -> None:
        self.train, self.teacher = bench.dataset.train, bench.teacher
        with torch.no_grad():
            self.logits: Tensor = bench.teacher(self.train.inputs)

    def seconds(self, kind: str, *, steps: int, network: nn.Module | None = None, seed: int = 0) -> float:
        """Of a loop of some kind."""
        losses = {"plain": plain, "cached": lambda: cached(self.logits),
                  "online": lambda: online(self.teacher, self.train.inputs)}  # fmt: skip
        with computing_with(1):
            return bare_loop(network or networks.student(), self.train.inputs, self.train.labels, losses[kind](),
                             steps=steps, seed=seed)  # fmt: skip


def bare_loops(bench: Bench) -> list[Line]:
    """What the bare loops cost, in turn."""
    bare, watch, steps = Bare(bench), Watch(), bench.sizes.steps
    kinds = ("plain", "cached", "online")
    for kind in kinds:
        bare.seconds(kind, steps=steps // 10)
    rows = [watch.measure(lambda: [1000 * bare.seconds(kind, steps=steps) / steps for kind in kinds])
            for _ in range(bench.sizes.repeats)]  # fmt: skip
    return [
        line(f"bare_{kind}", spread([row[place] for row in rows]), watch, f"{steps} steps, the three loops in turn")
        for place, kind in enumerate(kinds)
    ]


def single_run(bench: Bench) -> list[Line]:
    """One student with validation and curves, and the bare loop that does without."""
    ours, bare, watch, steps = Ours(bench), Bare(bench), Watch(), bench.sizes.steps

    def run() -> float:
        with tempfile.TemporaryDirectory() as folder, computing_with(1):
            sinks = [History(Path(folder))]
            return ours.seconds([ours.learner(steps=steps, teacher=ours.stored, sinks=sinks)], validate=True)

    pairs = _pairs(watch, run, lambda: bare.seconds("cached", steps=steps), repeats=bench.sizes.repeats)
    how = (
        f"{steps} steps, teacher cached on both sides; fit with its set-up, a validation of "
        f"{len(ours.data.validation)} examples after every epoch and a history file: "
        f"{_ms(pairs, 0, steps)} ms a step; bare loop without validation and log: {_ms(pairs, 1, steps)}"
    )
    return [line("single_run", ratios(pairs), watch, how)]


def cached_step(bench: Bench) -> list[Line]:
    """What a cached teacher adds to kdlab's own step on labels alone."""
    ours, watch, steps = Ours(bench), Watch(), bench.sizes.steps

    def run(objective: Objective | None, teacher: Teacher | None) -> float:
        with computing_with(1):
            one = ours.learner(steps=steps, teacher=teacher, objective=objective)
            return ours.seconds([one], validate=False)

    hard = Objective.from_specs(HARD)
    pairs = _pairs(watch, lambda: run(None, ours.stored), lambda: run(hard, None), repeats=bench.sizes.repeats)
    told = [_ms(pairs, place, steps) for place in (0, 1)]
    how = f"fit of {steps} steps without validation: {told[0]} ms a step, hard labels alone {told[1]}"
    return [line("cached_step", ratios(pairs), watch, how)]


def stack_steps(bench: Bench) -> list[Line]:
    """What one more student costs at K = 100, and how much of the arithmetic the machine can do that is."""
    ours, bare, size = Ours(bench), Bare(bench), bench.sizes.stack
    steps = max(bench.sizes.budget // size, 20)
    sizes = (size // 2, size, size + size // 2)
    found = []
    for name, number in (("", 1), ("_all", bench.cores)):
        watch = Watch()

        def sample(number: int = number) -> tuple[float, ...]:
            step = bare.seconds("cached", steps=bench.sizes.steps) / bench.sizes.steps
            with computing_with(number):
                return step, *(ours.stack(one, steps=steps) / steps for one in sizes), gemm_rate()

        with computing_with(number):
            ours.stack(2, steps=20)
        rows = [watch.measure(sample) for _ in range(bench.sizes.few)]
        middle = [_median([row[place] for row in rows]) for place in range(5)]
        marginal = spread([(row[3] - row[1]) / (sizes[2] - sizes[0]) / row[0] for row in rows])
        average = spread([row[2] / size / row[0] for row in rows])
        how = (
            f"{steps} steps of fit without validation, its set-up included: a step of {sizes[0]}, {sizes[1]} and "
            f"{sizes[2]} students takes {', '.join(f'{1000 * one:.2f}' for one in middle[1:4])} ms, the bare cached "
            f"step on one thread {1000 * middle[0]:.3f}"
        )
        told = str(number)
        found.append(
            line(f"marginal{name}", marginal, watch, f"{how}; slope between the first and the last", threads=told)
        )
        found.append(line(f"average{name}", average, watch, how, threads=told))
        if number == 1:
            work = 3 * 2 * WEIGHTS_OF_A_STUDENT * BATCH * size
            share = spread([work / row[2] / row[4] for row in rows])
            told = (
                f"6 x weights x batch = {work / 1e9:.2f} GFLOP a step of {size} students in {1000 * middle[2]:.2f} ms "
                f"(the input gradient of the first layer, {8000 * BATCH * size / work:.0%} of it, is not needed) "
                f"over {middle[4] / 1e9:.0f} GFLOP/s, the fastest of 12 products in each repeat"
            )
            found.append(line("gemm", share, watch, told))
    return found


def conv_stack(bench: Bench) -> list[Line]:
    """A stack of small convolutional students and the same trained bare, one after the other."""
    ours, bare, size = Ours(bench), Bare(bench), bench.sizes.conv
    steps, watch = max(bench.sizes.budget // size // 2, 20), Watch()

    def sequence() -> float:
        return sum(
            bare.seconds("cached", steps=steps, network=networks.cnn1d(8, norm=False), seed=one) for one in range(size)
        )

    def stack(number: int) -> float:
        with computing_with(number):
            return ours.stack(size, steps=steps, model=CNN)

    stack(1), stack(bench.cores)
    rows = [watch.measure(lambda: (sequence(), stack(1), stack(bench.cores))) for _ in range(bench.sizes.few)]
    middle = [1000 * _median([row[place] for row in rows]) / steps / size for place in range(3)]
    how = (
        f"{steps} steps, teacher cached on both sides, no validation, ms a student-step: {size} bare loops on one "
        f"thread {middle[0]:.2f}, the stack on one thread {middle[1]:.3f}, on {bench.cores} {middle[2]:.3f}"
    )
    return [
        line("cnn1d", ratios([(row[0], row[1]) for row in rows]), watch, how),
        line("cnn1d_all", ratios([(row[0], row[2]) for row in rows]), watch, how, threads=str(bench.cores)),
    ]


def sweep_training(bench: Bench) -> list[Line]:
    """The training of the T x alpha sweep: a stack on all cores, and plain Lightning point by point."""
    ours, watch, steps = Ours(bench), Watch(), bench.sizes.steps
    points = POINTS[: bench.sizes.points]
    objectives = [distillation(temperature=T, alpha=alpha) for T, alpha in points]
    accuracies: dict[str, list[float]] = {"kdlab": [], "Lightning": []}

    def stacked() -> float:
        with computing_with(bench.cores):
            started = time.perf_counter()
            teacher = ours.cached()
            learners = [ours.learner(steps=steps, teacher=teacher, objective=one) for one in objectives]
            ours.seconds(learners, validate=True)
            seconds = time.perf_counter() - started
        accuracies["kdlab"] = [_accuracy(one.network, ours.data.validation) for one in learners]
        return seconds

    def plainly(T: float, alpha: float, *, steps: int = steps) -> float:
        seconds, accuracy = train_plainly(networks.student(), bench.teacher, ours.data, temperature=T, alpha=alpha,
                                          steps=steps)  # fmt: skip
        accuracies["Lightning"].append(accuracy)
        return seconds

    def plainly_on(number: int, part: Sequence[tuple[float, float]], *, steps: int = steps) -> float:
        with computing_with(number):
            return sum(plainly(T, alpha, steps=steps) for T, alpha in part)

    few = max(steps // 10, 40)
    plainly_on(1, points[:1], steps=few)
    best = min((1, bench.cores), key=lambda number: min(plainly_on(number, points[:1], steps=few) for _ in range(2)))
    accuracies["Lightning"].clear()
    stacked()
    parts = [points[start::3] for start in range(3) if points[start::3]]
    rows = watch_parts(watch, stacked, lambda part: plainly_on(best, part), parts)
    total = sum(row[1] for row in rows)
    same_work(accuracies, within=0.2 if bench.sizes.quick else 0.04)
    stacks = [row[0] for row in rows]
    value = Spread(total / _median(stacks), total / max(stacks), total / min(stacks), len(stacks))
    rate = spread([1000 * row[1] / len(part) / steps for row, part in zip(rows, parts, strict=True)])
    how = (
        f"{len(points)} points, {steps} steps, validation after every epoch on both sides: fit of the stack on "
        f"{bench.cores} threads with its teacher's outputs stored first {_median(stacks):.1f} s (median of "
        f"{len(stacks)}, one before each third of the points), Lightning {total:.1f} s on {best} (the faster of 1 "
        f"and {bench.cores}); mean validation accuracy {_mean(accuracies['kdlab']):.3f} "
        f"and {_mean(accuracies['Lightning']):.3f}"
    )
    each = f"{steps} steps with self.log and validation after every epoch, thirds of the {len(points)} points"
    return [
        line("training", value, watch, how, threads=str(bench.cores)),
        line("lightning", rate, watch, each, threads=str(best)),
    ]


def watch_parts(watch: Watch, first: Any, second: Any, parts: Sequence[Any]) -> list[tuple[float, float]]:
    """``first()`` and ``second(part)`` in turn, a disturbed pair taken again."""
    return [watch.measure(lambda part=part: (first(), second(part))) for part in parts]


def same_work(accuracies: dict[str, list[float]], *, within: float) -> None:
    """Refuse to compare trainings that end elsewhere.

    Raises:
        RuntimeError: their mean accuracies are further apart than that.
    """
    means = {name: _mean(values) for name, values in accuracies.items()}
    if max(means.values()) - min(means.values()) > within:
        raise RuntimeError(f"not the same work: mean accuracies {means}")


def cost_by_size(bench: Bench) -> dict[str, Any]:
    """The curve over K: ms a student-step, one thread and all cores, each beside the bare cached loop."""
    ours, bare = Ours(bench), Bare(bench)
    rows = []
    for number in dict.fromkeys((1, bench.cores)):
        for size in bench.sizes.curve:
            steps, watch = min(max(bench.sizes.budget // size, bench.sizes.steps // 10), bench.sizes.steps), Watch()

            def sample(size: int = size, steps: int = steps, number: int = number) -> tuple[float, float]:
                step = 1000 * bare.seconds("cached", steps=bench.sizes.steps) / bench.sizes.steps
                with computing_with(number):
                    return 1000 * ours.stack(size, steps=steps) / steps / size, step

            with computing_with(number):
                ours.stack(size, steps=4)
            found = [watch.measure(sample) for _ in range(bench.sizes.few)]
            cost = spread([one for one, _ in found])
            rows.append({"K": size, "threads": number, "ms": cost.median, "low": cost.low, "high": cost.high,
                         "bare_ms": _median([one for _, one in found]), "steps": steps, "repeats": cost.repeats,
                         "loaded": watch.loaded})  # fmt: skip
            print(
                f"    K = {size}, {number} threads: {cost.median:.3f} ms a student-step, bare {rows[-1]['bare_ms']:.3f}"
            )
    return {"by_size": rows}


def _pairs(watch: Watch, first: Any, second: Any, *, repeats: int) -> list[tuple[float, float]]:
    first(), second()
    return watch.pairs(first, second, repeats=repeats)


def _accuracy(network: nn.Module, examples: Any) -> float:
    with torch.no_grad():
        return float((network(examples.inputs).logits.argmax(-1) == examples.labels).float().mean())


def _ms(pairs: Sequence[tuple[float, float]], place: int, steps: int) -> str:
    return f"{1000 * _median([pair[place] for pair in pairs]) / steps:.3f}"


def _median(values: Sequence[float]) -> float:
    return spread(values).median


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)
