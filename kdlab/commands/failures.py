"""What went wrong, in at most ten lines: key, value, what is allowed, nearest names; and the exit code that is true."""

import re
import sys
import traceback
from collections.abc import Callable

from kdlab.errors import UserError, nearest

MAX_LINES = 10
DONE, FAILED, MISTAKE, INTERRUPTED = 0, 1, 2, 130


def reported(action: Callable[[], int], *, command: str) -> int:
    """Run an action; explain what it raises on stderr.

    Returns:
        0 done; 1 runs failed or something broke; 2 a mistake in what was asked; 130 Ctrl-C.
    """
    try:
        return action()
    except KeyboardInterrupt:
        print(f"\ninterrupted; finished runs are whole, go on with: {command}", file=sys.stderr)
        return INTERRUPTED
    except BrokenPipeError:
        return DONE
    except SystemExit as error:
        return error.code if isinstance(error.code, int) else FAILED if error.code else DONE
    except Exception as error:
        lines = explain(error)
        if lines is None:
            traceback.print_exc()
            return FAILED
        print_lines(lines)
        return exit_code(error)


def exit_code(error: BaseException) -> int:
    """1 for runs that failed, 2 for mistakes found before work."""
    from kdlab.commands.sweeping import SweepFailedError
    from kdlab.training.monitor import NonFiniteLossError

    return FAILED if isinstance(error, SweepFailedError | NonFiniteLossError) else MISTAKE


def print_lines(lines: list[str]) -> None:
    """Print at most ten lines to stderr; what is cut is counted."""
    shown = lines if len(lines) <= MAX_LINES else [*lines[: MAX_LINES - 1], f"... and {len(lines) - MAX_LINES + 1} more"]
    print("\n".join(f"kdlab: {line}" if at == 0 else f"       {line}" for at, line in enumerate(shown)), file=sys.stderr)


def explain(error: BaseException) -> list[str] | None:
    """The lines that explain an error of the user's or of Hydra's; None for a bug of ours, which keeps its traceback."""
    from hydra.errors import HydraException
    from omegaconf.errors import OmegaConfBaseException

    from kdlab.training.monitor import NonFiniteLossError

    if isinstance(error, UserError | NonFiniteLossError):
        return str(error).splitlines()
    if isinstance(error, HydraException | OmegaConfBaseException):
        return explain_hydra(error)
    if isinstance(error, OSError) and error.filename is not None:
        return [f"{error.filename}: {error.strerror}"]
    return None


def explain_hydra(error: BaseException) -> list[str]:
    """Hydra's and OmegaConf's own errors in our form."""
    from hydra.errors import MissingConfigException

    if isinstance(error, MissingConfigException):
        return [_missing_config(error)]
    cause = error.__cause__
    text = str(error)
    unknown = re.search(r"Key '(.+?)' is not in struct", f"{text}\n{cause}")
    key = re.search(r"Could not override '(.+?)'", text) or re.search(r"full_key: (\S+)", f"{text}\n{cause}")
    if unknown and key:
        return [_unknown_key(key.group(1), unknown.group(1), cause)]
    group = re.search(r"Could not override '(.+?)'\.\s*No match in the defaults list", text)
    if group:
        return [f"unknown group {group.group(1)}; {nearest(group.group(1), _groups())}"]
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    more = [line.strip() for line in str(cause or "").splitlines() if line.strip()]
    return [line for line in [*lines, *more] if not line.startswith(("See https", "Set the environment", "object_type"))]


def _missing_config(error: BaseException) -> str:
    wanted = str(getattr(error, "missing_cfg_file", "") or "")
    options = list(getattr(error, "options", None) or [])
    group, _, name = wanted.rpartition("/")
    if group == "sweeps":
        from kdlab.commands.places import names_under, resource

        options = names_under(resource("sweeps"))
    hint = nearest(name, options)
    return f"{group or 'config'} = '{name}': no such config; {hint}; allowed: {', '.join(sorted(options))}"


def _unknown_key(key: str, part: str, cause: BaseException | None) -> str:
    parent = getattr(cause, "parent_node", None)
    names = [str(name) for name in parent] if parent is not None else []
    names = [name for name in names if name not in ("hydra", "spec")]
    return f"unknown key {key}; {nearest(part, names)}"


def _groups() -> list[str]:
    from kdlab.commands.places import resource

    conf = resource("conf")
    return sorted(folder.relative_to(conf).as_posix() for folder in conf.rglob("*") if folder.is_dir())
