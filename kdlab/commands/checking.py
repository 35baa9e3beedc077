"""From a composed config to the typed one: every mistake of the user's at once, before any work."""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from hydra.core.override_parser.types import OverrideType
from hydra.errors import HydraException
from omegaconf import Container, DictConfig, ListConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from kdlab.commands.composing import (
    CONVENTION,
    OURS,
    Composer,
    dotted_keys,
    is_special,
    make_loader,
    nodes,
    parse_overrides,
)
from kdlab.commands.grid import key_of
from kdlab.commands.hydra_errors import explain_hydra, needs_multirun
from kdlab.commands.knobs import QUALITY_PARTS, section_of, unread
from kdlab.commands.raw import Raw, Sections, plain, raw_config, references, value_at, with_value
from kdlab.errors import UserError, nearest
from kdlab.schema.config import RunConfig
from kdlab.schema.reading import read_config

_ABSENT = object()
_KEY_OF_PROBLEM = re.compile("(?:unknown key )?(.+?) = |missing key (.+?): ")
#: The groups whose choice decides which knobs there are.
_CHOOSE_KNOBS = ("objective", "teacher/quality", "data/transfer")
OBJECTIVE, STANDARD = "objective", "distillation"
MOST_OBJECTIVES = 3
"""How many objectives that would read a key a message names."""


def read(overrides: Sequence[str], *, config_dir: str | Path | None = None, targets: bool = True) -> RunConfig:
    """The typed config of a single run, as ``kdlab run`` reads it; ``targets`` as ``read_config`` has it.

    Raises:
        UserError: every mistake: in the grammar, in names, keys, types, ranges, and knobs that nothing reads.
    """
    composer = Composer(make_loader(config_dir))
    try:
        refuse_axes(overrides)
        cfg, absent = composer.compose(overrides)
    except (HydraException, OmegaConfBaseException) as error:
        raise UserError("\n".join(explain_hydra(error))) from error
    return checked(cfg, overrides, composer=composer, absent=absent, targets=targets)


def checked(
    cfg: DictConfig,
    overrides: Sequence[str],
    *,
    composer: Composer,
    absent: Sequence[str] = (),
    kind: str = "run",
    targets: bool = True,
) -> RunConfig:
    """The typed config of a composed one, and no override that it does not read.

    Args:
        cfg: the unresolved config.
        overrides: what was set in it.
        composer: to see which other choice would read a key.
        absent: those of ``overrides`` whose key the config does not have.
        kind: ``run`` or ``teacher``.
        targets: as ``read_config`` has it.

    Raises:
        UserError: every mistake, one a line.
    """
    given = [override for override in parse_overrides(overrides) if not override.is_hydra_override()]
    keys = [key_of(str(override.input_line)) for override in given]
    ignored = unread(raw_config(cfg), keys, kind=kind)
    problems = []
    for override, key in zip(given, keys, strict=True):
        if override.input_line in absent or key in ignored:
            value = None if override.type is OverrideType.DEL else override.get_value_element_as_str()
            beside = [line for line in overrides if line != override.input_line]
            problems.append(unread_problem(key, value, beside=beside, composer=composer, kind=kind))
    if CONVENTION in ignored:  # what it left in the config would be told as mistakes of their own
        cfg, _ = composer.compose([line for line in overrides if key_of(line) != CONVENTION])
    try:
        config = typed(cfg, targets=targets)
    except UserError as error:
        problems += str(error).splitlines()
    if problems:
        raise UserError("\n".join(dict.fromkeys(problems)))
    return config


def refuse_axes(overrides: Sequence[str]) -> None:
    """Refuse several values where one run is asked for.

    Raises:
        UserError: naming them.
    """
    axes = [str(override.input_line) for override in parse_overrides(overrides) if override.is_sweep_override()]
    if axes:
        raise UserError("\n".join(needs_multirun(line) for line in axes))


def unread_problem(
    key: str,
    value: str | None,
    *,
    beside: Sequence[str],
    composer: Composer,
    kind: str = "run",
    where: str = "nothing in this config",
) -> str:
    """Why an override is refused: what would read its key, or the nearest keys that there are.

    Args:
        key: the key that is not read.
        value: what it was set to, None where it was deleted.
        beside: the other overrides.
        composer: composes the alternatives.
        kind: ``run`` or ``teacher``.
        where: who does not read it.
    """
    shown = f"~{key}" if value is None else f"{key} = {value}"
    beside = [line for line in beside if not parse_overrides([line])[0].is_sweep_override()]
    if words := _other_words(key, beside, composer=composer, kind=kind):
        return f"{shown}: {where} reads it; {words}"
    readers = _readers(key, beside, composer=composer, kind=kind)
    if readers:
        return f"{shown}: {where} reads it; with {' or '.join(readers)} it is read"
    cfg, _ = composer.compose(beside)
    known = {*dotted_keys(cfg), *_groups(cfg)}
    if key in known:
        return f"{shown}: {where} reads it"
    hint = nearest(key, known)
    return f"unknown key {shown}; {hint if hint.startswith('did') else 'kdlab run --cfg job shows all keys'}"


