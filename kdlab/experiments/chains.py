"""A teacher that was taught itself: an assistant (Mirzadeh et al. 2020, arXiv:1902.03393), or an earlier generation of
the student's own architecture (Furlanello et al. 2018, arXiv:1805.04770).

It learns as the student does: the same objective, rows and recipe. Its streams are a teacher's, begun anew for every
generation, and it is measured as a teacher.
"""

from typing import TYPE_CHECKING, Any

from torch import nn

from kdlab.experiments.fitting import recipe_of
from kdlab.experiments.lab import Lab
from kdlab.experiments.runs import Desk
from kdlab.experiments.several import as_student, generation_seed
from kdlab.experiments.teacher_cache import is_stored, shown_to, teaching
from kdlab.objectives import Objective
from kdlab.schema.config import RunConfig
from kdlab.training import Learner
from kdlab.training.listening import placed

if TYPE_CHECKING:  # teachers.py imports this file
    from kdlab.experiments.teachers import Taught


def learner(config: RunConfig, network: nn.Module, taught: "Taught", lab: Lab, desk: Desk) -> Learner:
    """The last network of a chain, ready to learn from the one before.

    Args:
        config: of the teacher that it will be.
        network: it, initialised.
        taught: the one before.
        lab: where answers are stored.
        desk: where it writes.
    """
    pupil = as_student(config)
    dataset, shown = lab.dataset(pupil), shown_to(pupil, lab)
    specified = Objective.from_specs(pupil.objective.terms, num_steps=shown.recipe.steps)
    objective = placed(specified, student=network, teacher=taught.provider)
    return Learner(
        network,
        objective,
        train=shown.train,
        validation=dataset.validation,
        recipe=recipe_of(shown.recipe),
        role="teacher",
        seed=generation_seed(config),
        teacher=teaching(taught, pupil, lab, features=objective.teacher_features),
        facts=dataset.facts,
        sinks=desk.sinks,
        checkpoint=desk.checkpoint,
        mixture=shown.mixture,
    )


def facts_of(learner: Learner) -> dict[str, Any]:
    """What the record says of how it was taught: whether answers were read from files, and between which layers."""
    answers = "stored" if learner.teacher is not None and is_stored(learner.teacher) else "online"
    layers = {"layers": learner.objective.layers} if learner.objective.layers else {}
    return {"teacher_answers": answers, **layers}
