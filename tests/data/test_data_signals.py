import numpy as np
import pytest
from scipy.ndimage import convolve1d

from kdlab.data import signals
from kdlab.errors import UserError

LENGTH = 40
STRENGTHS = {
    "with_noise": ("std", 0.3),
    "rolled": ("furthest", 0.3),
    "scaled": ("coeff", 0.5),
    "sheared": ("slope", 1.0),
    "smoothed": ("sigma", 0.03),
    "dropped": ("share", 0.2),
    "stretched": ("by", 0.5),
}


def make_signal(channels=1, seed=0):
    return np.random.default_rng(seed).standard_normal((channels, LENGTH)).cumsum(axis=-1)


def changed(name, strength, signal, seed=0):
    knob = STRENGTHS[name][0]
    return getattr(signals, name)(signal, np.random.default_rng(seed), **{knob: strength})


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("name", STRENGTHS)
def test_shape_determinism_and_no_change_at_0(name, channels):
    signal = make_signal(channels)
    kept = signal.copy()
    strength = STRENGTHS[name][1]
    first = changed(name, strength, signal)
    assert first.shape == signal.shape
    assert np.isfinite(first).all()
    assert np.array_equal(first, changed(name, strength, signal))
    assert not np.allclose(first, signal)
    assert np.allclose(changed(name, 0.0, signal), signal, atol=1e-12)
    assert np.array_equal(signal, kept)


@pytest.mark.parametrize("name", STRENGTHS)
def test_stronger_is_further_on_average(name):
    strength = STRENGTHS[name][1]
    many = [make_signal(seed=seed) for seed in range(60)]

    def distance(share):
        pairs = [(signal, changed(name, share * strength, signal, seed=seed)) for seed, signal in enumerate(many)]
        return np.mean([np.linalg.norm(a - b) for a, b in pairs])

    distances = [distance(share) for share in (0.25, 0.5, 1.0)]
    assert 0 < distances[0] < distances[1] < distances[2]


@pytest.mark.parametrize("name", STRENGTHS)
def test_bad_strengths_are_refused(name):
    knob = STRENGTHS[name][0]
    for value in (-0.1, float("nan"), float("inf")):
        with pytest.raises(UserError, match=f"{knob} = {value}"):
            changed(name, value, make_signal())


def test_roll_is_circular_to_both_sides_and_no_further_than_told():
    signal, steps = np.arange(float(LENGTH))[None], set()
    for seed in range(300):
        moved = changed("rolled", 0.1, signal, seed=seed)
        assert sorted(moved[0]) == list(range(LENGTH))
        steps.add(int(np.argmin(moved[0]) + LENGTH // 2) % LENGTH - LENGTH // 2)
    assert steps == set(range(-4, 5))


def test_scale_and_shear_are_what_they_say():
    signal = make_signal()
    factors = [(changed("scaled", 0.5, signal, seed=seed) / signal)[0] for seed in range(200)]
    assert all(np.ptp(factor) < 1e-12 for factor in factors)
    assert 0.5 <= min(map(np.min, factors)) < 0.6
    assert 1.4 < max(map(np.max, factors)) <= 1.5
    for seed in range(20):
        line = (changed("sheared", 2.0, signal, seed=seed) - signal)[0]
        assert np.allclose(np.diff(line, n=2), 0, atol=1e-12)
        assert line.mean() == pytest.approx(0, abs=1e-12)
        assert abs(line[0]) <= 2


def test_smoothing_against_an_explicit_kernel():
    signal = make_signal()
    sigma = 0.03 * LENGTH
    reach = int(4 * sigma + 0.5)
    kernel = np.exp(-0.5 * (np.arange(-reach, reach + 1) / sigma) ** 2)
    expected = convolve1d(signal, kernel / kernel.sum(), axis=-1, mode="nearest")
    assert np.allclose(changed("smoothed", 0.03, signal), expected)


@pytest.mark.parametrize("share", [0.1, 0.5, 1.0])
def test_dropout_takes_one_segment_anywhere(share):
    signal, starts = make_signal(2) + 100, set()
    for seed in range(400):
        gone = changed("dropped", share, signal, seed=seed) == 0
        assert np.array_equal(gone[0], gone[1])
        places = np.flatnonzero(gone[0])
        assert len(places) == share * LENGTH == places[-1] - places[0] + 1
        starts.add(int(places[0]))
    assert starts == set(range(round(LENGTH * (1 - share)) + 1))


def test_stretch_reads_about_the_middle():
    ramp = np.arange(float(LENGTH))[None] - (LENGTH - 1) / 2
    for seed in range(30):
        found = changed("stretched", 0.5, ramp, seed=seed)[0]
        slope = found[21] - found[20]
        assert 1 / 1.5 - 1e-9 <= slope <= 1.5 + 1e-9
        assert np.allclose(found, np.clip(slope * ramp[0], ramp.min(), ramp.max()), atol=1e-9)
