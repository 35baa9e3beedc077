import pickle

import pytest
import torch
from torch import nn

from kdlab.errors import UserError
from kdlab.records.weights import load_weights, match_state, read_state, save_weights


class Net(nn.Module):
    def __init__(self, width=4):
        super().__init__()
        self.body = nn.Sequential(nn.Linear(3, width), nn.BatchNorm1d(width))
        self.head = nn.Linear(width, 2)


@pytest.fixture
def state():
    torch.manual_seed(0)
    return Net().state_dict()


def assert_same(found, expected):
    assert set(found) == set(expected)
    for name, value in expected.items():
        assert found[name].dtype == value.dtype, name
        assert torch.equal(found[name], value), name


def test_weights_round_trip(tmp_path, state):
    path = tmp_path / "weights.safetensors"
    save_weights(path, state)
    assert_same(load_weights(path), state)
    assert [entry.name for entry in tmp_path.iterdir()] == ["weights.safetensors"]


def test_views_shared_and_odd_tensors_round_trip(tmp_path):
    base = torch.arange(12.0).reshape(3, 4)
    shared = nn.Parameter(base.clone())
    odd = {
        "transposed": base.t(),
        "row": base[1],
        "one": shared,
        "same": shared,
        "scalar": torch.tensor(3),
        "empty": torch.empty(0, 3),
        "half": base.to(torch.bfloat16),
        "flag": torch.tensor([True, False]),
        "channels_last": torch.randn(1, 2, 3, 3).to(memory_format=torch.channels_last),
    }
    save_weights(tmp_path / "w.safetensors", odd)
    assert_same(load_weights(tmp_path / "w.safetensors"), {name: value.detach() for name, value in odd.items()})


def test_saving_copies_what_training_goes_on_changing(tmp_path, state):
    save_weights(tmp_path / "w.safetensors", state)
    before = {name: value.clone() for name, value in state.items()}
    for value in state.values():
        value.zero_()
    assert_same(load_weights(tmp_path / "w.safetensors"), before)


def test_a_failed_save_leaves_the_old_weights(tmp_path, state):
    path = tmp_path / "w.safetensors"
    save_weights(path, state)
    with pytest.raises(ValueError, match="extra"):
        save_weights(path, {**state, "extra": {"not": "a tensor"}})
    assert_same(load_weights(path), state)


@pytest.mark.parametrize("kind", ["model.safetensors", "model.pt", "model.pth", "lightning.ckpt", "zoo.pth"])
def test_checkpoints_of_every_kind(tmp_path, state, kind):
    path = tmp_path / kind
    if kind == "model.safetensors":
        save_weights(path, state)
    elif kind == "lightning.ckpt":
        hyper = {"lr": 0.1, "name": "x"}
        torch.save({"epoch": 3, "state_dict": state, "optimizer_states": [{}], "hyper_parameters": hyper}, path)
    elif kind == "zoo.pth":
        torch.save({"epoch": 3, "model": state}, path)
    else:
        torch.save(state, path)
    assert_same(read_state(path), state)


class Evil:
    def __init__(self, marker):
        self.marker = str(marker)

    def __reduce__(self):
        return exec, (f"open({self.marker!r}, 'w').close()",)


@pytest.mark.filterwarnings("ignore:Detected pickle protocol")
@pytest.mark.parametrize("wrapped", [True, False])
def test_a_malicious_pickle_is_refused_and_never_runs(tmp_path, state, wrapped):
    marker, path = tmp_path / "ran", tmp_path / "evil.ckpt"
    content = {"state_dict": state, "hyper_parameters": Evil(marker)} if wrapped else Evil(marker)
    torch.save(content, path)
    with pytest.raises(UserError, match=r"evil\.ckpt.*never executes"):
        read_state(path)
    path.write_bytes(pickle.dumps(Evil(marker)))
    with pytest.raises(UserError, match=r"evil\.ckpt"):
        read_state(path)
    assert not marker.exists()


@pytest.mark.parametrize("suffix", [".pt", ".ckpt", ".safetensors", ".bin"])
@pytest.mark.parametrize("damage", ["missing", "folder", "empty", "noise", "cut"])
def test_missing_and_damaged_checkpoints_name_the_path(tmp_path, state, suffix, damage):
    path = tmp_path / f"teacher{suffix}"
    if damage == "folder":
        path.mkdir()
    elif damage == "empty":
        path.touch()
    elif damage == "noise":
        path.write_bytes(bytes(range(256)) * 8)
    elif damage == "cut":
        save_weights(path, state) if suffix == ".safetensors" else torch.save(state, path)
        path.write_bytes(path.read_bytes()[:-200])
    with pytest.raises(UserError, match=f"teacher{suffix}"):
        read_state(path)


@pytest.mark.parametrize("content", [[1, 2], {}, {"a": 1}, {"state_dict": {"a": "x"}}, torch.zeros(3)])
def test_files_without_a_state_dict_say_what_they_hold(tmp_path, content):
    torch.save(content, tmp_path / "x.pt")
    with pytest.raises(UserError, match="holds no state_dict"):
        read_state(tmp_path / "x.pt")


@pytest.mark.parametrize("prefix", ["", "model.", "student.", "module.", "module.model.", "model._orig_mod."])
def test_wrappers_names_are_taken_off(state, prefix):
    net = Net()
    match_state(net, {prefix + name: value for name, value in state.items()})
    assert_same(net.state_dict(), state)


def test_names_stay_where_the_model_has_them(state):
    class Wrapper(nn.Module):
        def __init__(self):
            super().__init__()
            self.model = Net()

    net = Wrapper()
    wrapped = {f"model.{name}": value for name, value in state.items()}
    match_state(net, wrapped)
    assert_same(net.state_dict(), wrapped)


def test_every_mismatch_is_listed_and_nothing_is_loaded(state):
    wrong = {f"model.{name}": value for name, value in state.items()}
    del wrong["model.body.0.weight"]
    wrong["model.neck.bias"] = torch.zeros(3)
    wrong["model.tail.bias"] = torch.zeros(3)
    wrong["model.head.weight"] = torch.zeros(2, 9)
    wrong["model.head.bias"] = torch.zeros(7)
    net = Net()
    before = {name: value.clone() for name, value in net.state_dict().items()}
    with pytest.raises(UserError) as caught:
        match_state(net, wrong)
    lines = str(caught.value).splitlines()
    assert lines[1:] == [
        "  missing: body.0.weight",
        "  unexpected: neck.bias, tail.bias",
        "  wrong shape: head.weight (2, 9) where the model has (2, 4), head.bias (7,) where the model has (2,)",
    ]
    assert_same(net.state_dict(), before)


def test_an_empty_state_lists_everything_as_missing(state):
    with pytest.raises(UserError) as caught:
        match_state(Net(), {})
    assert all(name in str(caught.value) for name in state)
