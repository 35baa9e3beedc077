"""Latency of a student beside its reference (the teacher): interleaved calls on a machine that is otherwise quiet.

Student and reference are called in turn, so that whatever slows the machine for a while slows both: the ratio of the
medians repeats within 1 %, a median alone does not. Calls come in blocks with pauses between, spread over the time, and
the blocks carry the interval of the 99th percentile. The result belongs to (student architecture, reference, machine,
threads, batch, dtype, backend), not to the weights: measured once, it serves a whole sweep.
"""

import gc
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from kdlab.collector import collector_off
from kdlab.evaluation.cost import float_dtype
from kdlab.evaluation.machine import computing_with, load_average, machine_name, others_train, quiet_machine
from kdlab.evaluation.predict import Device, evaluating
from kdlab.outputs import FloatArray

FAST_CALL_MS = 0.2
FAST_CALLS = 5000
_CALLS_BEFORE_BLOCK = 5  # a pause lets the processor sleep: these wake it and are not counted
_RESAMPLES = 500


class LatencyResult(NamedTuple):
    """What was measured.

    Args:
        metrics: ``latency/*`` and ``throughput/examples_per_s`` of the student, None where undefined.
        undefined: key -> reason, for every None.
        facts: how: machine, threads, batch_size, dtype, backend, device, load before and after, calls, blocks, warmup,
            started, waited_seconds, and the percentiles of the reference (or None).
    """

    metrics: dict[str, float | None]
    undefined: dict[str, str]
    facts: dict[str, Any]


def measure_latency(
    student: nn.Module,
    reference: nn.Module | None,
    *,
    input_shape: Sequence[int],
    batch_size: int = 1,
    threads: int = 1,
    device: Device = "cpu",
    min_calls: int = 1000,
    blocks: int = 10,
    warmup: int = 50,
    pause_seconds: float = 0.05,
    wait_seconds: float = 60.0,
    lock_dir: Path | None = None,
) -> LatencyResult:
    """Percentiles of the student's latency, and their ratios to the reference's.

    Args:
        student: the deployed form of the network, on ``device``; its modes are restored.
        reference: what it is measured against (the teacher), or None.
        input_shape: the shape of one example, without the batch axis.
        batch_size: examples per call.
        threads: torch threads during the measurement; restored afterwards.
        device: where the networks are.
        min_calls: calls of each network; 5 times as many (5,000 of 1,000) where one of them takes under 0.2 ms.
        blocks: groups of calls, at least 2.
        warmup: calls of each network before the first block, not counted.
        pause_seconds: pause between blocks.
        wait_seconds: how long to wait for the machine-wide lock and for other processes that train; then the
            measurement goes on and ``latency/contended`` is 1.
        lock_dir: folder of the locks, by default one per user and machine.

    Raises:
        ValueError: a knob outside its range.
    """
    for name, value, least in (
        ("batch_size", batch_size, 1), ("threads", threads, 1), ("blocks", blocks, 2),
        ("min_calls", min_calls, blocks), ("warmup", warmup, 1),
    ):  # fmt: skip
        if value < least:
            raise ValueError(f"latency {name} = {value}: at least {least} is needed")
    networks = [student] if reference is None else [student, reference]
    device = torch.device(device)
    asked = time.monotonic()
    with quiet_machine(wait_seconds=wait_seconds, lock_dir=lock_dir) as quiet:
        facts = _facts(student, device=device, threads=threads, batch_size=batch_size)
        facts |= {"waited_seconds": round(time.monotonic() - asked, 3), "blocks": blocks, "warmup": warmup}
        with evaluating(*networks), torch.inference_mode(), computing_with(threads), collector_off():
            gc.collect()
            shape = (batch_size, *input_shape)
            calls = [_call(network, _input(network, shape, device=device), device=device) for network in networks]
            num_calls = _num_calls(_timed(calls, warmup), min_calls=min_calls)
            times: list[FloatArray] = []
            for size in _block_sizes(num_calls, blocks):
                if times:
                    time.sleep(pause_seconds)
                quiet = quiet and not others_train(lock_dir)
                _timed(calls, _CALLS_BEFORE_BLOCK)
                times.append(_timed(calls, size))
        quiet = quiet and not others_train(lock_dir)
        facts |= {"load_after": load_average(), "calls": num_calls}
    return _result(times, batch_size=batch_size, contended=not quiet, facts=facts)


def _facts(student: nn.Module, *, device: torch.device, threads: int, batch_size: int) -> dict[str, Any]:
    return {
        "machine": machine_name(str(device)),
        "device": device.type,
        "threads": threads,
        "batch_size": batch_size,
        "dtype": str(float_dtype(student)).removeprefix("torch."),
        "backend": "torch",
        "started": datetime.now(UTC).isoformat(timespec="seconds"),
        "load_before": load_average(),
    }


def _input(network: nn.Module, shape: tuple[int, ...], *, device: torch.device) -> Tensor:
    noise = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    return noise.to(device=device, dtype=float_dtype(network))


