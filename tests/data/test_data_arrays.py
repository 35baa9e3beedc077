"""``data=arrays``: what a file may hold, every mistake in it by name, and its slices all the way to a record."""

import json
import zipfile

import numpy as np
import pytest
import torch
from plain_config import config

from kdlab.data.arrays import arrays
from kdlab.data.loading import check_dataset, data_identity, dataset_errors, load_dataset, own_slices
from kdlab.data.slices import label_shift, transformed
from kdlab.errors import UserError
from kdlab.experiments.again import evaluate_again
from kdlab.experiments.lab import Lab
from kdlab.experiments.plan import plan
from kdlab.experiments.students import run_point
from kdlab.records.store import Store
from kdlab.tracking.base import NullTracker

TARGET = {"_target_": "kdlab.data.arrays.arrays"}
SPLIT = np.repeat([0, 1, 2], [60, 20, 20])


def content(shape=(6,), *, seed=0, count=100):
    draws = np.random.default_rng(seed)
    labels = draws.integers(0, 3, count)
    labels[:3] = range(3)
    return {"inputs": draws.normal(5, 2, (count, *shape)) + labels.reshape(-1, *[1] * len(shape)), "labels": labels}


@pytest.fixture
def save(tmp_path):
    def saved(name="mine.npz", **members):
        members = {key.replace("__", "/"): value for key, value in members.items() if value is not None}
        np.savez(tmp_path / name, **members)
        return str(tmp_path / name)

    return saved


def test_without_a_split_it_is_60_20_20_stratified_by_the_data_seed(save):
    told = content()
    path = save(**told)
    dataset = arrays(path=path)
    check_dataset(dataset)
    assert [len(part) for part in (dataset.train, dataset.validation, dataset.test)] == [60, 20, 20]
    counts = np.bincount(told["labels"])
    for part, share in ((dataset.train, 0.6), (dataset.validation, 0.2), (dataset.test, 0.2)):
        assert np.array_equal(part.labels, told["labels"][part.index])
        assert np.abs(np.bincount(part.labels) - share * counts).max() <= 1
    assert torch.equal(arrays(path=path).test.index, dataset.test.index)
    assert not torch.equal(arrays(path=path, seed=1).test.index, dataset.test.index)
    assert len(arrays(path=path, train=0.3, validation=0.3).test) == pytest.approx(40, abs=2)


@pytest.mark.parametrize(
    "split", [SPLIT, SPLIT.astype("u1"), np.array(["train", "validation", "test"])[SPLIT],
              np.array([b"train", b"validation", b"test"])[SPLIT]]
)  # fmt: skip
def test_a_split_of_the_file_is_kept_in_numbers_or_words(save, split):
    dataset = arrays(path=save(**content(), split=split))
    assert dataset.train.index.tolist() == list(range(60))
    assert dataset.validation.index.tolist() == list(range(60, 80))
    assert dataset.test.index.tolist() == list(range(80, 100))


@pytest.mark.parametrize(
    ("shape", "knobs", "expected", "axes"),
    [
        ((6,), {}, (6,), None),
        ((6,), {"standardise": "feature"}, (6,), (0,)),
        ((5, 4), {}, (1, 5, 4), None),
        ((3, 5, 4), {}, (3, 5, 4), (0, 2, 3)),
        ((5, 4, 3), {"layout": "channels_last"}, (3, 5, 4), (0, 2, 3)),
        ((2, 9), {"layout": "signals"}, (2, 9), (0, 2)),
        ((3, 5, 4), {"standardise": "feature"}, (3, 5, 4), (0,)),
        ((6,), {"layout": "signals"}, (6,), None),
    ],
)
def test_every_shape_is_arranged_and_standardised_by_the_training_set_alone(save, shape, knobs, expected, axes):
    told = content(shape)
    dataset = arrays(path=save(**told, split=SPLIT), **knobs)
    assert dataset.input_shape == expected
    inputs = told["inputs"]
    if knobs.get("layout") == "channels_last":
        inputs = np.stack([inputs[..., channel] for channel in range(shape[-1])], axis=1)
    inputs = inputs.reshape(100, *expected)
    mean, std = (getattr(inputs[:60], name)(axis=axes, keepdims=axes is not None) for name in ("mean", "std"))
    for part in (dataset.train, dataset.validation, dataset.test):
        wanted = (inputs[part.index] - mean) / std
        assert np.allclose(part.inputs, wanted, atol=1e-4)
    raw = transformed(dataset, function=lambda example, _: example)  # slices see the units of the file
    assert np.allclose(raw.inputs, dataset.test.inputs, atol=1e-4)


