from functools import partial

import numpy as np
import pytest
import torch

from kdlab.data import Dataset, Examples, shifts
from kdlab.data.digits import digits
from kdlab.data.loading import shift_errors
from kdlab.data.mnist1d import mnist1d, regenerated
from kdlab.errors import UserError

KNOBS = {"iid_noise_scale": 0.07, "shear_scale": 3.0, "padding": [12, 60]}
STEPS = {
    "noise": {"function": "kdlab.data.signals.with_noise", "std": 0.4},
    "stretch": {"function": "kdlab.data.signals.stretched", "by": 0.6},
}


@pytest.fixture(scope="module")
def signals(tmp_path_factory):
    return mnist1d(cache_dir=tmp_path_factory.mktemp("cache"), train=60, validation=20, test=60, pool=0)


@pytest.fixture(scope="module")
def images():
    return digits()


@pytest.fixture
def cases(signals, images, tmp_path):
    return {
        "mnist1d_knobs": (signals, partial(shifts.mnist1d_knobs, cache_dir=tmp_path, **KNOBS)),
        "images": (images, partial(shifts.images, corruptions={"scale": 2.0, "rotate": 2.0}, cache_dir=tmp_path)),
        "functions": (signals, partial(shifts.functions, steps=STEPS)),
        "white_noise": (images, shifts.white_noise),
    }


NAMES = ["mnist1d_knobs", "images", "functions", "white_noise"]


@pytest.mark.parametrize("name", NAMES)
def test_the_same_examples_from_further_and_further_away(cases, name):
    dataset, shift = cases[name]
    examples = dataset.train.select(torch.arange(60))
    distances = []
    for severity in (0.0, 0.5, 1.0, 2.0):
        made = shift(dataset, examples, severity=severity)
        assert torch.equal(made.index, examples.index)
        assert torch.equal(made.labels, examples.labels)
        assert made.inputs.dtype == torch.float32
        assert torch.equal(made.inputs, shift(dataset, examples, severity=severity).inputs)
        distances.append(float((made.inputs - examples.inputs).flatten(1).norm(dim=1).mean()))
    assert distances[0] == 0
    assert (np.diff(distances) > 0).all(), distances


@pytest.mark.parametrize("name", NAMES)
def test_what_becomes_of_an_example_depends_on_it_alone(cases, name):
    dataset, shift = cases[name]
    examples = dataset.train.select(torch.arange(12))
    whole = shift(dataset, examples, severity=1)
    rows = torch.tensor([7, 1, 4])
    assert torch.equal(shift(dataset, examples.select(rows), severity=1).inputs, whole.inputs[rows])


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("severity", [-1.0, float("nan"), float("inf")])
def test_a_severity_that_is_none_is_refused(cases, name, severity):
    dataset, shift = cases[name]
    with pytest.raises(UserError, match="severity = "):
        shift(dataset, dataset.train, severity=severity)


def test_severity_1_is_the_generator_with_the_knobs_told(signals, tmp_path):
    slice_ = regenerated(signals, cache_dir=tmp_path, **KNOBS)
    moved = shifts.mnist1d_knobs(signals, signals.test, severity=1, cache_dir=tmp_path, **KNOBS)
    assert torch.equal(moved.inputs, slice_.inputs)
    half = shifts.mnist1d_knobs(signals, signals.test, severity=0.5, cache_dir=tmp_path, **KNOBS)
    told = {"iid_noise_scale": 0.045, "shear_scale": 1.875, "padding": [24, 60]}
    assert torch.allclose(half.inputs, regenerated(signals, cache_dir=tmp_path, **told).inputs, atol=1e-6)


def test_a_severity_far_out_keeps_the_knobs_possible(signals, tmp_path):
    towards_nothing = {"iid_noise_scale": 0.0, "scale_coeff": 0.0, "padding": [0, 50]}
    made = shifts.mnist1d_knobs(signals, signals.train, severity=1.4, cache_dir=tmp_path, **towards_nothing)
    assert made.inputs.isfinite().all()
    with pytest.raises(UserError, match="max_translation <= 44"):
        shifts.mnist1d_knobs(signals, signals.train, severity=1.4, cache_dir=tmp_path, padding=[0, 40])


def test_images_stay_in_their_range_and_levels_below_5(images):
    made = shifts.images(images, images.train, severity=2, corruptions={"gaussian_noise": 2.5, "rotate": 1.0})
    values = made.inputs * images.facts["std"] + images.facts["mean"]
    assert -1e-4 <= values.min() < values.max() <= 16 + 1e-4
    with pytest.raises(UserError, match="at most 2 "):
        shifts.images(images, images.train, severity=2.1, corruptions={"gaussian_noise": 2.5})


@pytest.mark.parametrize(
    ("corruptions", "words"), [({}, "are needed"), ({"fog": 0}, "are needed"), ({"rotat": 1}, "did you mean rotate")]
)
def test_images_refuse(images, corruptions, words):
    with pytest.raises(UserError, match=words):
        shifts.images(images, images.train, severity=1, corruptions=corruptions)


def test_white_noise_has_the_deviation_told():
    inputs = torch.zeros(2000, 3, 7)
    examples = Examples(inputs, torch.zeros(2000, dtype=torch.int64), torch.arange(2000))
    dataset = Dataset("table", 2, examples, examples, examples)
    noise = shifts.white_noise(dataset, examples, severity=0.5, std=1.5).inputs
    assert float(noise.std()) == pytest.approx(0.75, rel=0.02)
    assert float(noise.mean()) == pytest.approx(0, abs=0.02)
    twice = shifts.white_noise(dataset, examples, severity=1, std=1.5).inputs
    assert torch.allclose(twice, 2 * noise, atol=1e-6)


def test_mistakes_say_where(signals, images, tmp_path):
    with pytest.raises(UserError, match="shifts mnist1d data"):
        shifts.mnist1d_knobs(images, images.train, severity=1, cache_dir=tmp_path)
    wrong = {"noise": {"function": "kdlab.data.signals.with_noise", "sdt": 1.0}}
    with pytest.raises(UserError, match=r"steps\.noise: .*did you mean std"):
        shifts.functions(signals, signals.train, severity=1, steps=wrong)
    with pytest.raises(UserError, match=r"steps\.noise"):
        shifts.functions(signals, signals.train, severity=1, steps={"noise": {"std": 1.0}})


@pytest.mark.parametrize(
    "spec",
    [
        {"_target_": "kdlab.data.shifts.mnist1d_knobs", **KNOBS},
        {"_target_": "kdlab.data.shifts.images", "corruptions": {"scale": 2.0}},
        {"_target_": "kdlab.data.shifts.functions", "steps": STEPS},
        {"_target_": "kdlab.data.shifts.white_noise", "std": 1.0},
    ],
)
def test_specs_are_what_a_config_may_say(spec):
    assert shift_errors(spec) == []
    (problem,) = shift_errors({**spec, "sverity": 1})
    assert "sverity" in problem
