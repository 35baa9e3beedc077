"""Augmentation against slow loops: what kornia did to each example is found again by trying all it may have done."""

import sys

import pytest
import torch

from kdlab.data import Examples
from kdlab.data.augmentation import RANGE_FREE, Augmentation, augmentation_errors, try_augmentation
from kdlab.errors import UserError
from kdlab.outputs import Batch

K = "kornia.augmentation."
CROP = {"_target_": K + "RandomCrop", "padding": 2}
FLIP = {"_target_": K + "RandomHorizontalFlip", "p": 0.5}
NOISE = {"_target_": K + "RandomGaussianNoise", "std": 0.1, "p": 1.0}
MIXUP = {"_target_": K + "RandomMixUpV2"}
CUTMIX = {"_target_": K + "RandomCutMixV2"}
BRIGHT = {"_target_": K + "RandomBrightness", "brightness": [1.5, 1.5]}
PIXELS = {"mean": 5.0, "std": 4.0, "value_range": (0.0, 16.0)}
BLACK = (0.0 - 5.0) / 4.0


def negated(images):
    """A step of the user's own."""
    return -images


def grown(images):
    return torch.cat([images, images], -1)


def doubled(images):
    return images.double()


def undefined(images):
    return images / 0


OWN = f"{__name__}."


def batch_of(*shape, rows=40, seed=0, labels=None):
    """Standardised pixels, each row with a label of its own, so a label names a row."""
    pixels = 16 * torch.rand(rows, *shape, generator=torch.Generator().manual_seed(seed))
    index = torch.arange(rows)
    return Batch((pixels - 5) / 4, index if labels is None else labels, index, torch.ones(rows, dtype=torch.bool))


def augmented(steps, batch, *, facts=PIXELS, seed=0):
    augment = Augmentation(steps, input_shape=tuple(batch.inputs.shape[1:]), facts=facts)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return augment(batch)


def shifts(image, *, rows, columns, fill):
    """Every crop of a padded ``[channels, H, W]``."""
    channels, height, width = image.shape
    padded = torch.full((channels, height + 2 * rows, width + 2 * columns), fill)
    padded[:, rows : rows + height, columns : columns + width] = image
    return [padded[:, top : top + height, left : left + width]
            for top in range(2 * rows + 1) for left in range(2 * columns + 1)]  # fmt: skip


def is_one_of(image, candidates):
    return any(torch.allclose(image, candidate, atol=1e-5) for candidate in candidates)


@pytest.mark.parametrize("shape", [(1, 8, 8), (3, 6, 9)])
def test_crop_and_flip_of_images_pad_with_black_and_keep_everything_else(shape):
    batch = batch_of(*shape)
    found = augmented({"crop": CROP, "flip": FLIP}, batch)
    assert found.inputs.shape == batch.inputs.shape
    flipped = shifted = 0
    for before, after in zip(batch.inputs, found.inputs, strict=True):
        crops = shifts(before, rows=2, columns=2, fill=BLACK)
        mirrored = [crop.flip(-1) for crop in crops]
        assert is_one_of(after, crops) or is_one_of(after, mirrored)
        flipped += is_one_of(after, mirrored)
        shifted += not torch.allclose(after, before, atol=1e-5)
    assert 8 < flipped < 32
    assert shifted > 30
    assert all(torch.equal(one, two) for one, two in zip(batch[1:4], found[1:4], strict=True))
    assert (found.other_labels, found.mixing) == (None, None)


@pytest.mark.parametrize("shape", [(24,), (1, 24), (3, 24)])
def test_a_signal_is_shifted_along_its_length_alone(shape):
    batch = batch_of(*shape)
    found = augmented({"crop": CROP}, batch, facts={"mean": 5.0, "std": 4.0})
    assert found.inputs.shape == batch.inputs.shape
    places = set()
    for before, after in zip(batch.inputs, found.inputs, strict=True):
        crops = shifts(before.reshape(-1, 1, 24), rows=0, columns=2, fill=0.0)
        places |= {at for at, crop in enumerate(crops) if torch.equal(crop, after.reshape(-1, 1, 24))}
    assert places == {0, 1, 2, 3, 4}


