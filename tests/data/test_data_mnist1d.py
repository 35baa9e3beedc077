# ruff: noqa: NPY002 (the package draws from numpy's global generator: that is what is tested)
import dataclasses
import multiprocessing
import sys
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from mnist1d.data import get_dataset_args, get_templates
from mnist1d.transform import transform

from kdlab.data import mnist1d as module
from kdlab.data.mnist1d import FIRST_INDEX, Knobs, balanced_labels, mnist1d, regenerated
from kdlab.errors import UserError

SMALL = {"train": 60, "validation": 20, "test": 40, "pool": 30}


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="module")
def small(cache):
    return mnist1d(cache_dir=cache, **SMALL)


def slow_signals(labels, index, seed, **changed):
    """The loop of the package's make_dataset, one seed per example."""
    arguments = SimpleNamespace(**{**get_dataset_args(as_dict=True), **changed})
    templates = get_templates()
    rows = []
    for label, i in zip(labels.tolist(), index.tolist(), strict=True):
        np.random.seed([seed, i])
        rows.append(transform(templates["x"][label], templates["t"], arguments)[0].astype(np.float32))
    return np.stack(rows)


def raw(examples, facts):
    return examples.inputs[:, 0].numpy().astype(np.float64) * facts["std"] + facts["mean"]


def test_every_split_is_the_packages_own_transform(small):
    for split in ("train", "validation", "test", "pool"):
        examples = getattr(small, split)
        expected = slow_signals(examples.labels, examples.index, seed=0)
        mean, std = np.float32(small.facts["mean"]), np.float32(small.facts["std"])
        assert np.array_equal(examples.inputs[:, 0].numpy(), (expected - mean) / std)


def test_our_defaults_are_the_packages():
    told = get_dataset_args(as_dict=True)
    knobs = dataclasses.asdict(Knobs())
    assert knobs.pop("min_translation") == 0
    assert {name: tuple(told[name]) if name == "padding" else told[name] for name in knobs} == knobs
    assert (told["template_len"], told["final_seq_length"]) == (module.TEMPLATE_LENGTH, module.LENGTH)


def test_shapes_types_and_training_statistics(small):
    assert small.input_shape == (1, 40)
    assert small.num_classes == 10
    assert small.train.inputs.dtype == torch.float32
    assert [len(getattr(small, name)) for name in SMALL] == list(SMALL.values())
    assert abs(small.train.inputs.double().mean()) < 1e-5
    assert abs(small.train.inputs.double().std(unbiased=False) - 1) < 1e-5
    assert abs(small.test.inputs.double().mean()) > 1e-5  # standardised by the training set, not by itself
    small.train.inputs.add_(0)  # writable memory, no warning


def test_index_ranges_are_disjoint_and_stable(small, cache):
    for name, first in FIRST_INDEX.items():
        assert getattr(small, name).index.tolist() == list(range(first, first + SMALL[name]))
    shorter = mnist1d(cache_dir=cache, **{**SMALL, "test": 17, "pool": 0})
    assert shorter.pool is None
    assert torch.equal(shorter.test.inputs, small.test.inputs[:17])
    assert torch.equal(shorter.test.labels, small.test.labels[:17])


def test_labels_are_balanced_in_every_block_of_ten():
    labels = balanced_labels({"train": 1005, "validation": 1000, "test": 30, "pool": 0}, seed=3)
    assert [len(part) for part in labels.values()] == [1005, 1000, 30, 0]
    for block in labels["train"][:1000].reshape(-1, 10):
        assert sorted(block) == list(range(10))
    assert not np.array_equal(labels["train"][:1000], labels["validation"])
    assert not np.array_equal(labels["train"], balanced_labels({"train": 1005}, seed=4)["train"])
    assert labels["train"].dtype == np.int64


def test_global_numpy_state_is_untouched(tmp_path):
    np.random.seed(5)
    expected = np.random.rand(3)
    np.random.seed(5)
    mnist1d(cache_dir=tmp_path, train=10, validation=10, test=10, pool=0)
    assert np.array_equal(np.random.rand(3), expected)


