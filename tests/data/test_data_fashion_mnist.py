"""Fashion-MNIST from each of its places, with generated files in the place of the real ones (but for one test)."""

import dataclasses
import gzip
import hashlib
import http.server
import multiprocessing
import threading
from concurrent.futures import ProcessPoolExecutor

import numpy as np
import pytest
import torch
from idx_files import NAMES, idx_bytes, small_set, write_idx, write_set

import kdlab.data.fashion_mnist as module
from kdlab.data.fashion_mnist import CHECKSUMS, DEBIAN_FOLDER, Checksums, fashion_mnist
from kdlab.data.loading import check_dataset, data_identity, dataset_errors, load_dataset
from kdlab.errors import UserError

SIZES = {"train": 30, "validation": 10, "test": 20}
TARGET = {"_target_": "kdlab.data.fashion_mnist.fashion_mnist", **SIZES}


def _trained_on(cache_dir):
    return fashion_mnist(cache_dir=cache_dir, **SIZES).train.inputs.abs().sum().item()


def packed_files(arrays):
    return {f"{name}.gz": gzip.compress(idx_bytes(values), mtime=7) for name, values in zip(NAMES, arrays, strict=True)}


def checksums(files):
    return {
        part: Checksums(hashlib.sha256(gzip.decompress(content)).hexdigest(), hashlib.md5(content).hexdigest())
        for part, content in zip(CHECKSUMS, files.values(), strict=True)
    }


@pytest.fixture
def files(monkeypatch, tmp_path):
    """A small set that stands for Fashion-MNIST; no package, no mirror."""
    found = packed_files(small_set())
    monkeypatch.setattr(module, "CHECKSUMS", checksums(found))
    monkeypatch.setattr(module, "DEBIAN_FOLDER", tmp_path / "no-package")
    monkeypatch.setattr(module, "MIRRORS", ())
    return found