@pytest.mark.parametrize("mode", ["reflect", "replicate", "circular"])
def test_other_paddings_of_a_signal(mode):
    batch = batch_of(1, 24)
    found = augmented({"crop": {**CROP, "padding_mode": mode}}, batch, facts={})
    inner = [row[0, 2:-2].tolist() for row in batch.inputs]
    assert all(set(values) <= set(row.flatten().tolist()) for values, row in zip(inner, found.inputs, strict=True))


@pytest.mark.parametrize(("facts", "std"), [(PIXELS, 0.1 * 16 / 4), ({}, 0.1)])
def test_noise_is_a_share_of_the_pixel_range_where_there_is_one(facts, std):
    batch = batch_of(1, 20, 20, rows=100)
    change = augmented({"noise": NOISE}, batch, facts=facts).inputs - batch.inputs
    assert float(change.std()) == pytest.approx(std, rel=0.02)
    assert float(change.mean()) == pytest.approx(0, abs=0.01 * std)
    assert change.flatten(1).std(dim=1).min() > 0.8 * std  # every row


def test_a_step_on_pixels_clips_pixels_and_not_standardised_values():
    batch = batch_of(3, 6, 6)
    found = augmented({"bright": BRIGHT}, batch).inputs
    pixels = (batch.inputs * 4 + 5) / 16
    torch.testing.assert_close(found, ((pixels + 0.5).clamp(0, 1) * 16 - 5) / 4, rtol=0, atol=1e-5)
    assert batch.inputs.min() < -1  # the values as they are would have been clipped


@pytest.mark.parametrize("channels", [1, 3])
def test_statistics_of_every_pixel(channels):
    pixels = 16 * torch.rand(10, channels, 6, 6, generator=torch.Generator().manual_seed(0))
    mean, std = pixels.mean(0), pixels.std(0)
    batch = batch_of(channels, 6, 6, rows=10)._replace(inputs=(pixels - mean) / std)
    facts = {"mean": mean.numpy(), "std": std.numpy(), "value_range": (0, 16)}
    found = augmented({"bright": BRIGHT}, batch, facts=facts).inputs * std + mean
    torch.testing.assert_close(found, (pixels + 8).clamp(0, 16), rtol=0, atol=1e-4)


def test_statistics_of_every_channel():
    facts = {"mean": torch.tensor([5.0, 6.0, 7.0]), "std": [4.0, 2.0, 1.0], "value_range": (0, 16)}
    pixels = 16 * torch.rand(10, 3, 6, 6, generator=torch.Generator().manual_seed(0))
    mean, std = (torch.as_tensor(facts[name]).reshape(3, 1, 1) for name in ("mean", "std"))
    batch = batch_of(3, 6, 6, rows=10)._replace(inputs=(pixels - mean) / std)
    found = augmented({"bright": BRIGHT}, batch, facts=facts).inputs * std + mean
    torch.testing.assert_close(found, (pixels + 8).clamp(0, 16), rtol=0, atol=1e-4)


@pytest.mark.parametrize(("shape", "facts"), [((1, 6, 6), PIXELS), ((1, 24), {}), ((24,), {})])
@pytest.mark.parametrize("knobs", [{}, {"lambda_val": [0.2, 0.4]}, {"same_on_batch": True}])
def test_mixup_is_the_weighted_sum_of_two_examples_and_says_which(shape, facts, knobs):
    batch = batch_of(*shape)
    found = augmented({"mixup": {**MIXUP, **knobs}}, batch, facts=facts)
    assert torch.equal(found.labels, batch.labels)
    for row in range(40):
        share, other = float(found.mixing[row]), int(found.other_labels[row])
        expected = share * batch.inputs[row] + (1 - share) * batch.inputs[other]
        torch.testing.assert_close(found.inputs[row], expected, rtol=0, atol=1e-5)
        if "lambda_val" in knobs and other != row:
            assert 0.6 <= share <= 0.8
    assert sorted(found.other_labels.tolist()) == list(range(40))
    assert found.mixing.unique().numel() > 1


