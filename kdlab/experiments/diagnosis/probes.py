"""The probes of a run: students of the same recipe in which one thing differs, named by what that is.

A probe is planned like any other run, so it is found by its identity whoever made it.
"""

import copy
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from kdlab.experiments.concerning import without
from kdlab.experiments.diagnosis.measurements import LONG, SCRATCH, UNIFORM, UNREGULARISED, WIDE
from kdlab.experiments.plan import plan
from kdlab.experiments.planned import Plan
from kdlab.schema.config import RunConfig
from kdlab.schema.reading import read_config

WIDER = 4
LONGER = 4
STEPS_OF_SCHEDULES = ("milestones", "step_size", "T_max", "T_0", "total_steps", "total_iters", "epochs")
"""What schedules of learning rates count in steps."""
NEGLIGIBLE_DECAY = 0.01
"""Decoupled weight decay that shrinks weights by less than this share over the whole run regularises nothing."""
Change = tuple[dict[str, Any], list[str]]
"""A changed config, and the overrides that change it."""


class CannotProbe(Exception):
    """Why a probe of this config cannot be made, or would change nothing."""


def probe_plan(name: str, config: RunConfig, overrides: Sequence[str]) -> Plan:
    """What a probe needs: the run itself, its own twin, and the teacher it shares with the run.

    Args:
        name: of the probe.
        config: of the run.
        overrides: what the run was asked for with.

    Raises:
        CannotProbe: the config has no such knob.
    """
    if name == SCRATCH:
        twin = plan(config, overrides).twin
        return Plan(twin, twin, None)
    changed, lines = _CHANGES[name](config)
    changed["evaluation"] = _on_validation(changed["evaluation"])
    keys = [line.split("=", 1)[0] for line in lines]
    kept = without([key.replace("/", ".") for key in keys], overrides)
    probe = plan(read_config(changed), (*kept, *lines))
    # the student's recipe trains its teacher where that is an assistant, or a generation before it
    chain = config.teacher is not None and bool(config.teacher.assistants or config.teacher.generations)
    if chain and name != UNIFORM and _teacher_id(probe) != _teacher_id(plan(config, overrides)):
        raise CannotProbe("its teacher is trained with what the probe changes")
    return probe


def _teacher_id(planned: Plan) -> str | None:
    return None if planned.teacher is None else planned.teacher.run_id


def _on_validation(evaluation: Mapping[str, Any]) -> dict[str, Any]:
    """A probe is asked for train and validation alone, and keeps what it said there."""
    latency = {**evaluation.get("latency", {}), "enabled": False}
    return {**evaluation, "sets": ["train", "validation"], "keep_predictions": "all", "latency": latency}


def _wide(config: RunConfig) -> Change:
    changed = copy.deepcopy(config.plain)
    width = changed["student"].get("width")
    if not isinstance(width, int):
        raise CannotProbe(f"{changed['student']['_target_']} has no width to probe with")
    changed["student"]["width"] = WIDER * width
    return changed, [f"student.width={WIDER * width}"]


def _long(config: RunConfig) -> Change:
    steps = LONGER * config.training.steps
    changed = copy.deepcopy(config.plain)
    changed["training"]["steps"] = steps
    lines = [f"training.steps={steps}"]
    schedule = changed["training"].get("schedule") or {}
    for key in STEPS_OF_SCHEDULES:
        if (told := schedule.get(key)) is not None:
            schedule[key] = [LONGER * one for one in told] if isinstance(told, list) else LONGER * told
            lines.append(f"training.schedule.{key}={schedule[key]}")
    return changed, lines


def _unregularised(config: RunConfig) -> Change:
    changed, lines = copy.deepcopy(config.plain), []
    for key in regularisers(config):
        *path, last = key.split(".")
        section = changed
        for part in path:
            section = section[part]
        section[last] = 0.0
        lines.append(f"{key}=0.0")
    if not lines:
        raise CannotProbe("neither dropout nor label smoothing, nor weight decay to speak of")
    return changed, lines


def regularisers(config: RunConfig) -> list[str]:
    """The keys of a config that regularise its student: dropout, weight decay, label smoothing.

    AdamW takes at most ``lr x weight_decay`` of every weight in a step, so at most that times ``steps`` in all; below
    one hundredth that is nothing to speak of.
    """
    optimizer, terms = config.training.optimizer, config.plain["objective"]["terms"]
    found = ["student.dropout"] if config.student.get("dropout") else []
    found += [f"objective.terms.{name}.label_smoothing" for name, term in terms.items() if term.get("label_smoothing")]
    if decay := optimizer.get("weight_decay"):
        shrinks = float(optimizer.get("lr", 1.0)) * float(decay) * config.training.steps
        if not (str(optimizer["_target_"]).endswith("AdamW") and shrinks < NEGLIGIBLE_DECAY):
            found.append("training.optimizer.weight_decay")
    return found


def _uniform(config: RunConfig) -> Change:
    changed = copy.deepcopy(config.plain)
    teacher = changed["teacher"]
    if teacher.get("assistants") or teacher.get("generations") or teacher.get("checkpoint"):
        raise CannotProbe("its teacher is no network that was trained here from labels")
    doses = {name: value for name, value in teacher["quality"].items() if not isinstance(value, Mapping)}
    quality = {"name": "uniform", "control": {"_target_": "kdlab.teachers.UniformTeacher"}}
    teacher["quality"] = {**dict.fromkeys(doses), **quality}
    teacher |= {"logit_scale": None, "match_entropy": None, "ensemble": {}}
    return changed, ["teacher/quality=uniform"]


_CHANGES: Mapping[str, Callable[[RunConfig], Change]] = {
    WIDE: _wide,
    LONG: _long,
    UNREGULARISED: _unregularised,
    UNIFORM: _uniform,
}
