"""Every teacher quality end to end: what trains, what is shared, what the records say, and what is refused."""

import math

import pytest
import torch
from plain_config import config, plain
from presets import NAMES, OWN_WEIGHTS, preset

from kdlab.experiments.assembling import build_teacher_network
from kdlab.experiments.plan import plan, plan_teacher
from kdlab.experiments.preflight import preflight
from kdlab.experiments.teachers import obtain_teacher
from kdlab.schema.reading import ConfigError, read_config
from kdlab.teachers import facts_of

SHIFT = {"_target_": "tiny_data.moved", "by": 1.0}
TRANSFORMED = ("calibrated", "low_bit", "overconfident", "permuted", "virtual", "without_classes")
SAME_TOP = ("calibrated", "overconfident", "permuted")
NO_NETWORK = ("uniform", "virtual")
DOSES = {
    "weak": {"steps": (2, 4)}, "overconfident": {"scale": (0.3, 3)}, "label_smoothed": {"epsilon": (0.1, 0.3)},
    "label_noise": {"label_noise": (0.1, 0.6)}, "shifted": {"severity": (1, 2)}, "low_bit": {"bits": (2, 4)},
}  # fmt: skip
READ_BY = {dose: name for name, doses in DOSES.items() for dose in doses} | {"granularity": "low_bit"}


def asked(name, *, doses=None, **changes):
    """The config of a student taught by a quality; a weak teacher on the tiny data set has 3 steps."""
    known = {"steps": 3} if name == "weak" else {}
    changes = {"data__shift": SHIFT, **changes}
    return config(teacher__quality=preset(name, **{**known, **(doses or {})}), **changes)


def teacher_id(name, **changes):
    return plan_teacher(asked(name, **changes)).run_id


# --- identities -----------------------------------------------------------------------------------------------------


def test_every_quality_is_another_teacher_and_the_presets_are_all_here():
    assert set(NAMES) == {"standard", "uniform", *OWN_WEIGHTS, *TRANSFORMED}
    assert len({teacher_id(name) for name in NAMES}) == len(NAMES)


@pytest.mark.parametrize("dose", READ_BY)
def test_a_dose_counts_where_it_is_read_and_nowhere_else(dose):
    values = ("tensor", "channel") if dose == "granularity" else DOSES[READ_BY[dose]][dose]
    for name in NAMES:
        found = {teacher_id(name, doses={dose: value}) for value in values}
        assert len(found) == (2 if name == READ_BY[dose] else 1), name


@pytest.mark.parametrize("name", NAMES)
def test_parents_are_shared_and_own_weights_are_not(name):
    planned, standard = plan_teacher(asked(name)), plan_teacher(asked("standard"))
    if name in TRANSFORMED:
        assert planned.parent.run_id == standard.run_id
        assert planned.identity_config["parent"] == standard.identity_config
        assert planned.parent.config.teacher.quality == {"name": "standard"}
    else:
        assert planned.parent is None
    assert planned.seeds["teacher"] == (None if name == "uniform" else 0)


@pytest.mark.parametrize("name", NAMES)
def test_the_temperature_counts_where_the_targets_depend_on_it(name):
    other = config(teacher__quality=preset(name, temperature=8.0), data__shift=SHIFT, temperature=8.0)
    cold = config(teacher__quality=preset(name, temperature=2.0), data__shift=SHIFT, temperature=2.0)
    assert (plan_teacher(other).run_id == plan_teacher(cold).run_id) == (name != "virtual")
    if name == "virtual":
        planned = plan_teacher(other, ["objective.temperature=8", "objective.alpha=0.9", "seed=0"])
        assert planned.overrides == ("seed=0", "objective.temperature=8")
        assert planned.parent.overrides == ("seed=0",)


def test_neutral_and_untrained_identities():
    assert teacher_id("label_smoothed", doses={"epsilon": 0}) == teacher_id("standard")
    recipe = {"teacher__training__steps": 7, "teacher__training__optimizer__lr": 0.5}
    assert teacher_id("untrained", **recipe) == teacher_id("untrained")
    assert teacher_id("untrained", teacher__seed=1) != teacher_id("untrained")
    assert teacher_id("untrained", teacher__model__width=7) != teacher_id("untrained")
    assert teacher_id("shifted", data__shift={**SHIFT, "by": 2.0}) != teacher_id("shifted")
    assert teacher_id("standard", data__shift={**SHIFT, "by": 2.0}) == teacher_id("standard")


