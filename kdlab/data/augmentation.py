"""Augmentation: random changes of a batch, each student with a stream of its own."""

from collections.abc import Mapping
from typing import Any

from kdlab.targets import spec_errors


def augmentation_errors(steps: Mapping[str, Any], *, key: str) -> list[str]:
    """What is wrong with the named steps of an augmentation."""
    problems = []
    for name, spec in steps.items():
        if isinstance(spec, Mapping):
            problems += spec_errors(spec, key=f"{key}.{name}", provided=("size",))
    return problems
