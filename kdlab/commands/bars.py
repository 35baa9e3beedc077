"""Progress bars of commands that do one thing after another to many runs."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

Advance = Callable[[str, int, int], None]


@contextmanager
def bars(*, unit: str) -> Iterator[Advance]:
    """``advance(what, done, total)``: a bar for each ``what``, drawn on a terminal and gone at the end."""
    from tqdm import tqdm

    opened: dict[str, Any] = {}

    def advance(what: str, done: int, total: int) -> None:
        if what not in opened and total:
            opened[what] = tqdm(total=total, desc=what, unit=unit, disable=None, leave=False)
        if what in opened:
            opened[what].total = total
            opened[what].update(done - opened[what].n)

    try:
        yield advance
    finally:
        for bar in opened.values():
            bar.close()
