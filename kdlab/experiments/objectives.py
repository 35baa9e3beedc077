"""The objective of a config over the steps of its run, where a schedule may silence a term."""

from typing import Any

from kdlab.objectives import Objective, effective_terms
from kdlab.schema.config import RunConfig


def terms_of(config: RunConfig) -> dict[str, dict[str, Any]]:
    """The terms that its student learns from, as they stand in its identity."""
    return effective_terms(config.objective.terms, num_steps=config.training.steps)


def objective_of(config: RunConfig) -> Objective:
    """What its student is trained to do, layers by the words that name them."""
    return Objective.from_specs(config.objective.terms, num_steps=config.training.steps)
