"""``kdlab run``, ``sweep`` and ``teacher``: hand over to Hydra, in the form Hydra wants."""

import gc
import os
import sys

from kdlab.commands.places import names_under, resource
from kdlab.errors import UserError, nearest


def run(words: list[str]) -> int:
    """``kdlab run [options] [overrides]``."""
    return _hydra(words, "run")


def teacher(words: list[str]) -> int:
    """``kdlab teacher [options] [overrides]``."""
    return _hydra(words, "teacher")


def sweep(words: list[str]) -> int:
    """``kdlab sweep NAME [options] [overrides]``: the friendly form of ``kdlab run -m sweeps=NAME``."""
    names = [word for word in words if not word.startswith("-") and "=" not in word]
    values_of_options = {words[at + 1] for at, word in enumerate(words[:-1]) if word in _OPTIONS_WITH_VALUE}
    names = [name for name in names if name not in values_of_options]
    known = names_under(resource("sweeps"))
    if len(names) != 1:
        given = f"got {' '.join(names)}" if names else "none was given"
        raise UserError(f"kdlab sweep NAME: one sweep is needed, {given}; there are {', '.join(known)}")
    rest = [word for word in words if word != names[0]]
    return _hydra(["-m", f"sweeps={names[0]}", *rest], "run")


_OPTIONS_WITH_VALUE = ("--config-dir", "-cd", "--config-path", "-cp", "--config-name", "-cn", "--package", "-p", "--cfg", "-c",
                       "--info", "-i")


def _hydra(words: list[str], kind: str) -> int:
    gc.disable()  # a fifth of the start-up is the collector looking at modules that stay
    os.environ["HYDRA_FULL_ERROR"] = "1"  # exceptions of ours reach our own handler
    import hydra
    from hydra._internal.utils import get_args_parser

    from kdlab.commands.composing import register_resolvers
    from kdlab.commands.jobs import run_job, teacher_job

    gc.freeze()
    gc.enable()
    register_resolvers()
    args = get_args_parser().parse_intermixed_args(words)
    check_sweep_names(args.overrides, config_dir=args.config_dir)
    chosen = any(word.lstrip("+").startswith("sweeps=") and not word.endswith("=null") for word in args.overrides)
    if chosen and not (args.multirun or args.cfg or args.info):
        words = ["-m", *words]
        args = get_args_parser().parse_intermixed_args(words)
    options = [word for word in words if word not in args.overrides]  # options keep their values beside them
    sys.argv = ["kdlab", *options, *args.overrides]
    job = run_job if kind == "run" else teacher_job
    hydra.main(version_base="1.3", config_path=str(resource("conf")), config_name="config")(job)()
    return 0


def check_sweep_names(overrides: list[str], *, config_dir: str | None = None) -> None:
    """Refuse a sweep that does not exist: in a multirun Hydra would skip it and run one default point.

    Raises:
        UserError: naming the nearest sweeps.
    """
    for word in overrides:
        key, _, value = word.lstrip("+").partition("=")
        if key != "sweeps" or value in ("null", "") or "," in value:
            continue
        known = names_under(resource("sweeps"))
        if config_dir is not None and (Path(config_dir) / "sweeps").is_dir():
            known += names_under(Path(config_dir) / "sweeps")
        if value not in known:
            raise UserError(f"sweeps = '{value}': no such sweep; {nearest(value, known)}")
