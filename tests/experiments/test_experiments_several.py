"""Many teachers of one student: ensembles, assistants and generations, from their identities to their records."""

import multiprocessing
import time

import pytest
import torch
from plain_config import QUALITIES, config, plain
from presets import preset

from kdlab.errors import UserError
from kdlab.experiments import again
from kdlab.experiments.assembling import build_teacher_network, load_network
from kdlab.experiments.lab import Lab
from kdlab.experiments.plan import plan, plan_teacher
from kdlab.experiments.preflight import preflight
from kdlab.experiments.several import generation_seed, member_seed
from kdlab.experiments.stacks import run_points
from kdlab.experiments.students import build_student
from kdlab.mappings import laid_over
from kdlab.records.store import Store
from kdlab.schema.reading import ConfigError, read_config
from kdlab.teachers import RandomMember
from kdlab.tracking.base import NullTracker

QUICK = {"evaluation__sets": ["validation"], "training__steps": 4, "teacher__training__steps": 4}
TWO = {"teacher__ensemble": {"count": 2}}
MODELS = {"teacher__ensemble": {"members": {"own": {}, "narrow": {"model": {"width": 4}}}}}
ASSISTANTS = {"teacher__assistants": {"large": {"width": 8}, "small": {"width": 7}}}
KINDS = {"seeds": TWO, "models": MODELS, "assistants": ASSISTANTS, "generations": {"teacher__generations": 3}}


def teacher_of(**changes):
    return plan_teacher(config(**changes))


def combined(combination, *, count=2, **changes):
    return teacher_of(teacher__ensemble={"count": count, "combination": combination}, **changes)


# --- identities -----------------------------------------------------------------------------------------------------


def test_one_member_and_no_chain_are_the_teacher_of_old():
    neutral = {"teacher__ensemble": {"count": 1, "combination": "random"}, "teacher__assistants": {}}
    assert plan(config(**neutral, teacher__generations=0)).run.identity == plan(config()).run.identity
    assert teacher_of(**neutral).run_id == teacher_of().run_id


def test_members_are_teachers_as_any_and_what_counts_of_them_is_how_they_are_combined():
    planned = teacher_of(**TWO)
    assert [one.run_id for one in planned.members] == [teacher_of().run_id, teacher_of(teacher__seed=10**6).run_id]
    wider = teacher_of(teacher__ensemble={"count": 4})
    assert wider.members[:2] == planned.members, "more members leave these as they are"
    assert [run.run_id for run in planned.lineage()] == [*(one.run_id for one in planned.members), planned.run_id]
    kinds = [
        combined(name) for name in ("probabilities", "probabilities_then_temper", "logits", "confidence", "random")
    ]
    assert len({one.run_id for one in kinds}) == 5
    assert len({tuple(member.run_id for member in one.members) for one in kinds}) == 1


@pytest.mark.parametrize(("name", "reads"), [("probabilities", True), ("confidence", True), ("logits", False),
                                             ("probabilities_then_temper", False), ("random", False)])  # fmt: skip
def test_the_temperature_counts_where_the_members_are_tempered_one_by_one(name, reads):
    assert (combined(name, temperature=2.0).run_id != combined(name, temperature=8.0).run_id) == reads
    asked = ["objective.temperature=8", "objective.alpha=0.5", "objective=distillation", "seed=0"]
    told = plan_teacher(config(teacher__ensemble={"count": 2, "combination": name}, temperature=8.0), asked).overrides
    assert set(told) == {"seed=0"} | ({"objective.temperature=8", "objective=distillation"} if reads else set())


def test_the_temperature_is_that_of_the_terms_and_not_a_knob_that_they_do_not_read():
    shown = combined("probabilities", temperature=2.0)
    assert shown.identity_config["ensemble"]["temperature"] == 2.0
    assert combined("probabilities", temperature=2.0, objective__temperature=9.0).run_id == shown.run_id


def test_no_two_units_share_a_member_nor_does_one_have_it_twice():
    seeds = [member_seed(unit, number) for unit in (0, 1, 15, 1000) for number in range(8)]
    assert len(set(seeds)) == len(seeds)


