"""Puts the folder that holds ``sweeps/`` on Hydra's search path: ``sweeps=NAME`` is an ordinary config group."""

from hydra.core.config_search_path import ConfigSearchPath
from hydra.plugins.search_path_plugin import SearchPathPlugin


class SweepFiles(SearchPathPlugin):
    """An absolute path: with a relative one Hydra only warns, and runs one default run."""

    def manipulate_search_path(self, search_path: ConfigSearchPath) -> None:
        """Append the parent of ``sweeps/``."""
        from kdlab.commands.places import resource

        search_path.append("kdlab", f"file://{resource('sweeps').parent}")
