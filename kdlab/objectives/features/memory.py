"""The memory of contrastive distillation: an embedding of every training example by both networks, and negatives.

What it draws is a function of (seed, step, example index, number) alone, by a counter-based hash in integer arithmetic:
a resumed run, a student in a stack and one alone draw the same.
"""

import math

import torch
from torch import Tensor, nn

from kdlab.errors import UserError
from kdlab.objectives.features.shapes import products
from kdlab.outputs import NO_LABEL

# The constants of SplitMix64 (Steele et al. 2014), as int64, whose arithmetic wraps.
STRIDE = 0x9E3779B97F4A7C15 - 2**64
FIRST, SECOND = 0xBF58476D1CE4E5B9 - 2**64, 0x94D049BB133111EB - 2**64


def hashed(numbers: Tensor) -> Tensor:
    """Each int64 number as another that looks random: the finaliser of SplitMix64, a bijection."""
    numbers = (numbers ^ _shifted(numbers, 30)) * FIRST
    numbers = (numbers ^ _shifted(numbers, 27)) * SECOND
    return numbers ^ _shifted(numbers, 31)


def draws(seed: Tensor, step: Tensor, index: Tensor, *, count: int) -> Tensor:
    """``[B, count]`` int64 in [0, 2^63): draws 1 to ``count`` of each example in a step.

    Args:
        seed: ``[]`` int64.
        step: ``[]`` int64.
        index: ``[B]`` int64, which example draws.
        count: how many each draws.
    """
    keys = hashed(hashed(seed + STRIDE * step) + STRIDE * index)
    numbers = torch.arange(1, count + 1, device=index.device)
    return hashed(keys.unsqueeze(-1) + STRIDE * numbers) & (2**63 - 1)


def _shifted(numbers: Tensor, by: int) -> Tensor:
    """Right shift that fills with zeros."""
    found: Tensor = (numbers >> by) & (2 ** (64 - by) - 1)
    return found


class Memory(nn.Module):
    """Embeddings of N examples by student and teacher, unit vectors that move towards each new one.

    Rows are sorted by class, so that examples of other classes are a run of rows (across the end).

    Args:
        labels: ``[N]`` int64; an example without a label is a class of its own.
        index: ``[N]`` int64, the example index of each.
        dimension: D of an embedding.
        negatives: m, drawn for each example, with replacement, from those of other classes; at most as many as every
            example has of these.
        momentum: share of the old embedding when a new one comes.
        temperature: T of the scores.

    Raises:
        UserError: all examples are of one class.
    """

    def __init__(
        self, *, labels: Tensor, index: Tensor, dimension: int, negatives: int, momentum: float, temperature: float
    ) -> None:
        super().__init__()
        alone = labels.max() + 1 + torch.arange(len(labels))
        classes = torch.where(labels == NO_LABEL, alone, labels)
        _, codes, sizes = torch.unique(classes, return_inverse=True, return_counts=True)
        others = len(labels) - int(sizes.max())
        if not others:
            raise UserError("a contrastive memory needs training examples of at least two classes")
        self.negatives, self.momentum, self.temperature = min(negatives, others), momentum, temperature
        rows = codes.argsort(stable=True)
        places = index[rows].argsort()
        self.register_buffer("sorted_index", index[rows][places])
        self.register_buffer("row_of", places)
        self.register_buffer("class_end", sizes.cumsum(0)[codes[rows]])
        self.register_buffer("num_others", len(labels) - sizes[codes[rows]])
        bound = math.sqrt(3 / dimension)  # rows of length 1 on average, as in the authors' code
        self.register_buffer("banks", torch.empty(len(labels), 2, dimension).uniform_(-bound, bound))
        self.register_buffer("log_normalisers", torch.zeros(2))
        self.register_buffer("batches", torch.zeros((), dtype=torch.int64))
        self.register_buffer("seed", torch.randint(2**62, ()))

    banks: Tensor
    batches: Tensor
    class_end: Tensor
    log_normalisers: Tensor
    num_others: Tensor
    row_of: Tensor
    seed: Tensor
    sorted_index: Tensor

    def forward(self, student: Tensor, teacher: Tensor, index: Tensor, step: Tensor) -> Tensor:
        """Log odds ``[2, B, 1 + m]`` that a pair is one example seen by both networks, the true pair first.

        ``log (h / (1 - h)) = anchor . memory / T - log Z - log (m / N)``: the student's embeddings beside the teacher's
        memories, and the other way round. Z is estimated at the first batch. Then the memories move.

        Args:
            student: ``[B, D]``, unit vectors.
            teacher: the same of the teacher.
            index: ``[B]`` int64; the log odds of an example that is not remembered are NaN.
            step: ``[]`` int64.
        """
        at = torch.searchsorted(self.sorted_index, index).clamp(max=len(self.sorted_index) - 1)
        rows = self.row_of[at]
        chosen = torch.cat([rows.unsqueeze(1), self._negatives(rows, index, step)], dim=1)
        # a copy: it moves before the backward pass. One product with every row is faster than gathering m rows for each
        remembered = self.banks.flip(1).transpose(0, 1)
        both = torch.stack([student, teacher]).to(remembered)
        scores = products(both / self.temperature, remembered).gather(2, chosen.expand(2, *chosen.shape))
        with torch.no_grad():
            self._normalise(scores)
            self._move(rows, both.transpose(0, 1))
        unknown = torch.where(self.sorted_index[at] == index, 0.0, math.nan).to(remembered)
        noise = math.log(self.negatives / len(self.banks))
        return scores - (self.log_normalisers.unsqueeze(1) + noise + unknown).unsqueeze(2)

    def _negatives(self, rows: Tensor, index: Tensor, step: Tensor) -> Tensor:
        """``[B, m]`` rows of examples of other classes."""
        drawn = draws(self.seed, step, index, count=self.negatives) % self.num_others[rows].unsqueeze(1)
        return (self.class_end[rows].unsqueeze(1) + drawn) % len(self.banks)

    def _normalise(self, scores: Tensor) -> None:
        """Z = N times the mean of ``exp(score)`` over the first batch."""
        size = len(self.banks) / scores[0].numel()
        found = scores.flatten(1).logsumexp(1) + math.log(size)
        self.log_normalisers.copy_(torch.where(self.batches == 0, found, self.log_normalisers))
        self.batches.add_(1)

    def _move(self, rows: Tensor, new: Tensor) -> None:
        moved = torch.lerp(new, self.banks[rows], self.momentum)
        self.banks[rows] = nn.functional.normalize(moved, dim=-1)
