import numpy as np
import pytest
import torch

from kdlab.data import Dataset, Examples
from kdlab.data.slices import label_shift, transformed
from kdlab.errors import UserError


def make_dataset(num_test=400, num_classes=4, seed=0, facts=None):
    generator = torch.Generator().manual_seed(seed)

    def examples(count, first):
        labels = torch.arange(count) % num_classes
        return Examples(
            torch.randn(count, 1, 6, generator=generator),
            labels[torch.randperm(count, generator=generator)],
            torch.arange(first, first + count),
        )

    return Dataset("toy", num_classes, examples(8, 0), examples(8, 100), examples(num_test, 1000), facts=facts or {})


def counts(examples, num_classes=4):
    return torch.bincount(examples.labels, minlength=num_classes).tolist()


def test_label_shift_gives_the_prior_asked_for():
    dataset = make_dataset()
    piece = label_shift(dataset, weights=[4, 3, 2, 1], size=200)
    assert counts(piece) == [80, 60, 40, 20]
    assert counts(label_shift(dataset, weights=[4, 3, 2, 1])) == [100, 75, 50, 25]  # the most that 100 a class allow
    assert counts(label_shift(dataset, weights=[1, 0, 0, 1], size=11)) in ([6, 0, 0, 5], [5, 0, 0, 6])


def test_label_shift_by_ratio_is_geometric():
    piece = label_shift(make_dataset(), ratio=8, size=150)
    assert counts(piece) == [80, 40, 20, 10]
    assert counts(label_shift(make_dataset(), ratio=1 / 8, size=150)) == [10, 20, 40, 80]
    assert counts(label_shift(make_dataset(), ratio=1, size=40)) == [10, 10, 10, 10]


@pytest.mark.parametrize("size", [1, 7, 50, 111, 173, None, 10_000])
def test_label_shift_counts_stay_within_one_of_their_share(size):
    dataset = make_dataset(num_test=203, num_classes=7)
    weights = np.array([5, 1, 2.5, 0, 3, 1, 1])
    piece = label_shift(dataset, weights=weights.tolist(), size=size)
    assert np.abs(np.array(counts(piece, 7)) - weights / weights.sum() * len(piece)).max() < 1
    if size is not None and size <= 50:
        assert len(piece) == size


def test_label_shift_rows_are_test_rows_drawn_once():
    dataset = make_dataset()
    piece = label_shift(dataset, ratio=8, size=100)
    assert len(set(piece.index.tolist())) == 100
    rows = piece.index - 1000
    assert torch.equal(piece.inputs, dataset.test.inputs[rows])
    assert torch.equal(piece.labels, dataset.test.labels[rows])


def test_label_shift_is_a_function_of_its_seed():
    dataset = make_dataset(facts={"seed": 3})
    told = {"ratio": 8, "size": 100}
    assert torch.equal(label_shift(dataset, **told).index, label_shift(dataset, **told, seed=3).index)
    assert not torch.equal(label_shift(dataset, **told).index, label_shift(dataset, **told, seed=4).index)
    smaller = set(label_shift(dataset, ratio=8, size=50).index.tolist())
    assert smaller <= set(label_shift(dataset, **told).index.tolist())


@pytest.mark.parametrize(
    ("told", "words"),
    [
        ({}, "exactly one"),
        ({"ratio": 2, "weights": [1, 1, 1, 1]}, "exactly one"),
        ({"ratio": 0}, "ratio = 0"),
        ({"ratio": float("inf")}, "ratio = inf"),
        ({"weights": [1, 2]}, "4 numbers"),
        ({"weights": [1, 2, -1, 1]}, "4 numbers"),
        ({"weights": [0, 0, 0, 0]}, "above 0"),
        ({"ratio": 2, "size": 0}, "size = 0"),
    ],
)
def test_label_shift_refuses(told, words):
    with pytest.raises(UserError, match=words):
        label_shift(make_dataset(), **told)


def test_label_shift_says_when_a_class_is_missing():
    dataset = make_dataset()
    only = Dataset("toy", 5, dataset.train, dataset.validation, dataset.test)
    with pytest.raises(UserError, match="no row at this prior"):
        label_shift(only, weights=[0, 0, 0, 0, 1])


def double(example, generator, *, factor=2.0):
    return factor * example


def jitter(example, generator, *, std):
    return example + std * generator.standard_normal(example.shape)


def test_transformed_works_in_the_units_of_the_data():
    facts = {"mean": 3.0, "std": 2.0}
    dataset = make_dataset(num_test=20, facts=facts)
    made = transformed(dataset, function=double, size=5)
    expected = (2 * (dataset.test.inputs[:5].double() * 2 + 3) - 3) / 2
    assert torch.equal(made.inputs, expected.float())
    assert torch.equal(made.index, dataset.test.index[:5])
    assert torch.equal(made.labels, dataset.test.labels[:5])


def test_transformed_by_import_path_with_knobs():
    dataset = make_dataset(num_test=20)
    made = transformed(dataset, function="kdlab.data.corruptions.with_noise", knobs={"std": 0.0})
    assert torch.equal(made.inputs, dataset.test.inputs)
    assert made.inputs.data_ptr() != dataset.test.inputs.data_ptr()


def test_transformed_draws_belong_to_the_example():
    dataset = make_dataset(num_test=20)
    whole = transformed(dataset, function=jitter, knobs={"std": 1.0})
    part = transformed(dataset, function=jitter, knobs={"std": 1.0}, size=7)
    assert torch.equal(part.inputs, whole.inputs[:7])
    stronger = transformed(dataset, function=jitter, knobs={"std": 2.0})
    drawn = whole.inputs - dataset.test.inputs
    assert torch.allclose(stronger.inputs - dataset.test.inputs, 2 * drawn, atol=1e-5)
    assert not torch.allclose(drawn[0], drawn[1])
    assert not torch.equal(transformed(dataset, function=jitter, knobs={"std": 1.0}, seed=1).inputs, whole.inputs)


@pytest.mark.parametrize(
    ("told", "words"),
    [
        ({"function": "kdlab.data.corruptions.with_noise", "knobs": {"sdt": 1}}, "knobs.sdt.*did you mean std"),
        ({"function": "kdlab.data.corruptions.nope"}, "no 'nope'"),
        ({"function": double, "size": -1}, "size = -1"),
        ({"function": lambda example, generator: example[..., :2]}, "shape"),
    ],
)
def test_transformed_refuses(told, words):
    with pytest.raises(UserError, match=words):
        transformed(make_dataset(num_test=8), **told)
