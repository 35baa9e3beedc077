"""What several teachers say of one example, made into one answer: pure functions from their logits to logits.

A term reads logits z and makes ``softmax(z / T)`` of them. So a mean of tempered probabilities is told as
``T log(mean_m softmax(z_m / T))``, of which a term makes that mean again.

Shape legend: ``M`` members, ``B`` examples, ``C`` classes.
"""

import math
from collections.abc import Callable, Mapping
from typing import NamedTuple

import torch
from torch import Tensor


class Combination(NamedTuple):
    """A way to combine: ``combine(logits [M, B, C], temperature=T) -> [B, C]``, and whether T changes the answer."""

    combine: Callable[..., Tensor]
    reads_temperature: bool


def mean_of_tempered(logits: Tensor, *, temperature: float) -> Tensor:
    """``softmax(z / T) = mean_m softmax(z_m / T)``: the mean of what the members show a student at T.

    It is the ensemble of Hinton et al. 2015 (arXiv:1503.02531, section 2, arithmetic mean).

    Args:
        logits: ``[M, B, C]``.
        temperature: T.

    Returns:
        Logits ``[B, C]``.

    >>> said = torch.tensor([[[0.0, 2.0]], [[4.0, 0.0]]])
    >>> mean = (said / 2).softmax(-1).mean(0)
    >>> torch.allclose((mean_of_tempered(said, temperature=2.0) / 2).softmax(-1), mean)
    True
    """
    log_probs = (logits / temperature).log_softmax(-1)
    return temperature * (log_probs.logsumexp(0) - math.log(len(logits)))


def mean_then_tempered(logits: Tensor, *, temperature: float) -> Tensor:
    """``z = log(mean_m softmax(z_m))``: one distribution at T = 1, which a term then tempers; T is not read here."""
    return mean_of_tempered(logits, temperature=1.0)


def mean_of_logits(logits: Tensor, *, temperature: float) -> Tensor:
    """``z = mean_m z_m``: the geometric mean of the members' distributions, whatever T is."""
    return logits.mean(0)


def by_confidence(logits: Tensor, *, temperature: float) -> Tensor:
    """``softmax(z / T) = sum_m w_m softmax(z_m / T)``, weighted for each example by how sure a member is of it.

    Args:
        logits: ``[M, B, C]``, of two members or more.
        temperature: T.

    Returns:
        Logits ``[B, C]``.
    """
    log_probs = (logits / temperature).log_softmax(-1)
    return temperature * (log_probs + confidence_weights(logits).log().unsqueeze(-1)).logsumexp(0)


def confidence_weights(logits: Tensor) -> Tensor:
    """``w_m = (1 - softmax_m(H_m)) / (M - 1)``, ``H_m`` the entropy (nats) of ``softmax(z_m)``.

    A member of low entropy weighs more (Kwon et al., ICASSP 2020, doi:10.1109/ICASSP40776.2020.9054698). The form is
    that of CA-MKD (Zhang et al. 2022, arXiv:2201.00007) with the entropy in the place of the cross-entropy with the
    true label, so that rows without a label are weighted alike.

    Args:
        logits: ``[M, B, C]``, of two members or more.

    Returns:
        ``[M, B]``, each in (0, 1), with sum 1 over the members.
    """
    log_probs = logits.log_softmax(-1)
    entropy = torch.special.entr(log_probs.exp()).sum(-1)
    weights: Tensor = (1.0 - entropy.softmax(0)) / (len(logits) - 1)
    return weights


COMBINATIONS: Mapping[str, Combination] = {
    "probabilities": Combination(mean_of_tempered, reads_temperature=True),
    "probabilities_then_temper": Combination(mean_then_tempered, reads_temperature=False),
    "logits": Combination(mean_of_logits, reads_temperature=False),
    "confidence": Combination(by_confidence, reads_temperature=True),
}
"""By the names of ``teacher.ensemble.combination``; ``random`` combines nothing, it draws a member."""
