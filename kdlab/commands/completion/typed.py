"""A line as the shell reads it, up to the cursor."""

import re
from typing import NamedTuple


class Typed(NamedTuple):
    """A line up to the cursor.

    Args:
        words: the finished words, without their quotes.
        current: the word under the cursor, without its quotes.
        kept: how much of it the shell does not ask to replace (bash breaks words at ``=`` and ``:``).
    """

    words: list[str]
    current: str
    kept: int


def split(line: str, *, breaks: str = "") -> Typed:
    """Read a line as a shell does, one that may end inside quotes; only its last command counts.

    >>> split("cd x; kdlab run 'objective.te")
    Typed(words=['kdlab', 'run'], current='objective.te', kept=0)
    >>> split("kdlab run student=ml", breaks="=:")
    Typed(words=['kdlab', 'run'], current='student=ml', kept=8)
    """
    words: list[str] = []
    current, kept, quote, inside = "", 0, "", False
    at = 0
    while at < len(line):
        char = line[at]
        at += 1
        if quote:
            if char == quote:
                quote = ""
            else:
                current += char
        elif char in "'\"":
            quote, inside, kept = char, True, len(current)
        elif char == "\\":
            current, inside = current + line[at : at + 1], True
            at += 1
        elif char.isspace() or char in ";|&":
            words = [*words, current] if current or inside else words
            current, kept, inside = "", 0, False
            words = words if char.isspace() else []
        else:
            current += char
            kept = len(current) if char in breaks else kept
    while words and re.match(r"[A-Za-z_]\w*=", words[0]):  # NAME=value before the command
        words = words[1:]
    return Typed(words, current, kept)
