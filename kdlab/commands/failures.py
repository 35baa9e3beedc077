"""What went wrong, in at most ten lines: key, value, what is allowed, nearest names; and the exit code that is true."""

import sys
import traceback
from collections.abc import Callable

from kdlab.errors import NonFiniteLossError, UserError, WorkFailedError

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
    return FAILED if isinstance(error, WorkFailedError | NonFiniteLossError) else MISTAKE


def print_lines(lines: list[str]) -> None:
    """Print at most ten lines to stderr; what is cut is counted."""
    shown = (
        lines if len(lines) <= MAX_LINES else [*lines[: MAX_LINES - 1], f"... and {len(lines) - MAX_LINES + 1} more"]
    )
    print(
        "\n".join(f"kdlab: {line}" if at == 0 else f"       {line}" for at, line in enumerate(shown)), file=sys.stderr
    )


def explain(error: BaseException) -> list[str] | None:
    """The lines that explain an error of the user's or of Hydra's; None for a bug of ours: it keeps its traceback."""
    from kdlab.commands.hydra_errors import explain_hydra, is_hydra_error

    if isinstance(error, UserError | NonFiniteLossError):
        return str(error).splitlines()
    if is_hydra_error(error):
        return explain_hydra(error)
    if isinstance(error, OSError) and error.filename is not None:
        return [f"{error.filename}: {error.strerror}"]
    return None
