"""The run that a ``wandb agent`` started this process for.

An agent tells it by environment variables, and as long as they stand there wandb makes every run of the process that
one run, whatever id it is told: teacher, scratch twin and student in one heap. So they are taken out before wandb is
set up. Exactly one run, the one that was asked for, is begun under the agent's id and joins its sweep.
"""

from collections.abc import Mapping, MutableMapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

RUN_ID, SWEEP_ID, PARAMETERS = "WANDB_RUN_ID", "WANDB_SWEEP_ID", "WANDB_SWEEP_PARAM_PATH"


@dataclass(frozen=True)
class AgentRun:
    """What an agent asked for.

    Args:
        id: the id that its run shall have in W&B.
        sweep: the id of the sweep.
        parameters: the point that it asked for: key -> value, as the sweep file has the keys.
        project: the project of the sweep, which its runs belong to; None where the agent was not told.
        entity: the user or team that the project belongs to; None where the agent was not told.
    """

    id: str
    sweep: str
    parameters: Mapping[str, Any]
    project: str | None
    entity: str | None


def take_agent_run(environment: MutableMapping[str, str]) -> AgentRun | None:
    """What an agent asked for, taken out of the environment; None where no agent started this process."""
    if not {RUN_ID, SWEEP_ID} <= environment.keys():
        return None
    run, sweep, path = (environment.pop(name, "") for name in (RUN_ID, SWEEP_ID, PARAMETERS))
    place = (environment.get(name) for name in ("WANDB_PROJECT", "WANDB_ENTITY"))
    return AgentRun(run, sweep, _parameters(Path(path)) if path else {}, *place)


def _parameters(path: Path) -> dict[str, Any]:
    import yaml

    written = yaml.safe_load(path.read_text(encoding="utf-8")) or {}
    return {key: found["value"] for key, found in written.items() if isinstance(found, Mapping) and "value" in found}
