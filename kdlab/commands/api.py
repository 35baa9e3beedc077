"""kdlab from Python and notebooks: ``run``, ``load``, ``load_model``. No global Hydra state is touched."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from kdlab.records.record import RunRecord

if TYPE_CHECKING:
    import pandas as pd
    from torch import nn


def run(overrides: Sequence[str] = (), *, config_dir: str | Path | None = None) -> RunRecord:
    """Find or make one run, as ``kdlab run`` does.

    Args:
        overrides: Hydra's grammar, for example ``["data=digits", "student.width=16"]``.
        config_dir: a folder of your own configs, as ``--config-dir``.

    Returns:
        The record of the run (finished before, or now).

    Raises:
        UserError: every mistake in the config, before any work.
    """
    from kdlab.commands.checking import read
    from kdlab.commands.jobs import run_config

    return run_config(read(overrides, config_dir=config_dir), list(overrides))


def load(study: str, *, store: str | Path = "runs", reports: str | Path = "reports") -> "pd.DataFrame":
    """The runs of a study as a frame, one row per run: from the store, merged with ``records.jsonl`` of its report.

    Raises:
        UserError: neither the store nor the reports know this study.
    """
    from kdlab.reporting.frame import frame
    from kdlab.reporting.sources import study_lines

    return frame(study_lines(Path(store).absolute(), Path(reports).absolute(), study))


def load_model(run: str | Path, *, store: str | Path = "runs", allow_targets: Sequence[str] = ()) -> "nn.Module":
    """The trained network of a run, in eval mode.

    Args:
        run: the path of a run folder, a run id, or a unique prefix of one.
        store: the root of the store.
        allow_targets: import paths of other code than the building blocks of kdlab, torch, timm, transformers and
            kornia that you trust in a run folder.

    Raises:
        UserError: no such run, no weights of its own, or a config that names code outside the allow-list.
    """
    from kdlab.experiments.again import load_model as load_network
    from kdlab.experiments.lab import Lab
    from kdlab.records.store import Store
    from kdlab.tracking.base import NullTracker

    place = Store(Path(store))
    return load_network(place.resolve(str(run)).absolute(), Lab(place, NullTracker()), allow=allow_targets)


__all__ = ["load", "load_model", "run"]
