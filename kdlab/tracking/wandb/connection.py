"""What stands between us and a W&B server: settings of a run, errors, whether there is a key, what may be told."""

import functools
from collections.abc import Iterable
from typing import TYPE_CHECKING

from kdlab.errors import UserError

if TYPE_CHECKING:
    import wandb

MAX_NAME_LENGTH, MAX_TAG_LENGTH = 128, 64  # W&B refuses longer ones
_NOT_IN_PROJECTS = frozenset("/\\#?%:")
FLUSH_SECONDS = 2.0
"""Between two flushes to the ``.wandb`` file: what a killed run loses of its mirror."""


def quiet_settings(*, init_seconds: float, finish_seconds: float) -> "wandb.Settings":
    """Settings of one run that captures nothing of its process and waits for nothing longer than it is told.

    Each run gets a copy of its own, because wandb writes into them what a run is told: its group, its notes, ...
    """
    return _quiet_settings(init_seconds, finish_seconds).model_copy()


@functools.cache  # making them costs a few ms
def _quiet_settings(init_seconds: float, finish_seconds: float) -> "wandb.Settings":
    import wandb

    return wandb.Settings(
        silent=True,
        console="off",
        disable_git=True,
        disable_code=True,
        save_code=False,
        x_disable_stats=True,
        x_save_requirements=False,
        x_transaction_log_flush_interval=FLUSH_SECONDS,
        init_timeout=init_seconds,
        finish_timeout=finish_seconds,
        finish_timeout_raises=True,
    )


def wandb_errors() -> tuple[type[Exception], ...]:
    """What wandb raises when its server or its own background process is gone or refuses."""
    from wandb.errors import Error
    from wandb.sdk.lib.service.service_connection import WandbApiFailedError
    from wandb.sdk.lib.service.service_token import WandbServiceConnectionError
    from wandb.sdk.mailbox import HandleAbandonedError, MailboxClosedError
    from wandb.sdk.mailbox.mailbox_handle import ServerResponseError

    of_its_service = (WandbApiFailedError, WandbServiceConnectionError, HandleAbandonedError, MailboxClosedError)
    return Error, *of_its_service, ServerResponseError, OSError


def has_credentials() -> bool:
    """Whether wandb finds an API key, without asking the user or the server."""
    import wandb

    settings = wandb.setup(settings=wandb.Settings(mode="online", silent=True)).settings
    settings.mode, settings.silent = "online", True  # set up earlier in this process, the line above changed nothing
    return bool(wandb.login(prompt=False, verify=False))


def check_project(name: str, *, key: str = "tracker.project") -> str:
    """``name`` itself, where W&B takes it as the name of a project.

    Raises:
        UserError: naming ``key`` and what is allowed; wandb would tell it of every run anew, as a lost mirror.
    """
    if not 0 < len(name) <= MAX_NAME_LENGTH or set(name) & _NOT_IN_PROJECTS:
        raise UserError(
            f"{key} = {name!r}: 1 to {MAX_NAME_LENGTH} characters are needed, none of / \\ # ? % : "
            "(a team is tracker.entity)"
        )
    return name


#: In a refusal of W&B: the id exists there already, or existed and was deleted.
_TAKEN = ("already exists, but your `resume` setting", "previously created and deleted")


def is_taken(message: str) -> bool:
    """Whether W&B refuses an id because it holds it, or held it once."""
    return any(sign in message for sign in _TAKEN)


def clipped(tags: Iterable[str]) -> tuple[str, ...]:
    """Tags as W&B takes them: each once, none empty or longer than it allows."""
    return tuple(dict.fromkeys(tag[:MAX_TAG_LENGTH] for tag in tags if tag))


def first_line(error: BaseException) -> str:
    """The first line of what an error says, or its type."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
