"""The objective files compose, and say what they promise."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf

from kdlab.errors import UserError
from kdlab.objectives import Objective, one_minus

CONF = Path(__file__).parents[2] / "conf"
MARGIN = """# @package objective.terms.margin
_target_: kdlab.objectives.terms.soft_targets
weight: 0.5
temperature: 1
"""


@pytest.fixture
def objective(tmp_path: Path) -> Callable[..., dict[str, Any]]:
    """Compose the objective group alone, beside a user's own term."""
    own = tmp_path / "own" / "objective" / "term"
    own.mkdir(parents=True)
    (own / "margin.yaml").write_text(MARGIN)
    (tmp_path / "root.yaml").write_text(
        f"defaults:\n- objective: distillation\n- _self_\nhydra:\n  searchpath: [file://{CONF}, file://{tmp_path}/own]\n"
    )
    OmegaConf.register_new_resolver("one_minus", one_minus, replace=True)

    def composed(*overrides: str) -> dict[str, Any]:
        with initialize_config_dir(str(tmp_path), version_base="1.3"):
            config = OmegaConf.to_container(compose("root", list(overrides)), resolve=True)
        return config["objective"]  # type: ignore[index,call-overload,no-any-return]

    return composed


def test_alpha_sets_both_weights(objective: Callable[..., dict[str, Any]]) -> None:
    found = objective("objective.alpha=0.7", "objective.temperature=2", "objective.t2_scaling=false")
    assert Objective.from_specs(found["terms"]).weights() == {"hard_labels": 0.3, "soft_targets": 0.7}
    assert found["terms"]["soft_targets"]["temperature"] == 2
    assert found["terms"]["soft_targets"]["t2_scaling"] is False


def test_hard_labels_alone_have_weight_one_and_no_other_knob(objective: Callable[..., dict[str, Any]]) -> None:
    found = objective("objective=hard_labels")
    assert list(found) == ["terms"]
    assert Objective.from_specs(found["terms"]).weights() == {"hard_labels": 1.0}


@pytest.mark.parametrize(
    "override", ["+objective/term@objective.terms.margin=margin", "objective/term=[hard_labels,soft_targets,margin]"]
)
def test_a_term_of_the_user_joins(objective: Callable[..., dict[str, Any]], override: str) -> None:
    weights = Objective.from_specs(objective(override)["terms"]).weights()
    assert weights == {"hard_labels": 0.1, "margin": 0.5, "soft_targets": 0.9}


def test_terms_can_be_chosen(objective: Callable[..., dict[str, Any]]) -> None:
    found = objective("objective/term=[soft_targets]", "objective.alpha=1")
    assert Objective.from_specs(found["terms"]).weights() == {"soft_targets": 1.0}


KNOWN = {"${objective.temperature}": 4.0, "${objective.t2_scaling}": True}
NEVER_RIGHT = [None, {}, [None], {"a": 1}, 10**400, float("nan"), float("inf"), {"_target_": []},
               {"_target_": "os.system"}, {"_target_": "kdlab.objectives.schedules.linear"}]  # fmt: skip


@pytest.mark.parametrize("file", sorted((CONF / "objective" / "term").glob("*.yaml")), ids=lambda file: file.stem)
def test_every_knob_of_a_term_refuses_what_is_never_right_and_says_where_it_stands(file: Path) -> None:
    sound = {knob: KNOWN.get(str(value), value) for knob, value in yaml.safe_load(file.read_text()).items()}
    spec = {**sound, "weight": 1.0}
    Objective.from_specs({"term": spec}, num_steps=10)
    for knob in spec:
        for value in NEVER_RIGHT:
            with pytest.raises(UserError, match=rf"^(unknown key |missing key )?objective\.terms\.term\.{knob}\b"):
                Objective.from_specs({"term": {**spec, knob: value}}, num_steps=10)
