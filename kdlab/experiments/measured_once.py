"""Measurements that belong to an architecture and a machine: one file each, made once under a lock."""

import hashlib
import json
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from filelock import FileLock

from kdlab.evaluation.machine import others_train
from kdlab.records.identity import canonical_json


def measured_once(
    folder: Path, described: Mapping[str, Any], measure: Callable[[], Mapping[str, Any]]
) -> dict[str, Any]:
    """What was measured of ``described``: found, or measured now.

    What was measured while something of ours trained beside it is measured again as soon as nothing does.

    Args:
        folder: where the files of this kind of measurement lie.
        described: all that the measurement belongs to; its hash names the file.
        measure: gives plain JSON values.

    Returns:
        What ``measure`` gave, with the name of the measurement under ``measurement``.
    """
    name = hashlib.sha256(canonical_json(described).encode()).hexdigest()[:16]
    path = folder / f"{name}.json"
    if (found := _read(path)) is not None:
        return found
    folder.mkdir(parents=True, exist_ok=True)
    with FileLock(path.with_suffix(".lock")):
        if (found := _read(path)) is not None:
            return found
        saved = {**measure(), "measurement": name, "described": dict(described)}
        partial = path.with_suffix(f".{os.getpid()}.partial")
        partial.write_text(json.dumps(saved, indent=1, sort_keys=True, allow_nan=False), encoding="utf-8")
        partial.replace(path)
    return saved


def _read(path: Path) -> dict[str, Any] | None:
    try:
        found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    was_disturbed = found.get("metrics", found).get("latency/contended", found.get("contended"))
    return None if was_disturbed and not others_train() else found
