"""Fidelity: how much a student says what its teacher says (Stanton et al. 2021), and the entropy of targets."""

import numpy as np

from kdlab.evaluation.metrics import Logits
from kdlab.outputs import FloatArray, IntArray
from kdlab.tempering import mean_entropy as target_entropy

__all__ = ["agreement", "same", "target_entropy", "teacher_kl"]


def agreement(student_logits: Logits, teacher_logits: Logits) -> float:
    """Share of examples on which both have the same top class."""
    return same(student_logits.argmax(axis=-1), teacher_logits.argmax(axis=-1))


def same(student_top: IntArray, teacher_top: IntArray) -> float:
    """The same from the top classes ``[N]`` of both."""
    return int((student_top == teacher_top).sum()) / len(student_top)


def teacher_kl(
    student_log_probs: FloatArray, teacher_log_probs: FloatArray, *, teacher_probs: FloatArray | None = None
) -> float:
    """Mean of ``KL(teacher || student) = sum_k p_k (log p_k - log q_k)`` at T = 1, in nats.

    Args:
        student_log_probs: ``[N, C]``, log q.
        teacher_log_probs: ``[N, C]``, log p.
        teacher_probs: ``[N, C]``, p, where it is known already.
    """
    known = np.exp(teacher_log_probs) if teacher_probs is None else teacher_probs
    divergence = (known * (teacher_log_probs - student_log_probs)).sum(axis=-1)
    return float(np.maximum(divergence, 0.0).sum()) / len(divergence)  # rounding may leave -1e-17
