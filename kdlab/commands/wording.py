"""Numbers, times and errors as people say them; and the option that Hydra does not know."""

from collections.abc import Sequence

from kdlab.errors import UserError

DRY_RUN = "--dry-run"
MOST_POINTS = 20
"""How many points a dry run lists unless it is told to list all."""


def first_line(error: BaseException) -> str:
    """An error in one line."""
    lines = str(error).splitlines() or [""]
    return lines[0] if isinstance(error, UserError) else f"{type(error).__name__}: {lines[0]}"


def counted(number: int, word: str) -> str:
    """``1 point``, ``2 points``."""
    return f"{number} {word}" + ("" if number == 1 else "s")


def duration(seconds: float) -> str:
    """Seconds as people say them."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def size(num_bytes: float) -> str:
    """Bytes as people say them: ``0.3 MB``, ``12 MB``, ``1.4 GB``."""
    if num_bytes < 1e9:
        return f"{num_bytes / 1e6:.1f} MB" if num_bytes < 1e7 else f"{num_bytes / 1e6:.0f} MB"
    return f"{num_bytes / 1e9:.1f} GB"


def option_of(words: Sequence[str]) -> tuple[list[str], str | None]:
    """The words without ``--dry-run``, and what it was: None where it was not there, ``first`` or ``all``.

    Raises:
        UserError: ``--dry-run=`` anything else.
    """
    rest = [word for word in words if word != DRY_RUN and not word.startswith(f"{DRY_RUN}=")]
    found = [word.partition("=")[2] or "first" for word in words if word not in rest]
    if found and found[-1] not in ("first", "all"):
        raise UserError(f"{DRY_RUN}={found[-1]}: {DRY_RUN} lists {MOST_POINTS} points, {DRY_RUN}=all every one")
    return rest, found[-1] if found else None
