import dataclasses
from typing import get_args

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter
from scipy.stats import poisson

from kdlab.data import Dataset, Examples, corruptions, distortions, warps
from kdlab.data.corruptions import SCALES, Corruption, corrupted, corrupted_examples
from kdlab.data.loading import load_dataset, slice_errors
from kdlab.errors import UserError

SIZES = {"8x8": (1, 8, 8), "28x28": (1, 28, 28), "32x32x3": (3, 32, 32), "12x20": (1, 12, 20)}
NUM_IMAGES = 24


def blobs(shape, count=NUM_IMAGES, seed=0):
    """Smooth images that fill [0, 1], dark at the border, as a drawn digit is."""
    noise = np.random.default_rng(seed).standard_normal((count, *shape))
    side = min(shape[1:])
    smooth = gaussian_filter(noise, (0, 0, side / 10, side / 10))
    window = np.outer(*(np.hanning(size + 2)[1:-1] for size in shape[1:]))
    smooth = np.maximum(smooth * window, 0)
    return smooth / smooth.max(axis=(1, 2, 3), keepdims=True)


def make_dataset(shape, *, low=0.0, high=255.0, count=NUM_IMAGES):
    images = blobs(shape, count) * (high - low) + low
    mean = images.mean(axis=(0, 2, 3), keepdims=True)  # one per channel, as data=arrays has it
    std = images.std(axis=(0, 2, 3), keepdims=True)
    inputs = torch.from_numpy(((images - mean) / std).astype(np.float32))
    whole = Examples(inputs, torch.arange(count) % 3, torch.arange(100, 100 + count))
    empty = whole.select(torch.arange(1))
    other = Examples(empty.inputs, empty.labels, torch.tensor([7]))
    third = Examples(empty.inputs, empty.labels, torch.tensor([8]))
    facts = {"seed": 3, "mean": mean, "std": std, "value_range": (low, high)}
    return Dataset("toy", 3, other, third, whole, facts=facts)


def pixels(examples, dataset):
    low, high = dataset.facts["value_range"]
    raw = examples.inputs.numpy().astype(np.float64) * dataset.facts["std"] + dataset.facts["mean"]
    return (raw - low) / (high - low)


@pytest.fixture(scope="module")
def digits_like():
    return make_dataset(SIZES["8x8"])


def test_every_name_a_config_may_say_has_a_scale():
    assert set(SCALES) == set(get_args(Corruption))
    assert len(SCALES) >= 10


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("name", SCALES)
def test_stronger_is_further_and_inside_the_range(name, size):
    dataset = make_dataset(SIZES[size], low=-2.0, high=3.0)
    clean, distances = pixels(dataset.test, dataset), [0.0]
    for severity in range(1, 6):
        made = corrupted(dataset, corruption=name, severity=severity, progress=False)
        assert made.inputs.shape == dataset.test.inputs.shape
        assert made.inputs.dtype == torch.float32
        assert torch.equal(made.index, dataset.test.index)
        assert torch.equal(made.labels, dataset.test.labels)
        values = pixels(made, dataset)
        assert -1e-5 <= values.min() < values.max() <= 1 + 1e-5
        distances.append(np.linalg.norm((values - clean).reshape(NUM_IMAGES, -1), axis=1).mean())
    assert (np.diff(distances) > 0).all(), distances


@pytest.mark.parametrize("name", SCALES)
def test_what_becomes_of_an_image_is_its_own_affair(digits_like, name):
    whole = corrupted(digits_like, corruption=name, severity=3, progress=False)
    assert torch.equal(corrupted(digits_like, corruption=name, severity=3, size=5).inputs, whole.inputs[:5])
    rows = torch.tensor([9, 2, 17])
    some = corrupted_examples(digits_like, digits_like.test.select(rows), corruptions={name: 3}, progress=False)
    assert torch.equal(some.inputs, whole.inputs[rows])


