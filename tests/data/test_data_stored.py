"""Folders of arrays: whole or not there, whoever writes, is killed, or damages them."""

import json
import multiprocessing
import os
import shutil
import signal
import threading
import time

import numpy as np
import pytest

from kdlab.data import stored
from kdlab.data.stored import ArraySpec, NoRoomError, stored_arrays
from kdlab.errors import UserError

SPECS = {"a": ArraySpec((4, 3), "float32"), "features.x/y": ArraySpec((4,), "float16")}


class Maker:
    """Fills the arrays with known values, and counts."""

    def __init__(self, value=1.0):
        self.value, self.calls, self.said = value, 0, []

    def fill(self, arrays):
        self.calls += 1
        for array in arrays.values():
            array[:] = self.value

    def get(self, root, described=None, **knobs):
        return stored_arrays(
            root, described or {"k": 1}, SPECS, self.fill, what="things", say=self.said.append, **knobs
        )


def only_folder(root):
    (folder,) = [path for path in root.iterdir() if path.is_dir()]
    return folder


def test_written_once_and_opened_afterwards(tmp_path):
    maker = Maker()
    first, again = maker.get(tmp_path), maker.get(tmp_path)
    assert maker.calls == 1
    assert maker.said == []
    for found in (first, again):
        assert {name: (array.shape, array.dtype.name) for name, array in found.items()} == dict(SPECS)
        assert all((np.asarray(array) == 1).all() for array in found.values())
    told = json.loads((only_folder(tmp_path) / "manifest.json").read_text())
    assert told["described"] == {"k": 1}
    again["a"][0, 0] = 7  # in this process alone
    assert maker.get(tmp_path)["a"][0, 0] == 1


def test_what_is_described_differently_is_another_folder(tmp_path):
    Maker(1).get(tmp_path)
    assert Maker(2).get(tmp_path, {"k": 2})["a"][0, 0] == 2
    assert Maker(3).get(tmp_path)["a"][0, 0] == 1


def cut(folder):
    path = folder / "a.npy"
    path.write_bytes(path.read_bytes()[:-3])


def flip(folder):
    path = folder / "a.npy"
    content = bytearray(path.read_bytes())
    content[-2] ^= 1
    path.write_bytes(content)


def pickled(folder):
    np.save(folder / "a.npy", np.array([{"x": 1}] * 4, dtype=object), allow_pickle=True)


@pytest.mark.parametrize(
    "damage",
    [
        cut,
        flip,
        pickled,
        lambda folder: (folder / "a.npy").unlink(),
        lambda folder: (folder / "manifest.json").write_text("{"),
        lambda folder: (folder / "manifest.json").unlink(),
        lambda folder: np.save(folder / "a.npy", np.ones((5, 3), "float32")),
    ],
)
def test_a_damaged_folder_is_told_and_written_anew(tmp_path, damage):
    Maker().get(tmp_path)
    time.sleep(0.01)  # a file system's clock is coarse: the same size at the same moment is taken for the same file
    damage(only_folder(tmp_path))
    maker = Maker(5)
    assert (np.asarray(maker.get(tmp_path)["a"]) == 5).all()
    assert maker.calls == 1
    assert maker.said == ["  things: a file is damaged; written anew"]
    assert only_folder(tmp_path)  # nothing is left beside it


def test_what_the_check_refuses_is_written_anew(tmp_path):
    Maker().get(tmp_path)
    maker = Maker(2)
    refuse = lambda arrays: "too old" if arrays["a"][0, 0] == 1 else None  # noqa: E731
    assert maker.get(tmp_path, check=refuse)["a"][0, 0] == 2
    assert maker.said == ["  things: too old; written anew"]


@pytest.mark.parametrize("kind", [threading.Thread, multiprocessing.get_context("fork").Process])
def test_threads_and_processes_write_once(tmp_path, kind):
    notes, root = tmp_path / "notes", tmp_path / "root"
    maker = Maker()

    def fill(arrays):
        with notes.open("a") as file:
            file.write("once\n")
        time.sleep(0.2)
        for array in arrays.values():
            array[:] = 1

    maker.fill = fill
    many = [kind(target=maker.get, args=(root,)) for _ in range(3)]
    for one in many:
        one.start()
    for one in many:
        one.join(30)
    assert notes.read_text() == "once\n"
    assert (np.asarray(maker.get(root)["a"]) == 1).all()


def test_killed_while_writing_leaves_nothing_half(tmp_path):
    def fill(arrays):
        arrays["a"][:2] = 1
        os.kill(os.getpid(), signal.SIGKILL)

    process = multiprocessing.get_context("fork").Process(
        target=stored_arrays, args=(tmp_path, {"k": 1}, SPECS, fill), kwargs={"what": "things"}
    )
    process.start()
    process.join(30)
    assert process.exitcode == -signal.SIGKILL
    assert [path for path in tmp_path.iterdir() if path.is_dir()], "something half was there"
    maker = Maker()
    assert (np.asarray(maker.get(tmp_path)["a"]) == 1).all()
    assert maker.calls == 1
    assert only_folder(tmp_path), "what the killed process left is gone"


def test_a_fill_that_fails_leaves_nothing(tmp_path):
    def fail(arrays):
        raise UserError("no")

    with pytest.raises(UserError, match="no"):
        stored_arrays(tmp_path, {"k": 1}, SPECS, fail, what="things")
    assert [path for path in tmp_path.iterdir() if path.is_dir()] == []


def test_no_room_is_told_before_anything_is_written(tmp_path, monkeypatch):
    monkeypatch.setattr(shutil, "disk_usage", lambda path: shutil._ntuple_diskusage(10, 5, 5))
    maker = Maker()
    with pytest.raises(NoRoomError, match=r"things: 0\.0 MB are needed in .*, the disk has 0\.0 MB"):
        maker.get(tmp_path / "deep" / "er")
    assert maker.calls == 0


def test_much_is_told_before_it_is_written(tmp_path, monkeypatch):
    monkeypatch.setattr(stored, "TOLD_ABOVE_BYTES", 10)
    maker = Maker()
    maker.get(tmp_path)
    assert len(maker.said) == 1
    assert "things: writing 0.0 MB to" in maker.said[0]


def test_a_place_that_is_no_folder_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match=r"things: .*file cannot be written"):
        Maker().get(tmp_path / "file")
