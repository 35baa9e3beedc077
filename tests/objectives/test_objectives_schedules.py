"""Schedules: the numbers of their definitions, in objectives of one student and of many; what is wrong is refused."""

import math
import random

import pytest
import torch

from kdlab.errors import UserError
from kdlab.objectives import Objective, effective_terms, hard_labels, one_minus, soft_targets
from kdlab.objectives.marks import non_negative
from kdlab.objectives.schedule_errors import schedule_errors
from kdlab.objectives.schedules import Schedule, cosine, held, linear, number_at, steps, window
from kdlab.objectives.stacking import merged, structure
from kdlab.outputs import Batch, ModelOutput, TeacherOutput

FROM, TERMS = "kdlab.objectives.schedules.", "kdlab.objectives.terms."
FALLING = {"_target_": FROM + "linear", "start": 8, "end": 1}
STAGE = {"_target_": FROM + "window", "value": 0.9, "until": 0.5}


def stairs(values, at=()):
    return {"_target_": FROM + "steps", "values": values, "at": at}


def rest(of):
    return {"_target_": FROM + "remainder", "of": of}


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
    found = effective_terms(terms(alpha=STAGE), num_steps=100)
    assert found["soft_targets"]["weight"] == STAGE
    assert found["hard_labels"]["weight"] == {"_target_": FROM + "remainder", "of": STAGE}
    weights = Objective.from_specs(terms(alpha=STAGE), num_steps=100).weights()
    assert weights == {"hard_labels": [0.1, 1.0, 1.0], "soft_targets": [0.9, 0.0, 0.0]}


WRONG = {
    "no schedule": ({**FALLING, "_target_": "os.system"}, r"temperature._target_ = 'os.system': no schedule; allowed"),
    "unknown knob": ({**FALLING, "ends": 1}, r"temperature.ends = 1: \S+ has no such argument"),
    "missing knob": ({"_target_": FROM + "linear", "start": 8}, r"temperature.end: \S+linear needs it"),
    "the share itself": ({**FALLING, "share": 0.5}, r"temperature.share: kdlab passes this itself"),
    "out of range": ({**FALLING, "end": -1}, r"temperature = -1 at the share 1 of the run: a finite number > 0 is"),
    "word": ({**FALLING, "end": "8"}, r"temperature.end = '8': a finite number is needed"),
    "switch": ({**FALLING, "end": True}, r"temperature.end = True: a finite number is needed"),
    "a schedule in a schedule": ({**FALLING, "end": STAGE}, r"temperature.end = \{.*a finite number is needed"),
    "begin below 0": ({**FALLING, "begin": -0.1}, r"temperature.begin = -0.1: a share of the run in \[0, 1\] is"),
    "until above 1": ({**FALLING, "until": 1.1}, r"temperature.until = 1.1: a share of the run in \[0, 1\] is"),
    "until a word": ({**FALLING, "until": "1"}, r"temperature.until = '1': a share of the run"),
    "begin after until": ({**FALLING, "begin": 0.6, "until": 0.5}, r"temperature.begin = 0.6: at most until = 0.5 is"),
    "no values": (stairs([]), r"temperature.values = \[\]: a list of finite numbers is needed"),
    "one value": (stairs(8), r"temperature.values = 8: a list of finite numbers is needed"),
    "values as a word": (stairs("84"), r"temperature.values = '84': a list of finite numbers is"),
    "a word among values": (stairs([8, "4"]), r"temperature.values = \[8, '4'\]: a list of finite numbers is needed"),
    "at one share": (stairs([8, 4], 0.5), r"temperature.at = 0.5: a list of shares of the run in \[0, 1\], in their"),
    "at in another order": (stairs([8, 4, 2], [0.6, 0.5]), r"temperature.at = \[0.6, 0.5\]: a list of shares"),
    "at after the end": (stairs([8, 4], [1.5]), r"temperature.at = \[1.5\]: a list of shares"),
    "too few shares": (stairs([8, 4, 2], [0.5]), r"temperature.at = \[0.5\]: a list of length 2 is needed for 3"),
    "a narrow place": (stairs([8, -1, 4], [0.501, 0.502]), r"temperature = -1 at the share 0.501 of the run: a finite"),
    "a narrow window": ({"_target_": FROM + "window", "value": 0, "outside": 1, "begin": 0.501, "until": 0.502},
                        r"temperature = 0 at the share 0.501 of the run"),
    "1 minus a number": (rest(0.5), r"temperature.of = 0.5: a schedule, .* is needed"),
    "1 minus no schedule": (rest({"start": 1}), r"temperature.of = \{'start': 1\}: a schedule, .* is needed"),
    "1 minus other code": (rest({"_target_": "os.system"}), r"temperature.of._target_ = 'os.system': no schedule"),
    "1 minus, and more": ({**rest(STAGE), "more": 1}, r"temperature.more = 1: \S+remainder has no such argument"),
    "1 minus a wrong one": (rest({**STAGE, "until": 2}), r"temperature.of.until = 2: a share"),
    "1 minus too much": (rest({**STAGE, "value": 3}), r"temperature = -2 at the share 0 of the run: a finite"),
}  # fmt: skip


