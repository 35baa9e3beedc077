import dataclasses
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import yaml

from kdlab.data import Dataset, Examples, Slice, load_dataset
from kdlab.data.loading import _check_slice, check_dataset, data_identity, slice_errors
from kdlab.errors import UserError

HERE = __name__
CONF = Path(__file__).parents[2] / "conf" / "data"


def toy(*, size: int = 6, cache_dir: Path | None = None, progress: bool = False) -> Dataset:
    def examples(first):
        labels = torch.arange(size) % 3
        inputs = torch.arange(first, first + size * 2, dtype=torch.float32).reshape(size, 2)
        return Examples(inputs, labels, torch.arange(first, first + size))

    facts = {"cache_dir": cache_dir, "progress": progress}
    return Dataset("toy", 3, examples(0), examples(100), examples(200), pool=examples(300), facts=facts)


def shifted(dataset: Dataset, *, by: float = 1.0, progress: bool = False) -> Examples:
    return dataclasses.replace(dataset.test, inputs=dataset.test.inputs + by)


def wrong(data, *, what: str) -> Examples:
    test, index = data.test, data.test.index.clone()
    if what == "index":
        index[2] = 999
    if what == "train":
        index[2] = 3
    if what == "twice":
        index[2] = index[1]
    broken = dataclasses.replace(test, index=index)
    if what == "label":
        broken = dataclasses.replace(test, labels=test.labels.roll(1))
    if what == "nan":
        broken = dataclasses.replace(test, inputs=test.inputs / 0)
    if what == "double":
        broken = dataclasses.replace(test, inputs=test.inputs.double())
    if what == "shape":
        broken = dataclasses.replace(test, inputs=test.inputs[:, :1])
    if what == "empty":
        broken = test.select(torch.arange(0))
    return {"nothing": None}.get(what, broken)


class Toy:
    def __init__(self, *, size: int = 1) -> None:
        self.size = size


def not_a_dataset():
    return {}


def spec(**knobs):
    return {"name": "mine", "_target_": f"{HERE}.toy", **knobs}


def piece(target="shifted", **knobs):
    return {"_target_": f"{HERE}.{target}", "reference": "twins", "ood": True, **knobs}


def test_builds_the_data_set_and_its_slices(tmp_path):
    dataset = load_dataset(
        spec(),
        {"up": piece(by=2), "same": piece(by=0, reference="test", ood=False)},
        cache_dir=tmp_path,
        progress=False,
    )
    assert dataset.name == "mine"
    assert dataset.facts == {"cache_dir": tmp_path, "progress": False}
    assert list(dataset.sets()) == ["train", "validation", "test", "up", "same"]
    assert torch.equal(dataset.slices["up"].examples.inputs, dataset.test.inputs + 2)
    assert (dataset.slices["up"].reference, dataset.slices["up"].ood) == ("twins", True)
    assert (dataset.slices["same"].reference, dataset.slices["same"].ood) == ("test", False)
    assert load_dataset(spec(), {}, cache_dir=tmp_path).facts["progress"] is True


@pytest.mark.parametrize(
    ("slices", "words"),
    [
        ({"test": piece()}, "data.slices.test"),
        ({"pool": piece()}, "data.slices.pool"),
        ({"a/b": piece()}, "identifier"),
        ({"up": {**piece(), "reference": "twin"}}, "data.slices.up.reference = 'twin'.*did you mean twins"),
        ({"up": {**piece(), "ood": "yes"}}, "data.slices.up.ood = 'yes'"),
        ({"up": {"_target_": f"{HERE}.shifted"}}, "data.slices.up.reference = None"),
        ({"up": piece(bye=1)}, "data.slices.up.bye.*did you mean by"),
        ({"up": piece(by="far")}, "data.slices.up.by = 'far'.*number"),
        ({"up": piece("wrong")}, "missing key data.slices.up.what"),
        ({"up": piece("nope")}, "data.slices.up: .*no 'nope'"),
        ({"up": "noise"}, "data.slices.up = 'noise'"),
        ({"up": {"reference": "twins", "ood": True}}, "data.slices.up._target_ = None"),
    ],
)
def test_mistakes_in_slices_are_found_without_making_data(slices, words, tmp_path):
    with pytest.raises(UserError, match=words):
        load_dataset(spec(), slices, cache_dir=tmp_path)
    assert slice_errors({**slices, "good": piece()})


@pytest.mark.parametrize(
    ("told", "words"),
    [
        (spec(sise=3), "data.sise.*did you mean size"),
        (spec(size="abc"), "data.size = 'abc'.*integer"),
        (spec(size=True), "data.size = True"),
        (spec(size=2.5), "data.size = 2.5"),
        ({"_target_": f"{HERE}.Toy", "size": "abc"}, "data.size = 'abc'"),
        ({"_target_": f"{HERE}.Toy"}, "gives Toy"),
        ({"name": "x"}, "data._target_ = None"),
        ({"_target_": f"{HERE}.not_a_dataset"}, "gives dict"),
    ],
)
def test_mistakes_in_the_spec(told, words, tmp_path):
    with pytest.raises(UserError, match=words):
        load_dataset(told, {}, cache_dir=tmp_path)


def test_all_mistakes_at_once(tmp_path):
    with pytest.raises(UserError) as caught:
        load_dataset(spec(sise=3), {"train": piece(), "up": piece(bye=1)}, cache_dir=tmp_path)
    assert len(str(caught.value).splitlines()) == 3


