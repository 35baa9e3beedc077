"""Relations instead of values (Huang et al. 2022, DIST, arXiv:2205.10536): a stronger teacher need not be matched.

Pearson correlation asks that the student ranks as the teacher does, whatever the scale: the classes of each example,
and the examples of the batch in each class.
"""

from torch import Tensor

from kdlab.objectives.features.shapes import unit
from kdlab.objectives.logits.divergences import scaled
from kdlab.objectives.marks import boolean, non_negative, positive, term
from kdlab.objectives.terms import log_probs, taught_logits
from kdlab.outputs import Batch, ModelOutput, TeacherOutput


def agreement(first: Tensor, second: Tensor) -> Tensor:
    """The summands of the Pearson correlation along the last axis: they add up to it. 0 where one side is constant."""
    return unit(first - first.mean(-1, keepdim=True)) * unit(second - second.mean(-1, keepdim=True))


@term(
    needs=("logits",),
    reduction="sum",
    knobs={"temperature": positive, "inter": non_negative, "intra": non_negative, "t2_scaling": boolean},
    per_student=("temperature",),
)
def dist_relations(
    student: ModelOutput,
    teacher: TeacherOutput | None,
    batch: Batch,
    step: int,
    *,
    temperature: float | Tensor = 1.0,
    inter: float = 2.0,
    intra: float = 2.0,
    t2_scaling: bool = True,
) -> Tensor:
    """``T^2 (inter mean_i (1 - rho_i) + intra mean_c (1 - rho_c))``, each example with its share.

    rho_i: correlation of the two distributions of example i over the classes. rho_c: correlation of the two columns of
    class c over the batch. The paper's equations have no T^2, its code for classification does.

    Args:
        student: the student's output; its rows are the batch.
        teacher: the teacher's output; its logits are read.
        batch: not read.
        step: not read.
        temperature: T > 0, of both softmaxes.
        inter: weight of the relations between classes.
        intra: weight of those within a class.
        t2_scaling: whether to multiply by T^2.

    Returns:
        ``[..., B]``, shares of the value of the batch.
    """
    own = log_probs(student.logits, temperature=temperature).exp()
    other = log_probs(taught_logits(teacher, term="dist_relations"), temperature=temperature).exp()
    rows = own.shape[-2]
    of_rows = 1 - agreement(own, other).sum(-1)
    of_columns = 1 - rows * agreement(own.mT, other.mT).mean(-2)
    return scaled((inter * of_rows + intra * of_columns) / rows, temperature=temperature, t2_scaling=t2_scaling)