def test_cutmix_mixes_labels_by_area():
    batch = batch_of(3, 8, 8)
    found = augmented({"cutmix": CUTMIX}, batch, facts=PIXELS)
    cut = 0
    for row in range(40):
        other = int(found.other_labels[row])
        own = torch.isclose(found.inputs[row], batch.inputs[row], atol=1e-5).all(0)
        foreign = torch.isclose(found.inputs[row], batch.inputs[other], atol=1e-5).all(0)
        assert (own | foreign).all()
        if other != row:
            assert float(found.mixing[row]) == pytest.approx(float(own.double().mean()))
            cut += not own.all()
    assert cut > 20


@pytest.mark.parametrize("spec", [MIXUP, CUTMIX])
def test_a_batch_that_is_left_alone_has_its_own_labels(spec):
    batch = batch_of(1, 8, 8)
    found = augmented({"mix": {**spec, "p": 0.0}}, batch)
    torch.testing.assert_close(found.inputs, batch.inputs)
    assert torch.equal(found.other_labels, batch.labels)
    assert torch.equal(found.mixing, torch.ones(40))
    assert torch.equal(found.main_labels, batch.labels)


def test_a_row_that_is_mixed_with_an_unlabelled_one_has_no_label():
    batch = batch_of(1, 24)._replace(labelled=torch.arange(40) % 2 == 0)
    found = augmented({"mixup": MIXUP}, batch, facts={})
    expected = [row % 2 == 0 and int(found.other_labels[row]) % 2 == 0 for row in range(40)]
    assert found.labelled.tolist() == expected


def test_steps_apply_in_their_order():
    batch = batch_of(1, 8)
    shifted = augmented({"bright": {**BRIGHT, "clip_output": False}, "own": {"_target_": OWN + "make_negated"}},
                        batch, facts={}).inputs  # fmt: skip
    torch.testing.assert_close(shifted, -(batch.inputs + 0.5))
    other = augmented({"own": {"_target_": OWN + "make_negated"}, "bright": {**BRIGHT, "clip_output": False}},
                      batch, facts={}).inputs  # fmt: skip
    torch.testing.assert_close(other, -batch.inputs + 0.5)


def make_negated():
    return negated


def make_grown():
    return grown


def make_doubled():
    return doubled


def make_undefined():
    return undefined


def test_draws_are_the_generators_alone():
    batch = batch_of(1, 8, 8)
    steps = {"crop": CROP, "flip": FLIP, "noise": NOISE, "mixup": MIXUP}
    one, same, other = (augmented(steps, batch, seed=seed) for seed in (3, 3, 4))
    assert torch.equal(one.inputs, same.inputs)
    assert torch.equal(one.mixing, same.mixing)
    assert not torch.equal(one.inputs, other.inputs)


