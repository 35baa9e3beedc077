"""Per-term means of an epoch, and the stop at the first loss that is not finite."""

import math
from collections.abc import Mapping

from torch import Tensor


class NonFiniteLossError(RuntimeError):
    """A loss became NaN or infinite; training stopped. Survives pickling."""


class TermMonitor:
    """Accumulates the loss and each term, unweighted, in float64, and watches for the first loss that is not finite.

    On the CPU every step is looked at. On an accelerator looking means waiting for it, so losses are looked at together
    every ``patience`` steps; the message names the step at which it happened all the same.

    Args:
        patience: steps between two looks on an accelerator.
    """

    def __init__(self, *, patience: int = 50) -> None:
        self.patience = patience
        self.reset()

    def reset(self) -> None:
        """Forget the epoch."""
        self._sums: dict[str, float] = {}
        self._count = 0
        self._pending: list[tuple[int, dict[str, Tensor]]] = []

    def add(self, step: int, loss: Tensor, terms: Mapping[str, Tensor]) -> None:
        """Take in one step.

        Raises:
            NonFiniteLossError: naming the step and the term.
        """
        named = {f"terms/{name}": value.detach() for name, value in terms.items()}
        self._pending.append((step, {"loss": loss.detach(), **named}))
        if loss.device.type == "cpu" or len(self._pending) >= self.patience:
            self.check()

    def check(self) -> None:
        """Look at the losses that were not looked at yet."""
        pending, self._pending = self._pending, []
        for step, values in pending:
            numbers = {name: float(value) for name, value in values.items()}
            if not math.isfinite(numbers["loss"]):
                raise NonFiniteLossError(_message(step, numbers))
            for name, number in numbers.items():
                self._sums[name] = self._sums.get(name, 0.0) + number
            self._count += 1

    def means(self) -> dict[str, float]:
        """The mean of every term over the steps since ``reset``; looks at what is pending first."""
        self.check()
        return {name: total / self._count for name, total in self._sums.items()}


def _message(step: int, numbers: Mapping[str, float]) -> str:
    bad = [name for name, number in numbers.items() if name != "loss" and not math.isfinite(number)]
    names = ", ".join(name.removeprefix("terms/") for name in bad)
    where = f"term {names}" if bad else "the weighted sum of finite terms"
    return (
        f"the loss is not finite at step {step}: {where}; a lower training.optimizer.lr or "
        "training.gradient_clip_norm=1 usually helps"
    )
