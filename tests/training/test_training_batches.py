import pytest
import tiny_data
import torch
from batching import Flat

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