def test_no_standardising_and_a_feature_that_never_changes(save):
    told = content()
    told["inputs"][:, 2] = 7
    path = save(**told)
    plain = arrays(path=path, standardise="none")
    assert np.allclose(plain.train.inputs, told["inputs"][plain.train.index], atol=1e-5)
    by_feature = arrays(path=path, standardise="feature")
    assert torch.equal(by_feature.train.inputs[:, 2], torch.zeros(60))


def test_uint8_images_have_the_range_of_a_byte_and_others_that_of_training(save):
    told = content((4, 4))
    grey = np.clip(told["inputs"] * 9, 0, 200).astype("u1")
    assert arrays(path=save(inputs=grey, labels=told["labels"])).facts["value_range"] == (0.0, 255.0)
    path = save(**told, split=SPLIT)
    low, high = arrays(path=path).facts["value_range"]
    assert (low, high) == pytest.approx((told["inputs"][:60].min(), told["inputs"][:60].max()))
    assert arrays(path=path, value_range=[0, 20]).facts["value_range"] == (0.0, 20.0)
    with pytest.raises(UserError, match=r"value_range = \[3, 1\]"):
        arrays(path=path, value_range=[3, 1])
    assert "value_range" not in arrays(path=save(**content())).facts


def with_slices(**changes):
    told = content()
    members = {
        **told, "split": SPLIT,
        "slices__loud__inputs": told["inputs"][[80, 85, 99]] + 1, "slices__loud__rows": np.array([80, 85, 99]),
        "slices__other__inputs": told["inputs"][:7] - 1, "slices__other__labels": told["labels"][:7],
        "slices__other__ood": np.array(False),
        "slices__third__inputs": told["inputs"][:4], "slices__third__labels": told["labels"][:4],
    }  # fmt: skip
    return {**members, **changes}


def test_slices_are_twins_by_row_or_fresh_examples(save):
    told = content()
    dataset = load_dataset({"name": "mine", "seed": 0, **TARGET, "path": save(**with_slices())}, {}, cache_dir=".")
    loud, other, third = (dataset.slices[name] for name in ("loud", "other", "third"))
    assert (loud.reference, loud.ood, loud.examples.index.tolist()) == ("twins", True, [80, 85, 99])
    assert loud.examples.labels.tolist() == told["labels"][[80, 85, 99]].tolist()
    spread = dataset.facts["std"]
    assert np.allclose((loud.examples.inputs - dataset.test.inputs[[0, 5, 19]]) * spread, 1, atol=1e-4)
    assert (other.reference, other.ood, other.examples.index.tolist()) == ("test", False, list(range(100, 107)))
    assert (third.ood, third.examples.index.tolist()) == (True, list(range(107, 111)))