def test_a_study_over_seeds_sees_units_that_differ_in_nothing_else():
    def stripped(value):
        if isinstance(value, dict):
            return {key: stripped(item) for key, item in value.items() if key != "seeds"}
        return [stripped(item) for item in value] if isinstance(value, list) else value

    for changes in KINDS.values():
        one, other = (teacher_of(**changes, seed=seed, teacher__seed=seed) for seed in (0, 5))
        assert one.run_id != other.run_id
        assert stripped(one.identity_config) == stripped(other.identity_config)
        assert (one.seeds["teacher"], other.seeds["teacher"]) == (0, 5)
        student = plan(config(**changes, seed=5, teacher__seed=5)).run
        assert student.seeds == {"student": 5, "teacher": 5, "data": 0}


def test_units_that_share_pinned_members_are_told_to_whatever_draws_among_them():
    pinned = {"members": {"one": {"seed": 5}, "two": {"seed": 6}}, "combination": "random"}
    units = [teacher_of(teacher__ensemble=pinned, seed=seed, teacher__seed=seed) for seed in (0, 5, 8)]
    assert [unit.seeds["teacher"] for unit in units] == [5, 5, 5]
    assert len({unit.run_id for unit in units}) == 3, "each unit has draws of its own"
    assert len({tuple(member.run_id for member in unit.members) for unit in units}) == 1


def test_what_a_member_has_of_its_own_is_laid_over_the_teacher():
    members = {
        "own": {}, "narrow": {"model": {"width": 4}}, "short": {"training": {"steps": 2}}, "pinned": {"seed": 7},
        "weak": {"quality": preset("weak", steps=3)}, "loud": {"quality": preset("overconfident", scale=2)},
    }  # fmt: skip
    seeded = {name: {"seed": at, **own} for at, (name, own) in enumerate(members.items())}
    found = dict(zip(seeded, teacher_of(teacher__ensemble={"members": seeded}).members, strict=True))
    assert found["own"].run_id == teacher_of().run_id
    assert found["narrow"].run_id == teacher_of(teacher__model__width=4, teacher__seed=1).run_id
    assert found["short"].run_id == teacher_of(teacher__training__steps=2, teacher__seed=2).run_id
    assert found["pinned"].run_id == teacher_of(teacher__seed=7).run_id
    assert found["weak"].run_id == teacher_of(teacher__quality=preset("weak", steps=3), teacher__seed=4).run_id
    assert found["loud"].parent.run_id == teacher_of(teacher__seed=5).run_id
    deep = laid_over({"a": {"b": 1, "c": 2}}, {"a": {"_target_": "x"}}, replacing="_target_")
    assert deep == {"a": {"_target_": "x"}}


def test_chains_share_their_links():
    one, three = (teacher_of(teacher__generations=count) for count in (1, 3))
    zero, first, second = three.lineage()
    assert zero.run_id == one.run_id == teacher_of(teacher__model=config().student,
                                                   teacher__training=plain()["training"]).run_id  # fmt: skip
    assert first.run_id == teacher_of(teacher__generations=2).run_id
    assert [run.taught_by and run.taught_by.run_id for run in three.lineage()] == [None, zero.run_id, first.run_id]
    assert [run.depth for run in three.lineage()] == [0, 1, 2]
    large, small = teacher_of(**ASSISTANTS).lineage()[1:]
    assert large.run_id == teacher_of(teacher__assistants={"any": {"width": 8}}).run_id
    assert small.identity_config["model"]["width"] == 7
    assert small.identity_config["between"] == [large.identity_config["model"]]


