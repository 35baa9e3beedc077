import dataclasses
from functools import partial

import numpy as np
import pytest
import torch
from scipy.ndimage import convolve1d
from sklearn.datasets import load_digits

from kdlab.data import corruptions
from kdlab.data.digits import digits
from kdlab.data.splits import stratified_split
from kdlab.errors import UserError


@pytest.fixture(scope="module")
def dataset():
    return digits(seed=0)


def pixels(examples, facts):
    return (examples.inputs.numpy().astype(np.float64) * facts["std"] + facts["mean"]) / 16


def test_index_is_the_row_in_scikit_learns_order(dataset):
    images, labels = load_digits(return_X_y=True)
    for examples in (dataset.train, dataset.validation, dataset.test):
        assert np.array_equal(labels[examples.index], examples.labels)
        found = pixels(examples, dataset.facts)[:, 0].reshape(-1, 64) * 16
        assert np.allclose(found, images[examples.index], atol=1e-5)
    everything = torch.cat([dataset.train.index, dataset.validation.index, dataset.test.index])
    assert sorted(everything.tolist()) == list(range(1797))


def test_split_is_stratified_60_20_20(dataset):
    assert dataset.input_shape == (1, 8, 8)
    assert (len(dataset.train), len(dataset.validation), len(dataset.test)) == (1078, 360, 359)
    everything = np.bincount(load_digits().target)
    for examples, share in ((dataset.train, 0.6), (dataset.validation, 0.2), (dataset.test, 0.2)):
        assert np.abs(np.bincount(examples.labels) - share * everything).max() <= 1


def test_training_pixels_have_mean_0_and_deviation_1(dataset):
    values = dataset.train.inputs.double()
    assert dataset.train.inputs.dtype == torch.float32
    assert abs(values.mean()) < 1e-6
    assert abs(values.std(unbiased=False) - 1) < 1e-6


def test_the_seed_moves_the_split_and_nothing_else(dataset):
    again, other = digits(seed=0), digits(seed=1)
    assert torch.equal(again.test.index, dataset.test.index)
    assert torch.equal(again.test.inputs, dataset.test.inputs)
    assert not torch.equal(other.test.index, dataset.test.index)


@pytest.mark.parametrize("told", [{"train": 0}, {"train": 0.8, "validation": 0.2}, {"validation": -0.1}])
def test_bad_shares_are_refused(told):
    with pytest.raises(UserError, match="train, validation"):
        digits(**told)


def test_stratified_split_of_tiny_classes():
    labels = np.array([0, 1, 0, 2, 0, 0, 0])
    parts = stratified_split(labels, fractions=(0.6, 0.2), generator=np.random.default_rng(0))
    assert sorted(np.concatenate(parts)) == list(range(7))
    assert [int((labels[part] == 0).sum()) for part in parts] == [3, 1, 1]
    with pytest.raises(ValueError, match="below 1"):
        stratified_split(labels, fractions=(0.6, 0.4), generator=np.random.default_rng(0))


SLICES = {
    "noise": partial(corruptions.gaussian_noise, std=0.3),
    "blur": partial(corruptions.blur, sigma=0.8),
    "occlusion": partial(corruptions.occlusion, side=3),
    "rotation": partial(corruptions.rotation, degrees=20),
}


@pytest.mark.parametrize("name", SLICES)
def test_corruptions_are_deterministic_twins_inside_the_pixel_range(dataset, name):
    first, second = SLICES[name](dataset), SLICES[name](dataset)
    assert torch.equal(first.inputs, second.inputs)
    assert torch.equal(first.index, dataset.test.index)
    assert torch.equal(first.labels, dataset.test.labels)
    assert torch.equal(SLICES[name](dataset, size=10).inputs, first.inputs[:10])
    values = pixels(first, dataset.facts)
    assert -1e-6 <= values.min() < values.max() <= 1 + 1e-6
    assert (first.inputs != dataset.test.inputs).flatten(1).any(1).double().mean() > 0.9
    assert first.inputs.dtype == torch.float32