@pytest.mark.parametrize("name", [name for name in NAMES if name not in NO_NETWORK])
def test_scaling_transforms_the_same_parent(name):
    plainly = plan_teacher(asked(name))
    scaled = plan_teacher(asked(name, teacher__logit_scale=2.0))
    matched = plan_teacher(asked(name, teacher__match_entropy=0.5))
    assert len({plainly.run_id, scaled.run_id, matched.run_id}) == 3
    weights = plainly if plainly.parent is None else plainly.parent
    assert scaled.parent.run_id == matched.parent.run_id == weights.run_id
    assert scaled.parent.config.teacher.logit_scale is matched.parent.config.teacher.match_entropy is None
    assert matched.identity_config["match_entropy"] == {"entropy": 0.5, "temperature": 2.0}
    assert teacher_id(name, teacher__logit_scale=1.0) == plainly.run_id
    warmer = plan_teacher(asked(name, teacher__match_entropy=0.5, objective__temperature=4.0))
    assert warmer.run_id != matched.run_id


def test_permuted_over_a_checkpoint_is_a_teacher_of_its_seed(tmp_path):
    path = tmp_path / "mine.pt"
    path.write_bytes(b"weights")
    ids = {teacher_id("permuted", teacher__checkpoint=str(path), teacher__seed=seed) for seed in (0, 1)}
    assert len(ids) == 2
    ids = {teacher_id("calibrated", teacher__checkpoint=str(path), teacher__seed=seed) for seed in (0, 1)}
    assert len(ids) == 1


# --- end to end -----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def run(shared):
    """The record of a student taught by a quality, made once."""
    made = {}

    def point(name, **changes):
        key = (name, str(changes))
        if key not in made:
            from kdlab.experiments.students import run_point

            made[key] = run_point(plan(asked(name, **changes)), shared.lab)
        return made[key]

    return point


@pytest.mark.parametrize("name", NAMES)
def test_a_run_over_every_preset(run, shared, name):
    student = run(name)
    teacher, standard = shared.store.load(student.teacher["id"]), shared.store.load(run("standard").teacher["id"])
    assert student.status == teacher.status == "finished"
    assert student.teacher["quality"] == name
    assert (teacher.parent == standard.run_id) if name in TRANSFORMED else (teacher.parent is None)
    told = teacher.metrics["validation/parent_accuracy"]
    assert told == (standard.metrics["validation/accuracy"] if name in TRANSFORMED else None)
    assert (student.metrics["test/agreement"] is None) == (name in NO_NETWORK)
    assert (student.metrics["test/teacher_kl"] is None) == (name in NO_NETWORK)
    assert (student.teacher["metrics"] is None) == (name in NO_NETWORK)
    assert (teacher.metrics["cost/num_params"] is None) == (name in NO_NETWORK)
    assert 0 < student.teacher["targets"]["entropy"] <= math.log(3) + 1e-6
    if name in SAME_TOP:
        assert teacher.metrics["test/accuracy"] == standard.metrics["test/accuracy"]
    if name in TRANSFORMED:
        assert not (shared.store.folder(teacher.run_id) / "weights.safetensors").exists()


def test_what_the_records_keep_of_each(run, shared):
    def facts(name):
        return shared.store.load(run(name).teacher["id"]).provenance.get("quality")

    standard = shared.store.load(run("standard").teacher["id"])
    assert facts("calibrated")["fitted_temperature"] == standard.metrics["test/fitted_temperature"]
    assert facts("low_bit") == {"tensors_changed": 2}
    assert facts("label_noise") == {"labels_changed": 0.3, "inputs_changed": 0.0}
    assert facts("shifted") == {"labels_changed": 0.0, "inputs_changed": 1.0}
    assert facts("standard") is facts("overconfident") is None
    virtual, entropy = facts("virtual"), run("standard").teacher["targets"]["entropy"]
    assert virtual["target_entropy"] == pytest.approx(entropy, rel=1e-9)
    assert run("virtual").teacher["targets"]["entropy"] == pytest.approx(entropy, rel=1e-5)
    assert run("permuted").teacher["targets"]["entropy"] == pytest.approx(entropy, rel=1e-6)
    untrained = shared.store.load(run("untrained").teacher["id"])
    assert (untrained.metrics["cost/train_seconds"], untrained.provenance["steps"]) == (0.0, 0)
    calibrated = shared.store.load(run("calibrated").teacher["id"])
    assert calibrated.metrics["test/fitted_temperature"] == pytest.approx(1.0, rel=1e-5)


