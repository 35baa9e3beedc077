"""``kdlab run``, ``sweep`` and ``teacher``: hand over to Hydra, in the form Hydra wants."""

import argparse
import importlib.util
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

from kdlab.collector import collector_off
from kdlab.commands.places import names_under, resource
from kdlab.commands.wording import option_of
from kdlab.errors import UserError, nearest


def run(words: list[str]) -> int:
    """``kdlab run [options] [overrides]``."""
    return _hydra(_parse(words, command="run"), kind="run")


def teacher(words: list[str]) -> int:
    """``kdlab teacher [options] [overrides]``."""
    return _hydra(_parse(words, command="teacher"), kind="teacher")


def sweep(words: list[str]) -> int:
    """``kdlab sweep NAME [options] [overrides]``: the friendly form of ``kdlab run -m sweeps=NAME``."""
    args = _parse(words, command="sweep")
    names = [word for word in args.overrides if "=" not in word and not word.startswith("~")]
    if len(names) != 1:
        known = ", ".join(known_sweeps(args.config_dir))
        given = f"got {' '.join(names)}" if names else "none was given"
        raise UserError(f"sweep: one name is needed, {given}; there are {known}")
    args.overrides.remove(names[0])
    args.overrides.insert(0, f"sweeps={names[0]}")
    args.multirun = True
    return _hydra(args, kind="run")


def _parse(words: Sequence[str], *, command: str) -> argparse.Namespace:
    """Options and overrides in any order (Hydra alone refuses ``data=digits -m seed=0,1``).

    Raises:
        UserError: an option that Hydra does not have.
    """
    from hydra._internal.utils import get_args_parser

    parser = get_args_parser()

    def refuse(message: str) -> NoReturn:
        raise UserError(f"{command}: {message} (kdlab {command} --help)")

    parser.error = refuse  # type: ignore[method-assign]
    words, dry_run = option_of(words)
    args = parser.parse_intermixed_args(words)
    args.dry_run = dry_run
    if dry_run is not None and (args.cfg is not None or args.info is not None):
        refuse("--dry-run and --cfg / --info exclude each other")
    if args.experimental_rerun is not None:
        refuse("--experimental-rerun is not supported; a run repeats with the overrides in its record")
    return args


def _hydra(args: argparse.Namespace, *, kind: str) -> int:
    os.environ["HYDRA_FULL_ERROR"] = "1"  # exceptions reach our own handler
    with collector_off(freeze=True):
        from hydra import version
        from hydra._internal.utils import _run_hydra, get_args_parser

        from kdlab.commands import jobs
        from kdlab.commands.sweeping import dry, first_point

    check_sweep_names(args.overrides, config_dir=args.config_dir)
    check_extras(args.overrides)
    shows = args.cfg is not None or args.info is not None
    many = args.multirun or any(_chooses_sweep(word) for word in args.overrides)
    if many and shows:
        args.overrides = first_point(args.overrides, config_dir=args.config_dir)
        print("# the first point of the sweep", file=sys.stderr)
    if args.dry_run is not None:
        from kdlab.commands.dry_run import dry_run

        return dry_run(args.overrides, config_dir=args.config_dir, many=many, kind=kind, every=args.dry_run == "all")
    args.multirun = many and not shows
    version.setbase("1.3")
    jobs.failures.clear()
    try:
        _run_hydra(
            args=args,
            args_parser=get_args_parser(),
            task_function=jobs.run_job if kind == "run" else jobs.teacher_job,
            config_path=str(resource("conf")),
            config_name="config",
        )
    except Exception as error:
        from kdlab.commands.hydra_errors import is_hydra_error

        if is_hydra_error(error) or isinstance(error, OSError):
            # Hydra stops at the first mistake it sees, or where it cannot make its folder in the store; composing
            # again in our way finds all mistakes.
            dry(args.overrides, config_dir=args.config_dir, many=many, kind=kind)
        raise
    if jobs.failures:
        raise jobs.failures.pop()
    return 0


def _chooses_sweep(word: str) -> bool:
    key, _, value = word.lstrip("+").partition("=")
    return key == "sweeps" and value not in ("null", "")


#: Choices of Hydra's own groups that come with a package of their own -> where it is, and what installs it.
EXTRAS = {
    "hydra/sweeper=optuna": ("hydra_plugins.hydra_optuna_sweeper", "optuna"),
    "hydra/launcher=joblib": ("hydra_plugins.hydra_joblib_launcher", "joblib"),
}


def check_extras(overrides: Sequence[str]) -> None:
    """Refuse a sweeper or launcher whose package is not installed, before Hydra says so in many lines.

    Raises:
        UserError: naming what installs it.
    """
    for word in overrides:
        module, extra = EXTRAS.get(word.lstrip("+"), (None, None))
        if module is not None and importlib.util.find_spec(module) is None:
            raise UserError(f"{word}: its package is not installed; pip install 'kdlab[{extra}]'")


def known_sweeps(config_dir: str | None = None) -> list[str]:
    """The names of all sweep files, kdlab's and the user's."""
    folders = [resource("sweeps"), *([Path(config_dir) / "sweeps"] if config_dir is not None else [])]
    return sorted({name for folder in folders if folder.is_dir() for name in names_under(folder)})


def check_sweep_names(overrides: list[str], *, config_dir: str | None = None) -> None:
    """Refuse a sweep that does not exist: in a multirun Hydra would skip it and run one default point.

    Raises:
        UserError: naming the nearest sweeps.
    """
    for word in overrides:
        if not _chooses_sweep(word):
            continue
        value = word.partition("=")[2]
        if "," in value:
            raise UserError(f"{word}: one sweep at a time (each has its own grid); run them one after the other")
        known = known_sweeps(config_dir)
        if value not in known:
            raise UserError(f"sweeps = '{value}': there is no such sweep; {nearest(value, known)}")
