import logging
import os

import numpy as np
import pytest

from kdlab.data.cache import cache_key, cached_array
from kdlab.errors import UserError

KNOBS = {"seed": 0, "scale": 0.5}


class Maker:
    def __init__(self, array):
        self.array, self.calls = array, 0

    def __call__(self):
        self.calls += 1
        return self.array


@pytest.fixture
def maker():
    return Maker(np.arange(12, dtype=np.float32).reshape(3, 4))


def test_made_once_then_read(tmp_path, maker):
    first, second = (cached_array(tmp_path / "deep" / "er", KNOBS, maker) for _ in range(2))
    assert maker.calls == 1
    assert np.array_equal(first, second)
    assert second.dtype == np.float32
    second += 1  # ours to write in, and never the file's
    assert np.array_equal(cached_array(tmp_path / "deep" / "er", KNOBS, maker), first)


def test_the_file_is_a_plain_npy(tmp_path, maker):
    cached_array(tmp_path, KNOBS, maker)
    (path,) = tmp_path.glob("*.npy")
    assert np.array_equal(np.load(path), maker.array)


@pytest.mark.parametrize("damage", ["truncated", "flipped", "empty", "short", "digest"])
def test_a_damaged_file_is_made_again_with_a_message(tmp_path, maker, damage, caplog):
    cached_array(tmp_path, KNOBS, maker)
    (path,) = tmp_path.glob("*.npy")
    good = path.read_bytes()
    flipped = bytearray(good)
    flipped[140] ^= 1
    bad = {
        "truncated": good[:-40],
        "flipped": bytes(flipped),
        "empty": b"",
        "short": b"abc",
        "digest": good[:-1] + b"?",
    }
    path.write_bytes(bad[damage])
    with caplog.at_level(logging.WARNING):
        found = cached_array(tmp_path, KNOBS, maker)
    assert np.array_equal(found, maker.array)
    assert maker.calls == 2
    assert "damaged" in caplog.text
    assert path.read_bytes() == good


def test_a_failure_leaves_nothing_half_written(tmp_path, maker):
    def fail():
        raise RuntimeError("in the middle")

    with pytest.raises(RuntimeError, match="in the middle"):
        cached_array(tmp_path, KNOBS, fail)
    assert not list(tmp_path.glob("*.npy"))
    assert np.array_equal(cached_array(tmp_path, KNOBS, maker), maker.array)  # and the lock is free


def test_keys():
    assert cache_key({"a": 1, "b": 2}) == cache_key({"b": 2, "a": 1})
    assert cache_key({"a": 1}) != cache_key({"a": 2})
    assert cache_key({"padding": (1, 2)}) == cache_key({"padding": [1, 2]})


def test_a_folder_that_cannot_be_made_is_the_users_to_mend(tmp_path, maker):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(UserError, match=r"data cache .*file"):
        cached_array(tmp_path / "file" / "mnist1d", KNOBS, maker)


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may write anywhere")
def test_a_finished_cache_is_read_from_a_folder_that_cannot_be_written(tmp_path, maker):
    cached_array(tmp_path, KNOBS, maker)
    tmp_path.chmod(0o500)
    try:
        assert np.array_equal(cached_array(tmp_path, KNOBS, maker), maker.array)
    finally:
        tmp_path.chmod(0o700)