def _other_words(key: str, beside: Sequence[str], *, composer: Composer, kind: str) -> str:
    """What the chosen convention has in the place of a key that is read without it; empty for none."""
    kept = [line for line in beside if key_of(line) != CONVENTION]
    if len(kept) == len(beside) or section_of(key) != OBJECTIVE or key == CONVENTION:
        return ""
    raw, _ = composer.compose_raw(kept)
    if value_at(raw, key, _ABSENT) is _ABSENT or unread(raw, [key], kind=kind):
        return ""
    chosen = [line for line in beside if key_of(line) == CONVENTION][-1].lstrip("+")
    names = [f"{OBJECTIVE}.{name}" for name in composer.content(*chosen.split("=", 1)) if name != "terms"]
    own = [name for name in names if value_at(raw, name, _ABSENT) is _ABSENT]
    return f"{chosen} has {' and '.join(own)} instead; with {CONVENTION}={OURS} it is read"


def _readers(key: str, beside: Sequence[str], *, composer: Composer, kind: str) -> list[str]:
    """The choices of a group that would read the key: ``objective=distillation`` for T."""
    section = section_of(key)
    for group in _CHOOSE_KNOBS:
        if key == group or not (section in (section_of(group), "teacher") or _is_heard(key, group)):
            continue
        kept = [line for line in beside if not line.lstrip("+").startswith(f"{group}=")]
        found: list[str] = []
        for option in _likely(group, key, composer=composer):
            if group == OBJECTIVE and len(found) == MOST_OBJECTIVES:
                break
            raw = _with_choice(group, option, kept, composer=composer)
            is_there = raw is not None and (value_at(raw, key, _ABSENT) is not _ABSENT or composer.is_group(key))
            if raw is not None and is_there and not unread(raw, [key], kind=kind):
                found.append(f"{group}={option}")
        if found:
            return found
    return []


def _is_heard(key: str, group: str) -> bool:
    """Whether a transfer set is the key, and the objective the group: something must be learned from its rows."""
    return group == OBJECTIVE and key.replace("/", ".").startswith("data.transfer")


def _likely(group: str, key: str, *, composer: Composer) -> list[str]:
    """The configs of a group that may decide whether a key is read.

    Of the objectives, of which there are many, those that mention it, the standard one first; where the key is the
    teacher's, the standard one alone: it listens to a teacher, and one such is enough to tell.
    """
    options = composer.options(group)
    if group != OBJECTIVE:
        return options
    if section_of(key) != OBJECTIVE or key == CONVENTION:
        return [STANDARD]
    word = key.rpartition(".")[2]
    return sorted((one for one in options if composer.mentions(group, one, word)), key=lambda one: one != STANDARD)


def _with_choice(group: str, option: str, kept: Sequence[str], *, composer: Composer) -> Raw | None:
    """The raw config with another choice of a group; None where this choice does not go with the rest.

    A teacher's quality that stands by itself is laid over the doses, as composing would; composing all twelve takes
    seconds.
    """
    try:
        alone = composer.alone(group, option) if group == "teacher/quality" else None
        if alone is None:
            return composer.compose_raw([*kept, f"{group}={option}"])[0]
        raw, _ = composer.compose_raw(kept)
    except (HydraException, OmegaConfBaseException, UserError):
        return None
    present = value_at(raw, "teacher.quality")
    if not isinstance(present, dict):
        return raw
    doses = {name: value for name, value in present.items() if name not in QUALITY_PARTS}
    return with_value(raw, "teacher.quality", {**doses, **alone})


def _groups(cfg: DictConfig) -> list[str]:
    """The groups that this config chooses from."""
    chosen = [str(name).split("@")[0] for name in cfg.hydra.runtime.choices]
    return [name for name in dict.fromkeys(chosen) if section_of(name) not in ("hydra", "sweeps", "size")]


def typed(cfg: DictConfig, *, targets: bool = True) -> RunConfig:
    """The typed config of an unresolved one; ``targets`` as ``read_config`` has it.

    Raises:
        UserError: every mistake, one a line.
    """
    try:
        return read_config(resolved(cfg), targets=targets)
    except UserError as error:
        raise UserError("\n".join(_causes(str(error).splitlines(), raw_config(cfg)))) from error


