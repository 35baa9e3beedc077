"""Errors that are told in a few lines, never as a traceback: mistakes of the user, and work that failed."""

import difflib
from collections.abc import Iterable


class UserError(ValueError):
    """A mistake in what the user asked for. The message names the key, the value and what is allowed.

    Survives pickling (a launcher may raise it in another process): one positional argument, the message.
    """


class WorkFailedError(UserError):
    """What was asked is in order, and some of it could not be done: exit code 1, where a mistake has 2."""


class NonFiniteLossError(RuntimeError):
    """A loss became NaN or infinite; training stopped. Survives pickling."""


def nearest(name: str, allowed: Iterable[str], *, count: int = 3) -> str:
    """A phrase with the nearest allowed names, or all of them where few; empty where there is none.

    >>> nearest("temprature", ["alpha", "temperature"])
    'did you mean temperature?'
    """
    options = sorted(allowed)
    close = difflib.get_close_matches(name, options, n=count, cutoff=0.5)
    if close:
        return f"did you mean {', '.join(close)}?"
    if not options:
        return ""
    return f"allowed: {', '.join(options)}" if len(options) <= 12 else f"nearest: {', '.join(options[:count])}"