def test_a_link_learns_as_the_student_does():
    chain = {"teacher__assistants": {"middle": {"width": 8}}}
    same = teacher_of(**chain)
    assert teacher_of(**chain, student__width=5, seed=4).run_id == same.run_id
    for change in ({"temperature": 8.0}, {"alpha": 0.5}, {"training__steps": 9}, {"teacher__training__steps": 5},
                   {"data__shown": {"omit": [1]}}, {"teacher__cache": {"dtype": "float16"}}):  # fmt: skip
        assert teacher_of(**chain, **change).run_id != same.run_id, change
    unseen = {**chain, "data__shown": {"omit": [1]}}
    corrected = {**chain, "data__shown": {"omit": [1], "bias_correction": True}}
    assert teacher_of(**corrected).run_id == teacher_of(**unseen).run_id, "biases are corrected of students and twins"
    assert plan(config(**corrected)).run.run_id != plan(config(**unseen)).run.run_id
    born_again = teacher_of(teacher__generations=2)
    assert teacher_of(teacher__generations=2, teacher__training__steps=5).run_id == born_again.run_id
    assert teacher_of(teacher__generations=2, student__width=5).run_id != born_again.run_id


def test_a_scale_on_top_is_of_the_whole():
    for changes in KINDS.values():
        whole, scaled = teacher_of(**changes), teacher_of(**changes, teacher__logit_scale=2.0)
        assert scaled.parent.run_id == whole.run_id
        assert {run.run_id for run in scaled.lineage()} == {run.run_id for run in whole.lineage()} | {scaled.run_id}
    first = teacher_of(**ASSISTANTS, teacher__quality=QUALITIES["overconfident"]).lineage()
    assert [run.run_id for run in first[:2]] == [
        teacher_of().run_id, teacher_of(teacher__quality=QUALITIES["overconfident"]).run_id,
    ]  # fmt: skip


def test_a_born_again_student_starts_from_other_weights_than_all_before_it(lab):
    configs = [config(teacher__generations=count) for count in (1, 2, 3)]
    dataset = lab.dataset(configs[0])
    networks = [*(build_teacher_network(one, dataset) for one in configs), build_student(configs[-1], dataset)]
    first = [next(network.parameters()).flatten().tolist() for network in networks]
    assert len({tuple(weights) for weights in first}) == 4
    assert {len(weights) for weights in first} == {len(first[0])}
    assert generation_seed(configs[1]) != generation_seed(configs[2])
    assert not torch.equal(*(torch.tensor(first[at]) for at in (2, 3)))


# --- end to end -----------------------------------------------------------------------------------------------------


def test_an_ensemble_is_made_of_what_is_there_and_measured_as_one(bench, trainings):
    bench.teacher(evaluation__sets=["validation"])
    student = bench.run(**TWO, evaluation__sets=["validation"])
    assert trainings == [("teacher", 0), ("teacher", 10**6), ("student", 0), ("student", 0)]
    record = bench.store.load(student.teacher["id"])
    members = [bench.store.load(run_id) for run_id in record.members]
    assert [one.seeds["teacher"] for one in members] == [0, 10**6]
    assert record.parent is None
    assert not (bench.store.folder(record.run_id) / "weights.safetensors").exists()
    for key in ("cost/num_params", "cost/macs", "cost/train_seconds"):
        assert record.metrics[key] == pytest.approx(sum(one.metrics[key] for one in members)), key
    assert record.metrics_undefined["cost/stack_size"] == "its members were trained apart"
    assert student.metrics["cost/teacher_train_seconds"] == record.metrics["cost/train_seconds"]
    dataset = bench.lab.dataset(config())
    networks = [load_network(one, bench.lab, dataset) for one in plan(config(**TWO)).teacher.members]
    with torch.no_grad():
        mean = sum((network(dataset.validation.inputs).logits / 2.0).softmax(-1) for network in networks) / 2
    right = float((mean.argmax(-1) == dataset.validation.labels).double().mean())
    assert record.metrics["validation/accuracy"] == pytest.approx(right)
    entropy = -(mean * mean.log()).sum(-1).mean()
    assert student.teacher["targets"]["temperature"] == 2.0
    assert entropy > 0
    before = len(trainings)
    bench.run(**TWO, alpha=0.5, evaluation__sets=["validation"])
    assert len(trainings) == before + 1, "another point of the same members trains its student alone"


