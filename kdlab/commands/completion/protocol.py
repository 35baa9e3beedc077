"""``kdlab completion bash|zsh|fish`` prints a script, ``-sc query=SHELL`` answers a TAB.

The script hands over the line and the cursor (``COMP_LINE``, ``COMP_POINT``: Hydra's own protocol, so that a shell with
Hydra's script installed gets answers too).
"""

import os
from collections.abc import Sequence

from kdlab.commands.completion.candidates import shown
from kdlab.commands.shells import SCRIPTS
from kdlab.errors import UserError

FLAGS = ("-sc", "--shell-completion")


def completion(words: list[str]) -> int:
    """``kdlab completion SHELL``: the script to evaluate."""
    allowed = ", ".join(SCRIPTS)
    if len(words) != 1 or words[0] not in SCRIPTS:
        given = f"'{' '.join(words)}'" if words else "none"
        raise UserError(f"completion: the name of one shell is needed, got {given}; allowed: {allowed}")
    print(SCRIPTS[words[0]], end="")
    return 0


def hydra_protocol(words: Sequence[str]) -> int:
    """Answer ``[COMMAND] -sc query=SHELL`` and ``-sc install=SHELL`` in place of Hydra."""
    at = next(at for at, word in enumerate(words) if word in FLAGS)
    what, _, shell = (words[at + 1] if len(words) > at + 1 else "").partition("=")
    if what not in ("query", "install") or shell not in SCRIPTS:
        raise UserError(f"{words[at]}: query=SHELL or install=SHELL is needed, SHELL one of {', '.join(SCRIPTS)}")
    if what == "install":
        print(SCRIPTS[shell], end="")
        return 0
    line = os.environ.get("COMP_LINE", "").encode()
    point = int(os.environ.get("COMP_POINT") or len(line))
    found = shown(line[:point].decode(errors="ignore"), breaks=os.environ.get("KDLAB_WORDBREAKS", ""))
    print("\n".join(found), end="\n" if found else "")
    return 0
