"""Ids that are the same each time: wandb-workspaces draws them at random, and then nothing could be compared."""

import hashlib
import json
from collections.abc import Iterable
from typing import Any

_ALPHABET = "0123456789abcdefghijklmnopqrstuvwxyz"


def key_of(words: str, *, length: int = 12) -> str:
    """An id of lower-case letters and digits, as W&B's own are, that these words always give."""
    number, found = int.from_bytes(hashlib.sha256(f"kdlab {words}".encode()).digest()), ""
    for _ in range(length):
        number, digit = divmod(number, len(_ALPHABET))
        found += _ALPHABET[digit]
    return found


def settle(panels: Iterable[Any], *, within: str) -> None:
    """Give panels ids by their place in a view."""
    for at, panel in enumerate(panels):
        panel._id = key_of(f"panel {at} of {within}")


def dumped(views: Any) -> str:
    """Views as text that is the same for the same views: keys sorted, two spaces, a newline at the end."""
    return json.dumps(views, indent=2, sort_keys=True, ensure_ascii=False) + "\n"
