"""The grid of a sweep: axes from the command line and the sweep file, and the words of an override."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from hydra.core.override_parser.types import Override

from kdlab.commands.composing import parse_overrides
from kdlab.commands.knobs import BOOKKEEPING, section_of
from kdlab.errors import UserError

TUNING_SEEDS = "study.tune.seeds"
SCHEDULE = "schedule"
"""The group that is put in the place of any value: ``+schedule@objective.temperature=linear``."""


@dataclass(frozen=True)
class Axis:
    """One key of the grid and its values, as overrides ``key=value``."""

    key: str
    choices: tuple[str, ...]


def key_of(line: str) -> str:
    """The key of an override, without ``+`` / ``~`` and without its package; of a schedule the value it stands for."""
    group, _, package = slot_of(line).partition("@")
    return package if group == SCHEDULE and package else group


def slot_of(line: str) -> str:
    """What an override sets: two with the same slot exclude each other (``objective/term@objective.terms.hint``)."""
    return line.split("=", 1)[0].lstrip("+~")


def expand(arguments: Sequence[str], *, grid: Mapping[str, str]) -> tuple[list[Axis], list[str]]:
    """The axes of a sweep, in order, and the overrides that every point has.

    A value on the command line replaces the file's grid for that key, however it is written (``+``, ``++``), and a
    later one an earlier.

    Raises:
        UserError: an axis without values, an axis of a key that trains nothing, or values that are no grid.
    """
    given = {slot_of(str(override.input_line)): override for override in parse_overrides(arguments)}
    from_file = parse_overrides([f"{key}={value}" for key, value in grid.items() if slot_of(key) not in given])
    overrides = [override for override in [*from_file, *given.values()] if not override.is_hydra_override()]
    axes = [_axis(override) for override in overrides if override in from_file or override.is_sweep_override()]
    fixed = [str(o.input_line) for o in given.values() if not o.is_hydra_override() and not o.is_sweep_override()]
    return axes, fixed


def _axis(override: Override) -> Axis:
    key, line = override.get_key_element(), str(override.input_line)
    if section_of(override.key_or_group) in BOOKKEEPING:
        quoted = f"; as a list: {key}=[1000,1001]" if key == TUNING_SEEDS else ""
        raise UserError(
            f"{line}: a grid is over what trains the network; {override.key_or_group} has one value a sweep{quoted}"
        )
    if not override.is_sweep_override():
        return Axis(key_of(key), (f"{key}={override.get_value_element_as_str()}",))
    if not override.is_discrete_sweep():
        raise UserError(
            f"{line}: a grid needs values like 1,2,4 or range(0,4); intervals need a sweeper that searches "
            "(hydra/sweeper=...)"
        )
    choices = tuple(f"{key}={value}" for value in override.sweep_string_iterator())
    if not choices:
        raise UserError(f"the sweep is empty: {line} has no value")
    return Axis(key_of(key), choices)
