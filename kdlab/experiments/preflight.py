"""What is tried before the first point trains: the store, the data, each architecture once, the user's checkpoint."""

from collections.abc import Callable, Iterable
from typing import Any

from kdlab.errors import UserError
from kdlab.experiments.lab import Lab
from kdlab.experiments.latency import latency_of
from kdlab.experiments.students import build_student
from kdlab.experiments.teachers import build_teacher_network, load_checkpoint
from kdlab.records.identity import canonical_json
from kdlab.schema import RunConfig
from kdlab.teachers import Quality


def preflight(configs: Iterable[RunConfig], lab: Lab) -> None:
    """Try everything that can fail without training, each distinct thing once.

    Raises:
        UserError: with all that failed.
    """
    problems: list[str] = []
    seen: set[str] = set()
    for config in configs:
        for key, check in _checks(config, lab):
            if key in seen:
                continue
            seen.add(key)
            try:
                check()
            except UserError as error:
                problems += str(error).splitlines()
    if problems:
        raise UserError("\n".join(dict.fromkeys(problems)))


def measure_latencies(configs: Iterable[RunConfig], lab: Lab) -> None:
    """Measure every pair of architectures of a sweep while nothing of it trains."""
    for config in configs:
        dataset = lab.dataset(config)
        reference = None if config.teacher is None else config.teacher.model
        latency_of(config.student, reference, config=config, dataset=dataset, lab=lab)
        if reference is not None:
            latency_of(reference, None, config=config, dataset=dataset, lab=lab)


def _checks(config: RunConfig, lab: Lab) -> list[tuple[str, Callable[[], Any]]]:
    """Named checks; the name says what makes two of them the same (seeds do not)."""
    data = {"data": config.data.spec, "name": config.data.name, "slices": sorted(config.data.slices)}
    checks: list[tuple[str, Callable[[], Any]]] = [
        (canonical_json(data), lambda: lab.dataset(config)),
        (canonical_json({**data, "student": config.student}), lambda: build_student(config, lab.dataset(config))),
    ]
    teacher = config.teacher
    if teacher is not None and Quality.from_spec(teacher.quality).needs_network:

        def try_teacher() -> None:
            network = build_teacher_network(config, lab.dataset(config))
            if teacher.checkpoint is not None:
                load_checkpoint(teacher, network)

        checks.append((canonical_json({**data, "teacher": teacher.model, "file": teacher.checkpoint}), try_teacher))
    return checks