MISTAKES = [
    ({"inputs": None}, "no array 'inputs'; it has labels, split"),
    ({"labels": None}, "no array 'labels'"),
    ({"inpts": np.zeros(3)}, "unknown array 'inpts'; did you mean inputs"),
    ({"labels": np.zeros(99, int)}, "labels: 99 of them for 100 inputs"),
    ({"labels": np.zeros(100)}, "labels: float64: whole numbers are needed"),
    ({"labels": np.eye(3)[np.zeros(100, int)]}, r"labels: shape \[100, 3\]"),
    ({"labels": np.array([0, -1] * 50)}, "labels: row 1 has -1"),
    ({"labels": np.zeros(100, int)}, "labels: all are 0"),
    ({"labels": np.arange(100) % 3 + 1}, r"labels: class 0 of 0 ... 3 has no training example"),
    ({"labels": np.arange(100) % 3 * 10**15}, r"labels: class 1 and 19{14}7 more of 0 ... 20+ has no training"),
    ({"labels": np.where(np.arange(100) < 60, 0, 2)}, r"labels: class 1 and 1 more of 0 ... 2 has no training"),
    ({"inputs": np.full((100, 6), np.nan)}, "inputs: row 0 holds NaN or infinity"),
    ({"inputs": np.r_[np.zeros((42, 6)), np.full((58, 6), 1e39)]}, r"inputs: row 42 holds NaN or infinity \(58 such"),
    ({"inputs": np.zeros((100, 6), complex)}, "inputs: complex128 is no type of real numbers"),
    ({"inputs": np.array([["a"]] * 100)}, "inputs: <U1 is no type of real numbers"),
    ({"inputs": np.array([{}] * 100)}, "arrays of objects are never unpickled"),
    ({"inputs": np.zeros(100)}, r"inputs: shape \[100\] with data.layout=channels_first"),
    ({"inputs": np.zeros((100, 1, 2, 3, 4))}, r"inputs: shape \[100, 1, 2, 3, 4\]"),
    ({"inputs": np.zeros((100, 8, 8, 3))}, r"\[100, 8, 8, 3\] looks like channels last; set data.layout=channels_last"),
    ({"inputs": np.zeros((100, 0))}, "is empty"),
    ({"split": np.zeros(99, int)}, r"split: shape \[99\] for 100 inputs"),
    ({"split": np.arange(100) % 4}, "split: row 3 has 3; 0, 1, 2 or train"),
    ({"split": np.array(["train", "val"] * 50)}, "split: row 1 has 'val'"),
    ({"split": np.zeros(100)}, "split: float64"),
    ({"split": np.arange(100) % 2}, "split: no example belongs to test"),
    ({"slices__loud__inputs": None}, "slices/loud: the file has no array 'slices/loud/inputs'"),
    ({"slices__loud__inputs": np.zeros((3, 5))}, r"slices/loud/inputs: examples of shape \[5\], inputs has \[6\]"),
    ({"slices__loud__inputs": np.full((3, 6), np.inf)}, "slices/loud/inputs: row 0 holds NaN"),
    ({"slices__loud__rows": np.array([80, 85])}, r"slices/loud/rows: int64 of shape \[2\]: 3 whole numbers"),
    ({"slices__loud__rows": np.array([80, 85, 5])}, "slices/loud/rows: 5 is no row of the test set"),
    ({"slices__loud__rows": np.array([80, 85, 85])}, "slices/loud/rows: 85 stands there twice"),
    ({"slices__loud__labels": 2 - content()["labels"][[80, 85, 99]] // 2}, "slices/loud/labels: . at ., but row"),
    ({"slices__other__labels": None}, "slices/other: 'labels' is needed, or 'rows'"),
    ({"slices__other__labels": np.full(7, 3)}, "slices/other/labels: 3 is none of the 3 classes"),
    ({"slices__other__ood": np.array(1)}, "slices/other/ood: one true or false"),
]


@pytest.mark.parametrize(("change", "said"), MISTAKES, ids=[said[:40] for _, said in MISTAKES])
def test_every_mistake_in_a_file_is_named(save, change, said):
    with pytest.raises(UserError, match=said):
        arrays(path=save(**with_slices(**change)))


def test_a_file_that_is_none_is_told(save, tmp_path):
    with pytest.raises(UserError, match=r"path = '.*none.npz': No such file"):
        arrays(path=str(tmp_path / "none.npz"))
    whole = save(**content())
    cut = tmp_path / "cut.npz"
    cut.write_bytes((tmp_path / "mine.npz").read_bytes()[:-50])
    lone = tmp_path / "lone.npy"
    np.save(lone, np.zeros(3))
    flipped = bytearray((tmp_path / "mine.npz").read_bytes())
    flipped[300] ^= 0xFF
    (tmp_path / "flipped.npz").write_bytes(flipped)
    with zipfile.ZipFile(tmp_path / "text.npz", "w") as archive:
        archive.writestr("inputs", "1, 2, 3")
        archive.writestr("labels", "0, 1, 2")
    with pytest.raises(UserError, match=r"text.npz': 'inputs' is no array"):
        arrays(path=str(tmp_path / "text.npz"))
    for path in (cut, lone, tmp_path / "flipped.npz"):
        with pytest.raises(UserError, match=r"not an .npz file, or a damaged one"):
            arrays(path=str(path))
    with pytest.raises(UserError, match=r"train = 0.9: the file has a split of its own"):
        arrays(path=save(**content(), split=SPLIT), train=0.9)
    with pytest.raises(UserError, match=r"train, validation = 0.9, 0.2: shares > 0"):
        arrays(path=save(**content()), train=0.9)
    assert dataset_errors({**TARGET, "path": whole, "layout": "sideways"})
    assert dataset_errors(TARGET) == ["missing key data.path: kdlab.data.arrays.arrays needs it"]


@pytest.mark.parametrize("name", ["test", "ood", "two words"])
def test_a_slice_of_the_file_may_not_be_called_like_something_else(save, name):
    told = content()
    path = save(**told, **{f"slices/{name}/inputs": told["inputs"][:2], f"slices/{name}/labels": told["labels"][:2]})
    with pytest.raises(UserError, match=rf"its own slice '{name}': an identifier other than train"):
        load_dataset({"name": "mine", "seed": 0, **TARGET, "path": path}, {}, cache_dir=".")


def test_identity_is_what_is_in_the_file(save, tmp_path):
    one, same, other = (save(f"{n}.npz", **content(seed=seed)) for n, seed in (("a", 0), ("b", 0), ("c", 1)))
    (tmp_path / "b.npz").write_bytes((tmp_path / "a.npz").read_bytes())
    named = [data_identity({**TARGET, "path": path}) for path in (one, same, other)]
    assert named[0] == named[1] != named[2]
    assert "path" not in named[0]
    assert data_identity({**TARGET, "path": one, "standardise": "none"}) != named[0]
    assert data_identity({**TARGET, "path": one, "value_range": None}) == named[0]
    assert data_identity({**TARGET, "path": one, "value_range": [0, 1]}) != named[0]  # augmentation reads it
    assert own_slices({**TARGET, "path": save(**with_slices())}) == ("loud", "other", "third")
    with pytest.raises(UserError, match=r"data.path = '.*none.npz': No such file"):
        data_identity({**TARGET, "path": str(tmp_path / "none.npz")})


@pytest.fixture
def lab(tmp_path):
    return Lab(Store(tmp_path / "runs"), NullTracker())


def asked(path, **more):
    return config(data={"name": "mine", "seed": 0, **TARGET, "path": path, "slices": {}}, **more)


def test_slices_of_a_file_reach_the_records_and_are_not_forgotten(save, lab):
    path = save(**with_slices())
    without = asked(path, evaluation__sets=["train", "validation", "test"])
    record = run_point(plan(without), lab)
    assert not record.slices
    record = run_point(plan(asked(path, optimized_metric="loud/gap")), lab)  # measured now, from its weights
    assert record.slices["loud"] == {"reference": "twins", "ood": True, "size": 3}
    assert record.metrics["loud/gap"] is not None
    assert record.metrics["ood/mean_gap"] == pytest.approx(
        (record.metrics["loud/gap"] + record.metrics["third/gap"]) / 2
    )
    assert record.metrics["other/teacher_kl"] > 0
    taught = lab.store.find(record.teacher["id"])
    assert taught.metrics["loud/gap"] is not None
    with pytest.raises(UserError, match=r"optimized_metric = 'lowd/gap': no measured key; did you mean loud/gap"):
        asked(path, optimized_metric="lowd/gap")


def test_a_run_is_not_measured_again_on_a_file_that_has_changed(save, lab):
    path = save(**with_slices())
    record = run_point(plan(asked(path)), lab)
    assert evaluate_again(lab.store.folder(record.run_id), lab, asked(path)).metrics == record.metrics
    save(**with_slices(**content(seed=3)))
    assert plan(asked(path)).run.run_id != record.run_id
    with pytest.raises(UserError, match=r"its data has changed since it was trained"):
        evaluate_again(lab.store.folder(record.run_id), lab, asked(path))


@pytest.mark.parametrize("name", ["mine", "says_slices"])
def test_a_target_of_the_users_own_brings_its_slices(lab, name):
    """A module on ``sys.path`` (here tests/support); its function takes no seed."""
    data = {"name": "mine", "seed": 0, "_target_": f"user_data.{name}", "count": 60, "slices": {}}
    metric = "brighter/gap" if name == "says_slices" else "validation/accuracy"
    record = run_point(plan(config(data=data, optimized_metric=metric, allow_targets=["user_data.*"])), lab)
    assert record.slices == {"brighter": {"reference": "twins", "ood": True, "size": 45}}
    assert record.metrics["brighter/gap"] == record.metrics["ood/mean_gap"]
    with pytest.raises(UserError, match=r"data.seed = 5: user_data.\w+ has no such argument"):
        config(data={**data, "seed": 5})


def test_configured_slices_join_those_of_the_file(save):
    piece = {"reference": "test", "ood": False, "_target_": "kdlab.data.slices.label_shift", "ratio": 3}
    spec = {"name": "mine", "seed": 0, **TARGET, "path": save(**with_slices())}
    dataset = load_dataset(spec, {"rare": piece, "loud": piece}, cache_dir=".")
    assert set(dataset.slices) == {"loud", "other", "third", "rare"}
    assert torch.equal(dataset.slices["loud"].examples.index, label_shift(dataset, ratio=3).index)  # the config's holds


def test_the_front_door_runs_a_file(save, tmp_path, monkeypatch):
    from kdlab.commands.cli import main

    monkeypatch.chdir(tmp_path)
    path = save(**with_slices())
    short = [f"{part}training.{key}=12" for part in ("", "teacher.") for key in ("steps", "batch_size")]
    quick = ["evaluation.latency.enabled=false", "tracker.mode=disabled", "student.width=4", "teacher.model.width=4"]
    assert main(["run", "data=arrays", f"data.path={path}", "optimized_metric=loud/gap", *short, *quick]) == 0
    records = [json.loads(found.read_text()) for found in (tmp_path / "runs").glob("*/record.json")]
    assert {record["role"] for record in records} == {"student", "scratch", "teacher"}
    for record in records:
        assert set(record["slices"]) == {"loud", "other", "third"}
        assert {"loud/gap", "other/gap", "third/gap"} <= set(record["metrics"])
    assert main(["run", "data=arrays", "data.path=nowhere.npz", *short, *quick]) == 2
