"""``hydra/sweeper=optuna`` and ``hydra/launcher=joblib`` mean kdlab's files of that name, where kdlab composes.

Hydra matches a file against what a plugin registered under the same name, and refuses it if that has a defaults list,
as Optuna's has. So the plugin's own settings step aside while kdlab composes, and come back for any other application.
"""

from typing import Any

from hydra.core.config_search_path import ConfigSearchPath
from hydra.core.config_store import ConfigStore
from hydra.plugins.search_path_plugin import SearchPathPlugin

OURS = (("sweeper", "optuna.yaml"), ("launcher", "joblib.yaml"))
_aside: dict[tuple[str, str], Any] = {}


class OwnSettings(SearchPathPlugin):
    """Called whenever a search path is made, which is before anything is composed."""

    def manipulate_search_path(self, search_path: ConfigSearchPath) -> None:
        """Take the plugins' settings aside, or put them back."""
        from kdlab.commands.places import resource

        main = [source.path for source in search_path.get_path() if source.provider == "main"]
        kdlab_composes = str(resource("conf")) in [path.removeprefix("file://") for path in main if path]
        groups = ConfigStore.instance().repo["hydra"]
        for group, name in OURS:
            if kdlab_composes and name in groups.get(group, {}):
                _aside[group, name] = groups[group].pop(name)
            elif not kdlab_composes and (group, name) in _aside:
                groups[group].setdefault(name, _aside.pop((group, name)))
