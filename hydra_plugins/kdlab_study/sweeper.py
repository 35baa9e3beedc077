"""``hydra/sweeper=study``: composes, checks and de-duplicates every point of a sweep before the first one trains."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from hydra.core.config_store import ConfigStore
from hydra.core.plugins import Plugins
from hydra.plugins.launcher import Launcher
from hydra.plugins.sweeper import Sweeper
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig


@dataclass
class StudySweeperConf:
    """The config of the sweeper: the grid, key -> values as Hydra writes them (``1,2,4``, ``range(0,10)``)."""

    _target_: str = "hydra_plugins.kdlab_study.sweeper.StudySweeper"
    params: dict[str, Any] = field(default_factory=dict)


ConfigStore.instance().store(group="hydra/sweeper", name="study", node=StudySweeperConf, provider="kdlab")


class StudySweeper(Sweeper):
    """Grid x arms, planned whole, then launched by whatever launcher is chosen."""

    def __init__(self, params: dict[str, Any] | None = None) -> None:
        self.params = dict(params or {})
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
        """Plan, check, launch, sum up."""
        from kdlab.commands.sweeping import run_sweep

        assert self.launcher is not None
        assert self.config is not None
        assert self.hydra_context is not None
        return run_sweep(
            arguments,
            config=self.config,
            loader=self.hydra_context.config_loader,
            launcher=self.launcher,
            job=self.task_function,
        )
