"""``hydra/sweeper=optuna``: Optuna's sweeper, in the right direction, every trial an ordinary run of a study."""

from collections.abc import Sequence
from typing import Any

from hydra_plugins.kdlab_study.launched import LaunchedSweeper


class SearchSweeper(LaunchedSweeper):
    """Holds the settings of ``conf/hydra/sweeper/optuna.yaml`` until Hydra starts the sweep."""

    def __init__(self, **settings: Any) -> None:
        self.settings = settings

    def sweep(self, arguments: list[str]) -> Sequence[Any]:
        """Check the whole space, search, sum up."""
        from kdlab.commands.searching import run_search

        assert self.launcher is not None
        assert self.config is not None
        assert self.hydra_context is not None
        return run_search(
            arguments,
            config=self.config,
            loader=self.hydra_context.config_loader,
            launcher=self.launcher,
            job=self.task_function,
            settings=self.settings,
        )
