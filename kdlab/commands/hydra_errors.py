"""Hydra's, OmegaConf's and argparse's own errors in kdlab's form: key, value, what is allowed, nearest names."""

import re
import traceback

from kdlab.errors import nearest

LIBRARIES = ("hydra", "omegaconf", "antlr4")


def is_hydra_error(error: BaseException) -> bool:
    """Whether Hydra or OmegaConf refused something: by one of their errors, or a plain one raised inside them."""
    from hydra.errors import HydraException
    from omegaconf.errors import OmegaConfBaseException

    if isinstance(error, HydraException | OmegaConfBaseException):
        return True
    frames = [frame for frame, _ in traceback.walk_tb(error.__traceback__)]
    home = str(frames[-1].f_globals.get("__name__", "")) if frames else ""
    return isinstance(error, ValueError | TypeError) and home.split(".")[0] in LIBRARIES


def explain_hydra(error: BaseException) -> list[str]:
    """The lines for an error of Hydra's."""
    from hydra.errors import MissingConfigException, OverrideParseException

    text = str(error)
    if isinstance(error, OverrideParseException):
        return [_grammar(error.override, error.message)]
    if isinstance(error, MissingConfigException):
        return [_missing_config(error)]
    several = re.search(r"(?:Ambiguous value for argument|Sweep parameters) '(.+?)'", text)
    if several:
        return [needs_multirun(several.group(1))]
    folder = re.search(r"Additional config directory '(.+?)' not found", text)
    if folder:
        return [f"--config-dir {folder.group(1)}: no such folder"]
    if "Config group override must be a string or a list" in text:
        return ["a group is chosen by the name of a config, not by a number (kdlab run --help lists the choices)"]
    unknown = re.search(r"full_key: (\S+)", f"{text}\n{error.__cause__}")
    unknown = unknown or re.search(r"Could not override '(.+?)'", text)
    if unknown and re.search(r"not in|No match", f"{text}\n{error.__cause__}"):
        return [f"unknown key {unknown.group(1)}; {_siblings(unknown.group(1), error.__cause__)}".rstrip("; ")]
    return _own_words(error)


def needs_multirun(line: str) -> str:
    """Why a grid is refused where one run is asked for."""
    return f"{line}: several values make a grid, which needs -m (a single list is written key=[1,2])"


def _grammar(override: str, message: str) -> str:
    if "=" not in override:
        return f"'{override}': an override is written key=value"
    lines = [line.strip() for line in message.splitlines() if not line.startswith(("See https", "Error parsing"))]
    return f"'{override}' cannot be read: {'; '.join(dict.fromkeys(filter(None, lines)))}"


def _missing_config(error: BaseException) -> str:
    wanted = str(getattr(error, "missing_cfg_file", "") or "")
    options = sorted(getattr(error, "options", None) or [])
    group, _, name = wanted.rpartition("/")
    if group == "sweeps":
        from kdlab.commands.places import names_under, resource

        options = names_under(resource("sweeps"))
    hints = [hint for hint in [nearest(name, options)] if hint.startswith("did")]
    hints += [f"allowed: {', '.join(options)}"] if options else []
    return "; ".join([f"{group or 'config'} = '{name}': there is no such config", *hints])


def _siblings(key: str, cause: BaseException | None) -> str:
    parent = getattr(cause, "parent_node", None)
    names = [str(name) for name in parent] if parent is not None else []
    hint = nearest(key.rpartition(".")[2], names)
    return hint if hint.startswith("did") else ""


def _own_words(error: BaseException) -> list[str]:
    """What the library says, without its advice on how to see more."""
    cause = error.__cause__
    lines = [line.strip() for part in (error, cause) if part is not None for line in str(part).splitlines()]
    noise = ("See https", "Set the environment", "object_type", "full_key", "reference_type")
    kept = [line for line in lines if line and not line.startswith(noise)]
    return list(dict.fromkeys(kept)) or [type(error).__name__]
