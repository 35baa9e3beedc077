"""A network ready to learn as a config's student does: a student, its scratch twin, a teacher that is taught itself."""

from typing import TYPE_CHECKING, Any

from torch import nn

from kdlab.experiments.fitting import recipe_of
from kdlab.experiments.lab import Lab
from kdlab.experiments.objectives import objective_of
from kdlab.experiments.runs import Desk
from kdlab.experiments.teacher_cache import is_stored, shown_to, teaching
from kdlab.schema.config import RunConfig
from kdlab.streams import Role
from kdlab.training import Learner
from kdlab.training.listening import placed

if TYPE_CHECKING:  # teachers.py imports this file
    from kdlab.experiments.teachers import Taught


def learner_of(
    config: RunConfig, network: nn.Module, taught: "Taught | None", lab: Lab, desk: Desk, *, role: Role, seed: int
) -> Learner:
    """A network that learns by the objective, rows and recipe of a config's student.

    Args:
        config: in which the network stands in the student's place.
        network: it, initialised.
        taught: who teaches it; None for labels alone.
        lab: where answers are stored.
        desk: where it writes.
        role: whose streams it draws from.
        seed: what they begin with.
    """
    shown = shown_to(config, lab)
    objective = placed(objective_of(config), student=network, teacher=None if taught is None else taught.provider)
    dataset = lab.dataset(config)
    return Learner(
        network,
        objective,
        train=shown.train,
        validation=dataset.validation,
        recipe=recipe_of(shown.recipe),
        role=role,
        seed=seed,
        teacher=teaching(taught, config, lab, features=objective.teacher_features),
        facts=dataset.facts,
        sinks=desk.sinks,
        checkpoint=desk.checkpoint,
        mixture=shown.mixture,
    )


def how_taught(learner: Learner) -> dict[str, Any]:
    """What the record says of how it was taught: whether answers were read from files, and between which layers."""
    teacher, layers = learner.teacher, learner.objective.layers
    answers = {} if teacher is None else {"teacher_answers": "stored" if is_stored(teacher) else "online"}
    return {**answers, **({"layers": layers} if layers else {})}