@pytest.mark.parametrize("name", SCALES)
def test_severity_0_changes_nothing_and_between_levels_lies_between(name):
    dataset = make_dataset(SIZES["28x28"])

    def distance(severity):
        made = corrupted_examples(dataset, dataset.test, corruptions={name: severity}, progress=False)
        return float((made.inputs - dataset.test.inputs).flatten(1).norm(dim=1).mean())

    assert distance(0) < 1e-4
    assert distance(0) < distance(0.5) < distance(2)
    if name != "pixelate":  # whole boxes: a step in between may come out coarser than the next level
        assert distance(0.5) < distance(1) < distance(1.5) < distance(2)


@pytest.mark.parametrize(
    "name", ["gaussian_noise", "impulse_noise", "rotate", "translate", "elastic", "fog", "occlusion"]
)
def test_the_seed_draws_another_corruption(digits_like, name):
    first, second = (corrupted(digits_like, corruption=name, severity=3, seed=seed).inputs for seed in (3, 4))
    assert torch.equal(first, corrupted(digits_like, corruption=name, severity=3).inputs)  # the data seed
    assert not torch.equal(first, second)


def test_several_in_turn_are_not_the_same_the_other_way_round(digits_like):
    def made(*names):
        told = dict.fromkeys(names, 3)
        return corrupted_examples(digits_like, digits_like.test, corruptions=told, progress=False).inputs

    assert not torch.equal(made("zoom_blur", "brightness"), made("brightness", "zoom_blur"))
    zoomed = corrupted(digits_like, corruption="zoom_blur", severity=3, progress=False)
    then = corrupted_examples(digits_like, zoomed, corruptions={"brightness": 3}, progress=False)
    assert torch.allclose(made("zoom_blur", "brightness"), then.inputs, atol=1e-5)


@pytest.mark.parametrize(
    ("told", "words"),
    [
        ({"corruption": "foggy", "severity": 1}, "did you mean fog"),
        ({"corruption": "fog", "severity": 0}, "severity = 0"),
        ({"corruption": "fog", "severity": 6}, "severity = 6"),
        ({"corruption": "fog", "severity": 1.5}, "severity = 1.5"),
        ({"corruption": "fog", "severity": True}, "severity = True"),
        ({"corruption": "fog", "severity": 1, "size": 0}, "size = 0"),
    ],
)
def test_refused(digits_like, told, words):
    with pytest.raises(UserError, match=words):
        corrupted(digits_like, **told)


def test_what_is_no_image_is_refused(digits_like):
    with pytest.raises(UserError, match="images"):
        corrupted(dataclasses.replace(digits_like, facts={"seed": 0}), corruption="fog", severity=1)


@pytest.mark.parametrize("wrong", [{"corruption": "foggy"}, {"severity": 6}, {"severity": "1"}, {"strength": 1}])
def test_wrong_values_in_a_config_are_found_before_any_work(wrong):
    spec = {"_target_": "kdlab.data.corruptions.corrupted", "reference": "twins", "ood": True}
    right = {"corruption": "fog", "severity": 1}
    assert slice_errors({"fog": {**spec, **right}}) == []
    assert [next(iter(wrong)) in problem for problem in slice_errors({"fog": {**spec, **right, **wrong}})] == [True]


def test_made_once_and_again_where_anything_differs(digits_like, tmp_path, monkeypatch):
    calls = []
    original = corruptions.applied
    monkeypatch.setattr(corruptions, "applied", lambda *args, **told: calls.append(1) or original(*args, **told))

    def make(dataset=digits_like, **told):
        told = {"corruption": "fog", "severity": 2, **told}
        made = corrupted(dataset, cache_dir=tmp_path, progress=False, **told)
        return made.inputs, len(calls)

    first, count = make()
    again, count_again = make()
    assert (count, count_again) == (1, 1)
    assert torch.equal(first, again)
    assert torch.equal(first, corrupted(digits_like, corruption="fog", severity=2, progress=False).inputs)
    calls.clear()
    brighter = dataclasses.replace(digits_like, facts={**digits_like.facts, "value_range": (-255.0, 255.0)})
    others = [{"severity": 3}, {"corruption": "rotate"}, {"seed": 5}, {"size": 7}, {"dataset": brighter}]
    assert [make(**told)[1] for told in others] == [1, 2, 3, 4, 5]
    for path in (tmp_path / "corruptions").glob("*.npy"):
        path.write_bytes(path.read_bytes()[:-1])
    assert torch.equal(make()[0], first)
    assert len(calls) == 6


