"""The lab: what the runs of one process share, and the small services every run needs."""

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from kdlab.data import Dataset, load_dataset
from kdlab.data.dataset import Examples
from kdlab.data.transfer_rows import TrainingRows
from kdlab.evaluation.scored import Scored
from kdlab.outputs import Predictions
from kdlab.records.identity import canonical_json
from kdlab.records.store import Store
from kdlab.saying import say as say
from kdlab.schema.config import RunConfig
from kdlab.tracking.base import Tracker

_REMEMBERED_BYTES = 2**30
"""What teachers may take of the memory: 114 of them on mnist1d, 9 MB each. A study of five qualities and twenty pairs
has a hundred; where they are forgotten, three quarters of the time of an evaluation go into asking them again."""


@dataclass
class Lab:
    """Store, tracker, and what was loaded already: data sets and teachers' predictions are shared between runs."""

    store: Store
    tracker: Tracker
    memory: dict[str, Dataset] = field(default_factory=dict)
    taught: dict[str, dict[str, tuple[Examples, Scored]]] = field(default_factory=dict)
    kept: dict[str, Any] = field(default_factory=dict)  # stored answers of teachers and stored views that are open
    rows: dict[str, TrainingRows] = field(default_factory=dict)  # of students who do not see the training set as it is

    def dataset(self, config: RunConfig) -> Dataset:
        """The data set of a config, loaded once (two are kept: a sweep rarely needs more at a time)."""
        wants_slices = "slices" in config.evaluation.sets
        slices = {name: _slice_spec(piece) for name, piece in config.data.slices.items()} if wants_slices else {}
        spec = {"name": config.data.name, "seed": config.data.seed, **config.data.spec}
        key = canonical_json({"spec": spec, "slices": slices})
        if key not in self.memory:
            while len(self.memory) >= 2:
                self.memory.pop(next(iter(self.memory)))
            self.memory[key] = load_dataset(spec, slices, cache_dir=cache_dir(config), progress=config.trainer.progress)
        return self.memory[key]

    def said_by(
        self, run_id: str, sets: Mapping[str, Examples], predict: Callable[[Examples], Predictions]
    ) -> dict[str, Scored]:
        """A teacher's predictions on ``sets``, with what metrics derive from them: remembered, or computed now.

        What is remembered of a set counts only for the very same examples: a slice of one name may have been changed.
        """
        known = self.taught.setdefault(run_id, {})
        for name, examples in sets.items():
            if name not in known or known[name][0] is not examples:
                known[name] = (examples, Scored(name, predict(examples)))
        while len(self.taught) > 1 and sum(map(_remembered_bytes, self.taught.values())) > _REMEMBERED_BYTES:
            self.taught.pop(next(iter(self.taught)))  # the oldest; this one came last, or goes and comes again
        return {name: known[name][1] for name in sets}


def _remembered_bytes(known: Mapping[str, tuple[Examples, Scored]]) -> int:
    """Logits, and in float64 their log-probabilities and probabilities."""
    return 5 * sum(found.predictions.logits.nbytes for _, found in known.values())


def cache_dir(config: RunConfig) -> Path:
    """Where data sets are cached: ``data.cache_dir``, else ``$KDLAB_CACHE_DIR``, else the user's cache folder."""
    chosen = config.data.cache_dir or os.environ.get("KDLAB_CACHE_DIR")
    if chosen:
        return Path(chosen).expanduser().absolute()
    from platformdirs import user_cache_path

    return user_cache_path("kdlab") / "data"


def device_of(config: RunConfig) -> torch.device:
    """The device that evaluation and latency run on: the one the trainer picks."""
    accelerator = config.trainer.accelerator
    if accelerator in ("auto", "gpu", "cuda") and torch.cuda.is_available():
        return torch.device("cuda", torch.cuda.current_device())
    if accelerator in ("auto", "gpu", "mps") and torch.backends.mps.is_available():
        return torch.device("mps")
    return torch.device("cpu")


def _slice_spec(piece: Any) -> dict[str, Any]:
    return {**piece.spec, "reference": piece.reference, "ood": piece.ood}
