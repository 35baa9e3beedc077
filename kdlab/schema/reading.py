"""A config arrives as a plain, resolved mapping and becomes a ``RunConfig`` at once, all mistakes reported together."""

import copy
import math
import re
from collections.abc import Iterator, Mapping
from typing import Any

from pydantic import ValidationError

from kdlab.errors import UserError
from kdlab.schema.bookkeeping import TuneConfig
from kdlab.schema.config import RunConfig
from kdlab.schema.cross_checks import cross_problems
from kdlab.schema.messages import message
from kdlab.schema.target_checks import misplaced_schedules, target_problems


class ConfigError(UserError):
    """Everything that is wrong with a config, one mistake a line."""


def read_config(plain: Mapping[str, Any], *, sound: dict[str, Any] | None = None, targets: bool = True) -> RunConfig:
    """The typed config of a resolved mapping.

    Args:
        plain: the mapping.
        sound: sections of other configs that were found sound, by what they say; those of this one are added. The
            points of a sweep share most of theirs, and only what lies between the sections is checked for each.
        targets: False leaves out what needs the networks and terms themselves, and with them torch: for a command that
            trains nothing and lets none of this be set.

    Raises:
        ConfigError: with every mistake: unknown keys, wrong types, values out of range, targets that do not exist or do
            not take what they are given, values that contradict each other.
    """
    problems: list[str] = []
    config: RunConfig | None = None
    texts = {} if sound is None else {name: f"{name} = {section!r}" for name, section in plain.items()}
    known = {name: sound[text] for name, text in texts.items() if text in sound} if sound else {}
    new = {name: section for name, section in plain.items() if name not in known}
    try:
        config = RunConfig.model_validate({**copy.deepcopy(new), **known, "plain": dict(plain)})
    except ValidationError as error:
        problems += [message(detail) for detail in error.errors(include_url=False)]
    problems += target_problems(new) if targets else []
    problems += [f"{key} = {value}: must be a finite number" for key, value in _infinite(new)]
    misplaced = misplaced_schedules(new)
    problems = [
        *misplaced.values(),
        *(line for line in problems if not any(_speaks_of(line, key) for key in misplaced)),
    ]
    if config is not None:
        problems += cross_problems(config) if targets else []
    if problems:
        raise ConfigError("\n".join(_once(problems)))
    assert config is not None
    if sound is not None:
        sound |= {text: getattr(config, name) for name, text in texts.items()}
    return config


def read_tuning(study: Any) -> TuneConfig:
    """The tuning phase of a resolved section ``study``: a sweep asks for it before its points are composed.

    Raises:
        ConfigError: with every mistake.
    """
    try:
        return TuneConfig.model_validate(study.get("tune", {}))
    except ValidationError as error:
        found = [message({**detail, "loc": ("study", "tune", *detail["loc"])}) for detail in error.errors()]
        raise ConfigError("\n".join(found)) from error


def _infinite(value: Any, *, key: str = "") -> Iterator[tuple[str, float]]:
    """Every infinity or NaN in a config with its key: nothing that is run or named is made from one."""
    if isinstance(value, Mapping):
        for name, item in value.items():
            yield from _infinite(item, key=f"{key}.{name}" if key else str(name))
    elif isinstance(value, list | tuple):
        for at, item in enumerate(value):
            yield from _infinite(item, key=f"{key}[{at}]")
    elif isinstance(value, float) and not math.isfinite(value):
        yield key, value


def _speaks_of(problem: str, key: str) -> bool:
    """Whether a problem is one of a key, or of a key below it."""
    return re.match(rf"((unknown|missing) key )?{re.escape(key)}[. :]", f"{problem} ") is not None


def _once(problems: list[str]) -> list[str]:
    """One line per mistake: a value that two checks refuse (``key = value: ...``) is reported by the first."""
    return list({problem.split(": ")[0]: problem for problem in reversed(problems)}.values())[::-1]
