"""The split of a data set, kept by example index: what a network learned from, what chose, what tested."""

import hashlib

import numpy as np

from kdlab.experiments.lab import Lab
from kdlab.records.atomic import atomic_path
from kdlab.schema.config import RunConfig


def store_split(config: RunConfig, lab: Lab) -> str:
    """Write ``<store.root>/splits/<data>-<hash>.npz`` (``train``, ``validation``, ``test``: int64) where it is missing.

    Returns:
        The name of the file, for the provenance of a record. The same split has the same name in every store.
    """
    dataset = lab.dataset(config)
    parts = {
        name: getattr(dataset, name).index.numpy().astype(np.int64, copy=False)
        for name in ("train", "validation", "test")
    }
    digest = hashlib.sha256(b"".join(part.tobytes() for part in parts.values())).hexdigest()[:12]
    path = lab.store.root / "splits" / f"{dataset.name.replace('/', '_')}-{digest}.npz"
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        with atomic_path(path) as partial, partial.open("wb") as file:
            np.savez_compressed(file, **parts)
    return path.name
