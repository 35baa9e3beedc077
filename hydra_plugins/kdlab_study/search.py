"""``hydra/sweeper=optuna``: Optuna's sweeper, in the right direction, every trial an ordinary run of a study."""

from collections.abc import Sequence
from typing import Any

from hydra.core.plugins import Plugins
from hydra.plugins.launcher import Launcher
from hydra.plugins.sweeper import Sweeper
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig


class SearchSweeper(Sweeper):
    """Holds the settings of ``conf/hydra/sweeper/optuna.yaml`` until Hydra starts the sweep."""

    def __init__(self, **settings: Any) -> None:
        self.settings = settings
        self.launcher: Launcher | None = None

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        """Called by Hydra before ``sweep``."""
        self.hydra_context = hydra_context
        self.config = config
        self.task_function = task_function
        self.launcher = Plugins.instance().instantiate_launcher(
            hydra_context=hydra_context, task_function=task_function, config=config
        )

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
