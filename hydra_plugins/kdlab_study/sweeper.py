"""``hydra/sweeper=study``: composes, checks and de-duplicates every point of a sweep before the first one trains."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from hydra.core.config_store import ConfigStore

from hydra_plugins.kdlab_study.launched import LaunchedSweeper


@dataclass
class StudySweeperConf:
    """The config of the sweeper: the grid, key -> values as Hydra writes them (``1,2,4``, ``range(0,10)``)."""

    _target_: str = "hydra_plugins.kdlab_study.sweeper.StudySweeper"
    params: dict[str, Any] = field(default_factory=dict)


ConfigStore.instance().store(group="hydra/sweeper", name="study", node=StudySweeperConf, provider="kdlab")


class StudySweeper(LaunchedSweeper):
    """Grid x arms, planned whole, then launched by whatever launcher is chosen."""

    def __init__(self, params: dict[str, Any] | None = None) -> None:
        self.params = dict(params or {})

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
