import random

import numpy as np
import pytest
import torch

from kdlab.data.mnist1d_canonical import mnist1d_canonical
from kdlab.errors import UserError


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="module")
def dataset(folder):
    states = np.random.get_state()[1].copy(), random.getstate()  # noqa: NPY002
    made = mnist1d_canonical(cache_dir=folder)
    assert np.array_equal(np.random.get_state()[1], states[0])  # noqa: NPY002
    assert random.getstate() == states[1]
    return made


def test_it_is_the_packages_own_set(dataset):
    from mnist1d.data import get_dataset_args, make_dataset

    state, python_state = np.random.get_state(), random.getstate()  # noqa: NPY002
    package = make_dataset(get_dataset_args())
    np.random.set_state(state)  # noqa: NPY002
    random.setstate(python_state)
    trained_on = torch.cat([dataset.train.inputs, dataset.validation.inputs])[:, 0].numpy()
    assert np.array_equal(trained_on, package["x"].astype(np.float32))
    assert np.array_equal(dataset.test.inputs[:, 0].numpy(), package["x_test"].astype(np.float32))
    labels = torch.cat([dataset.train.labels, dataset.validation.labels, dataset.test.labels]).numpy()
    assert np.array_equal(labels, np.concatenate([package["y"], package["y_test"]]))


def test_its_values_do_not_move(dataset):
    # The package publishes no checksum: what its generator makes, to five digits.
    assert dataset.train.labels[:10].tolist() == [2, 6, 4, 5, 6, 6, 6, 0, 3, 1]
    assert dataset.test.labels[:10].tolist() == [2, 6, 3, 9, 4, 3, 1, 9, 5, 2]
    assert dataset.train.inputs[0, 0, :5].tolist() == pytest.approx(
        [-0.33201, -0.47191, -0.77870, -1.00974, -0.88235], abs=1e-5
    )
    assert np.bincount(dataset.test.labels).tolist() == [102, 104, 89, 106, 106, 98, 99, 96, 98, 102]


def test_splits_are_its_rows_in_order(dataset):
    assert dataset.input_shape == (1, 40)
    assert dataset.train.index.tolist() == list(range(3500))
    assert dataset.validation.index.tolist() == list(range(3500, 4000))
    assert dataset.test.index.tolist() == list(range(4000, 5000))


def test_it_is_made_once(dataset, folder, monkeypatch):
    monkeypatch.setattr("kdlab.data.mnist1d_canonical.stock_set", lambda: pytest.fail("made again"))
    again = mnist1d_canonical(cache_dir=folder, seed=3, validation=100)
    assert len(again.train) == 3900
    assert torch.equal(again.test.inputs, dataset.test.inputs)


@pytest.mark.parametrize("validation", [0, 4000])
def test_a_validation_set_that_leaves_nothing_is_refused(folder, validation):
    with pytest.raises(UserError, match=f"validation = {validation}"):
        mnist1d_canonical(cache_dir=folder, validation=validation)
