"""The loops that kdlab is compared with, as somebody who knows PyTorch would write them for this task.

Data in memory, batches by index, the fused optimizer, no validation and no log: the least a training can cost here.
"""

import time
from collections.abc import Callable

import torch
from task import ALPHA, BATCH, LEARNING_RATE, TEMPERATURE, WEIGHT_DECAY
from torch import Tensor, nn
from torch.nn import functional

Loss = Callable[[Tensor, Tensor, Tensor], Tensor]
"""From the student's logits, the rows and the labels of a batch."""


def bare_loop(network: nn.Module, inputs: Tensor, labels: Tensor, loss: Loss, *, steps: int, seed: int = 0) -> float:
    """Train in place; seconds of the loop alone."""
    optimizer = torch.optim.AdamW(network.parameters(), lr=LEARNING_RATE, weight_decay=WEIGHT_DECAY, fused=True)
    draws = torch.Generator().manual_seed(seed)
    network.train()
    done = 0
    started = time.perf_counter()
    while done < steps:
        order = torch.randperm(len(labels), generator=draws)
        for rows in order.split(BATCH)[: steps - done]:
            optimizer.zero_grad(set_to_none=True)
            loss(network(inputs[rows]), rows, labels[rows]).backward()
            optimizer.step()
            done += 1
    return time.perf_counter() - started


def plain() -> Loss:
    """Cross-entropy on hard labels."""
    return lambda logits, rows, labels: functional.cross_entropy(logits, labels)


def cached(teacher_logits: Tensor, *, temperature: float = TEMPERATURE, alpha: float = ALPHA) -> Loss:
    """Hard and soft targets; the tempered targets of the whole set are made once.

    ``T^2`` times the cross-entropy to the targets has the gradient of ``T^2 KL``, and costs less than ``kl_div``.
    """
    targets = (teacher_logits / temperature).softmax(-1)

    def loss(logits: Tensor, rows: Tensor, labels: Tensor) -> Tensor:
        soft = functional.cross_entropy(logits / temperature, targets[rows])
        return (1 - alpha) * functional.cross_entropy(logits, labels) + alpha * temperature**2 * soft

    return loss


def online(teacher: nn.Module, inputs: Tensor, *, temperature: float = TEMPERATURE, alpha: float = ALPHA) -> Loss:
    """The same with a forward of the teacher every step."""

    def loss(logits: Tensor, rows: Tensor, labels: Tensor) -> Tensor:
        with torch.no_grad():
            targets = (teacher(inputs[rows]) / temperature).softmax(-1)
        soft = functional.cross_entropy(logits / temperature, targets)
        return (1 - alpha) * functional.cross_entropy(logits, labels) + alpha * temperature**2 * soft

    return loss


def gemm_rate(size: int = 1024, *, repeats: int = 12) -> float:
    """Floating-point operations per second of a square float32 product on the threads that are set: the fastest."""
    left, right = (torch.randn(size, size, generator=torch.Generator().manual_seed(seed)) for seed in (0, 1))
    out = torch.empty(size, size)
    torch.mm(left, right, out=out)
    seconds = []
    for _ in range(repeats):
        started = time.perf_counter()
        torch.mm(left, right, out=out)
        seconds.append(time.perf_counter() - started)
    return 2 * size**3 / min(seconds)