@pytest.mark.parametrize("name", WRONG)
def test_what_is_wrong_is_told_before_anything_runs(name):
    wrong, words = WRONG[name]
    with pytest.raises(UserError, match=r"objective\.terms\.soft_targets\." + words):
        Objective.from_specs(terms(temperature=wrong), num_steps=100)


@pytest.mark.parametrize("knob", ["t2_scaling", "class_reduction"])
def test_what_is_no_number_has_no_schedule(knob):
    spec = terms()
    spec["soft_targets"][knob] = FALLING
    with pytest.raises(UserError, match=rf"{knob}._target_ = '\S+linear': .* is needed, and no schedule"):
        Objective.from_specs(spec, num_steps=100)


@pytest.mark.parametrize("knob", ["temperature", "momentum", "negatives"])
def test_what_a_module_is_built_with_has_no_schedule(knob):
    spec = {"_target_": "kdlab.objectives.features.contrastive.contrastive", "weight": 1.0, knob: STAGE}
    with pytest.raises(UserError, match=rf"contrastive\.{knob}\._target_ = .*and no schedule"):
        Objective.from_specs({"contrastive": spec}, num_steps=100)


def test_a_schedule_is_spread_over_steps_that_are_known():
    with pytest.raises(UserError, match="num_steps"):
        Objective.from_specs(terms(temperature=FALLING))


def any_schedule(draw):
    """A sound one of any kind, with breakpoints that lie beside each other often."""
    shares = sorted(draw.choice([0, 0.25, 0.5, 0.501, 1, draw.random()]) for _ in range(2))
    numbers = [draw.choice([-1, 0, 0, 1, 2]) for _ in range(3)]
    ends = {"begin": shares[0], "until": shares[1]}
    return draw.choice([
        {"_target_": FROM + "linear", "start": numbers[0], "end": numbers[1], **ends},
        {"_target_": FROM + "cosine", "start": numbers[0], "end": numbers[1], **ends},
        {"_target_": FROM + "window", "value": numbers[0], "outside": numbers[1], **ends},
        stairs(numbers, shares), stairs(numbers),
        rest({"_target_": FROM + "window", "value": numbers[0], **ends}),
    ])  # fmt: skip


def test_what_is_found_sound_is_in_range_at_every_step_and_what_holds_one_number_at_all():
    draw, seen = random.Random(0), set()
    for _ in range(150):
        spec, num_steps = any_schedule(draw), draw.choice([1, 2, 3, 10, 97])
        said = [Schedule(spec, num_steps)(step) for step in range(num_steps)]
        assert held(spec, num_steps=num_steps) == (said[0] if len(set(said)) == 1 else None)
        closely = [number_at(spec, at / 1000) for at in range(1001)]
        problems = schedule_errors(spec, key="k", rule=non_negative)
        assert bool(problems) == any(number < 0 for number in [*said, *closely]), spec
        seen.add((bool(problems), min(said) < 0))
    assert seen == {(False, False), (True, True), (True, False)}, "refused too: what this run, by chance, does not meet"


SILENT = {
    "a stage of 0": {**STAGE, "value": 0},
    "a stage between two steps": {**STAGE, "begin": 0.4999, "until": 0.5},
    "a stage of no length": {**STAGE, "until": 0},
    "stairs": stairs([0, 0.0]),
    "a line": {"_target_": FROM + "linear", "start": 0, "end": 0.0},
}


@pytest.mark.parametrize("name", SILENT)
def test_a_term_that_is_silent_in_every_step_is_none(name):
    alone = effective_terms(terms(alpha=0), num_steps=100)
    assert effective_terms(terms(alpha=SILENT[name]), num_steps=100) == alone
    objective = Objective.from_specs(terms(alpha=SILENT[name]), num_steps=100)
    assert [spec.name for spec in objective.active] == ["hard_labels"]
    assert not objective.needs


def test_a_term_is_heard_where_one_step_of_the_run_hears_it():
    spec = terms(alpha={**STAGE, "begin": 0.4999, "until": 0.5001})
    assert set(effective_terms(spec, num_steps=101)) == {"hard_labels", "soft_targets"}, "step 50 of 100"
    assert set(effective_terms(spec, num_steps=100)) == {"hard_labels"}


def test_a_schedule_that_changes_nothing_keeps_the_identity_it_has():
    found = effective_terms(terms(alpha=stairs([0.9, 0.9])), num_steps=100)
    assert found["soft_targets"]["weight"] == stairs([0.9, 0.9])