class PointReader:
    """Reads the raw configs of a sweep's points: what they share is resolved and checked once."""

    def __init__(self) -> None:
        register_resolvers()
        self.sections = Sections()
        self._sound: dict[str, Any] = {}
        self._configs: dict[str, RunConfig] = {}

    def typed(self, raw: Raw) -> RunConfig:
        """The typed config of a point.

        Raises:
            UserError: every mistake, one a line.
        """
        try:
            try:
                whole = self.sections.resolved(raw)
            except OmegaConfBaseException:
                whole = resolved(OmegaConf.create(raw))  # tells every key that cannot be resolved
            return self.read(whole)
        except UserError as error:
            raise UserError("\n".join(_causes(str(error).splitlines(), raw))) from error

    def read(self, whole: Mapping[str, Any]) -> RunConfig:
        """``read_config``, once for configs that say the same (the scratch twin of many points)."""
        text = repr(whole)
        if text not in self._configs:
            self._configs[text] = read_config(whole, sound=self._sound)
        return self._configs[text]


def _causes(problems: Sequence[str], raw: Mapping[str, Any]) -> list[str]:
    """The problems without those that repeat another: a value that only reads a wrong one by interpolation.

    Where the value it reads is not named itself, the first that reads it speaks for all.
    """
    keys = [found[1] or found[2] if (found := _KEY_OF_PROBLEM.match(line)) else line for line in problems]
    causes, told = [], set(keys)
    for key, line in zip(keys, problems, strict=True):
        sources = [] if "${" in line else list(_names_in(raw, key))  # it says itself what it reads
        if not any(f"{source}.".startswith(f"{cause}.") for source in sources for cause in told):
            causes.append(f"{line}; it reads {', '.join(sources)}" if sources else line)
            told.update(sources)
    return causes


def _names_in(raw: Mapping[str, Any], key: str) -> Iterator[str]:
    """The keys that the value at ``key`` interpolates."""
    parts = key.split(".")
    value: Any = raw
    for depth, part in enumerate(parts):
        if isinstance(value, str):
            yield from _keys_below(references(value, tuple(parts[:depth])), parts[depth:], raw)
            return
        if not isinstance(value, Mapping) or part not in value:
            return
        value = value[part]
    yield from references(value, tuple(parts))


def _keys_below(names: Iterable[str], rest: Sequence[str], raw: Mapping[str, Any]) -> Iterator[str]:
    """The knobs of schedules that interpolated keys stand for: of one that is 1 minus another, the other's."""
    for name in names:
        below = ".".join([name, *(part for part in rest if part != "of")])
        yield name if value_at(raw, below, _ABSENT) is _ABSENT else below


def resolved(cfg: DictConfig) -> dict[str, Any]:
    """The plain, resolved mapping of a config, without Hydra's own part.

    Raises:
        UserError: every interpolation that leads nowhere and every missing value.
    """
    register_resolvers()
    names = [name for name in cfg.keys() if name != "hydra"]  # noqa: SIM118 - keys() shows missing values too
    try:
        return {str(name): plain(cfg._get_node(name), resolve=True) for name in names}
    except OmegaConfBaseException as error:
        problems = list(_unresolvable(cfg))
        raise UserError("\n".join(problems or str(error).splitlines()[:1])) from error


def register_resolvers() -> None:
    """Make ``${one_minus:x}``, ``${share:x,y}``, ``${above_zero:x}`` and ``${half:x}`` known to OmegaConf."""
    from kdlab.rounding import above_zero, half, one_minus, share

    def passing(function: Callable[..., Any], *kinds: type) -> Callable[..., Any]:
        """What is of no such kind passes unchanged: the schema names the key it came from."""

        def resolver(*given: Any) -> Any:
            values = [OmegaConf.to_container(value) if isinstance(value, Container) else value for value in given]
            wrong = [value for value in values if not isinstance(value, kinds)]
            return wrong[0] if wrong else function(*values)

        return resolver

    OmegaConf.register_new_resolver("one_minus", passing(one_minus, int, float, Mapping), replace=True)
    OmegaConf.register_new_resolver("share", passing(share, int, float), replace=True)
    OmegaConf.register_new_resolver("above_zero", passing(above_zero, int, float), replace=True)
    OmegaConf.register_new_resolver("half", passing(half, int), replace=True)


def _unresolvable(cfg: DictConfig) -> Iterator[str]:
    for key, parent, name in nodes(cfg):
        if section_of(key) == "hydra":
            continue
        node = parent._get_node(name)
        if isinstance(node, DictConfig | ListConfig) and not is_special(node):
            continue
        if node._is_missing():
            yield f"{key} = ???: a value is needed"
            continue
        try:
            parent[name]
        except OmegaConfBaseException as error:
            yield f"{key} = {node._value()}: {str(error).splitlines()[0]}"