def _call(network: nn.Module, inputs: Tensor, *, device: torch.device) -> Callable[[], int]:
    """A function that runs the network once and returns the nanoseconds it took, the device's work included."""
    synchronize = _synchronize(device)
    clock = time.perf_counter_ns
    if synchronize is None:

        def call() -> int:
            start = clock()
            network(inputs)
            return clock() - start

        return call

    def call_synchronized() -> int:
        synchronize()
        start = clock()
        network(inputs)
        synchronize()
        return clock() - start

    return call_synchronized


def _synchronize(device: torch.device) -> Callable[[], None] | None:
    """What waits for the device to finish; None for the CPU, which has finished when the call returns."""
    if device.type == "cpu":
        return None
    backend = getattr(torch, device.type)  # torch.cuda, torch.mps, torch.xpu
    synchronize: Callable[[], None] = backend.synchronize
    return synchronize


def _timed(calls: Sequence[Callable[[], int]], count: int) -> FloatArray:
    """Milliseconds ``[count, len(calls)]`` of calls in turn: student, reference, student, reference, ..."""
    taken = [[call() for call in calls] for _ in range(count)]
    return np.asarray(taken, dtype=np.float64) / 1e6


def _num_calls(warm: FloatArray, *, min_calls: int) -> int:
    """A fast call has a noisier tail beside its length: the rule is 5,000 calls instead of 1,000 under 0.2 ms."""
    second_half = warm[len(warm) // 2 :]
    return min_calls * (FAST_CALLS // 1000) if np.median(second_half, axis=0).min() < FAST_CALL_MS else min_calls


def _block_sizes(num_calls: int, blocks: int) -> list[int]:
    return [num_calls // blocks + (at < num_calls % blocks) for at in range(blocks)]


def _result(times: Sequence[FloatArray], *, batch_size: int, contended: bool, facts: dict[str, Any]) -> LatencyResult:
    """The keys of the record from the milliseconds of every block (``[calls, 1 or 2]`` each)."""
    every = np.concatenate(times)
    p50, p90, p99 = np.percentile(every, [50, 90, 99], axis=0)
    resampled = _resampled_p99(times)
    low, high = _p99_interval(every[:, 0], resampled[:, 0])
    metrics: dict[str, float | None] = {
        "latency/p50_ms": p50[0], "latency/p90_ms": p90[0], "latency/p99_ms": p99[0],
        "latency/p99_ms_low": low, "latency/p99_ms_high": high,
        "throughput/examples_per_s": batch_size * len(every) / (every[:, 0].sum() / 1e3),
        "latency/contended": float(contended),
    }  # fmt: skip
    ratios = ("latency/p50_ratio", "latency/p99_ratio", "latency/p99_ratio_low", "latency/p99_ratio_high")
    undefined: dict[str, str] = {}
    if every.shape[1] == 1:
        metrics |= dict.fromkeys(ratios)
        undefined = dict.fromkeys(ratios, "no reference network to measure beside")
        facts = facts | {"reference": None}
    else:
        ends = np.percentile(resampled[:, 0] / resampled[:, 1], [2.5, 97.5])
        metrics |= dict(zip(ratios, (p50[0] / p50[1], p99[0] / p99[1], *ends), strict=True))
        facts = facts | {"reference": {"p50_ms": float(p50[1]), "p90_ms": float(p90[1]), "p99_ms": float(p99[1])}}
    plain = {key: None if value is None else float(value) for key, value in metrics.items()}
    return LatencyResult(plain, undefined, facts)


def _p99_interval(times: FloatArray, resampled: FloatArray) -> tuple[float, float]:
    """The wider end on each side of two intervals of a 99th percentile, for one stretch of time on one machine.

    Resampled blocks see that calls of a block belong together, but ten of them alone cover 86 % where the calls are
    independent; order statistics (ranks ``n q +- 1.96 sqrt(n q (1 - q))``) are right there and blind to blocks.
    """
    half = 1.96 * np.sqrt(0.99 * 0.01 / len(times))
    ranks = np.quantile(times, np.clip([0.99 - half, 0.99 + half], 0.0, 1.0))
    blocks = np.percentile(resampled, [2.5, 97.5])
    return float(min(ranks[0], blocks[0])), float(max(ranks[1], blocks[1]))


def _resampled_p99(times: Sequence[FloatArray]) -> FloatArray:
    """The 99th percentiles ``[resamples, 1 or 2]`` of blocks drawn with replacement.

    Calls of one block share what the machine was doing, so whole blocks are drawn and not calls, and a student's block
    stays with the reference's: 2.5 and 97.5 % of these are the interval.
    """
    random = np.random.default_rng(0)
    drawn = random.integers(len(times), size=(_RESAMPLES, len(times)))
    return np.stack([np.percentile(np.concatenate([times[at] for at in row]), 99, axis=0) for row in drawn])
