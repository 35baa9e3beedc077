"""What a run is called where people compare runs: its name, its tags, and the part of the config that concerns it."""

from collections.abc import Mapping
from typing import Any

from kdlab.experiments.concerning import OF_THE_STUDENT, TEACHER_SECTIONS, TWIN_SECTIONS, concerning
from kdlab.experiments.planned import PlannedRun
from kdlab.experiments.several import word_of

#: What of a config says nothing about a teacher, or of a scratch twin: columns of its own would mislead.
_NOT_OF_A_TEACHER = ("student", "objective", "training", "seed")


def run_name(planned: PlannedRun) -> str:
    """Arm or role, and what varies: ``distilled temperature=4 alpha=0.9 seed=0``, ``teacher overconfident seed=3``."""
    config = planned.config
    asked = concerning((*TWIN_SECTIONS, *TEACHER_SECTIONS, "objective"), planned.overrides)
    words = [line.lstrip("+").split("=", 1) for line in asked if "=" in line]
    varied = [
        f"{key.rsplit('.', 1)[-1]}={value}" for key, value in words if not key.endswith("seed") and "/" not in key
    ]
    seeds = planned.seeds
    seed = seeds["teacher"] if planned.role == "teacher" else seeds["student"]
    seeded = [] if seed is None else [f"seed={seed}"]
    if planned.role == "teacher":
        assert config.teacher is not None
        return " ".join(["teacher", word_of(config.teacher), *varied, *seeded])
    return " ".join([_arm(planned) or planned.role, *varied, *seeded])


def tags_of(planned: PlannedRun) -> list[str]:
    """Study, arm, data, the teacher's quality where one taught, and the user's own tags."""
    config = planned.config
    taught = planned.role == "teacher" or planned.identity_config.get("teacher") is not None
    quality = f"teacher:{config.teacher.quality['name']}" if taught and config.teacher is not None else None
    found = [config.study.name, _arm(planned), config.data.name, quality, *config.tracker.tags]
    return [*dict.fromkeys(tag for tag in found if tag)]


def shown_config(planned: PlannedRun) -> dict[str, Any]:
    """The config as the tracker shows it: resolved and whole, with the role, without what does not concern the run."""
    config = planned.config
    plain: Mapping[str, Any] = config.plain
    taught = config.teacher is not None and config.teacher.is_taught
    hidden = _NOT_OF_A_TEACHER if planned.role == "teacher" and not taught else ()
    shown = {key: value for key, value in plain.items() if key not in hidden}
    if planned.role == "teacher" and not taught and "rows" not in planned.identity_config:
        shown["data"] = {key: value for key, value in plain["data"].items() if f"data.{key}" not in OF_THE_STUDENT}
    return {
        **shown,
        "role": planned.role,
        "seeds": planned.seeds,
        "study": {**plain.get("study", {}), "arm": _arm(planned)},
    }


def _arm(planned: PlannedRun) -> str | None:
    """The arm of a student; a twin and a teacher serve many arms and belong to none."""
    return planned.config.study.arm if planned.role == "student" else None
