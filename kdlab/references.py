"""What a prediction speaks of: an arm of the study, the scratch twins of its runs, or the networks that taught them."""

import re
from typing import Literal, NamedTuple

Who = Literal["arm", "scratch", "teacher"]
_OTHER = re.compile(r"(scratch|teacher)\(\s*(.+?)\s*\)")


class Reference(NamedTuple):
    """An arm, and whose value is meant: its own, that of its scratch twins, or that of its teachers."""

    who: Who
    arm: str

    def __str__(self) -> str:
        return self.arm if self.who == "arm" else f"{self.who}({self.arm})"


def parse_reference(text: str) -> Reference:
    """``ARM``, ``scratch(ARM)`` or ``teacher(ARM)``.

    >>> parse_reference("scratch(smoothed)")
    Reference(who='scratch', arm='smoothed')
    >>> parse_reference("smoothed").who
    'arm'
    """
    found = _OTHER.fullmatch(text.strip())
    if found is None:
        return Reference("arm", text.strip())
    return Reference("scratch" if found[1] == "scratch" else "teacher", found[2])
