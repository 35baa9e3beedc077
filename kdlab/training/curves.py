"""What the curves of K learners show: how often they are right while they train, and how they do on validation."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from kdlab.models import as_output
from kdlab.models.stacking import Stack
from kdlab.objectives.terms import log_probs
from kdlab.outputs import Batch
from kdlab.training.batches import EvaluationBatches
from kdlab.training.layout import Places


class RunningAnswers:
    """The answers that learners gave to their training batches.

    They are counted once a chunk: kept for an epoch they would outgrow a stack, counted at each step they would cost.
    """

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        """Forget the epoch."""
        self._given: list[tuple[Tensor, Tensor, Tensor]] = []
        self._counts: list[Tensor] = []

    def add(self, logits: Tensor, batch: Batch) -> None:
        """Take in the logits ``[..., B, C]`` of a step."""
        self._given.append((logits.detach().argmax(-1), batch.main_labels, batch.labelled))

    def count(self) -> None:
        """Count what was given since the last time."""
        for answers, labels, labelled in self._given:
            hits = ((answers == labels) & labelled).sum(-1)
            self._counts.append(torch.stack([hits, labelled.sum(-1)]))
        self._given.clear()

    def shares(self) -> list[float]:
        """For every learner the share of labelled rows that it got right."""
        hits, rows = torch.stack(self._counts).sum(0)
        found: list[float] = (hits.double() / rows).reshape(-1).tolist()
        return found


def of_each(value: float | Tensor, *, count: int) -> list[float]:
    """A number of each of ``count`` learners: ``[count]``, or one that all have."""
    numbers = torch.as_tensor(value, dtype=torch.float64).detach().flatten().tolist()
    return [float(number) for number in (numbers if len(numbers) == count else numbers * count)]


@torch.no_grad()
def validated(student: nn.Module, holdouts: Sequence[EvaluationBatches]) -> list[dict[str, float]]:
    """Accuracy and negative log-likelihood (nats) of every learner on its validation set, in eval mode.

    Args:
        student: a network, or the stack of several; in train mode, where it is again afterwards.
        holdouts: the set of each learner, the same object for those who share one; of one size.
    """
    student.eval()
    device = next(student.parameters()).device
    hits, losses = torch.zeros(2, len(holdouts), dtype=torch.float64, device=device)
    sets = list({id(holdout): holdout for holdout in holdouts}.values())
    of_set = Places([[one is holdout for one in sets].index(True) for holdout in holdouts], device=device)
    count = 0
    for parts in zip(*sets, strict=True):
        logits, labels = _said_of(student, parts, of_set)
        rows = logits.shape[-2]
        own = log_probs(logits, temperature=1).gather(-1, labels.unsqueeze(-1))
        losses -= own.reshape(-1, rows).double().sum(-1)
        hits += (logits.argmax(-1) == labels).view(-1, rows).sum(-1)
        count += rows
    student.train()
    return [
        {"validation/accuracy": hit / count, "validation/nll": loss / count}
        for hit, loss in zip(hits.tolist(), losses.tolist(), strict=True)
    ]


def _said_of(student: nn.Module, parts: Sequence[Batch], of_set: Places) -> tuple[Tensor, Tensor]:
    """Logits ``[..., B, C]`` and labels ``[..., B]`` of a batch of every learner's set."""
    if not isinstance(student, Stack):
        return as_output(student(parts[0].inputs)).logits.float(), parts[0].labels
    if len(parts) == 1:
        logits = student.shared(parts[0].inputs).logits.float()
        return logits, parts[0].labels.expand(logits.shape[:-1])
    inputs = of_set.spread(torch.stack([part.inputs for part in parts]))
    return student(inputs).logits.float(), of_set.spread(torch.stack([part.labels for part in parts]))
