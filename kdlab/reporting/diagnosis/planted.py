"""Planted failures: a study says by the names of its arms what was planted, so that a diagnosis can be held to it.

``planted_FAILURE_SEVERITY`` plants one, ``planted_FAILURE_SEVERITY_and_FAILURE_SEVERITY`` a pair; ``healthy_RECIPE``
plants nothing. ``_at_RECIPE`` behind a planted one says which healthy arm has its recipe; without it that is
``healthy_recipe``. A domain shift trains nothing: its severity is that of the deployment sample.
"""

from typing import NamedTuple

PLANTED, HEALTHY, AND, AT = "planted_", "healthy_", "_and_", "_at_"
FAILURES = (
    "quantised_teacher",
    "weak_teacher",
    "teacher_miscalibrated",
    "domain_shift",
    "over_regularised",
    "under_trained",
    "student_too_small",
)
"""In the order of the decision table."""
SHIFT = "domain_shift"
NONE = "none"
USUAL = "recipe"
"""The recipe of a planted arm that names none."""


class Planted(NamedTuple):
    """What an arm plants.

    Args:
        failures: (failure, severity as it is named); empty for a healthy arm.
        recipe: the healthy arm of the same recipe, or this arm's own.
    """

    failures: tuple[tuple[str, str], ...]
    recipe: str = USUAL

    @property
    def names(self) -> tuple[str, ...]:
        """The failures."""
        return tuple(name for name, _ in self.failures)

    @property
    def deployment(self) -> str:
        """The deployment sample of the arm: shifted as far as it says, else examples of the pool."""
        return next((f"shift:{severity}" for name, severity in self.failures if name == SHIFT), "pool")


def planted_in(arm: str | None) -> Planted | None:
    """What the name of an arm says; None for an arm of another kind.

    >>> planted_in("planted_weak_teacher_25_and_domain_shift_0.5").failures
    (('weak_teacher', '25'), ('domain_shift', '0.5'))
    >>> planted_in("healthy_T4"), planted_in("standard")
    (Planted(failures=(), recipe='T4'), None)
    """
    if arm is None or not arm.startswith((PLANTED, HEALTHY)):
        return None
    if arm.startswith(HEALTHY):
        return Planted((), arm.removeprefix(HEALTHY))
    told, _, recipe = arm.removeprefix(PLANTED).partition(AT)
    found = []
    for part in told.split(AND):
        name = next((failure for failure in FAILURES if part.startswith(f"{failure}_")), None)
        if name is None:
            return None
        found.append((name, part.removeprefix(f"{name}_")))
    return Planted(tuple(found), recipe or USUAL)
