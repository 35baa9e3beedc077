"""What a student may see, whose labels it has, and what stands beside them without labels."""

import dataclasses

import numpy as np
import pytest
import tiny_data
import torch

from kdlab.data import Examples
from kdlab.data.transfer import deployment, heldout, mixup, noise, pool
from kdlab.data.transfer_rows import check_apart, material_of, training_rows, visible_classes
from kdlab.errors import UserError
from kdlab.outputs import NO_LABEL

EVERY = torch.ones(tiny_data.NUM_CLASSES, dtype=torch.bool)
MAKERS = "kdlab.data.transfer."


def data():
    return dataclasses.replace(tiny_data.tiny(), pool=tiny_data.examples(80, start=50_000))


def material(dataset=None, *, visible=EVERY, labelled=None, seed=0):
    return material_of(dataset or data(), visible=visible, labelled=labelled, seed=seed)


def rows(name, *, labels=False, made_of=None, **knobs):
    return training_rows(made_of or material(), transfer={"_target_": MAKERS + name, **knobs}, labels=labels)


# --- what is shown ---------------------------------------------------------------------------------------------------


def test_without_any_wish_the_training_set_is_the_very_same_one():
    dataset = data()
    found = training_rows(material(dataset), transfer=None)
    assert found.train is found.known is dataset.train
    assert (found.num_labelled, found.num_transfer) == (60, 0)


@pytest.mark.parametrize("wish", [{"omit": [1]}, {"only": [0, 2]}, {"only": [0, 1, 2], "omit": [1]}])
def test_a_class_that_is_not_shown_is_in_no_set_labelled_or_not(wish):
    dataset, visible = data(), visible_classes(3, **wish)
    found = material(dataset, visible=visible, labelled=20)
    for part, whole in ((found.labelled, dataset.train), (found.rest, dataset.train), (found.pool, dataset.pool)):
        assert set(part.labels.tolist()) == {0, 2}
        assert set(part.index.tolist()) <= set(whole.index[whole.labels != 1].tolist())
    assert len(found.labelled) + len(found.rest) == int((dataset.train.labels != 1).sum())
    assert len(found.pool) == int((dataset.pool.labels != 1).sum())


@pytest.mark.parametrize(
    ("wish", "told"),
    [
        ({"omit": [3]}, r"data.shown.omit = \[3\]: classes are 0 to 2"),
        ({"only": [0, -1]}, r"data.shown.only = \[0, -1\]: classes are 0 to 2"),
        ({"omit": [0, 1, 2]}, "at least one class must be left"),
        ({"only": [1], "omit": [1]}, "at least one class must be left"),
    ],
)
def test_classes_that_cannot_be_shown_or_left_out_are_refused(wish, told):
    with pytest.raises(UserError, match=told):
        visible_classes(3, **wish)


def test_labels_are_kept_by_as_many_of_each_class_as_its_share_the_fewer_a_part_of_the_more():
    train = tiny_data.examples(600)
    dataset = dataclasses.replace(data(), train=train)
    shares = np.bincount(train.labels.numpy()) / 600
    kept = {count: material(dataset, labelled=count).labelled for count in (30, 90, 300)}
    for count, examples in kept.items():
        assert len(examples) == count
        assert np.abs(np.bincount(examples.labels.numpy()) - shares * count).max() <= 1.5
        assert torch.equal(examples.inputs, train.inputs[examples.index]), "rows stay together"
    assert set(kept[30].index.tolist()) < set(kept[90].index.tolist()) < set(kept[300].index.tolist())
    other = material(dataset, labelled=30, seed=1).labelled
    assert set(other.index.tolist()) != set(kept[30].index.tolist())
    with pytest.raises(UserError, match=r"data.shown.labelled = 601: the training set has 600 examples"):
        material(dataset, labelled=601)


# --- the transfer sets -----------------------------------------------------------------------------------------------


def test_rows_are_the_labelled_ones_and_then_the_transfer_set_whose_labels_only_the_oracle_has():
    own = material()
    found, oracle = rows("pool", size=25), rows("pool", size=25, labels=True)
    assert (found.num_labelled, found.num_transfer) == (60, 25)
    assert torch.equal(found.train.inputs, torch.cat([own.labelled.inputs, own.pool.inputs[:25]]))
    assert torch.equal(found.train.index[60:], own.pool.index[:25])
    assert torch.equal(found.train.labels[:60], own.labelled.labels)
    assert found.train.labels[60:].eq(NO_LABEL).all()
    assert torch.equal(found.known.labels, torch.cat([own.labelled.labels, own.pool.labels[:25]]))
    assert torch.equal(oracle.train.labels, found.known.labels)
    assert oracle.mixture(batch_size=10, labelled_fraction=0.5).labelled().all()
    assert found.mixture(batch_size=10, labelled_fraction=0.5).labelled().tolist() == [True] * 60 + [False] * 25


def test_heldout_takes_labels_away_from_what_keeps_none():
    made_of = material(labelled=20)
    found = rows("heldout", made_of=made_of)
    assert (found.num_labelled, found.num_transfer) == (20, 40)
    assert sorted(found.train.index.tolist()) == sorted(data().train.index.tolist())
    assert len(heldout(made_of, size=7)) == 7


def test_mixed_inputs_lie_between_two_labelled_ones():
    own = material(labelled=6)
    made = mixup(own, size=50, concentration=1.0)
    points = own.labelled.inputs.flatten(1).double()
    pairs = [(i, j) for i in range(6) for j in range(6)]
    for row in made.inputs.flatten(1).double():
        apart = []
        for i, j in pairs:
            line = points[i] - points[j]
            share = ((row - points[j]) @ line / (line @ line).clamp(min=1e-12)).clamp(0, 1)
            apart.append(float((points[j] + share * line - row).norm()))
        assert min(apart) < 1e-5
    near = mixup(own, size=50, concentration=0.01).inputs
    ends = (near.flatten(1)[:, None] - own.labelled.inputs.flatten(1)).norm(dim=-1).min(1).values
    assert (ends < 1e-2).float().mean() > 0.8, "with a small concentration most are close to one example"


