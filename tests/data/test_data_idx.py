"""IDX files against a slow reader written from the format's description, and data sets made of four of them."""

import gzip
import struct

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from idx_files import write_idx, write_set

from kdlab.data.idx import idx, parse_idx, read_idx, stratified_order
from kdlab.data.loading import check_dataset, data_identity
from kdlab.errors import UserError

TARGET = {"_target_": "kdlab.data.idx.idx"}


def slow(content):
    """The format byte by byte."""
    letter, size = {8: ("B", 1), 9: ("b", 1), 11: ("h", 2), 12: ("i", 4), 13: ("f", 4), 14: ("d", 8)}[content[2]]
    shape = [int.from_bytes(content[4 + 4 * axis : 8 + 4 * axis], "big") for axis in range(content[3])]
    at, values = 4 + 4 * content[3], []
    while at < len(content):
        values.append(struct.unpack(">" + letter, content[at : at + size])[0])
        at += size
    return np.array(values, dtype=letter).reshape(shape)


@pytest.mark.parametrize("code", [8, 9, 11, 12, 13, 14])
@pytest.mark.parametrize("shape", [(5,), (2, 3), (2, 3, 4), (0,)])
@pytest.mark.parametrize("packed", [False, True])
def test_every_type_and_shape_is_read_as_the_format_says(tmp_path, code, shape, packed):
    letter = {8: "u1", 9: "i1", 11: "i2", 12: "i4", 13: "f4", 14: "f8"}[code]
    values = np.random.default_rng(code).integers(0, 100, shape).astype(letter)
    path = tmp_path / "file"
    write_idx(path, values, packed=packed)
    found = read_idx(path)
    content = gzip.decompress(path.read_bytes()) if packed else path.read_bytes()
    assert found.dtype == np.dtype(letter)
    assert found.dtype.isnative
    assert np.array_equal(found, values)
    assert np.array_equal(found, slow(content))


@given(st.integers(0, 30))
def test_a_file_of_any_other_length_is_refused_with_both_numbers(cut):
    content = b"\0\0\x08\x02" + struct.pack(">II", 3, 4) + bytes(12)
    for broken in (content[:cut], content + bytes(1 + cut)):
        if broken == content or len(broken) < 4:
            continue
        if len(broken) < 12:
            with pytest.raises(UserError, match=rf"^f: .*12 bytes, found {len(broken)}$|not an IDX"):
                parse_idx(broken, name="f")
            continue
        what = "truncated" if len(broken) < len(content) else "too long"
        with pytest.raises(UserError, match=rf"^f: {what}: 24 bytes expected.*found {len(broken)}$"):
            parse_idx(broken, name="f")


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "not an IDX file: it begins with nothing"),
        (b"\x89PNG", "begins with 89 50 4e 47"),
        (b"\0\0\x0a\x01\0\0\0\0", "type code 0a is unknown"),
        (b"\0\0\x08\0", "header of 0 dimensions"),
        (b"\0\0\x08\x03\0\0\0\1", "3 dimensions has 16 bytes, found 8"),
    ],
)
def test_what_is_no_idx_file_is_refused(content, said):
    with pytest.raises(UserError, match=said):
        parse_idx(content, name="f")


