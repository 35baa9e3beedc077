"""How fast kdlab is, beside what it is compared with: ``reports/benchmarks``, written from measurements alone.

    python tests/benchmarks/speed.py                     every line but Fashion-MNIST, about half an hour on two cores
    python tests/benchmarks/speed.py start report        these alone; the other lines stay as they were measured
    python tests/benchmarks/speed.py --quick --into DIR  tiny numbers, for trying the harness
    python tests/benchmarks/speed.py fashion_mnist       the large sweep; goes on where it was stopped
    python tests/benchmarks/speed.py --draw              page and figures again, from bench.json and curves.json

A measurement beside other load is discarded and taken again. A line that fails is taken out, told, and makes the exit
code 1; one that cannot be measured here (no torchdistill to be had) stands in the table with the reason.
"""

import argparse
import json
import os
import platform
import sys
import time
import traceback
from collections.abc import Callable
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE), str(HERE.parents[1])]  # kdlab of this checkout, wherever the command is given

import torch  # noqa: E402
import watch  # noqa: E402
from lines import BARS, Line, dump, merged, read  # noqa: E402
from task import QUICK, ROOT, Bench, Sizes  # noqa: E402

Work = Callable[[Bench], "list[Line] | dict[str, Any]"]
# group -> (module, function, the figures it measures); a curve measures none
GROUPS: dict[str, tuple[str, str, tuple[str, ...]]] = {
    "start": ("commands", "start", ("start",)),
    "help": ("commands", "help_page", ("help",)),
    "composing": ("commands", "composing", ("composing",)),
    "report": ("commands", "report", ("report",)),
    "bare": ("steps", "bare_loops", ("bare_plain", "bare_cached", "bare_online")),
    "single_run": ("steps", "single_run", ("single_run",)),
    "cached_step": ("steps", "cached_step", ("cached_step",)),
    "stack": ("steps", "stack_steps", ("marginal", "marginal_all", "average", "average_all", "gemm")),
    "cnn1d": ("steps", "conv_stack", ("cnn1d", "cnn1d_all")),
    "per_student": ("commands", "per_student", ("per_student",)),
    "memory": ("commands", "memory", ("memory",)),
    "training": ("steps", "sweep_training", ("training", "lightning")),
    "sweep": ("commands", "sweep_against_torchdistill", ("sweep", "sweep_seconds", "torchdistill")),
    "profiles": ("profiles", "where_time_goes", ()),
    "by_size": ("steps", "cost_by_size", ()),
    "by_points": ("commands", "cost_by_points", ()),
    "fashion_mnist": ("fashion", "stacked_against_one_by_one", ("fashion_mnist", "fashion_mnist_equal")),
}
ASKED_FOR_BY_NAME = ("fashion_mnist",)


def main() -> int:
    """Measure, write, and say what failed."""
    args = _asked()
    watch.adopt_orphans()
    if args.quick:
        watch.TRIES = 1  # what comes of it is no result, whoever else is at work
    torch.set_num_threads(1)
    work = args.work or _cache() / ("quick" if args.quick else "benchmarks")
    into = args.into or (work / "reports" / "benchmarks" if args.quick else ROOT / "reports" / "benchmarks")
    work.mkdir(parents=True, exist_ok=True)
    bench = Bench(work.absolute(), QUICK if args.quick else Sizes(), os.cpu_count() or 1)
    failed: list[str] = []
    for name in [] if args.draw else args.groups:
        started = time.monotonic()
        print(f"{name} ...", flush=True)
        try:
            found = _work(name)(bench)
        except Exception:
            traceback.print_exc()
            failed.append(name)
            write(into, bench, [], {}, failed=[*GROUPS[name][2]])
            continue
        lines, curves = ([], found) if isinstance(found, dict) else (found, {})
        write(into, bench, lines, curves, failed=[])
        for one in lines:
            print(f"    {_told(one)}")
        print(f"  {name}: {time.monotonic() - started:.0f} s", flush=True)
    if args.draw:
        write(into, bench, [], {}, failed=[])
    print(f"written: {into}")
    if failed:
        print(f"FAILED, and left out: {', '.join(failed)}", file=sys.stderr)
    return 1 if failed else 0


