"""What a student is trained to do: named terms, pure and unreduced, in a weighted sum with absolute weights.

``loss = (1 - alpha) * CE(labels, student) + alpha * T^2 * KL(teacher_T || student_T)``, KL summed over classes,
averaged over examples; CE averaged over the labelled examples.
"""

from kdlab.objectives.marks import boolean, fraction, non_negative, positive, term
from kdlab.objectives.objective import (
    Objective,
    ObjectiveValue,
    distillation,
    one_minus,
)
from kdlab.objectives.setting import Setting
from kdlab.objectives.specs import effective_terms, objective_errors
from kdlab.objectives.term_spec import TermSpec
from kdlab.objectives.terms import hard_labels, soft_targets

__all__ = [
    "Objective",
    "ObjectiveValue",
    "Setting",
    "TermSpec",
    "boolean",
    "distillation",
    "effective_terms",
    "fraction",
    "hard_labels",
    "non_negative",
    "objective_errors",
    "one_minus",
    "positive",
    "soft_targets",
    "term",
]