def test_slices_of_a_config_are_kept_in_its_cache(tmp_path):
    told = {"_target_": "kdlab.data.corruptions.corrupted", "reference": "twins", "ood": True}
    spec = {"name": "digits", "_target_": "kdlab.data.digits.digits"}
    slices = {"fog": {**told, "corruption": "fog", "severity": 1, "size": 20}}
    dataset = load_dataset(spec, slices, cache_dir=tmp_path, progress=False)
    assert len(dataset.slices["fog"].examples) == 20
    assert len(list((tmp_path / "corruptions").glob("*.npy"))) == 1


# Single functions against slow loops and other libraries ----------------------------------------------------------


@pytest.fixture
def image():
    return blobs((2, 9, 9), count=1)[0]


def test_shot_noise_is_the_quantile_of_poisson(image):
    for variance in (1 / 60, 1 / 3):
        uniform = np.random.default_rng(1).random(image.shape)
        expected = variance * poisson.ppf(uniform, image / variance)
        found = distortions.with_shot_noise(image, np.random.default_rng(1), variance=variance)
        assert np.allclose(found, np.where(image > 0, expected, 0), atol=1e-12)


def test_faint_shot_noise_continues_the_counts():
    grey = np.full((1, 200, 200), 0.5)
    just_counted, normal = (
        distortions.with_shot_noise(grey, np.random.default_rng(0), variance=1 / photons) for photons in (499, 501)
    )
    assert np.abs(just_counted - normal).max() < 0.009  # rounding to whole photons, and the skewness of the counts
    assert normal.std() == pytest.approx(np.sqrt(0.5 / 501), rel=0.02)


def test_impulses_are_salt_and_pepper_in_their_share():
    grey = np.full((3, 100, 100), 0.4)
    found = distortions.with_impulses(grey, np.random.default_rng(0), share=0.2)
    shares = [(found == value).mean() for value in (0.0, 1.0, 0.4)]
    assert shares == pytest.approx([0.1, 0.1, 0.8], abs=0.01)


def test_pixelate_by_whole_boxes_is_their_mean():
    image = blobs((2, 12, 12), count=1)[0]
    found = distortions.pixelated(image, np.random.default_rng(0), resolution=1 / 3)
    for channel in range(2):
        for row in range(12):
            for column in range(12):
                top, left = row // 3 * 3, column // 3 * 3
                expected = image[channel, top : top + 3, left : left + 3].mean()
                assert found[channel, row, column] == pytest.approx(expected)


def test_defocus_is_a_loop_over_a_disc(image):
    found = distortions.defocused(image, np.random.default_rng(0), radius=1.5 / 9)
    weights = {
        (row, column): min(1.0, max(0.0, 1.5 + 0.5 - (row**2 + column**2) ** 0.5))
        for row in range(-3, 4)
        for column in range(-3, 4)
    }
    for row, column in [(4, 4), (0, 0), (8, 3)]:
        near = sum(
            weight * image[1, min(max(row + down, 0), 8), min(max(column + right, 0), 8)]
            for (down, right), weight in weights.items()
        )
        assert found[1, row, column] == pytest.approx(near / sum(weights.values()))


def test_blurs_keep_the_light_and_do_not_mix_channels():
    point = np.zeros((3, 31, 31))
    point[1, 15, 15] = 1
    blurs = {"defocused": {"radius": 0.1}, "motion_blurred": {"length": 0.3}}
    for name, knobs in blurs.items():
        found = getattr(distortions, name)(point, np.random.default_rng(0), **knobs)
        assert found[1].sum() == pytest.approx(1)
        assert found[[0, 2]].sum() == 0
        assert found.max() < 0.3