@pytest.mark.parametrize("name", ["standard", "weak", "overconfident"])
def test_matched_targets_have_the_entropy_at_the_temperature_of_the_student(run, name):
    student = run(name, teacher__match_entropy=0.7)
    assert student.teacher["targets"]["entropy"] == pytest.approx(0.7, abs=1e-4)
    assert student.teacher["targets"]["temperature"] == 2.0


def test_a_scale_on_top_is_the_overconfident_teacher(run):
    one, other = run("standard", teacher__logit_scale=3.0), run("overconfident")
    assert one.run_id != other.run_id
    assert one.metrics["test/accuracy"] == other.metrics["test/accuracy"]
    assert one.teacher["targets"] == other.teacher["targets"]


def test_all_doses_of_all_transformations_share_one_training(bench, trainings):
    names = [("overconfident", {"scale": scale}) for scale in (0.3, 3)] + [(name, {}) for name in TRANSFORMED]
    for name, doses in names:
        obtain_teacher(plan_teacher(asked(name, doses=doses)), bench.lab)
    obtain_teacher(plan_teacher(asked("standard", teacher__match_entropy=0.7)), bench.lab)
    assert trainings == [("teacher", 0)]
    for name in OWN_WEIGHTS:
        obtain_teacher(plan_teacher(asked(name)), bench.lab)
    assert trainings == [("teacher", 0)] * 5  # the untrained one is none of them


def test_the_untrained_teacher_has_its_initial_weights(bench):
    asked_for = asked("untrained")
    taught = obtain_teacher(plan_teacher(asked_for), bench.lab)
    initial = build_teacher_network(asked_for, bench.lab.dataset(asked_for)).state_dict()
    assert all(torch.equal(value, initial[name]) for name, value in taught.provider.model.state_dict().items())


def test_what_was_fitted_is_handed_back_to_the_last_bit(bench, monkeypatch):
    planned = plan_teacher(asked("calibrated", teacher__match_entropy=0.7))
    first = obtain_teacher(planned, bench.lab).provider
    monkeypatch.setattr("kdlab.teachers.scaling.fit_temperature", None)
    monkeypatch.setattr("kdlab.teachers.scaling.factor_of_entropy", None)
    again = obtain_teacher(planned, bench.lab).provider
    assert facts_of(first) == facts_of(again)
    assert set(facts_of(first)) == {"fitted_temperature", "entropy_factor"}
    assert (again.scale, again.teacher.scale) == (first.scale, first.teacher.scale)


@pytest.mark.parametrize("name", NAMES)
def test_a_fit_leaves_the_teacher_as_it_was(bench, monkeypatch, name):
    import kdlab.experiments.fitting as fitting

    seen, fit = [], fitting.fit

    def watched(learners, **keywords):
        (learner,) = learners
        networks = [part.model for part in _chain(learner.teacher) if hasattr(part, "model")]
        before = [{key: value.clone() for key, value in one.state_dict().items()} for one in networks]
        fitted = fit(learners, **keywords)
        for old, one in zip(before, networks, strict=True):
            assert all(torch.equal(value, old[key]) for key, value in one.state_dict().items())
            assert not any(weight.requires_grad or weight.grad is not None for weight in one.parameters())
            assert not any(module.training for module in one.modules())
        seen.append(len(networks))
        return fitted

    monkeypatch.setattr(fitting, "fit", watched)
    bench.run(teacher__quality=preset(name, **({"steps": 3} if name == "weak" else {})), data__shift=SHIFT,
              training__steps=4, evaluation__sets=["validation"], teacher__cache__mode="never")  # fmt: skip
    assert seen[-1] == (0 if name == "uniform" else 1)


def _chain(teacher):
    while teacher is not None:
        yield teacher
        teacher = getattr(teacher, "teacher", None)


def test_transformations_of_a_users_checkpoint(bench, trainings, tmp_path):
    path = tmp_path / "mine.pt"
    torch.save(build_teacher_network(config(), bench.lab.dataset(config())).state_dict(), path)
    for name in ("low_bit", "permuted", "virtual", "overconfident"):
        taught = obtain_teacher(plan_teacher(asked(name, teacher__checkpoint=str(path))), bench.lab)
        assert bench.store.load(taught.record.parent).provenance["checkpoint"] == "mine.pt"
    assert trainings == []


# --- what is refused ------------------------------------------------------------------------------------------------


def refused(**changes):
    with pytest.raises(ConfigError) as caught:
        read_config(plain(**changes))
    return str(caught.value)


@pytest.mark.parametrize("name", OWN_WEIGHTS)
def test_own_weights_and_a_checkpoint_contradict_each_other(name):
    told = refused(teacher__quality=preset(name), teacher__checkpoint="mine.pt", data__shift=SHIFT)
    assert f"teacher.checkpoint = 'mine.pt': teacher.quality.name = '{name}' makes weights of its own" in told