def test_global_numpy_state_is_restored_after_a_failure(tmp_path, monkeypatch):
    np.random.seed(5)
    expected = np.random.rand()
    np.random.seed(5)
    monkeypatch.setattr(sys.modules["mnist1d.transform"], "transform", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        mnist1d(cache_dir=tmp_path, train=10, validation=10, test=10, pool=0)
    assert np.random.rand() == expected
    assert not list(tmp_path.rglob("*.npy"))


def test_unchanged_knobs_reproduce_the_test_set_bit_for_bit(small, tmp_path):
    again = regenerated(small, cache_dir=tmp_path, size=25)  # an empty cache: really made again
    assert torch.equal(again.inputs, small.test.inputs[:25])
    assert torch.equal(again.labels, small.test.labels[:25])
    assert torch.equal(again.index, small.test.index[:25])


def test_a_noise_scale_changes_the_noise_and_no_draw(small, cache):
    noisier = [regenerated(small, cache_dir=cache, iid_noise_scale=0.02 * k) for k in (1, 2, 3)]
    clean, twice, thrice = (raw(examples, small.facts) for examples in noisier)
    noise = twice - clean
    assert np.abs(noise).max() > 0.02
    assert np.allclose(thrice - clean, 2 * noise, atol=1e-6)  # the transform is linear in this scale: the same draws


def test_a_scale_changes_the_signal_around_the_same_draws(small, cache):
    steps = [raw(regenerated(small, cache_dir=cache, shear_scale=s), small.facts) for s in (0.75, 1.75, 2.75)]
    assert np.abs(steps[1] - steps[0]).max() > 0.1
    assert np.allclose(steps[2] - steps[1], steps[1] - steps[0], atol=1e-6)


@pytest.mark.parametrize(
    "changed",
    [
        {"padding": [12, 60]},
        {"padding": [60, 84]},
        {"max_translation": 72},
        {"scale_coeff": 2},
        {"corr_noise_scale": 1},
    ],
)
def test_slices_are_the_packages_transform_with_the_knob_changed(small, cache, changed):
    examples = regenerated(small, cache_dir=cache, size=10, **changed)
    expected = slow_signals(small.test.labels[:10], small.test.index[:10], seed=0, **changed)
    assert np.allclose(raw(examples, small.facts), expected, atol=1e-6)
    assert not torch.equal(examples.inputs, small.test.inputs[:10])


def test_min_translation_shifts_within_its_range(small, cache):
    quiet = {"iid_noise_scale": 0, "corr_noise_scale": 0, "shear_scale": 0, "padding": [60, 60]}
    at = {}
    for low in (0, 20):
        made = regenerated(small, cache_dir=cache, size=40, min_translation=low, max_translation=low + 1, **quiet)
        at[low] = np.abs(raw(made, small.facts)) > 1e-4
    assert at[0][:, 12:].sum() == 0  # the digit stays at the front
    assert at[20][:, :9].sum() == 0  # 20 of 72 samples later
    assert at[20].any()


def test_seeds_and_knobs_name_different_data(small, cache):
    other = mnist1d(cache_dir=cache, **SMALL, seed=1)
    assert not torch.equal(other.test.inputs, small.test.inputs)
    louder = mnist1d(cache_dir=cache, **SMALL, iid_noise_scale=0.3)
    assert torch.equal(louder.test.labels, small.test.labels)
    assert not torch.equal(louder.test.inputs, small.test.inputs)
    assert louder.facts["mnist1d"]["iid_noise_scale"] == 0.3
    again = regenerated(louder, cache_dir=cache)  # the knobs of its own data set are the clean ones
    assert torch.equal(again.inputs, louder.test.inputs)


def test_a_second_load_makes_nothing(small, cache, monkeypatch):
    monkeypatch.setattr(module, "_make_signals", lambda *_, **__: pytest.fail("made again"))
    again = mnist1d(cache_dir=cache, **SMALL)
    assert torch.equal(again.pool.inputs, small.pool.inputs)
    whole = mnist1d(cache_dir=cache, **SMALL, padding=[36, 60], scale_coeff=0.40)  # as YAML gives them: the same key
    assert torch.equal(whole.train.inputs, small.train.inputs)


@pytest.mark.parametrize(("terminal", "asked"), [(True, True), (True, False), (False, True)])
def test_progress_goes_to_stderr_where_it_is_a_terminal_and_only_when_asked(
    tmp_path, capsys, monkeypatch, terminal, asked
):
    told = {"train": 10, "validation": 10, "test": 10, "pool": 0}
    monkeypatch.setattr(sys.stderr, "isatty", lambda: terminal, raising=False)
    mnist1d(cache_dir=tmp_path, **told, progress=asked)
    shown = capsys.readouterr()
    assert shown.out == ""
    assert ("mnist1d train" in shown.err) == (terminal and asked)


def _build(folder, started, results):
    started.wait()
    results.put(float(mnist1d(cache_dir=folder, train=300, validation=20, test=20, pool=0).train.inputs.double().sum()))


def test_two_processes_at_once_build_one_cache(tmp_path):
    context = multiprocessing.get_context("fork")
    started, results = context.Barrier(2), context.Queue()
    workers = [context.Process(target=_build, args=(tmp_path, started, results)) for _ in range(2)]
    for worker in workers:
        worker.start()
    sums = {results.get(timeout=60) for _ in workers}
    for worker in workers:
        worker.join()
    assert [worker.exitcode for worker in workers] == [0, 0]
    assert len(sums) == 1
    assert len(list((tmp_path / "mnist1d").glob("*.npy"))) == 4  # train, validation, test and the empty pool
    assert not list(tmp_path.rglob("*.tmp"))


@pytest.mark.parametrize(
    ("told", "words"),
    [
        ({"seed": -1}, "seed = -1"),
        ({"seed": 2**32}, "2\\^32"),
        ({"train": 0}, "train = 0"),
        ({"pool": -1}, "pool = -1"),
        ({"test": 2_000_000}, "test = 2000000"),
        ({"padding": [60, 36]}, "padding = \\[60, 36\\]"),
        ({"padding": [60]}, "padding"),
        ({"max_translation": 73}, "<= 72"),
        ({"min_translation": 48}, "min_translation"),
        ({"iid_noise_scale": -0.1}, "iid_noise_scale = -0.1"),
        ({"shear_scale": float("nan")}, "shear_scale = nan"),
    ],
)
def test_bad_knobs_are_refused_before_anything_is_made(tmp_path, told, words):
    with pytest.raises(UserError, match=words):
        mnist1d(cache_dir=tmp_path, **{**SMALL, **told})
    assert not list(tmp_path.iterdir())


def test_regenerated_needs_mnist1d_and_a_size(small, cache):
    with pytest.raises(UserError, match="not of 'other'"):
        regenerated(dataclasses.replace(small, name="other", facts={}), cache_dir=cache)
    with pytest.raises(UserError, match="size = 0"):
        regenerated(small, cache_dir=cache, size=0)
    assert len(regenerated(small, cache_dir=cache, size=9999, shear_scale=2)) == SMALL["test"]