def test_motion_blur_smears_along_one_line():
    point = np.zeros((1, 41, 41))
    point[0, 20, 20] = 1
    for seed in range(5):
        found = distortions.motion_blurred(point, np.random.default_rng(seed), length=0.5)[0]
        rows, columns = np.nonzero(found > 1e-9)
        spread = np.linalg.eigvalsh(np.cov(rows, columns, aweights=found[rows, columns]))
        assert np.sqrt(12 * spread[1]) == pytest.approx(0.5 * 41, rel=0.1)  # a uniform smear of 20 pixels
        assert spread[0] < 0.5


def test_zoom_blur_keeps_the_centre_and_smears_the_rim():
    image = np.zeros((1, 21, 21))
    image[0, 10, 10] = image[0, 10, 16] = 1
    found = distortions.zoom_blurred(image, np.random.default_rng(0), zoom=0.4)[0, 10]
    assert found[10] == pytest.approx(1)
    assert found[17] > 0.1  # outwards
    assert found[15] < 0.05


def test_occlusion_covers_its_share_of_the_image():
    image = np.zeros((2, 20, 20))
    for seed in range(20):
        covered = distortions.patched(image, np.random.default_rng(seed), side=0.33, fill=1.0)
        assert covered.sum(axis=(1, 2)) == pytest.approx([6.6**2] * 2)
        assert covered.max() <= 1


def test_contrast_fades_towards_the_mean_of_each_channel(image):
    found = distortions.faded(image, np.random.default_rng(0), contrast=0.25)
    for channel in range(2):
        mean = image[channel].mean()
        assert np.allclose(found[channel], mean + 0.25 * (image[channel] - mean))


def test_fog_only_brightens_and_never_past_white(image):
    found = distortions.fogged(image, np.random.default_rng(0), density=1.0)
    assert (found >= image - 1e-12).all()
    assert found.max() <= 1 + 1e-12
    fog = (found - image) / (1 - image + 1e-300)
    inside = image < 0.99
    assert np.allclose(fog[0][inside.all(0)], fog[1][inside.all(0)])  # one fog for all channels


def test_warps_in_whole_pixels_are_what_numpy_does():
    image = np.zeros((2, 16, 16))
    image[:, 6:10, 6:10] = np.random.default_rng(0).random((2, 4, 4))

    class Down:
        def random(self):
            return 0.25  # a quarter turn: downwards

    moved = warps.translated(image, Down(), distance=3 / 16)
    assert np.allclose(moved, np.roll(image, 3, axis=1), atol=1e-9)
    half = warps.shrunk(np.ones((1, 20, 20)), np.random.default_rng(0), size=0.5)
    assert half.sum() == pytest.approx(100, rel=0.05)
    assert np.allclose(half[0, 6:14, 6:14], 1)
    assert np.allclose(half[0, :4], 0)


def test_shear_slides_rows_and_leaves_the_middle():
    image = np.zeros((1, 21, 21))
    image[0, :, 10] = 1
    sides = set()
    for seed in range(12):
        found = warps.sheared(image, np.random.default_rng(seed), slope=0.5)[0]
        places = [float((row * np.arange(21)).sum() / row.sum()) for row in found]
        slopes = np.diff(places)
        assert places[10] == pytest.approx(10)
        assert np.abs(slopes) == pytest.approx(np.full(20, 0.5), abs=1e-6)
        sides.add(float(np.sign(slopes[0])))
    assert sides == {1.0, -1.0}


def test_elastic_moves_by_its_amplitude():
    ramp = np.tile(np.arange(64.0), (1, 64, 1)) / 63
    found = warps.elastic(ramp, np.random.default_rng(0), amplitude=0.03)
    moves = ((found - ramp) * 63)[0, 8:-8, 8:-8]  # what is read along the ramp is how far it was moved along it
    assert np.sqrt((moves**2).mean() * 2) == pytest.approx(0.03 * 64, rel=0.3)
    assert np.abs(np.diff(moves, axis=1)).max() < 0.8  # smooth: nothing is torn or turned over
