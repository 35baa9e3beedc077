"""One set as the metrics see it: what several of them need is computed once, and a teacher's once for all students."""

from dataclasses import asdict, dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from kdlab.evaluation import calibration, metrics
from kdlab.outputs import FloatArray, IntArray, Predictions


@dataclass(frozen=True)
class Scored:
    """The predictions of a network on a set, and what is derived from them when it is first asked for.

    Args:
        name: of the set.
        predictions: never changed afterwards.
    """

    name: str
    predictions: Predictions

    @cached_property
    def log_probs(self) -> FloatArray:
        """``[N, C]``."""
        return metrics.log_softmax(self.predictions.logits)

    @cached_property
    def probs(self) -> FloatArray:
        """``[N, C]``."""
        return np.exp(self.log_probs)

    @cached_property
    def top(self) -> IntArray:
        """``[N]``, the top class."""
        return np.asarray(self.predictions.logits.argmax(axis=-1))

    @cached_property
    def confidence(self) -> FloatArray:
        """``[N]``, the probability of the top class."""
        return np.asarray(np.exp(self.log_probs[np.arange(len(self.top)), self.top]))

    @cached_property
    def correct(self) -> npt.NDArray[np.bool_]:
        """``[N]``, whether the top class is the label."""
        return np.asarray(self.top == self.predictions.labels)

    @cached_property
    def accuracy(self) -> float:
        """Share of examples classified correctly."""
        return int(self.correct.sum()) / len(self.correct)

    @cached_property
    def bins(self) -> calibration.ReliabilityBins:
        """The reliability diagram."""
        return calibration.bins(self.confidence, self.correct)

    @cached_property
    def ece(self) -> float:
        """Expected calibration error, to the last bit what netcal makes of confidences and hits."""
        if self.confidence.max() < 1.0:
            return calibration.ece_of_bins(self.bins)
        return calibration.ece_binned(self.confidence, self.correct)

    def plain_bins(self) -> dict[str, list[float]]:
        """The bins as a record holds them."""
        return {name: column.tolist() for name, column in asdict(self.bins).items()}


def check(name: str, predictions: Predictions, *, num_classes: int, who: str = "") -> None:
    """Refuse predictions that cannot be measured.

    Args:
        name: of the set.
        predictions: of it.
        num_classes: C.
        who: what an error says of them, as `` of the teacher``.

    Raises:
        ValueError: the set is empty, has non-finite logits or labels outside the classes; the message names it.
    """
    logits, labels, index = predictions
    if logits.ndim != 2 or logits.shape[1] != num_classes:
        raise ValueError(f"set '{name}'{who}: logits of shape {logits.shape}, expected [N, {num_classes}]")
    if not len(logits) == len(labels) == len(index) or len(labels) == 0:
        raise ValueError(f"set '{name}'{who}: {len(logits)} logits, {len(labels)} labels, {len(index)} indices")
    finite = np.isfinite(logits)
    if not finite.all():
        broken = ~finite.all(axis=-1)
        raise ValueError(f"set '{name}'{who}: non-finite logits in {int(broken.sum())} of {len(logits)} examples")
    if labels.min() < 0 or labels.max() >= num_classes:
        raise ValueError(f"set '{name}'{who}: labels {labels.min()} to {labels.max()}, allowed 0 to {num_classes - 1}")
