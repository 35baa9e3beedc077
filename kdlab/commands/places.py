"""Where the configs and the sweep files lie: inside the installed package, or beside it in a checkout."""

from pathlib import Path

import kdlab


def resource(name: str) -> Path:
    """The folder ``conf`` or ``sweeps``."""
    package = Path(kdlab.__file__).resolve().parent
    inside = package / name
    return inside if inside.is_dir() else package.parent / name


def names_under(folder: Path) -> list[str]:
    """The configs of a folder, nested ones as ``a/b``, without suffix."""
    return sorted(path.relative_to(folder).with_suffix("").as_posix() for path in folder.rglob("*.yaml"))


def configs_in(folder: Path) -> list[str]:
    """The configs of a group itself, without those of the groups below it."""
    return [name for name in names_under(folder) if "/" not in name]


def header_comment(path: Path) -> list[str]:
    """The lines of the comment a config opens with, without ``#``."""
    lines = []
    for line in path.read_text(encoding="utf-8").splitlines():
        if line.startswith("# @package"):
            continue
        if not line.startswith("#"):
            break
        lines.append(line.removeprefix("#").strip())
    return lines