@pytest.mark.parametrize(
    "neutral",
    [
        partial(corruptions.gaussian_noise, std=0),
        partial(corruptions.blur, sigma=0),
        partial(corruptions.rotation, degrees=0),
    ],
)
def test_strength_0_changes_nothing(dataset, neutral):
    assert torch.allclose(neutral(dataset).inputs, dataset.test.inputs, atol=1e-6)


def test_noise_of_an_example_is_one_draw_turned_up(dataset):
    clean = pixels(dataset.test, dataset.facts)
    weak, strong = (pixels(corruptions.gaussian_noise(dataset, std=s), dataset.facts) for s in (0.1, 0.2))
    unclipped = (strong > 1e-4) & (strong < 1 - 1e-4) & (weak > 1e-4) & (weak < 1 - 1e-4)
    assert unclipped.mean() > 0.3
    assert np.allclose((strong - clean)[unclipped], 2 * (weak - clean)[unclipped], atol=1e-5)
    middle = (clean > 0.45) & (clean < 0.55)  # five deviations from either end: not clipped
    assert abs((weak - clean)[middle].std() - 0.1) < 0.01


def test_noise_of_an_image_does_not_depend_on_its_place_in_the_test_set(dataset):
    reordered = dataclasses.replace(dataset, test=dataset.test.select(torch.arange(len(dataset.test)).flip(0)))
    assert torch.equal(SLICES["noise"](reordered).inputs.flip(0), SLICES["noise"](dataset).inputs)


def test_blur_against_explicit_convolution(dataset):
    offsets = np.arange(-3, 4)  # the kernel of scipy's default truncation: 4 sigma, rounded
    kernel = np.exp(-0.5 * (offsets / 0.7) ** 2)
    kernel /= kernel.sum()
    image = pixels(dataset.test, dataset.facts)[5, 0]
    expected = convolve1d(convolve1d(image, kernel, axis=0, mode="nearest"), kernel, axis=1, mode="nearest")
    found = corruptions.blurred(image[None], np.random.default_rng(0), sigma=0.7)[0]
    assert np.allclose(found, expected, atol=1e-12)


def test_blur_does_not_mix_channels():
    image = np.zeros((3, 8, 8))
    image[1, 4, 4] = 1
    found = corruptions.blurred(image, np.random.default_rng(0), sigma=1.0)
    assert found[1].sum() == pytest.approx(1, abs=1e-2)
    assert found[[0, 2]].sum() == 0


@pytest.mark.parametrize("side", [1, 3, 8])
def test_occlusion_covers_one_square_anywhere_inside(side):
    image, places = np.ones((2, 8, 8)), set()
    for seed in range(300):
        covered = corruptions.occluded(image, np.random.default_rng(seed), side=side, fill=0.0) == 0
        assert np.array_equal(covered[0], covered[1])
        rows, columns = np.flatnonzero(covered[0].any(1)), np.flatnonzero(covered[0].any(0))
        assert len(rows) == len(columns) == side
        assert covered[0].sum() == side**2
        places.add((rows[0], columns[0]))
    assert {place[0] for place in places} == set(range(8 - side + 1))
    assert (image == 1).all()  # the original is not written to


def test_rotation_turns_about_the_centre_to_both_sides():
    image = np.random.default_rng(0).random((2, 8, 8))
    turned = [corruptions.rotated(image, np.random.default_rng(seed), degrees=90) for seed in range(20)]
    sides = [
        next(k for k in (1, -1) if np.allclose(piece, np.rot90(image, k, axes=(1, 2)), atol=1e-9)) for piece in turned
    ]
    assert set(sides) == {1, -1}


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (partial(corruptions.gaussian_noise, std=-1), "std = -1"),
        (partial(corruptions.blur, sigma=float("nan")), "sigma = nan"),
        (partial(corruptions.occlusion, side=9), "\\[1, 8\\]"),
        (partial(corruptions.occlusion, side=0), "side = 0"),
        (partial(corruptions.rotation, degrees=float("inf")), "degrees = inf"),
    ],
)
def test_bad_strengths_are_refused(dataset, call, words):
    with pytest.raises(UserError, match=words):
        call(dataset)


def test_corruptions_refuse_what_is_not_an_image(dataset):
    with pytest.raises(UserError, match="images"):
        corruptions.blur(dataclasses.replace(dataset, facts={}), sigma=1)
