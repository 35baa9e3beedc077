"""Random streams: every draw comes from a generator keyed by who draws, what for, and the seed.

A stream is named by (role, purpose, seed[, epoch][, generation][, part]). A teacher and a student of one architecture
and one seed therefore start from different weights, a scratch twin shares its student's streams, epoch e of a resumed
run sees the batches it would have seen, and adding a draw somewhere moves nothing elsewhere.
"""

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal

import numpy as np
import torch

Role = Literal["teacher", "student", "data"]
Purpose = Literal[
    "init", "order", "dropout", "augment", "split", "slice", "labels", "permute", "projection", "transfer", "member"
]


def stream_seed(
    role: Role, purpose: Purpose, seed: int, *, epoch: int | None = None, generation: int = 0, part: str = ""
) -> int:
    """The 63-bit seed of a stream: the first bytes of a hash of its name; ``part`` is one of several of its purpose."""
    name = f"{role}/{purpose}/{seed}/{'-' if epoch is None else epoch}/{generation}" + (f"/{part}" if part else "")
    return int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "big") >> 1


def generator(
    role: Role, purpose: Purpose, seed: int, *, epoch: int | None = None, generation: int = 0
) -> torch.Generator:
    """A fresh torch generator (on the CPU, so every device sees the same draws) at the start of a stream."""
    return torch.Generator().manual_seed(stream_seed(role, purpose, seed, epoch=epoch, generation=generation))


def numpy_generator(role: Role, purpose: Purpose, seed: int) -> np.random.Generator:
    """A fresh numpy generator at the start of a stream."""
    return np.random.default_rng(stream_seed(role, purpose, seed))


@contextmanager
def global_stream(seed: int) -> Iterator[None]:
    """Seed torch's global generators for libraries that insist on them (weight init, dropout), and restore them."""
    devices = list(range(torch.cuda.device_count())) if torch.cuda.is_available() else []
    with torch.random.fork_rng(devices=devices):
        torch.manual_seed(seed)
        yield


def reseed(seed: int, *, device: torch.device) -> None:
    """Seed torch's global generators for what runs on ``device``.

    On the CPU its own alone: ``torch.manual_seed`` asks every kind of accelerator, which takes a millisecond.
    """
    if device.type == "cpu":
        torch.default_generator.manual_seed(seed)
    else:
        torch.manual_seed(seed)


@contextmanager
def drawing_from(stream: torch.Generator) -> Iterator[None]:
    """Let a library draw on the CPU from ``stream`` in the place of torch's global generator, and restore that.

    Ten times as cheap as seeding the global generators anew, so it may happen at every step.
    """
    saved = torch.get_rng_state()
    torch.set_rng_state(stream.get_state())
    try:
        yield
    finally:
        stream.set_state(torch.get_rng_state())
        torch.set_rng_state(saved)
