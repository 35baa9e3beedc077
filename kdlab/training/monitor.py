"""Per-term sums on the device, and the stop at the first loss that is not finite."""

from collections.abc import Mapping

import torch
from torch import Tensor


class NonFiniteLossError(RuntimeError):
    """A loss became NaN or infinite; training stopped. Survives pickling."""


class TermMonitor:
    """Accumulates each term, unweighted, and watches for the first value that is not finite.

    On the CPU every step is looked at. On an accelerator looking means waiting for it, so losses are looked at together
    every ``patience`` steps; the message names the step at which it happened all the same.
    """

    def __init__(self, *, patience: int = 50) -> None:
        self.patience = patience
        self.reset()

    def reset(self) -> None:
        """Forget the epoch."""
        self._sums: dict[str, Tensor] = {}
        self._count = 0
        self._pending: list[tuple[int, Tensor, Mapping[str, Tensor]]] = []

    def add(self, step: int, loss: Tensor, terms: Mapping[str, Tensor]) -> None:
        """Take in one step.

        Raises:
            NonFiniteLossError: naming the step and the term.
        """
        values = {"loss": loss.detach(), **{f"terms/{name}": value.detach() for name, value in terms.items()}}
        for name, value in values.items():
            self._sums[name] = self._sums[name] + value if name in self._sums else value
        self._count += 1
        self._pending.append((step, values["loss"], values))
        if loss.device.type == "cpu" or len(self._pending) >= self.patience:
            self.check()

    def check(self) -> None:
        """Look at the losses that were not looked at yet."""
        pending, self._pending = self._pending, []
        if not pending or bool(torch.isfinite(torch.stack([loss for _, loss, _ in pending])).all()):
            return
        step, _, values = next(entry for entry in pending if not bool(torch.isfinite(entry[1])))
        bad = [name.removeprefix("terms/") for name, value in values.items()
               if name != "loss" and not bool(torch.isfinite(value))]
        where = f"term {', '.join(bad)}" if bad else "the weighted sum of finite terms"
        raise NonFiniteLossError(
            f"the loss is not finite at step {step}: {where}; a lower training.optimizer.lr or "
            "training.gradient_clip_norm=1 usually helps"
        )

    def means(self) -> dict[str, Tensor]:
        """The mean of every term over the steps since ``reset``; looks at what is pending first."""
        self.check()
        return {name: value / self._count for name, value in self._sums.items()}