REFUSED = {
    "clips_signals": ({"a": BRIGHT}, (1, 24), {}, r"a: works on pixels in \[0, 1\]"),
    "clips_images_of_no_range": ({"a": CROP, "b": BRIGHT}, (1, 8, 8), {"mean": 0.0}, r"augmentation\.b: works on"),
    "cutmix_of_a_signal": ({"a": CUTMIX}, (24,), {}, "CutMix would do nothing"),
    "two_mixings": ({"a": MIXUP, "b": CUTMIX}, (1, 8, 8), PIXELS, "a, b all mix examples"),
    "more_than_two_labels": ({"a": {**CUTMIX, "num_mix": 2}}, (1, 8, 8), PIXELS, r"num_mix = 2: .*1 is needed"),
    "a_mixing_without_labels": ({"a": {"_target_": K + "RandomMosaic"}}, (1, 8, 8), PIXELS, "labels cannot follow"),
    "out_of_bounds": ({"a": {**MIXUP, "lambda_val": [0, 2]}}, (1, 8, 8), PIXELS, r"lambda_val = \(0, 2\).*bounds"),
    "another_size": ({"a": {**CROP, "size": [4, 4]}}, (1, 8, 8), PIXELS, r"\(1, 4, 4\) of .*\(1, 8, 8\)"),
    "another_shape": ({"a": {"_target_": OWN + "make_grown"}}, (1, 8, 8), PIXELS, "leave shape and type"),
    "another_type": ({"a": {"_target_": OWN + "make_doubled"}}, (1, 8, 8), PIXELS, "float64"),
    "not_finite": ({"a": {"_target_": OWN + "make_undefined"}}, (1, 8, 8), PIXELS, "not finite"),
    "three_dimensions": ({"a": CROP}, (1, 2, 8, 8), {}, "no signals and no images"),
    "a_range_that_is_not_true": ({"a": CROP}, (1, 8, 8), {**PIXELS, "value_range": (0, 8)}, r"not in \[0, 1\]"),
    "what_only_the_call_finds": ({"a": {**CROP, "padding": "a"}}, (1, 8, 8), PIXELS, "on inputs.*padding"),
    "padding_wider_than_the_image": ({"a": {**CROP, "padding": 9, "padding_mode": "reflect"}}, (1, 8, 8), PIXELS, "on"),
    "not_a_probability": ({"a": {**FLIP, "p": 2.0}}, (1, 8, 8), PIXELS, r"a\.p = 2\.0: a probability"),
    "ours_to_set": ({"a": {**MIXUP, "data_keys": ["input"]}}, (1, 8, 8), PIXELS, "data_keys: kdlab sets it"),
    "a_misspelt_knob": ({"a": {**CROP, "paddin": 2}}, (1, 8, 8), PIXELS, r"unknown key .*a\.paddin.*padding"),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
@pytest.mark.filterwarnings("ignore:.*")
def test_what_does_not_fit_is_refused_before_anything_trains(name):
    steps, shape, facts, message = REFUSED[name]
    batch = batch_of(*shape, rows=20)
    examples = Examples(batch.inputs, batch.labels, batch.index)
    before = torch.get_rng_state()
    with pytest.raises(UserError, match=message) as caught:
        try_augmentation(steps, examples, facts=facts, key="teacher.training.augmentation")
    assert "teacher.training.augmentation" in str(caught.value)
    assert torch.equal(before, torch.get_rng_state())


def test_what_fits_passes_and_moves_no_generator():
    batch = batch_of(1, 8, 8, rows=1)
    before = torch.get_rng_state()
    try_augmentation({"a": CROP, "b": MIXUP}, Examples(batch.inputs, batch.labels, batch.index), facts=PIXELS)
    try_augmentation({}, Examples(batch.inputs, batch.labels, batch.index), facts=PIXELS)
    assert torch.equal(before, torch.get_rng_state())


@pytest.mark.parametrize("name", RANGE_FREE)
def test_steps_that_take_any_value_are_kornias_and_do_not_clip(name):
    import kornia.augmentation

    knobs = {"RandomGaussianBlur": {"kernel_size": [3, 3], "sigma": [0.1, 0.5]}, "RandomMotionBlur":
             {"kernel_size": 3, "angle": 5.0, "direction": 0.0}}.get(name, {})  # fmt: skip
    assert hasattr(kornia.augmentation, name)
    batch = batch_of(3, 8, 8)
    batch = batch._replace(inputs=batch.inputs * 100)
    found = augmented({"a": {"_target_": K + name, "p": 1.0, **knobs}}, batch, facts={}).inputs
    assert found.min() < -50
    assert found.max() > 50


def test_without_kornia_the_message_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "kornia", None)
    (problem,) = augmentation_errors({"crop": CROP}, key="training.augmentation")
    assert problem == "training.augmentation.crop: kornia is not installed: pip install 'kdlab[augment]'"