def test_a_chain_is_made_in_order_and_each_link_names_who_taught_it(bench, trainings):
    student = bench.run(**ASSISTANTS, **QUICK)
    small = bench.store.load(student.teacher["id"])
    large, first = bench.store.load(small.parent), bench.store.load(bench.store.load(small.parent).parent)
    assert [role for role, _ in trainings] == ["teacher", "teacher", "teacher", "student", "student"]
    assert len({seed for role, seed in trainings if role == "teacher"}) == 3
    assert first.parent is None
    assert (large.weights, first.weights) == (student.weights, {"hard_labels": 1.0})
    assert large.provenance["teacher_answers"] == "stored"
    seconds = [one.metrics["cost/train_seconds"] for one in (first, large, small)]
    assert student.metrics["cost/teacher_train_seconds"] == pytest.approx(sum(seconds))
    assert small.metrics["cost/num_params"] < large.metrics["cost/num_params"] < first.metrics["cost/num_params"]
    network = again.load_model(bench.store.folder(small.run_id), bench.lab, allow=["tiny_data.*"])
    assert sum(weight.numel() for weight in network.parameters()) == small.metrics["cost/num_params"]


def test_a_random_member_teaches_online_and_the_same_however_often_it_is_begun(bench, monkeypatch):
    drawn, call = [], RandomMember.__call__

    def watched(self, inputs, index):
        said = call(self, inputs, index)
        drawn.append([id(member) for member in self.members if torch.equal(said.logits, member(inputs, index).logits)])
        return said

    monkeypatch.setattr(RandomMember, "__call__", watched)
    changes = {"teacher__ensemble": {"count": 3, "combination": "random"}, **QUICK, "training__steps": 12}
    record = bench.run(**changes)
    assert record.provenance["teacher_answers"] == "online"
    steps = [each[0] for each in drawn]
    assert len(steps) == 12
    assert len(set(steps)) > 1
    other = bench.__class__(bench.store.root.parent / "other")
    other.run(**changes)
    assert bench.weights(record.run_id) == other.weights(record.run_id)


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_found_again_is_measured_again_without_training(bench, trainings, kind):
    record = bench.run(**KINDS[kind], **QUICK)
    before = len(trainings)
    bench.run(**KINDS[kind], **{**QUICK, "evaluation__sets": ["validation", "test"]})
    assert len(trainings) == before
    told = bench.store.load(record.teacher["id"])
    assert "test/accuracy" in told.metrics
    again.evaluate_again(bench.store.folder(told.run_id), bench.lab, config(**KINDS[kind], **QUICK))


def test_the_weights_of_an_ensemble_are_those_of_its_members(bench):
    record = bench.teacher(**TWO, **QUICK)
    with pytest.raises(UserError, match=f"no weights of its own; its weights are those of {', '.join(record.members)}"):
        again.load_model(bench.store.folder(record.run_id), bench.lab, allow=["tiny_data.*"])


def test_a_member_that_was_loaded_leaves_the_cost_undefined(bench, tmp_path):
    path = tmp_path / "mine.pt"
    torch.save(build_teacher_network(config(), bench.lab.dataset(config())).state_dict(), path)
    members = {"mine": {"checkpoint": str(path)}, "own": {}}
    student = bench.run(teacher__ensemble={"members": members}, **QUICK)
    record = bench.store.load(student.teacher["id"])
    assert record.metrics_undefined["cost/train_seconds"] == "one of its members was not trained here"
    assert student.metrics_undefined["cost/teacher_train_seconds"] == "its teacher was not trained here"


def test_what_two_members_come_from_was_trained_once_and_is_counted_once(bench):
    members = {"own": {"seed": 3}, "loud": {"seed": 3, "quality": QUALITIES["overconfident"]}}
    student = bench.run(teacher__ensemble={"members": members}, **QUICK)
    record = bench.store.load(student.teacher["id"])
    own, loud = (bench.store.load(run_id) for run_id in record.members)
    assert loud.parent == own.run_id
    assert record.metrics["cost/train_seconds"] == own.metrics["cost/train_seconds"]
    assert student.metrics["cost/teacher_train_seconds"] == own.metrics["cost/train_seconds"]


# --- together -------------------------------------------------------------------------------------------------------


