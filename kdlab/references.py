"""What a study names: an arm, the scratch twins of its runs, the networks that taught them; a cell of its matrix."""

import re
from typing import Literal, NamedTuple

Who = Literal["arm", "scratch", "teacher"]
_OTHER = re.compile(r"(scratch|teacher)\(\s*(.+?)\s*\)")
_OWN_METRIC = re.compile(r"(.+?)\s*\[\s*([^\[\]]+?)\s*\]")


class Reference(NamedTuple):
    """An arm, and whose value is meant: its own, that of its scratch twins, or that of its teachers.

    ``metric`` is the one it is read at, where it is another than that of the prediction.
    """

    who: Who
    arm: str
    metric: str | None = None

    def __str__(self) -> str:
        name = self.arm if self.who == "arm" else f"{self.who}({self.arm})"
        return name if self.metric is None else f"{name}[{self.metric}]"


def parse_reference(text: str) -> Reference:
    """``ARM``, ``scratch(ARM)`` or ``teacher(ARM)``, each with ``[METRIC]`` behind it where it has one of its own.

    >>> parse_reference("scratch(smoothed)")
    Reference(who='scratch', arm='smoothed', metric=None)
    >>> parse_reference("smoothed").who
    'arm'
    >>> str(parse_reference("omit_3[class_3/accuracy]"))
    'omit_3[class_3/accuracy]'
    """
    own = _OWN_METRIC.fullmatch(text.strip())
    whose, metric = (own[1], own[2]) if own else (text.strip(), None)
    found = _OTHER.fullmatch(whose)
    if found is None:
        return Reference("arm", whose, metric)
    return Reference("scratch" if found[1] == "scratch" else "teacher", found[2], metric)


def whose(who: Who, text: str) -> str:
    """The same arm's other network, read at the same metric.

    >>> whose("scratch", "kd[noise_08/accuracy]")
    'scratch(kd)[noise_08/accuracy]'
    """
    return str(parse_reference(text)._replace(who=who))


def without_metric(text: str) -> str:
    """A reference that is read at the metric that is asked for, whatever its own.

    >>> without_metric("scratch(kd)[noise_08/accuracy]")
    'scratch(kd)'
    """
    return str(parse_reference(text)._replace(metric=None))


def cell_of(failure: str, fix: str) -> str:
    """The arm of a failure with a fix, ``FAILURE.FIX``."""
    return f"{failure}.{fix}"
