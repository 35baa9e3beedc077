"""Per-term means of an epoch, and the first loss of a student that is not finite."""

import math
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from kdlab.errors import NonFiniteLossError

Terms = Sequence[tuple[int, Mapping[str, Tensor]]]
"""The terms of a step, section by section: the position of its first student, and name -> ``[students]``."""


class LossMonitor:
    """Keeps the losses of K students and their terms, unweighted, and watches for the first that is not finite.

    On the CPU every step is looked at. On an accelerator looking means waiting for it, so losses are looked at together
    every ``patience`` steps; the message names the step at which it happened all the same.

    Args:
        patience: steps between two looks on an accelerator.
    """

    def __init__(self, *, patience: int = 50) -> None:
        self.patience = patience
        self.errors: dict[int, NonFiniteLossError] = {}
        self.reset()

    def reset(self) -> None:
        """Forget the epoch; students that diverged stay known."""
        self._steps: list[tuple[int, Tensor, Terms]] = []
        self._looked = 0

    def add(self, step: int, loss: Tensor, terms: Terms) -> list[int]:
        """Take in one step.

        Args:
            step: its number.
            loss: ``[K]``.
            terms: unweighted.

        Returns:
            The students that were found to have diverged now.
        """
        self._steps.append((step, loss.detach(), [(start, _detached(values)) for start, values in terms]))
        if loss.device.type == "cpu" or len(self._steps) - self._looked >= self.patience:
            return self.look()
        return []

    def look(self) -> list[int]:
        """Look at the losses that were not looked at yet; those found now are kept in ``errors``."""
        recent, self._looked = self._steps[self._looked :], len(self._steps)
        found = []
        for step, loss, terms in recent:
            if math.isfinite(float(loss if len(loss) == 1 else loss.sum())):  # one look for all students
                continue
            for at, value in enumerate(loss.tolist()):
                if not math.isfinite(value) and at not in self.errors:
                    self.errors[at] = NonFiniteLossError(_message(step, _of_student(terms, at)))
                    found.append(at)
        return found

    def means(self) -> list[dict[str, float]]:
        """For every student the mean of its loss and of each of its terms over the steps since ``reset``, in float64.

        Empty where nothing was added.
        """
        if not self._steps:
            return []
        losses = _mean([loss for _, loss, _ in self._steps])
        found = [{"loss": loss} for loss in losses]
        for section, (start, values) in enumerate(self._steps[0][2]):
            for name in values:
                means = _mean([terms[section][1][name] for _, _, terms in self._steps])
                for at, value in enumerate(means, start=start):
                    found[at][f"terms/{name}"] = value
        return found


def _detached(values: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name: value.detach() for name, value in values.items()}


def _mean(rows: Sequence[Tensor]) -> list[float]:
    found: list[float] = torch.stack(list(rows)).double().mean(0).tolist()
    return found


def _of_student(terms: Terms, at: int) -> dict[str, float]:
    start, values = max((section for section in terms if section[0] <= at), key=lambda section: section[0])
    return {name: float(value[at - start]) for name, value in values.items()}


def _message(step: int, numbers: Mapping[str, float]) -> str:
    bad = [name for name, number in numbers.items() if not math.isfinite(number)]
    where = f"term {', '.join(bad)}" if bad else "the weighted sum of finite terms"
    return (
        f"the loss is not finite at step {step}: {where}; a lower training.optimizer.lr or "
        "training.gradient_clip_norm=1 usually helps"
    )