def test_members_and_links_of_many_units_are_trained_as_stacks(bench, sizes):
    exact = {"training__precision": "64-true", "teacher__training__precision": "64-true"}
    shared = {**QUICK, **exact, "training__steps": 6}
    chosen = [{**changes, "seed": seed, "teacher__seed": seed} for seed in (0, 1) for changes in (TWO, ASSISTANTS)]
    points = [plan(config(**shared, **one)) for one in chosen]
    records = run_points(points, bench.lab)
    assert sizes == [4, 2, 2, 6], "both seeds' members; the large and the small assistants; students and twins"
    assert all(record.status == "finished" for record in records)
    alone = bench.__class__(bench.store.root.parent / "alone")
    for point, record in zip(points[:2], records, strict=False):
        expected = alone.run(**shared, **chosen[points.index(point)])
        assert record.run_id == expected.run_id
        for key in ("validation/nll", "validation/teacher_kl"):
            assert record.metrics[key] == pytest.approx(expected.metrics[key], rel=1e-6), key


def test_random_members_in_a_stack_answer_as_they_do_alone(bench):
    shared = {**QUICK, "training__precision": "64-true", "teacher__training__precision": "64-true",
              "teacher__ensemble": {"count": 2, "combination": "random"}, "training__steps": 9}  # fmt: skip
    chosen = [{"seed": seed} for seed in (0, 1)]
    records = run_points([plan(config(**shared, **one)) for one in chosen], bench.lab)
    alone = bench.__class__(bench.store.root.parent / "alone")
    for record, one in zip(records, chosen, strict=True):
        assert record.metrics["cost/stack_size"] == 4.0
        expected = alone.run(**shared, **one)
        assert record.metrics["validation/nll"] == pytest.approx(expected.metrics["validation/nll"], rel=1e-6)


def test_a_link_that_fails_fails_what_it_would_have_taught_and_nothing_else(bench):
    diverging = {"_target_": "torch.optim.SGD", "lr": 1e9}
    points = [plan(config(**QUICK, **one)) for one in (
        {"teacher__assistants": {"middle": {"width": 8}}, "training__optimizer": diverging},
        {"teacher__assistants": {"middle": {"width": 8}}}, TWO)]  # fmt: skip
    records = run_points(points, bench.lab)
    assert [isinstance(record, Exception) for record in records] == [True, False, False]
    failed = bench.store.load(points[0].teacher.run_id)
    assert (failed.status, failed.parent) == ("failed", points[0].teacher.taught_by.run_id)
    assert bench.store.find(points[0].run.run_id) is None


def _chains(**changes):
    long = {**QUICK, "teacher__generations": 2, "training__steps": 60}
    return [plan(config(**long, **changes, seed=seed, teacher__seed=seed)) for seed in (0, 1)]


def _killed(root):
    """What a process does that is killed in the middle of a chain."""
    run_points(_chains(trainer__checkpoint_every_seconds=0.02), Lab(Store(root), NullTracker()))


def test_killed_in_the_middle_of_a_chain_it_goes_on_where_it_was(bench, trainings, capsys):
    """kill -9 while generation 1 learns: generation 0 is found, generation 1 goes on from its checkpoint."""
    points = _chains()
    middle = [point.teacher.run_id for point in points]
    process = multiprocessing.get_context("fork").Process(target=_killed, args=(bench.store.root,))
    process.start()
    paths = [bench.store.folder(run_id) / "checkpoint.ckpt" for run_id in middle]
    deadline = time.monotonic() + 60
    while not all(path.exists() for path in paths):
        assert process.is_alive()
        assert time.monotonic() < deadline
        time.sleep(0.005)
    process.kill()
    process.join()
    assert all(path.exists() for path in paths)
    records = run_points(points, bench.lab)
    assert "taking up 2 cut-off runs at step" in capsys.readouterr().out
    assert [role for role, _ in trainings] == ["teacher"] * 2 + ["student"] * 4, "generation 0 was finished"
    assert all(record.status == "finished" for record in records)
    assert all(bench.store.load(run_id).provenance["resumed_from"] > 0 for run_id in middle)


# --- what is refused ------------------------------------------------------------------------------------------------


def refused(**changes):
    with pytest.raises(ConfigError) as caught:
        read_config(plain(**changes))
    return str(caught.value)


