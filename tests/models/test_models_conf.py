"""Every student and teacher file builds a network, and opens with what it is for and a command."""

from pathlib import Path

import pytest
import yaml

from kdlab.models import build_model, check_model
from kdlab.targets import spec_errors

CONF = Path(__file__).parents[2] / "conf"
FILES = sorted(
    path
    for group in (CONF / "student", CONF / "teacher" / "model")
    for path in group.glob("*.yaml")
    if path.stem != "custom"  # the user names the network
)
SHAPES = {"cnn1d": (1, 40), "cnn2d": (1, 8, 8)}


@pytest.mark.parametrize("path", [pytest.param(path, id=f"{path.parent.name}/{path.stem}") for path in FILES])
def test_file_builds_a_network(path: Path) -> None:
    text = path.read_text()
    assert text.startswith("# ")
    assert "kdlab run" in text.splitlines()[0]
    spec, shape = yaml.safe_load(text), (1, 8, 8) if "resnet" in path.stem else SHAPES.get(path.stem, (1, 40))
    assert spec_errors(spec, key=path.stem, provided=("input_shape", "num_classes")) == []
    assert {"width", "depth", "norm", "dropout"} < set(spec)
    model = build_model(spec, input_shape=shape, num_classes=10, seed_value=0)
    check_model(model, input_shape=shape, num_classes=10, key=path.stem)


def test_a_teacher_is_larger_than_its_student() -> None:
    for stem in ("mlp", "cnn1d", "cnn2d"):
        student, teacher = (
            yaml.safe_load((CONF / group / f"{stem}.yaml").read_text()) for group in ("student", "teacher/model")
        )
        assert student["_target_"] == teacher["_target_"]
        assert student["width"] < teacher["width"]
