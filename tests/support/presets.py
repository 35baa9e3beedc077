"""The presets of ``conf/teacher/quality``, resolved as a config resolves them."""

from pathlib import Path
from typing import Any

from omegaconf import OmegaConf

FOLDER = Path(__file__).parents[2] / "conf" / "teacher" / "quality"
NAMES = sorted(path.stem for path in FOLDER.glob("*.yaml"))
OWN_WEIGHTS = ("label_noise", "label_smoothed", "shifted", "untrained", "weak")
"""The qualities whose network is trained apart (or not at all)."""


def preset(name: str, *, temperature: float = 2.0, **doses: Any) -> dict[str, Any]:
    """A preset with other doses, seen by the student at ``temperature``."""
    spec = OmegaConf.load(FOLDER / f"{name}.yaml")
    spec.update(doses)
    whole = OmegaConf.create({"teacher": {"quality": spec}, "objective": {"temperature": temperature}})
    resolved: Any = OmegaConf.to_container(whole, resolve=True)
    found: dict[str, Any] = resolved["teacher"]["quality"]
    return found
