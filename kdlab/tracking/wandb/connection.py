"""What stands between us and a W&B server: its errors, whether there is a key, and what an error says in one line."""

from collections.abc import Iterable

MAX_NAME_LENGTH, MAX_TAG_LENGTH = 128, 64  # W&B refuses longer ones


def wandb_errors() -> tuple[type[Exception], ...]:
    """What wandb raises when its server or its own background process is gone or refuses."""
    from wandb.errors import Error
    from wandb.sdk.mailbox import HandleAbandonedError, MailboxClosedError
    from wandb.sdk.mailbox.mailbox_handle import ServerResponseError

    return Error, HandleAbandonedError, MailboxClosedError, ServerResponseError, OSError


def has_credentials() -> bool:
    """Whether wandb finds an API key, without asking the user or the server."""
    import wandb

    settings = wandb.setup(settings=wandb.Settings(mode="online", silent=True)).settings
    settings.mode, settings.silent = "online", True  # set up earlier in this process, the line above changed nothing
    return bool(wandb.login(prompt=False, verify=False))


def clipped(tags: Iterable[str]) -> tuple[str, ...]:
    """Tags as W&B takes them: each once, none longer than it allows."""
    return tuple(dict.fromkeys(tag[:MAX_TAG_LENGTH] for tag in tags))


def first_line(error: BaseException) -> str:
    """The first line of what an error says, or its type."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
