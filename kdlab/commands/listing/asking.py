"""What ``kdlab list`` is asked for: a study, filters, sorting, columns.

``kdlab list STUDY role=student objective.temperature=4 'test/accuracy>0.6' sort=-test/accuracy``. A filter names any
key of a record: its role, status, arm, study, data, seed and quality, a measured key, or a dotted key of its config.
"""

import operator
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from kdlab.commands.listing.values import ABSENT, is_same, number_of
from kdlab.errors import UserError, nearest

FLAGS = ("--csv",)
_WORD = re.compile(r"([^=<>!\s]+?)\s*(!=|>=|<=|=|>|<)\s*(.*)", re.DOTALL)
_COMPARE: Mapping[str, Callable[[Any, Any], bool]] = {
    ">": operator.gt, "<": operator.lt, ">=": operator.ge, "<=": operator.le,
}  # fmt: skip


@dataclass(frozen=True)
class Filter:
    """``key=value,value``, ``key!=value`` or ``key>value``."""

    key: str
    compare: str
    value: str

    def keeps(self, found: Any) -> bool:
        """Whether a run with this value (``ABSENT`` for none; a tuple for any of several) is shown."""
        values = found if isinstance(found, tuple) else (found,)
        if self.compare in _COMPARE:
            return any(self._ordered(value) for value in values)
        wanted = self.value.split(",")
        same = any(is_same(value, one) for value in values if value is not ABSENT for one in wanted)
        return same is (self.compare == "=")

    def _ordered(self, value: Any) -> bool:
        number, limit = number_of(value), number_of(self.value)
        return number is not None and limit is not None and _COMPARE[self.compare](number, limit)


@dataclass
class Asked:
    """What ``kdlab list`` was asked for."""

    study: str | None = None
    filters: list[Filter] = field(default_factory=list)
    settings: list[str] = field(default_factory=list)
    sort: str | None = None
    columns: list[str] | None = None
    csv: bool = False


def parse(words: Sequence[str]) -> Asked:
    """The words of ``kdlab list``.

    Raises:
        UserError: an unknown option, or two names.
    """
    asked = Asked()
    for word in words:
        match = _WORD.fullmatch(word)
        if word in FLAGS:
            asked.csv = True
        elif word.startswith("-") and match is None:
            raise UserError(f"list: unknown option {word}; {nearest(word, FLAGS)}")
        elif match is None and asked.study is None:
            asked.study = word
        elif match is None:
            raise UserError(f"list: one name is expected, got {asked.study} {word}")
        elif match[2] == "=" and match[1].startswith("store."):
            asked.settings.append(word)
        elif match[2] == "=" and match[1] == "sort":
            asked.sort = match[3]
        elif match[2] == "=" and match[1] == "columns":
            asked.columns = [key for key in match[3].split(",") if key]
        else:
            if match[2] in _COMPARE and number_of(match[3]) is None:
                raise UserError(f"list: {word}: {match[2]} compares numbers, '{match[3]}' is none")
            asked.filters.append(Filter(match[1], match[2], match[3]))
    return asked