@pytest.mark.parametrize(
    ("what", "reference", "words"),
    [
        ("index", "twins", "index 999 is not in data.test"),
        ("train", "twins", "index 3 belongs to data.train"),
        ("train", "test", "index 3 belongs to data.train"),
        ("twice", "test", "index 201 occurs more than once"),
        ("label", "twins", "labels differ"),
        ("nan", "twins", "index 200 is not finite"),
        ("double", "twins", "float32 is needed"),
        ("shape", "twins", "shape \\(1,\\)"),
        ("empty", "twins", "is empty"),
        ("nothing", "twins", "gives NoneType"),
    ],
)
def test_slices_that_would_make_a_gap_wrong_are_refused(what, reference, words, tmp_path):
    with pytest.raises(UserError, match=f"data.slices.up.*{words}"):
        load_dataset(spec(), {"up": piece("wrong", what=what, reference=reference)}, cache_dir=tmp_path)


def test_a_transformed_example_may_not_pose_as_a_test_example(tmp_path):
    with pytest.raises(UserError, match=r"data\.slices\.up.*inputs differ"):
        load_dataset(spec(), {"up": piece(reference="test")}, cache_dir=tmp_path)


def test_other_examples_need_an_index_of_their_own(tmp_path):
    loaded = load_dataset(spec(), {"up": piece("wrong", what="index", reference="test")}, cache_dir=tmp_path)
    assert loaded.slices["up"].examples.index[2] == 999


def test_twins_may_come_in_any_order(tmp_path):
    dataset = toy()
    order = torch.tensor([4, 0, 2])
    _check_slice(dataset, "data.slices.some", Slice(dataset.test.select(order), "twins", True))
    _check_slice(dataset, "data.slices.some", Slice(dataset.test.select(order), "test", False))
    broken = dataclasses.replace(dataset.test.select(order), labels=dataset.test.labels[:3])
    with pytest.raises(UserError, match="labels differ"):
        _check_slice(dataset, "data.slices.some", Slice(broken, "twins", True))


def test_splits_are_held_to_the_same_rules():
    dataset = toy()
    check_dataset(dataset)
    check_dataset(dataclasses.replace(dataset, pool=None))
    shared = dataclasses.replace(dataset.validation, index=dataset.validation.index - 98)
    with pytest.raises(UserError, match=r"data\.validation and data.train share index 2"):
        check_dataset(dataclasses.replace(dataset, validation=shared))
    for label in (-1, 3):
        labels = dataset.pool.labels.clone()
        labels[4] = label
        with pytest.raises(UserError, match=f"data.pool: label {label} of index 304"):
            check_dataset(dataclasses.replace(dataset, pool=dataclasses.replace(dataset.pool, labels=labels)))


def test_a_users_error_while_building_names_its_place(tmp_path):
    told = {"_target_": "kdlab.data.digits.digits", "train": 2.0}
    with pytest.raises(UserError, match=r"^data: train, validation = 2\.0"):
        load_dataset(told, {}, cache_dir=tmp_path)
    told = {"_target_": "kdlab.data.digits.digits"}
    bad = {"_target_": "kdlab.data.mnist1d.regenerated", "reference": "twins", "ood": True}
    with pytest.raises(UserError, match=r"^data\.slices\.noisy: .*not of 'digits'"):
        load_dataset(told, {"noisy": bad}, cache_dir=tmp_path)


def config(name):
    return yaml.safe_load((CONF / f"{name}.yaml").read_text().replace("${seed}", "3"))["data"]


@pytest.mark.parametrize(("name", "count"), [("mnist1d", 15), ("digits", 9)])
def test_shipped_configs_load_with_all_slices(name, count, tmp_path):
    told = config(name)
    slices, _ = told.pop("slices"), told.pop("shift", None)
    if name == "mnist1d":  # small enough for a test; slices are cut to the test set
        told |= {"train": 50, "validation": 20, "test": 30, "pool": 20}
    dataset = load_dataset(told, slices, cache_dir=tmp_path, progress=False)
    assert len(dataset.slices) == count
    assert dataset.name == name
    assert dataset.facts["seed"] == {"mnist1d": 0, "digits": 3}[name]
    for key, found in dataset.slices.items():
        assert found.ood == (key != "label_shift")
        assert found.reference == ("test" if key == "label_shift" else "twins")
    text = (CONF / f"{name}.yaml").read_text()
    assert text.startswith("# @package _global_\n")
    assert f"kdlab run data={name}" in text


@pytest.mark.parametrize(
    "target", ["kdlab.data.fashion_mnist.fashion_mnist", "kdlab.data.digits.digits", f"{HERE}.toy"]
)
def test_what_only_shows_or_keeps_is_no_part_of_what_trains(target):
    spec = {"_target_": target}
    assert data_identity({**spec, "progress": False, "cache_dir": "elsewhere"}) == data_identity(spec)


def test_importing_the_room_stays_light():
    heavy = "{'scipy', 'sklearn', 'mnist1d', 'matplotlib', 'filelock', 'pydantic', 'hydra', 'omegaconf', 'wandb'}"
    modules = "import kdlab.data, kdlab.data.mnist1d, kdlab.data.digits, kdlab.data.corruptions, sys"
    code = f"{modules}; print(sorted({heavy} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"


def broken() -> Dataset:
    raise RuntimeError("no such table")


def test_a_function_of_the_user_that_raises_is_named_with_the_line_it_raised_in(tmp_path):
    with pytest.raises(UserError) as caught:
        load_dataset({"name": "mine", "_target_": f"{HERE}.broken"}, {}, cache_dir=tmp_path)
    told = str(caught.value)
    assert told.startswith(
        f"data._target_ = '{HERE}.broken' failed: RuntimeError: no such table (test_data_loading.py, "
    )
    assert isinstance(caught.value.__cause__, RuntimeError)
