"""Confidence-weighted labels (Furlanello et al. 2018, CWTM, arXiv:1805.04770): the teacher says which examples count.

Born-again networks' control: of the teacher nothing is left but how sure it is. What this gains was the weight of
examples, not dark knowledge.
"""

import torch
from torch import Tensor

from kdlab.objectives.marks import term
from kdlab.objectives.terms import hard_labels, log_probs, taught_logits
from kdlab.outputs import Batch, ModelOutput, TeacherOutput


@term(needs=("logits",), reduction="sum", labelled_only=True)
def confidence_weighted(student: ModelOutput, teacher: TeacherOutput | None, batch: Batch, step: int) -> Tensor:
    """``w CE(labels, student)``, ``w = max_c p_c / sum_rows max_c p_c`` over the labelled rows; p: the teacher's.

    Args:
        student: the student's output.
        teacher: the teacher's output; its logits are read.
        batch: labels, and which rows have one.
        step: not read.

    Returns:
        ``[..., B]``, shares of the value of the batch, in nats; 0 on rows without a label.
    """
    confidence = log_probs(taught_logits(teacher, term="confidence_weighted"), temperature=1.0).amax(-1).exp()
    confidence = torch.where(batch.labelled, confidence, 0)
    total = confidence.sum(-1, keepdim=True)
    return confidence / torch.where(total > 0, total, 1) * hard_labels(student, None, batch, step)
