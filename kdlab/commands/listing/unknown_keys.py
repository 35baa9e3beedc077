"""Keys that no run has and kdlab does not know: refused, with the nearest."""

import re
from collections.abc import Sequence
from difflib import get_close_matches

from kdlab.commands.listing.asking import Asked
from kdlab.commands.listing.runs import NAMES, Listed
from kdlab.commands.listing.values import ABSENT
from kdlab.errors import UserError, nearest


def refuse_unknown(asked: Asked, listed: Sequence[Listed]) -> None:
    """Refuse a key that no run has and that kdlab does not know, naming the nearest.

    Raises:
        UserError: with all of them.
    """
    wanted = [one.key for one in asked.filters] + (asked.columns or [])
    wanted += [asked.sort.lstrip("-")] if asked.sort else []
    unknown = [
        key for key in dict.fromkeys(wanted) if key not in NAMES and all(run.value(key) is ABSENT for run in listed)
    ]
    if not unknown:
        return
    known = {*NAMES, *(key for run in listed for key in run.keys())}  # noqa: SIM118 - a method of ours
    from kdlab.commands.composing import Composer, dotted_keys, make_loader

    known |= set(dotted_keys(Composer(make_loader()).compose([])[0]))  # what no run has yet may still be a key
    problems = [f"list: {key}: no run has such a key; {_hint(key, known)}" for key in unknown if key not in known]
    if problems:
        raise UserError("\n".join(problems))


def _hint(key: str, known: set[str]) -> str:
    """The nearest keys, by the whole key or, where only its last part was written, by that."""
    last: dict[str, list[str]] = {}
    for name in sorted(known):
        last.setdefault(re.split(r"[./]", name)[-1], []).append(name)
    close = [] if re.search(r"[./]", key) else get_close_matches(key, last, n=1, cutoff=0.75)
    if close and key not in NAMES and not get_close_matches(key, NAMES, n=1, cutoff=0.75):
        return f"did you mean {', '.join(last[close[0]][:3])}?"
    return nearest(key, known)
