"""Schedules: the numbers of their definitions, in objectives of one student and of many; what is wrong is refused."""

import math

import pytest
import torch

from kdlab.errors import UserError
from kdlab.objectives import Objective, effective_terms, hard_labels, one_minus, soft_targets
from kdlab.objectives.schedules import cosine, linear, steps, window
from kdlab.objectives.stacking import merged, structure
from kdlab.outputs import Batch, ModelOutput, TeacherOutput

FROM, TERMS = "kdlab.objectives.schedules.", "kdlab.objectives.terms."
FALLING = {"_target_": FROM + "linear", "start": 8, "end": 1}
STAGE = {"_target_": FROM + "window", "value": 0.9, "until": 0.5}


def terms(*, temperature=4.0, alpha=0.9):
    return {
        "hard_labels": {"_target_": TERMS + "hard_labels", "weight": one_minus(alpha)},
        "soft_targets": {"_target_": TERMS + "soft_targets", "temperature": temperature, "weight": alpha},
    }


def outputs(*leading):
    stream = torch.Generator().manual_seed(0)
    logits = [torch.randn(*leading, 6, 4, generator=stream, dtype=torch.float64) for _ in range(2)]
    labels = torch.arange(6).expand(*leading, 6) % 4
    mask = torch.ones(*leading, 6, dtype=torch.bool)
    batch = Batch(torch.zeros(*leading, 6, 1), labels, labels, mask, all_labelled=True)
    return ModelOutput(logits[0], {}), TeacherOutput(logits[1], {}), batch


@pytest.mark.parametrize("share", [0, 0.1, 0.25, 0.5, 0.8, 1])
def test_ramps_are_flat_outside_and_meet_their_ends(share):
    knobs = {"start": 8, "end": 2, "begin": 0.25, "until": 0.75}
    inside = min(max((share - 0.25) / 0.5, 0), 1)
    assert linear(share, **knobs) == pytest.approx(8 - 6 * inside)
    assert cosine(share, **knobs) == pytest.approx(2 + 6 * (1 + math.cos(math.pi * inside)) / 2)


def test_steps_and_windows():
    assert [steps(at / 4, values=[8, 4, 2, 1]) for at in range(5)] == [8, 4, 2, 1, 1]
    assert [steps(share, values=[5, 3], at=[0.9]) for share in (0.89, 0.9)] == [5, 3]
    assert [window(share, value=2, begin=0.2, until=0.6, outside=1) for share in (0.1, 0.2, 0.59, 0.6)] == [1, 2, 2, 1]
    assert window(1, value=2) == 2, "a window without an end holds at the last step too"


def test_the_first_and_the_last_step_see_the_ends():
    objective = Objective.from_specs(terms(temperature=FALLING), num_steps=11)
    seen = [objective.scheduled(step)["soft_targets.temperature"] for step in (0, 5, 10)]
    assert seen == [8, 4.5, 1]
    assert Objective.from_specs(terms(temperature=FALLING), num_steps=1).scheduled(0) == {"soft_targets.temperature": 8}


@pytest.mark.parametrize("step", [0, 3, 10])
def test_a_step_is_computed_with_its_numbers(step):
    student, teacher, batch = outputs()
    value = Objective.from_specs(terms(temperature=FALLING, alpha=STAGE), num_steps=11)(student, teacher, batch, step)
    temperature, alpha = 8 - 7 * step / 10, 0.9 if step < 5 else 0.0
    hard = hard_labels(student, teacher, batch, 0).mean()
    soft = soft_targets(student, teacher, batch, 0, temperature=temperature).mean()
    torch.testing.assert_close(value.loss, (1 - alpha) * hard + alpha * soft)
    torch.testing.assert_close(value.terms["soft_targets"], soft)


def test_students_with_and_without_schedules_share_a_pass():
    mine = [terms(temperature=FALLING), terms(temperature=3.0), terms(alpha=STAGE)]
    alone = [Objective.from_specs(one, num_steps=11) for one in mine]
    assert len({structure(one) for one in alone}) == 1
    together = merged(alone)
    student, teacher, batch = outputs(3)
    for step in (0, 4, 9):
        value = together(student, teacher, batch, step)
        for at, one in enumerate(alone):
            own = one(ModelOutput(student.logits[at], {}), TeacherOutput(teacher.logits[at], {}),
                      batch.mapped(lambda part, at=at: part[at]), step)  # fmt: skip
            torch.testing.assert_close(value.loss[at], own.loss)


def test_a_schedule_is_part_of_what_trains_and_of_the_weights():
    found = effective_terms(terms(alpha=STAGE))
    assert found["soft_targets"]["weight"] == STAGE
    assert found["hard_labels"]["weight"] == {"_target_": FROM + "remainder", "of": STAGE}
    weights = Objective.from_specs(terms(alpha=STAGE), num_steps=100).weights()
    assert weights == {"hard_labels": [0.1, 1.0, 1.0], "soft_targets": [0.9, 0.0, 0.0]}


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({**FALLING, "_target_": "os.system"}, "no schedule; allowed"),
        ({**FALLING, "ends": 1}, "has no such argument"),
        ({"_target_": FROM + "linear", "start": 8}, "missing key"),
        ({**FALLING, "end": -1}, r"temperature is -\S+ at some step: a finite number > 0 is needed"),
        ({**FALLING, "end": "one"}, "temperature"),
        ({"_target_": FROM + "steps", "values": []}, "temperature"),
    ],
)
def test_what_is_wrong_is_told_before_anything_runs(wrong, words):
    with pytest.raises(UserError, match=words):
        Objective.from_specs(terms(temperature=wrong))


def test_a_switch_has_no_schedule():
    spec = terms()
    spec["soft_targets"]["t2_scaling"] = FALLING
    with pytest.raises(UserError, match=r"t2_scaling is 8 at some step: true or false is needed"):
        Objective.from_specs(spec)