@pytest.mark.parametrize(("changes", "told"), [
    ({"teacher__ensemble": {"members": {"one": {}, "two": {"seeds": 1}}}},
     "unknown key teacher.ensemble.members.two.seeds = 1; did you mean seed?"),
    ({"teacher__ensemble": {"count": 0}}, "teacher.ensemble.count = 0: must be greater than or equal to 1"),
    ({"teacher__ensemble": {"count": 2, "combination": "mean"}},
     "teacher.ensemble.combination = 'mean': allowed are 'probabilities', 'probabilities_then_temper', 'logits', "
     "'confidence' or 'random'"),
    ({"teacher__generations": -1}, "teacher.generations = -1: must be greater than or equal to 0"),
    ({"teacher__ensemble": {"members": {"one": {}}}},
     "teacher.ensemble.members = ['one']: two members or more are needed"),
    ({**TWO, **ASSISTANTS}, "teacher.ensemble.count = 2 beside teacher.assistants = ['large', 'small']: a teacher is "
                            "one or the other; set one of them"),
    ({**ASSISTANTS, "teacher__generations": 1}, "teacher.assistants = ['large', 'small'] beside teacher.generations = "
                                                "1: a teacher is one or the other; set one of them"),
    ({**TWO, "teacher__checkpoint": "x.pt"}, "teacher.checkpoint = 'x.pt': members that differ in their seeds would "
                                             "all have these weights; set teacher.ensemble.members"),
    ({**TWO, "teacher__seed": 10**6}, "teacher.seed = 1000000: below 1000000 is allowed beside an ensemble, whose "
                                      "members have seeds 1000000 apart"),
    ({"teacher__ensemble": {"members": {"one": {"seed": 1}, "two": {}}}},
     "teacher.ensemble.members: 1 of 2 have a seed: units would share these members and not the others; give all of "
     "them a seed, or none"),
    ({**TWO, "teacher__quality": QUALITIES["uniform"]}, "teacher.ensemble.count = 2 beside teacher.quality.name = "
     "'uniform': the control is no network that could be one of several teachers; leave one of them out"),
    ({"teacher__ensemble": {"count": 2, "combination": "random"}, "teacher__match_entropy": 0.5},
     "teacher.match_entropy = 0.5 beside teacher.ensemble.combination = 'random': another member answers in each "
     "batch, so that nothing can be fitted to its answers or stored of them"),
    ({"teacher__ensemble": {"count": 2, "combination": "random"}, "teacher__cache": {"mode": "always"}},
     "teacher.cache.mode = 'always' beside teacher.ensemble.combination = 'random': another member answers in each "
     "batch, so that nothing can be fitted to its answers or stored of them"),
    ({**TWO, "objective__terms__soft_targets__temperature":
      {"_target_": "kdlab.objectives.schedules.linear", "start": 8.0, "end": 1.0}},
     "teacher.ensemble.combination = 'probabilities': the terms of the objective have no one temperature at which the "
     "student sees the targets; probabilities_then_temper, logits and random need none"),
    ({**TWO, "objective__terms__hint": {"_target_": "kdlab.objectives.features.hint.hint", "weight": 1.0,
                                        "teacher_layer": "first", "student_layer": "first"}},
     "objective.terms.hint beside teacher.ensemble: an ensemble gives logits alone, and this term reads layers of its "
     "teacher; one teacher is needed"),
])  # fmt: skip
def test_what_makes_no_sense_is_refused_when_the_config_is_read(changes, told):
    assert told in refused(**changes).splitlines()