class Server:
    """Serves files on localhost. ``asked`` counts the requests; ``spoil`` says what goes wrong with one."""

    def __init__(self, files):
        self.asked, self.spoil = [], {}
        outer = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self):
                name = self.path.rpartition("/")[2]
                outer.asked.append(name)
                how, content = outer.spoil.get(name), files.get(name)
                if content is None or how == "absent":
                    self.send_error(404)
                    return
                self.send_response(200)
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                if how == "other":
                    content = bytes(len(content))
                self.wfile.write(content[: len(content) // 2] if how == "cut" else content)

            def log_message(self, *_):
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}/"
        threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()

    def close(self):
        self.server.shutdown()
        self.server.server_close()


@pytest.fixture
def server(files, monkeypatch):
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    found = Server(files)
    monkeypatch.setattr(module, "MIRRORS", (found.url,))
    yield found
    found.close()


def same(one, other):
    return all(
        torch.equal(getattr(getattr(one, split), part), getattr(getattr(other, split), part))
        for split in SIZES
        for part in ("inputs", "labels", "index")
    )


@pytest.mark.skipif(not DEBIAN_FOLDER.is_dir(), reason="Debian's dataset-fashion-mnist is not installed")
def test_the_real_files_have_their_checksums_and_the_facts_everyone_knows(tmp_path):
    dataset = fashion_mnist(cache_dir=tmp_path, download=False)
    check_dataset(dataset)
    assert [len(split) for split in (dataset.train, dataset.validation, dataset.test)] == [55_000, 5_000, 10_000]
    assert dataset.input_shape == (1, 28, 28)
    for split, each in ((dataset.train, 5_500), (dataset.validation, 500), (dataset.test, 1_000)):
        assert np.bincount(split.labels).tolist() == [each] * 10
    everything = torch.cat([split.index for split in (dataset.train, dataset.validation, dataset.test)])
    assert torch.equal(everything.sort().values, torch.arange(70_000))
    assert dataset.train.labels[dataset.train.index == 0].tolist() in ([9], [])  # the first image is an ankle boot
    mean = (55 * dataset.train.inputs.mean() + 5 * dataset.validation.inputs.mean()) / 60  # of the whole train file
    assert (mean * dataset.facts["std"] + dataset.facts["mean"]) / 255 == pytest.approx(0.2860, abs=1e-4)
    assert list(tmp_path.iterdir()) == []


def test_root_beats_everything_and_is_never_completed_from_elsewhere(files, server, tmp_path):
    write_set(tmp_path / "mine")  # packed otherwise than the published files: only what is in them counts
    dataset = fashion_mnist(cache_dir=tmp_path / "cache", root=str(tmp_path / "mine"), **SIZES)
    check_dataset(dataset)
    assert dataset.test.index.tolist() == list(range(60, 80))
    (tmp_path / "mine" / f"{NAMES[3]}.gz").unlink()
    with pytest.raises(UserError, match=r"root = '.*mine': the folder lacks t10k-labels-idx1-ubyte\[.gz\]$"):
        fashion_mnist(cache_dir=tmp_path / "cache", root=str(tmp_path / "mine"), **SIZES)
    assert server.asked == []


def test_the_package_comes_before_the_cache_and_the_cache_before_the_mirror(files, server, monkeypatch, tmp_path):
    write_set(tmp_path / "package", packed=False)
    monkeypatch.setattr(module, "DEBIAN_FOLDER", tmp_path / "package")
    packaged = fashion_mnist(cache_dir=tmp_path / "cache", **SIZES)
    assert server.asked == []
    (tmp_path / "package" / NAMES[0]).unlink()  # half a package is none
    downloaded = fashion_mnist(cache_dir=tmp_path / "cache", **SIZES)
    assert sorted(server.asked) == sorted(files)
    cached = fashion_mnist(cache_dir=tmp_path / "cache", download=False, **SIZES)
    assert len(server.asked) == 4
    assert same(packaged, downloaded)
    assert same(packaged, cached)
    left = {path.name for path in (tmp_path / "cache" / "fashion_mnist").iterdir()}
    assert left == {*files, "download.lock"}


def test_another_content_is_refused_by_name(files, tmp_path):
    write_set(tmp_path / "mine")
    write_idx(tmp_path / "mine" / f"{NAMES[1]}.gz", small_set(seed=5).train_labels)
    with pytest.raises(UserError, match=r"train-labels-idx1-ubyte.gz: not the file of Fashion-MNIST: the sha256 of"):
        fashion_mnist(cache_dir=tmp_path, root=str(tmp_path / "mine"), **SIZES)
    path = tmp_path / "mine" / f"{NAMES[1]}.gz"
    path.write_bytes(files[path.name][:-9])
    with pytest.raises(UserError, match=r"train-labels-idx1-ubyte.gz: damaged gzip file"):
        fashion_mnist(cache_dir=tmp_path, root=str(tmp_path / "mine"), **SIZES)


@pytest.mark.parametrize("how", ["cut", "other", "absent"])
def test_half_a_download_leaves_nothing_behind_and_the_next_one_goes_on(files, server, tmp_path, how):
    second = f"{NAMES[1]}.gz"
    server.spoil[second] = how
    with pytest.raises(UserError, match=rf"a download.*failed here: {server.url}{second}: \w+"):
        fashion_mnist(cache_dir=tmp_path, **SIZES)
    left = {path.name for path in (tmp_path / "fashion_mnist").iterdir()}
    assert left == {f"{NAMES[0]}.gz", "download.lock"}
    server.spoil.clear()
    server.asked.clear()
    fashion_mnist(cache_dir=tmp_path, **SIZES)
    assert sorted(server.asked) == sorted(set(files) - {f"{NAMES[0]}.gz"})


def test_the_second_mirror_stands_in_for_the_first(files, server, monkeypatch, tmp_path):
    monkeypatch.setattr(module, "MIRRORS", (f"{server.url.replace('127.0.0.1', 'nowhere.invalid')}", server.url))
    monkeypatch.setenv("no_proxy", "127.0.0.1,nowhere.invalid")
    check_dataset(fashion_mnist(cache_dir=tmp_path, **SIZES))


def test_a_damaged_cache_is_downloaded_again_with_a_word(files, server, tmp_path, caplog):
    fashion_mnist(cache_dir=tmp_path, **SIZES)
    path = tmp_path / "fashion_mnist" / f"{NAMES[2]}.gz"
    path.write_bytes(path.read_bytes()[:-5])
    server.asked.clear()
    with pytest.raises(UserError, match=r"data.download is false"):
        fashion_mnist(cache_dir=tmp_path, download=False, **SIZES)
    fashion_mnist(cache_dir=tmp_path, **SIZES)
    assert server.asked == [path.name]
    assert f"{path} is damaged" in caplog.text


def test_without_a_network_one_error_lists_the_three_ways(files, monkeypatch, tmp_path):
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    monkeypatch.setattr(module, "MIRRORS", ("http://127.0.0.1:9/", "http://127.0.0.1:9/again/"))
    with pytest.raises(UserError) as caught:
        load_dataset({"name": "fashion_mnist", **TARGET}, {}, cache_dir=tmp_path)
    said = str(caught.value)
    assert said.startswith("data: Fashion-MNIST is not on this machine")
    assert len(said.splitlines()) == 1
    ways = ["(1) data.root=FOLDER", "(2) apt install dataset-fashion-mnist", "(3) a download, data.download=true"]
    failed = ["http://127.0.0.1:9/train-images-idx3-ubyte.gz: ConnectionError", "http://127.0.0.1:9/again/train"]
    for way in ways + failed:
        assert way in said


def test_a_cache_that_cannot_be_written_is_named(files, server, tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(UserError, match=r"the data cache .*file/fashion_mnist cannot be written"):
        fashion_mnist(cache_dir=tmp_path / "file", **SIZES)


def test_two_processes_at_once_download_each_file_once(files, server, tmp_path):
    with ProcessPoolExecutor(2, mp_context=multiprocessing.get_context("fork")) as pool:
        one, other = pool.map(_trained_on, [tmp_path, tmp_path])
    assert one == other > 0
    assert sorted(server.asked) == sorted(files)


def test_identity_is_the_sizes_and_not_where_the_files_lie():
    plain = data_identity(TARGET)
    assert plain == data_identity({**TARGET, "root": "/elsewhere", "download": False})
    assert plain != data_identity({**TARGET, "train": 29})
    assert data_identity({"_target_": TARGET["_target_"]}) == {
        "_target_": TARGET["_target_"], "train": 55_000, "validation": 5_000, "test": 10_000
    }  # fmt: skip
    assert dataset_errors({**TARGET, "trian": 3})
    assert not dataset_errors({"name": "fashion_mnist", "seed": 0, **TARGET})


def test_a_pool_is_of_what_is_left_of_the_train_file_and_moves_nothing_else(files, tmp_path):
    write_set(tmp_path / "mine")
    how = {"cache_dir": tmp_path, "root": str(tmp_path / "mine"), **SIZES, "train": 10}
    plain, pooled, less = (fashion_mnist(**how, pool=count) for count in (0, 20, 10))
    assert plain.pool is None
    for part in ("train", "validation", "test"):
        assert torch.equal(getattr(plain, part).inputs, getattr(pooled, part).inputs)
        assert torch.equal(getattr(plain, part).index, getattr(pooled, part).index)
    whole = fashion_mnist(**{**how, "train": 30})
    assert sorted([*pooled.pool.index.tolist(), *pooled.train.index.tolist()]) == whole.train.index.tolist()
    assert torch.equal(less.pool.index, pooled.pool.index[:10])
    shares = whole.train.labels.bincount() / len(whole.train)
    assert (less.pool.labels.bincount(minlength=4) - 10 * shares).abs().max() <= 1.5, "every class at its share"
    check_dataset(pooled)
    with pytest.raises(UserError, match="pool = 21: between 0 and 20 images are left"):
        fashion_mnist(**how, pool=21)
    assert data_identity({**TARGET, "pool": 0}) == data_identity(TARGET) != data_identity({**TARGET, "pool": 5})


@pytest.mark.parametrize(("knobs", "said"), [({"train": 31}, "train = 31: between 1 and 30"),
                                             ({"validation": 31}, "validation = 31: between 1 and 30"),
                                             ({"test": 0}, "test = 0: between 1 and 20")])  # fmt: skip
def test_sizes_beyond_the_split_are_refused(files, tmp_path, knobs, said):
    write_set(tmp_path / "mine")
    with pytest.raises(UserError, match=said):
        fashion_mnist(cache_dir=tmp_path, root=str(tmp_path / "mine"), **{**SIZES, **knobs})


def test_every_severity_is_measured_on_the_same_runs():
    from kdlab.commands.checking import read
    from kdlab.data.corruptions import SCALES
    from kdlab.experiments.plan import plan

    few, all_ = (read([f"data={name}"]) for name in ("fashion_mnist", "fashion_mnist_c"))
    assert [run.run_id for run in plan(few).runs()] == [run.run_id for run in plan(all_).runs()]
    assert {name: piece for name, piece in all_.data.slices.items() if name in few.data.slices} == few.data.slices
    told = {(piece.spec["corruption"], piece.spec["severity"]) for name, piece in all_.data.slices.items()
            if name not in few.data.slices}  # fmt: skip
    assert told == {(name, severity) for name in SCALES for severity in range(1, 6)}
    ood = [{name for name, piece in config.data.slices.items() if piece.ood} for config in (few, all_)]
    assert ood[0] == ood[1]  # ood/mean_gap says the same whichever of the two measured a run
    assert len(ood[0]) == 20


def test_its_classes_have_names(files, tmp_path):
    write_set(tmp_path / "mine")
    dataset = fashion_mnist(cache_dir=tmp_path, root=str(tmp_path / "mine"), **SIZES)
    assert dataset.class_names == ("T-shirt/top", "Trouser", "Pullover", "Dress")  # the four classes of the small set
    assert len(module.CLASS_NAMES) == 10
    with pytest.raises(ValueError, match="fashion_mnist has 4 classes and 1 class_names"):
        dataclasses.replace(dataset, class_names=("T-shirt/top",))
