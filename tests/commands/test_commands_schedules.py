"""Schedules and conventions as they are asked for: where they may stand, and what is said of the others."""

import pytest

from kdlab.commands.checking import checked
from kdlab.commands.composing import Composer, make_loader
from kdlab.commands.grid import expand
from kdlab.commands.planning import Sweep, plan_points
from kdlab.errors import UserError
from kdlab.experiments.plan import plan

ON_T, ON_ALPHA = "+schedule@objective.temperature=", "+schedule@objective.alpha="
DEIT = "objective/convention=deit"

# words -> what is said, whole
REFUSED = {
    (ON_T + "linear", "objective.temperature.until=2"): (
        "objective.terms.soft_targets.temperature.until = 2: a share of the run in [0, 1] is needed; "
        "it reads objective.temperature.until"
    ),
    (ON_ALPHA + "warm_up", "objective.alpha.end=2"): (
        "objective.terms.hard_labels.weight = -1 at the share 0.1 of the run: a finite number >= 0 is needed; "
        "it reads objective.alpha"
    ),
    ("teacher/quality=virtual", ON_T + "linear"): (
        "teacher.quality.outputs.temperature._target_ = 'kdlab.objectives.schedules.linear': no schedule may stand "
        "here, but for a weight or a knob of the objective (+schedule@objective.alpha=warm_up); it reads "
        "objective.temperature._target_"
    ),
    ("+schedule@objective=linear",): (
        "objective._target_ = 'kdlab.objectives.schedules.linear': no schedule may stand here, but for a weight or a "
        "knob of the objective (+schedule@objective.alpha=warm_up)"
    ),
    ("objective.terms=5",): "objective.terms = 5: must be a valid dictionary",
    ("data.transfer=5",): "data.transfer = 5: must be a valid dictionary or instance of TransferConfig",
    ("+schedule@training.optimizer.lr=linear",): (
        "training.optimizer.lr._target_ = 'kdlab.objectives.schedules.linear': one number is needed, which "
        "training.schedule changes (kdlab run training/schedule=cosine)"
    ),
    ("objective/convention=torchdistill", ON_ALPHA + "warm_up"): (
        "objective.t2_scaling = {'_target_': 'kdlab.objectives.schedules.linear', 'start'...: true or false is needed, "
        "and no schedule; it reads objective.alpha"
    ),
    ("objective/convention=mdistiller", "objective.alpha=0.9"): (
        "objective.alpha = 0.9: nothing in this config reads it; objective/convention=mdistiller has "
        "objective.ce_weight and objective.kd_weight instead; with objective/convention=kdlab it is read"
    ),
    ("objective=hint", DEIT): (
        "objective/convention = deit: nothing in this config reads it; with objective=distillation it is read"
    ),
    ("objective=hint_two_stage", DEIT): (
        "objective/convention = deit: it sets weights that objective=hint_two_stage changes during the run "
        "(hard_labels, soft_targets); kdlab is allowed"
    ),
}


@pytest.fixture(scope="module")
def composer():
    return Composer(make_loader())


def read(words, composer):
    cfg, absent = composer.compose(words)
    return checked(cfg, words, composer=composer, absent=absent)


@pytest.mark.parametrize("words", REFUSED, ids=" ".join)
def test_what_is_said_of_what_cannot_be(words, composer):
    with pytest.raises(UserError) as said:
        read(words, composer)
    assert str(said.value) == REFUSED[words]


@pytest.mark.parametrize(
    "words", [["objective.alpha.value=0"], ["objective.alpha.begin=0.50001", "objective.alpha.until=0.50002"]]
)
def test_an_alpha_that_is_0_in_every_step_is_the_scratch_twin(words, composer):
    point = plan(read([ON_ALPHA + "early_stopped", *words], composer))
    assert point.run.run_id == point.twin.run_id
    assert point.teacher is None


def test_a_list_of_alphas_is_a_run_whose_constant_weight_is_a_number(composer):
    always = plan(read([ON_ALPHA + "steps", "objective.alpha.values=[1,1]"], composer))
    assert always.run.run_id == plan(read(["objective.alpha=1"], composer)).run.run_id


def test_a_run_in_which_no_term_is_heard_is_refused(composer):
    config = read(["objective/term=[soft_targets]", "objective.alpha=0"], composer)
    with pytest.raises(UserError, match=r"objective.terms = \['soft_targets'\]: at least one term with"):
        plan(config)


def test_a_point_of_a_sweep_drops_a_schedule_and_a_convention_that_it_does_not_read(composer):
    words = ["objective=distillation,hint", ON_T + "linear", DEIT]
    axes, fixed = expand(words, grid={})
    first, second = plan_points(axes, fixed, arms={}, sweep=Sweep("s", None, "run"), composer=composer).points
    assert first.config.objective.terms["soft_targets"]["temperature"]["start"] == 8
    assert second.overrides == ("objective=hint",)


def test_two_schedules_are_two_axes():
    axes, _ = expand([ON_T + "linear,cosine", ON_ALPHA + "warm_up,early_stopped"], grid={})
    assert [axis.key for axis in axes] == ["objective.temperature", "objective.alpha"]