def write(into: Path, bench: Bench, lines: list[Line], curves: dict[str, Any], *, failed: list[str]) -> None:
    """Put lines and curves into the folder, beside what stands there; write the page and README's block anew."""
    from page import BEGIN, END, in_readme, page
    from plots import draw

    into.mkdir(parents=True, exist_ok=True)
    where = _where(bench)
    stamped = [Line(**{**vars(one), "where": where}) for one in lines]
    entries = merged(read(into / "bench.json"), stamped, failed=failed)
    known = json.loads((into / "curves.json").read_text(encoding="utf-8")) if (into / "curves.json").exists() else {}
    known |= curves
    (into / "bench.json").write_text(dump(entries), encoding="utf-8")
    (into / "curves.json").write_text(dump(known), encoding="utf-8")
    files = draw(into, known)
    (into / "index.md").write_text(page(entries, known, files), encoding="utf-8")
    if into.absolute() == ROOT / "reports" / "benchmarks":
        before = (ROOT / "README.md").read_text(encoding="utf-8")
        if BEGIN in before and END in before:
            after = in_readme(before, entries, link="reports/benchmarks/index.md")
            (ROOT / "README.md").write_text(after, encoding="utf-8")


def _asked() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "groups", nargs="*", metavar="FIGURE", help=f"any of {', '.join(GROUPS)}, or a figure of theirs"
    )
    parser.add_argument("--quick", action="store_true", help="tiny numbers; written aside, never into reports/")
    parser.add_argument("--into", type=Path, help="the folder to write (reports/benchmarks)")
    parser.add_argument("--work", type=Path, help="where data, teacher and torchdistill's environment are kept")
    parser.add_argument("--draw", action="store_true", help="measure nothing")
    args = parser.parse_args()
    owner = {figure: name for name, (_, _, figures) in GROUPS.items() for figure in figures}
    unknown = [word for word in args.groups if word not in GROUPS and word not in owner]
    if unknown:
        parser.error(f"no figure {', '.join(unknown)}; there are {', '.join([*GROUPS, *BARS])}")
    if args.quick and args.into and args.into.absolute() == (ROOT / "reports" / "benchmarks"):
        parser.error("--quick is no result: it is not written into reports/benchmarks")
    every = [name for name in GROUPS if name not in ASKED_FOR_BY_NAME]
    args.groups = list(dict.fromkeys(word if word in GROUPS else owner[word] for word in args.groups)) or every
    return args


def _work(name: str) -> Work:
    module, function, _ = GROUPS[name]
    found: Work = getattr(__import__(module), function)
    return found


def _where(bench: Bench) -> dict[str, Any]:
    """What every line carries: machine, versions, date."""
    from kdlab import __version__
    from kdlab.evaluation.machine import machine_name

    names = ("torch", "pytorch-lightning", "numpy", "hydra-core", "wandb")
    versions = ", ".join(f"{name} {version(name)}" for name in names)
    return {
        "machine": machine_name(),
        "versions": f"kdlab {__version__}, Python {platform.python_version()}, {versions}",
        "measured": datetime.now(UTC).strftime("%Y-%m-%dT%H:%MZ"),
        "quick": bench.sizes.quick,
    }


def _told(one: Line) -> str:
    entry = one.plain()
    if entry["value"] is None:
        return f"!!! {entry['title']}: {entry['how']} !!!"
    met = {True: "met", False: "NOT MET", None: ""}[entry["met"]]
    loaded = " LOADED" if entry["loaded"] else ""
    return f"{entry['title']}: {entry['value']:.3g} {entry['unit']} {met}{loaded}"


def _cache() -> Path:
    from platformdirs import user_cache_path

    return user_cache_path("kdlab")


if __name__ == "__main__":
    sys.exit(main())
