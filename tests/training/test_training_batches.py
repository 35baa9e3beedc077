import tiny_data
import torch

from kdlab.streams import generator
from kdlab.training.batches import EvaluationBatches, TrainingBatches

CPU = torch.device("cpu")


def indices(batches):
    return [batch.index.tolist() for batch in batches]


def of(count=23, *, size=5, seed=0, role="student"):
    return TrainingBatches(tiny_data.examples(count), batch_size=size, role=role, seed=seed, device=CPU)


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
    for batch in TrainingBatches(examples, batch_size=4, role="student", seed=1, device=CPU):
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
