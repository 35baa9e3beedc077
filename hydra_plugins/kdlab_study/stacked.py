"""``hydra/launcher=stacked``, the default of every multirun: points that fit together are trained as one stack.

    kdlab run -m objective.temperature=1,2,4 seed=0,1,2
    kdlab sweep temperature_alpha stack.max_size=50 threads=1

Whatever the sweeper, the points are composed here and run in this process; what fits nowhere runs alone. What each
point leaves is what ``hydra/launcher=basic`` makes of it one after the other.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from hydra.core.config_store import ConfigStore
from hydra.core.utils import JobReturn
from hydra.plugins.launcher import Launcher
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig

if TYPE_CHECKING:
    from kdlab.commands.planning import Point


@dataclass
class StackedLauncherConf:
    """The config of the launcher; what bounds a stack is kdlab's own ``stack.max_size``."""

    _target_: str = "hydra_plugins.kdlab_study.stacked.StackedLauncher"


ConfigStore.instance().store(group="hydra/launcher", name="stacked", node=StackedLauncherConf, provider="kdlab")


class StackedLauncher(Launcher):
    """Runs the points of a sweep together, in this process."""

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        """Called by Hydra before ``launch``."""
        self.hydra_context, self.task_function, self.config = hydra_context, task_function, config

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> list[JobReturn]:
        """Called by a sweeper with the overrides of each point."""
        from kdlab.commands.stacked import composed

        points = composed(job_overrides, loader=self.hydra_context.config_loader, kind=self.kind)
        return self.launch_points(points, initial_job_idx=initial_job_idx)

    def launch_points(
        self, points: Sequence["Point"], *, initial_job_idx: int, ended: Callable[[int, Any], object] | None = None
    ) -> list[JobReturn]:
        """Run points that were composed already; ``ended`` hears of each as soon as it is done."""
        from kdlab.commands.stacked import run_stacked

        return run_stacked(points, config=self.config, ended=ended, first=initial_job_idx)

    @property
    def kind(self) -> str:
        """What the jobs make: ``run`` or ``teacher``."""
        return str(getattr(self.task_function, "kind", "run"))