@pytest.mark.parametrize(("changes", "told"), [
    ({"teacher__ensemble": {"members": {"one": {}, "two": {"model": {"wdth": 3}}}}},
     "unknown key teacher.ensemble.members.two.model.wdth = 3"),
    ({"teacher__ensemble": {"members": {"one": {}, "two": {"quality": QUALITIES["uniform"]}}}},
     "teacher.ensemble.members.two.quality.name = 'uniform': the control is no network that could be a member"),
    ({"teacher__ensemble": {"members": {"one": {}, "two": {"quality": {"name": "weak"}}}}},
     "teacher.ensemble.members.two.quality.name = 'weak': a name alone changes nothing"),
    ({"teacher__ensemble": {"members": {"one": {}, "two": {"quality": {"steps": 3}}}},
      "teacher__quality": preset("weak", steps=2)},
     "teacher.ensemble.members.two.quality.steps = 3: a dose is read by the preset that stands beside it"),
    ({"teacher__ensemble": {"members": {"one": {}, "two": {"checkpoint": "none.pt"}}}},
     "teacher.ensemble.members.two.checkpoint = 'none.pt': No such file"),
    ({"teacher__ensemble": {"members": {"one": {"seed": 3}, "two": {"seed": 3}}}},
     r"teacher.ensemble.members = \['one', 'two'\]: 2 names of 1 different teachers"),
    ({"teacher__assistants": {"a": {"width": 8}, "b": {"wdth": 3}}}, "unknown key teacher.assistants.b.wdth = 3"),
])  # fmt: skip
def test_what_is_wrong_with_one_of_them_is_told_by_its_key_when_it_is_planned(changes, told):
    with pytest.raises(UserError, match=f"^{told}"):
        teacher_of(**changes)


@pytest.mark.parametrize(("changes", "told"), [
    ({"teacher__ensemble": {"members": {"one": {}, "two": {"model": {"width": 0}}}}},
     "teacher.ensemble.members.two.model.width = 0: an integer >= 1 is needed"),
    ({"teacher__ensemble": {"members": {"one": {}, "two": {"training": {"optimizer": {"lr": -1.0}}}}}},
     "teacher.ensemble.members.two.training.optimizer"),
    ({"teacher__ensemble": {"members": {"one": {}, "two": {"checkpoint": "none.pt"}}}}, "none.pt"),
    ({"teacher__assistants": {"a": {"width": 0}}}, "teacher.assistants.a.width = 0: an integer >= 1 is needed"),
    ({**TWO, "teacher__quality": preset("permuted"), "training__augmentation":
      {"noise": {"_target_": "kornia.augmentation.RandomGaussianNoise", "std": 0.1}}}, "permuted"),
])  # fmt: skip
def test_what_only_shows_when_it_is_built_is_told_before_anything_trains(bench, trainings, changes, told):
    with pytest.raises(UserError, match=told):
        preflight([config(**changes)], bench.lab)
    assert trainings == []
    assert bench.store.ids() == []


@pytest.mark.parametrize("kind", KINDS)
def test_preflight_lets_each_kind_pass_also_where_nobody_is_taught(bench, kind):
    preflight([config(**KINDS[kind]), config(**KINDS[kind], alpha=0), config(**KINDS[kind], teacher__logit_scale=2.0)],
              bench.lab)  # fmt: skip


def test_a_chain_whose_objective_learns_from_no_teacher_is_refused():
    labels = {"hard_labels": {"_target_": "kdlab.objectives.terms.hard_labels", "weight": 1.0}}
    with pytest.raises(UserError, match=r"teacher.generations = 2: no term of the objective learns from a teacher"):
        teacher_of(teacher__generations=2, objective={"terms": labels})
    with pytest.raises(UserError, match="combination = 'probabilities': this objective has no one temperature"):
        combined("probabilities", objective={"terms": labels})


def test_a_field_that_is_added_later_leaves_them_as_they_are(monkeypatch):
    """What is at its neutral value stays out of an identity inside another as it stays out of one by itself."""
    from kdlab.records import identity

    before = {kind: teacher_of(**changes).run_id for kind, changes in KINDS.items()}
    newer = {f"{inside}training.precision": "32-true" for inside in ("", "teacher.", "parent.", "teacher.parent.")}
    added = {**identity.ADDED_LATER, **newer}
    monkeypatch.setattr(identity, "ADDED_LATER", added)
    later = {kind: teacher_of(**changes) for kind, changes in KINDS.items()}
    assert not {run.run_id for run in later.values()} & set(before.values())
    assert '"precision"' not in identity.canonical_json(
        {kind: identity.without_neutral(run.identity_config) for kind, run in later.items()}
    )
