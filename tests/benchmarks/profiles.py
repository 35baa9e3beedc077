"""Where the time of a step goes, by torch's own profiler: what stands behind a bar that is not reached.

The profiler makes small operations dearer than they are; it is read for shares, not for the time of a step.
"""

from collections.abc import Callable
from typing import Any

from steps import CNN, HARD, MLP, Bare, Ours
from task import Bench
from torch.profiler import ProfilerActivity, profile

from kdlab.evaluation.machine import computing_with
from kdlab.objectives import Objective

TOP = 12


def where_time_goes(bench: Bench) -> dict[str, Any]:
    """Microseconds a step by operation: of a step on labels and one with a cached teacher, and of two stacks."""
    ours, bare = Ours(bench), Bare(bench)
    steps = max(bench.sizes.steps // 10, 10)
    hard = Objective.from_specs(HARD)
    mlp, cnn = bench.sizes.stack, bench.sizes.conv

    def alone(objective: Objective | None, teacher: Any) -> Callable[[], object]:
        return lambda: ours.seconds([ours.learner(steps=steps, teacher=teacher, objective=objective)], validate=False)

    def stack(size: int, model: Any) -> Callable[[], object]:
        return lambda: ours.stack(size, steps=steps, model=model)

    pair = {
        "kdlab, labels": _profiled(alone(hard, None), steps=steps),
        "kdlab, cached teacher": _profiled(alone(None, ours.stored), steps=steps),
        "bare, labels": _profiled(lambda: bare.seconds("plain", steps=steps), steps=steps),
        "bare, cached teacher": _profiled(lambda: bare.seconds("cached", steps=steps), steps=steps),
    }
    several = {
        f"mlp, K = {mlp}": _profiled(stack(mlp, MLP), steps=steps, students=mlp),
        f"cnn1d, K = {cnn}": _profiled(stack(cnn, CNN), steps=steps, students=cnn),
    }
    added = ("kdlab, cached teacher", "kdlab, labels")
    tables = [
        _table("What a cached teacher adds to a step (cached_step)", pair, by=added),
        _table("A student-step of a stack (marginal, gemm, cnn1d)", several, by=(f"mlp, K = {mlp}", None)),
    ]
    return {"profiles": tables}


def _profiled(work: Callable[[], object], *, steps: int, students: int = 1) -> dict[str, float]:
    """Microseconds a student-step that every operation takes by itself."""
    with computing_with(1):
        work()
        with profile(activities=[ProfilerActivity.CPU]) as found:
            work()
    events = found.key_averages()
    return {event.key: event.self_cpu_time_total / steps / students for event in events if event.self_cpu_time_total}


def _table(title: str, columns: dict[str, dict[str, float]], *, by: tuple[str, str | None]) -> dict[str, Any]:
    """The operations that matter most in a column, or by how much it is more than another; the others as one row."""
    names = {name for column in columns.values() for name in column}

    def weight(name: str) -> float:
        return columns[by[0]].get(name, 0.0) - (columns[by[1]].get(name, 0.0) if by[1] else 0.0)

    top = sorted(names, key=lambda name: (-weight(name), name))[:TOP]
    rows = [[name, *[column.get(name, 0.0) for column in columns.values()]] for name in top]
    sums = [sum(column.values()) for column in columns.values()]
    rest = [whole - sum(row[at] for row in rows) for at, whole in enumerate(sums, start=1)]
    whole_rows = [*rows, ["others", *rest], ["all", *sums]]
    rounded = [[name, *[round(value, 1) for value in values]] for name, *values in whole_rows]
    return {"title": title, "columns": list(columns), "rows": rounded}
