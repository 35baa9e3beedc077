"""How commands that train nothing are told what to do: names, flags, and the keys that they read."""

from collections.abc import Sequence
from dataclasses import dataclass

from kdlab.errors import UserError, nearest
from kdlab.schema.config import RunConfig


@dataclass(frozen=True)
class Words:
    """The words of a reading command: names, ``--flags`` and ``key=value`` overrides."""

    names: list[str]
    flags: set[str]
    overrides: list[str]


def parse(words: Sequence[str], *, command: str, flags: Sequence[str] = (), names: int = 1) -> Words:
    """Sort the words of a command.

    Raises:
        UserError: an unknown option, or too many names.
    """
    found = Words(
        [word for word in words if "=" not in word and not word.startswith("-")],
        {word for word in words if word.startswith("-")},
        [word for word in words if "=" in word and not word.startswith("-")],
    )
    for flag in found.flags:
        if flag not in flags:
            raise UserError(f"{command}: unknown option {flag}; {nearest(flag, flags) or 'it has none'}")
    if len(found.names) > names:
        raise UserError(f"{command}: one name is expected, got {' '.join(found.names)}")
    return found


def value_of(words: Sequence[str], option: str, *, command: str, what: str) -> tuple[list[str], str | None]:
    """The words without ``--option VALUE`` or ``--option=VALUE``, and the value; the last one counts.

    Args:
        words: of the command line.
        option: with its dashes.
        command: its name, for messages.
        what: what the option needs, for messages.

    Raises:
        UserError: the option stands there without a value.
    """
    rest, found = list[str](), None
    waiting = iter(words)
    for word in waiting:
        name, equals, value = word.partition("=")
        if name != option:
            rest.append(word)
            continue
        found = value if equals else next(waiting, "")
        if not found:
            raise UserError(f"{command}: {option} needs {what}")
    return rest, found


def settings(overrides: Sequence[str], *, command: str, reads: Sequence[str]) -> RunConfig:
    """The typed config that gives the roots and what else a reading command is told by ``key=value``.

    Args:
        overrides: what it was told.
        command: its name, for messages.
        reads: the keys, or sections ending in a dot, that it reads.

    Raises:
        UserError: a key that it does not read, or a mistake in the others.
    """
    from kdlab.commands.checking import read

    keys = [line.split("=", 1)[0] for line in overrides]
    outside = [key for key in keys if not any(key == name or key.startswith(name) for name in reads)]
    if outside:
        why = ": the network is trained" if command == "evaluate" else ""
        raise UserError(f"{command}: {', '.join(outside)} cannot be set here, only {', '.join(reads)}{why}")
    return read(overrides, targets=command == "evaluate")
