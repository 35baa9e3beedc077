import os
import stat

import numpy as np
import pytest
import torch
from torch import nn

from kdlab.data.dataset import Examples
from kdlab.evaluation.predict import load_predictions, predict, predict_stack, predict_teacher, save_predictions
from kdlab.outputs import ModelOutput, Predictions, TeacherOutput


def examples(n=10):
    generator = torch.Generator().manual_seed(0)
    return Examples(torch.randn(n, 4, generator=generator), torch.arange(n) % 3, torch.arange(n) + 100)


class Net(nn.Module):
    """BatchNorm and dropout: what would show a wrong mode. Returns what ``wrap`` makes of the logits."""

    def __init__(self, wrap):
        super().__init__()
        self.body = nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.Dropout(0.5), nn.Linear(8, 3))
        self.wrap = wrap
        self.seen = []

    def forward(self, inputs):
        self.seen.append((len(inputs), self.training, torch.is_grad_enabled()))
        return self.wrap(self.body(inputs))


@pytest.mark.parametrize("wrap", [lambda z: z, lambda z: ModelOutput(z, {}), lambda z: ModelOutput(z.double(), {})])
def test_the_short_last_batch_counts_and_equals_one_pass(wrap):
    net, data = Net(wrap), examples(10)
    found = predict(net, data, batch_size=4, device="cpu")
    assert [n for n, _, _ in net.seen] == [4, 4, 2]
    net.eval()
    np.testing.assert_allclose(found.logits, net.body(data.inputs).detach().numpy(), rtol=1e-5, atol=1e-6)
    assert found.logits.dtype == np.float32
    assert found.labels.dtype == found.index.dtype == np.int64
    np.testing.assert_array_equal(found.index, data.index.numpy())


def test_eval_mode_inside_every_mode_restored_statistics_untouched():
    net = Net(lambda z: z)
    net.train()
    net.body[1].eval()  # a frozen layer stays frozen
    before = {name: value.clone() for name, value in net.state_dict().items()}
    predict(net, examples(), batch_size=5, device="cpu")
    assert all(not training and not grad for _, training, grad in net.seen)
    assert net.training
    assert net.body[2].training
    assert not net.body[1].training
    assert all(torch.equal(value, net.state_dict()[name]) for name, value in before.items())
    assert torch.is_grad_enabled()


def test_modes_are_restored_when_the_network_fails():
    class Broken(nn.Module):
        def forward(self, inputs):
            raise RuntimeError("broken")

    net = Broken()
    with pytest.raises(RuntimeError, match="broken"):
        predict(net, examples(), batch_size=5, device="cpu")
    assert net.training
    assert torch.is_grad_enabled()


def test_a_teacher_is_asked_with_the_index():
    asked = []

    def teacher(inputs, index):
        asked.append(index.tolist())
        return TeacherOutput(index[:, None] * torch.ones(1, 3), {})

    found = predict_teacher(teacher, examples(5), batch_size=3, device="cpu")
    assert asked == [[100, 101, 102], [103, 104]]
    np.testing.assert_array_equal(found.logits[:, 0], [100, 101, 102, 103, 104])


@pytest.mark.parametrize("wrap", [lambda z: z, lambda z: ModelOutput(z, {})])
@pytest.mark.parametrize("batch_size", [4, 10, 1000])
def test_a_stack_says_what_each_of_its_students_says(wrap, batch_size):
    students, seen = [Net(lambda z: z).double().eval() for _ in range(3)], []
    data = examples(10)
    data = Examples(data.inputs.double(), data.labels, data.index)

    def forward(inputs):
        seen.append((len(inputs), torch.is_grad_enabled()))
        return wrap(torch.stack([student(inputs) for student in students]))

    found = predict_stack(forward, data, batch_size=batch_size, device="cpu")
    assert [n for n, _ in seen] == ([4, 4, 2] if batch_size == 4 else [10])
    assert not any(grad for _, grad in seen)
    for student, together in zip(students, found, strict=True):
        alone = predict(student, data, batch_size=batch_size, device="cpu")
        for one, other in zip(alone, together, strict=True):
            assert one.dtype == other.dtype
            np.testing.assert_array_equal(one, other)
    assert found[0].labels is found[2].labels


def test_a_stack_that_gives_no_logits_per_student_and_example_is_refused():
    for bad in (lambda inputs: inputs, lambda inputs: torch.zeros(3, len(inputs) - 1, 2), lambda _: torch.zeros(3, 2)):
        with pytest.raises(ValueError, match=r"logits must be \[students, 5, classes\]"):
            predict_stack(bad, examples(), batch_size=5, device="cpu")
    with pytest.raises(ValueError, match="without examples"):
        predict_stack(lambda inputs: inputs, examples(0), batch_size=5, device="cpu")


def test_outputs_that_are_no_logits_per_example_are_refused():
    class Flat(nn.Module):
        def forward(self, inputs):
            return inputs.sum(dim=1)

    class Short(nn.Module):
        def forward(self, inputs):
            return inputs[:1]

    for net in (Flat(), Short()):
        with pytest.raises(ValueError, match=r"logits must be \[5, classes\]"):
            predict(net, examples(), batch_size=5, device="cpu")
    with pytest.raises(ValueError, match="batch_size = 0"):
        predict(Flat(), examples(), batch_size=0, device="cpu")
    with pytest.raises(ValueError, match="without examples"):
        predict(Flat(), examples(0), batch_size=5, device="cpu")


def kept():
    random = np.random.default_rng(0)
    return Predictions(random.normal(size=(6, 3)).astype(np.float32), np.arange(6) % 3, np.arange(6) + 7)


def test_saved_predictions_come_back_bit_for_bit(tmp_path):
    path = tmp_path / "predictions" / "test.npz"
    save_predictions(path, kept())
    save_predictions(path, kept())  # replaces what is there
    back = load_predictions(path)
    for one, other in zip(back, kept(), strict=True):
        assert one.dtype == other.dtype
        np.testing.assert_array_equal(one, other)
    assert [file.name for file in path.parent.iterdir()] == ["test.npz"]
    mask = os.umask(0)
    os.umask(mask)
    assert stat.S_IMODE(path.stat().st_mode) == 0o666 & ~mask


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path, monkeypatch):
    path = tmp_path / "test.npz"
    save_predictions(path, kept())
    before = path.read_bytes()

    def half(file, **arrays):
        file.write(b"half")
        raise OSError("disk full")

    monkeypatch.setattr(np, "savez", half)
    with pytest.raises(OSError, match="disk full"):
        save_predictions(path, kept())
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


def test_files_that_hold_no_predictions_are_refused(tmp_path):
    path = tmp_path / "x.npz"
    np.savez(path, logits=np.zeros((2, 3)))
    with pytest.raises(ValueError, match="index, labels missing"):
        load_predictions(path)
    np.savez(path, logits=np.zeros(2), labels=np.zeros(2, int), index=np.zeros(2, int))
    with pytest.raises(ValueError, match="logits is float64"):
        load_predictions(path)
    np.savez(path, logits=np.zeros((3, 2)), labels=np.zeros(2, int), index=np.zeros(2, int))
    with pytest.raises(ValueError, match="differ in length"):
        load_predictions(path)
    np.savez(path, logits=np.array([[object()]]), labels=np.zeros(1, int), index=np.zeros(1, int))
    with pytest.raises(ValueError, match="allow_pickle"):
        load_predictions(path)