def test_noise_has_the_mean_and_the_deviation_of_the_inputs():
    own = material()
    shifted = own._replace(labelled=dataclasses.replace(own.labelled, inputs=3 * own.labelled.inputs + 5))
    made = noise(shifted, size=4000).inputs.double()
    inputs = shifted.labelled.inputs.double()
    assert float(made.mean()) == pytest.approx(float(inputs.mean()), abs=0.1)  # its standard error is 0.02
    assert float(made.std()) == pytest.approx(float(inputs.std()), rel=0.02)


@pytest.mark.parametrize("make", [mixup, noise])
def test_made_inputs_are_drawn_once_and_have_an_index_that_no_example_has(make):
    own = material()
    made, again, longer = make(own, size=1200), make(own, size=1200), make(own, size=2500)
    assert torch.equal(made.inputs, again.inputs)
    assert torch.equal(made.inputs, longer.inputs[:1200])
    assert torch.equal(made.index, longer.index[:1200])
    assert not torch.equal(make(own._replace(seed=1), size=10).inputs, made.inputs[:10])
    assert made.labels.eq(NO_LABEL).all()
    assert (made.index > 1 << 40).all()
    assert len(set(made.index.tolist())) == 1200
    assert not set(mixup(own, size=20).index.tolist()) & set(noise(own, size=20).index.tolist())


def shouted(signal, generator, *, by):
    """What happens at the deployment of these tests: louder, with a draw of its own for every example."""
    return by * signal + generator.uniform()


def test_the_pool_of_the_deployment_is_the_pool_passed_through_the_function_in_the_units_of_the_data():
    own = material()._replace(facts={"mean": 2.0, "std": 4.0, "seed": 0})
    made = deployment(own, function="test_data_transfer.shouted", knobs={"by": 3.0}, size=30)
    plain = pool(own, size=30)
    raw = plain.inputs.double() * 4 + 2
    drawn = (made.inputs.double() * 4 + 2) - 3 * raw
    assert torch.allclose(drawn, drawn[:, :1, :1].expand_as(drawn), atol=1e-5), "one draw for an example"
    assert 0 <= float(drawn.min()) < float(drawn.max()) < 1
    assert len(drawn[:, 0, 0].round(decimals=4).unique()) > 20, "each example its own"
    assert torch.equal(made.labels, plain.labels)
    assert not set(made.index.tolist()) & set(own.pool.index.tolist())
    again = deployment(own, function="test_data_transfer.shouted", knobs={"by": 3.0}, size=10)
    assert torch.equal(again.inputs, made.inputs[:10]), "the fewer are a part of the more"
    with pytest.raises(UserError, match="knobs"):
        deployment(own, function="test_data_transfer.shouted", knobs={"buy": 3.0}, size=3)


def test_making_draws_from_no_stream_of_others():
    torch.manual_seed(3)
    expected = torch.rand(1)
    torch.manual_seed(3)
    mixup(material(), size=10)
    noise(material(), size=10)
    assert torch.equal(torch.rand(1), expected)


def test_an_oracle_needs_the_labels_of_all_rows():
    with pytest.raises(UserError, match=r"data.transfer.labels = True: what .*noise makes has no true labels"):
        rows("noise", labels=True, size=5)


@pytest.mark.parametrize("name", ["validation", "test"])
def test_what_is_measured_on_is_not_learned_from(name):
    dataset = data()
    check_apart(rows("pool"), dataset)
    leaked = material()._replace(pool=getattr(dataset, name))
    with pytest.raises(UserError, match=f"is that of a {name} example"):
        check_apart(rows("pool", made_of=leaked), dataset)


@pytest.mark.parametrize(
    ("spec", "told"),
    [
        ({"_target_": MAKERS + "pool", "size": 81}, "data.transfer.size = 81: the pool has 80 examples"),
        ({"_target_": MAKERS + "pool", "size": 0}, "data.transfer.size = 0: at least 1"),
        ({"_target_": MAKERS + "heldout"}, "all training examples keep their labels; data.shown.labelled=N"),
        ({"_target_": MAKERS + "mixup", "size": 5, "concentration": 0.0}, "data.transfer.concentration = 0.0"),
        ({"_target_": "test_data_transfer.not_examples"}, "gives int, not kdlab.data.Examples"),
        ({"_target_": "test_data_transfer.longer_inputs"}, r"inputs are torch.float32 of shape \(1, 9\), where"),
        ({"_target_": "test_data_transfer.labelled_again"}, "index 0 is that of a labelled example"),
        ({"_target_": "test_data_transfer.nothing"}, "the transfer set is empty"),
    ],
)
def test_a_transfer_set_that_cannot_be_is_refused(spec, told):
    with pytest.raises(UserError, match=told):
        training_rows(material(), transfer=spec)


def test_a_data_set_without_a_pool_names_what_else_there_is():
    with pytest.raises(UserError, match="'tiny' has no unlabelled pool; data/transfer=heldout"):
        pool(material(tiny_data.tiny()))


def not_examples(material):
    return 3


def longer_inputs(material):
    return Examples(torch.zeros(2, 1, 9), torch.tensor([0, 1]), torch.tensor([7_000, 7_001]))


def labelled_again(material):
    return material.labelled.select(torch.arange(2))


def nothing(material):
    return material.labelled.select(torch.arange(0))