@pytest.mark.parametrize("name", NO_NETWORK)
@pytest.mark.parametrize("knob", ["logit_scale", "match_entropy"])
def test_a_control_without_network_is_not_scaled(name, knob):
    told = refused(teacher__quality=preset(name), **{f"teacher__{knob}": 0.5})
    assert told == f"teacher.{knob} = 0.5: the targets of the control '{name}' keep the entropy they have"


def test_scale_and_entropy_contradict_each_other():
    told = refused(teacher__logit_scale=2.0, teacher__match_entropy=0.5)
    assert told == "teacher.logit_scale = 2.0, teacher.match_entropy: both multiply the logits; set one of them"
    assert "teacher.match_entropy = 0.5: one objective.temperature is needed" in refused(
        teacher__match_entropy=0.5, objective__temperature=...
    )


def test_a_data_set_without_a_shift_has_no_shifted_teacher():
    told = refused(teacher__quality=preset("shifted"))
    assert told.startswith("teacher.quality.name = 'shifted': the data set 'tiny' says no shift; set data.shift")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"terms": {"hard_labels": {"label_smoothing": 1.5}}}, "teacher.quality.terms.hard_labels.label_smoothing"),
        ({"terms": {"hard_labels": {"smoothing": 0.5}}}, "unknown key teacher.quality.terms.hard_labels.smoothing"),
        ({"terms": {"hard_labels": 3}}, "teacher.quality.terms = .*mappings of knobs"),
        ({"terms": {"soft": {"_target_": "kdlab.objectives.terms.soft_targets", "weight": 1.0, "temperature": 2.0}}},
         "teacher.quality.terms.soft: a teacher learns from no other teacher"),
        ({"trained": "no"}, "teacher.quality.trained = 'no': true or false"),
        ({"trained": False, "training": {"steps": 3}}, "trained = False: training cannot apply"),
        ({"data": {"_target_": "kdlab.teachers.noisy_labels"}}, "missing key teacher.quality.data.label_noise"),
    ],
)  # fmt: skip
def test_mistakes_in_a_preset_of_ones_own(changes, message):
    with pytest.raises(ConfigError, match=message):
        config(teacher__quality={"name": "mine", **changes})


@pytest.mark.parametrize(
    ("name", "doses", "changes", "message"),
    [
        ("overconfident", {"scale": -1}, {}, "teacher.quality.scale = -1"),
        ("low_bit", {"bits": 1}, {}, "teacher.quality.bits = 1"),
        ("label_noise", {"label_noise": 2}, {}, "teacher.quality.label_noise = 2"),
        ("shifted", {"severity": -2}, {}, "teacher.quality.severity = -2"),
        ("standard", {}, {"teacher__match_entropy": 1.2}, r"match_entropy = 1.2: allowed .* 0 and ln 3 = 1.0986"),
    ],
)  # fmt: skip
def test_a_dose_out_of_range_is_refused_before_work_starts(bench, trainings, name, doses, changes, message):
    from kdlab.errors import UserError

    with pytest.raises(UserError, match=message):
        preflight([asked(name, doses=doses, **changes)], bench.lab)
    assert trainings == []
    assert bench.store.ids() == []


@pytest.mark.parametrize("name", NAMES)
def test_preflight_lets_every_preset_pass(bench, name):
    preflight([asked(name)], bench.lab)


def test_the_steps_that_are_told_beforehand_are_those_that_are_trained():
    from kdlab.commands.progress import steps_of

    told = {name: steps_of(plan_teacher(config(teacher__quality=preset(name), data__shift=SHIFT))) for name in NAMES}
    nothing = {"untrained", "uniform", *TRANSFORMED}
    assert {name for name, steps in told.items() if steps == 0} == nothing
    assert told["standard"] == config().teacher.training.steps
    assert steps_of(plan(config()).run) == config().training.steps


def test_a_teacher_is_forwarded_once_for_its_own_record_and_its_student(bench, monkeypatch):
    import kdlab.experiments.assembling as assembling

    sizes, forward = [], assembling.predict_teacher

    def counted(provider, examples, **keywords):
        sizes.append(len(examples))
        return forward(provider, examples, **keywords)

    monkeypatch.setattr(assembling, "predict_teacher", counted)
    record = bench.run()
    assert record.metrics["test/agreement"] is not None
    assert len(sizes) == len(bench.lab.dataset(config()).sets())
