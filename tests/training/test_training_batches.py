import pytest
import tiny_data
import torch
from batching import Flat

from kdlab.data import Examples
from kdlab.data.transfer_order import Mixture
from kdlab.streams import generator
from kdlab.training.batches import CHUNK, EvaluationBatches, Source, TrainingBatches, ahead

CPU = torch.device("cpu")


def indices(batches):
    return [batch.index.tolist() for batch in batches]


def of(count=23, *, size=5, seed=0, role="student"):
    return Flat(tiny_data.examples(count), batch_size=size, role=role, seed=seed)


def test_every_training_batch_is_full_and_no_row_comes_twice_in_an_epoch():
    found = indices(of())
    assert [len(rows) for rows in found] == [5, 5, 5, 5]
    assert len(of()) == 4
    assert len({row for rows in found for row in rows}) == 20


def test_the_order_is_that_of_the_stream_and_another_one_each_epoch():
    batches = of()
    for epoch in (0, 3):
        batches.epoch = epoch
        expected = torch.randperm(23, generator=generator("student", "order", 0, epoch=epoch))[:20]
        assert torch.equal(torch.cat([batch.index for batch in batches]), expected)
    assert indices(of(seed=0)) != indices(of(seed=1))
    assert indices(of(role="student")) != indices(of(role="teacher"))


def test_rows_keep_inputs_labels_and_index_together():
    examples = tiny_data.examples(23)
    for batch in Flat(examples, batch_size=4, seed=1):
        assert torch.equal(batch.inputs, examples.inputs[batch.index])
        assert torch.equal(batch.labels, examples.labels[batch.index])
        assert batch.labelled.all()


def test_a_set_smaller_than_a_batch_is_one_batch():
    assert [len(rows) for rows in indices(of(3, size=10))] == [3]


def test_evaluation_goes_through_everything_in_order():
    examples = tiny_data.examples(23)
    batches = EvaluationBatches(examples, batch_size=10, device=CPU)
    assert len(batches) == 3
    assert [len(rows) for rows in indices(batches)] == [10, 10, 3]
    assert torch.equal(torch.cat([batch.index for batch in batches]), examples.index)


def test_chunks_cover_an_epoch_once_and_in_order():
    batches = TrainingBatches([Source(tiny_data.examples(CHUNK + 7), role="student", seed=0)], batch_size=1, device=CPU)
    assert [len(chunk.steps) for chunk in batches] == [CHUNK, 7]
    assert len(batches) == 2


@pytest.mark.parametrize("resident", [True, False])
@pytest.mark.parametrize("sets", [[0, 0, 0], [0, 1, 0], [1, 0, 2]])
def test_a_stack_sees_for_every_source_the_batch_it_has_alone(sets, resident):
    data = [tiny_data.examples(23, start=1000 * at) for at in range(3)]
    sources = [Source(data[at], role="student", seed=seed) for seed, at in enumerate(sets)]
    batches = TrainingBatches(sources, batch_size=5, device=CPU, resident=resident)
    batches.epoch = 2
    alone = [Flat(data[at], batch_size=5, seed=seed) for seed, at in enumerate(sets)]
    for one in alone:
        one.epoch = 2
    stacked = [batch for chunk in batches for batch in chunk]
    assert len(stacked) == 4
    for batch, *expected in zip(stacked, *alone, strict=True):
        for at, one in enumerate(expected):
            assert torch.equal(batch.inputs[at], one.inputs)
            assert torch.equal(batch.labels[at], one.labels)
            assert torch.equal(batch.index[at], one.index)


def test_a_worker_cuts_ahead_in_order_and_what_it_raises_is_raised_here():
    import threading

    made, here = [], threading.get_ident()

    def items():
        for number in range(5):
            if number == 4:
                raise RuntimeError("a broken disk")
            made.append((number, threading.get_ident()))
            yield number

    found = []

    def read():
        for item in ahead(items(), depth=2):
            found.append(item)
            assert len(made) <= item + 4

    with pytest.raises(RuntimeError, match="a broken disk"):
        read()
    assert found == [0, 1, 2, 3]
    assert [number for number, _ in made] == found
    assert here not in {thread for _, thread in made}


# --- a transfer set ---------------------------------------------------------------------------------------------------


def mixed(*, seed=0, labelled=20, transfer=33, batch_size=8, fraction=0.25, all_labelled=False):
    """A source of labelled rows and of a transfer set behind them, whose labels must not be read."""
    both = tiny_data.examples(labelled + transfer)
    labels = torch.where(torch.arange(len(both)) < labelled, both.labels, -100)
    mixture = Mixture.of(
        labelled, transfer, batch_size=batch_size, labelled_fraction=fraction, all_labelled=all_labelled
    )
    return Source(Examples(both.inputs, labels, both.index), role="student", seed=seed, mixture=mixture)


def shown(sources, *, epoch=0, **how):
    batches = TrainingBatches(sources, batch_size=8, device=CPU, **how)
    batches.epoch = epoch
    return [batch for chunk in batches for batch in chunk]


def test_every_batch_has_its_share_of_labelled_rows_and_says_which_they_are():
    source = mixed()
    found = shown([source])
    assert len(found) == 10, "two labelled rows a batch: twenty are gone through in ten steps"
    for batch in found:
        assert torch.equal(batch.labelled, batch.index < 20)
        assert batch.labelled.sum() == 2
        assert not batch.all_labelled
        assert torch.equal(batch.inputs, source.examples.inputs[batch.index])
        assert torch.equal(batch.labels, source.examples.labels[batch.index])
    own = [row for batch in found for row in batch.index.tolist() if row < 20]
    assert sorted(own) == list(range(20))
    assert all(batch.labelled.all() for batch in shown([mixed(all_labelled=True)]))


def test_labelled_rows_and_the_transfer_set_have_streams_of_their_own():
    found = torch.cat([batch.index.view(1, -1) for epoch in range(3) for batch in shown([mixed()], epoch=epoch)])
    own, added = found[:, :2].flatten(), found[:, 2:].flatten() - 20
    for number in range(3):
        order = torch.randperm(20, generator=generator("student", "order", 0, epoch=number))
        assert torch.equal(own[20 * number :][:20], order)
    for number in range(5):
        order = torch.randperm(33, generator=generator("student", "transfer", 0, epoch=number))
        assert torch.equal(added[33 * number :][:33], order)


@pytest.mark.parametrize("resident", [True, False])
@pytest.mark.parametrize("shared", [True, False])
def test_a_stack_sees_the_mixed_batches_that_each_source_has_alone(resident, shared):
    sources = [mixed(seed=seed) for seed in (0, 1, 2)]
    if shared:
        for source in sources:
            source.examples = sources[0].examples
    alone = [shown([source], epoch=4) for source in sources]
    together = shown(sources, epoch=4, resident=resident)
    assert len(together) == len(alone[0])
    for step, batch in enumerate(together):
        for at, one in enumerate(alone):
            for part in ("inputs", "labels", "index", "labelled"):
                assert torch.equal(getattr(batch, part)[at], getattr(one[step], part))
    orders = {tuple(batch.index.tolist()) for one in alone for batch in one}
    assert len(orders) == 3 * len(alone[0]), "every student has an order of its own"