@pytest.mark.parametrize("damage", ["cut", "flipped", "crc"])
def test_a_damaged_gzip_file_is_refused_by_name(tmp_path, damage):
    path = tmp_path / "train-images-idx3-ubyte.gz"
    write_idx(path, np.random.default_rng(0).integers(0, 255, (50, 8, 8)).astype("u1"))
    content = bytearray(path.read_bytes())
    if damage == "cut":
        content = content[:-20]
    else:
        content[-6 if damage == "crc" else len(content) // 2] ^= 0xFF
    path.write_bytes(content)
    with pytest.raises(UserError, match=rf"train-images-idx3-ubyte.gz: damaged gzip file of {len(content)} bytes"):
        read_idx(path)


def test_a_set_is_split_stratified_with_an_index_that_names_the_row(tmp_path):
    arrays = write_set(tmp_path, train=120, test=40)
    dataset = idx(root=str(tmp_path), validation=30)
    check_dataset(dataset)
    assert (len(dataset.train), len(dataset.validation), len(dataset.test)) == (90, 30, 40)
    assert dataset.input_shape == (1, 6, 6)
    assert dataset.num_classes == 4
    images = np.concatenate([arrays.train_images, arrays.test_images])
    labels = np.concatenate([arrays.train_labels, arrays.test_labels])
    train = images[dataset.train.index]
    assert dataset.facts["mean"] == pytest.approx(train.mean(), rel=1e-6)
    assert dataset.facts["std"] == pytest.approx(train.std(), rel=1e-6)
    for examples in (dataset.train, dataset.validation, dataset.test):
        expected = (images[examples.index] - train.mean()) / train.std()
        assert np.allclose(examples.inputs[:, 0].numpy(), expected, atol=1e-5)
        assert np.array_equal(examples.labels, labels[examples.index])
    assert torch.equal(dataset.test.index, torch.arange(120, 160))
    share = np.bincount(arrays.train_labels, minlength=4) / 4
    assert np.abs(np.bincount(dataset.validation.labels, minlength=4) - share).max() <= 1


def test_a_smaller_size_is_a_part_of_a_larger_one_and_the_seed_moves_the_split(tmp_path):
    write_set(tmp_path, train=120, test=40)
    whole = idx(root=str(tmp_path), validation=30)
    part = idx(root=str(tmp_path), validation=30, train=20, test=12)
    assert torch.equal(part.validation.index, whole.validation.index)
    for name, size in (("train", 20), ("test", 12)):
        few, all_ = getattr(part, name), getattr(whole, name)
        assert len(few) == size
        assert torch.isin(few.index, all_.index).all()
        assert np.ptp(np.bincount(few.labels, minlength=4)) <= 4  # classes are not equally frequent in the file
    assert not torch.equal(idx(root=str(tmp_path), validation=30, seed=1).train.index, whole.train.index)
    assert torch.equal(idx(root=str(tmp_path), validation=30).train.index, whole.train.index)


@given(st.lists(st.integers(0, 3), min_size=1, max_size=60), st.integers(0, 5))
def test_every_beginning_of_the_order_holds_each_class_at_its_share(labels, seed):
    labels = np.array(labels)
    order = stratified_order(labels, generator=np.random.default_rng(seed))
    assert sorted(order) == list(range(len(labels)))
    counts = np.bincount(labels, minlength=4)
    for size in range(len(labels) + 1):
        found = np.bincount(labels[order[:size]], minlength=4)
        assert np.abs(found - counts * size / len(labels)).max() <= 2


@pytest.mark.parametrize(
    ("names", "prefix"),
    [
        (["train-images.idx3-ubyte", "train-labels.idx1-ubyte", "t10k-images.idx3-ubyte", "t10k-labels.idx1-ubyte"],
         ""),
        (["train-images-idx3-ubyte.gz", "train-labels-idx1-ubyte", "test-images-idx3-ubyte",
          "test-labels-idx1-ubyte.gz"], "emnist-letters-"),
    ],
)  # fmt: skip
def test_the_names_of_the_family_are_found_plain_and_packed(tmp_path, names, prefix):
    arrays = write_set(tmp_path / "first")
    for name, values in zip(names, arrays, strict=True):
        values = values + 1 if "labels" in name else values
        write_idx(tmp_path / f"{prefix}{name}", values, packed=name.endswith(".gz"))
    dataset = idx(root=str(tmp_path), prefix=prefix, first_label=1, validation=10)
    assert dataset.num_classes == 4
    assert int(dataset.train.labels.min()) == 0


def test_mistakes_are_named(tmp_path):
    with pytest.raises(UserError, match=r"root = .*nowhere': no such folder"):
        idx(root=str(tmp_path / "nowhere"))
    write_set(tmp_path)
    for knobs, said in (
        ({"validation": 0}, "validation = 0: between 1 and 59"),
        ({"validation": 60}, "validation = 60"),
        ({"validation": 10, "train": 51}, "train = 51: between 1 and 50"),
        ({"validation": 10, "test": 0}, "test = 0"),
        ({"validation": 10, "first_label": 1}, "train-labels.*: label 0 is below first_label = 1"),
        ({"prefix": "no-"}, "lacks no-train-images-idx3-ubyte"),
    ):
        with pytest.raises(UserError, match=said):
            idx(root=str(tmp_path), **knobs)
    write_idx(tmp_path / "t10k-labels-idx1-ubyte.gz", np.zeros(7, "u1"))
    with pytest.raises(UserError, match=r"t10k-images-idx3-ubyte.gz: 20 images beside 7 labels"):
        idx(root=str(tmp_path), validation=10)
    write_idx(tmp_path / "t10k-labels-idx1-ubyte.gz", np.zeros(20, "i4"))
    with pytest.raises(UserError, match=r"t10k-labels-idx1-ubyte.gz: int32 of shape"):
        idx(root=str(tmp_path), validation=10)
    (tmp_path / "t10k-labels-idx1-ubyte.gz").unlink()
    with pytest.raises(UserError, match="lacks t10k-labels-idx1-ubyte"):
        idx(root=str(tmp_path), validation=10)


def test_identity_is_what_is_in_the_files_wherever_and_however_packed(tmp_path):
    arrays = write_set(tmp_path / "a", seed=0)
    write_set(tmp_path / "b", seed=0, packed=False)
    write_set(tmp_path / "c", seed=1)
    a, b, c = (data_identity({**TARGET, "root": str(tmp_path / name)}) for name in "abc")
    assert a == b
    assert a != c
    assert "root" not in a
    assert a != data_identity({**TARGET, "root": str(tmp_path / "a"), "train": 20})
    write_idx(tmp_path / "a" / "train-labels-idx1-ubyte.gz", arrays.train_labels[::-1])  # another content, seen at once
    assert data_identity({**TARGET, "root": str(tmp_path / "a")}) != a
    with pytest.raises(UserError, match=r"data.root = .*no such folder"):
        data_identity({**TARGET, "root": str(tmp_path / "none")})
