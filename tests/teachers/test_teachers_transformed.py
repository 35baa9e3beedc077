"""Few bits, a fitted temperature, a matched entropy, wrong labels and another domain, against slow oracles."""

import math

import numpy as np
import pytest
import tiny_data
import torch
from scipy.optimize import minimize_scalar
from torch import nn

from kdlab.data import Examples
from kdlab.errors import UserError
from kdlab.evaluation.metrics import log_softmax, nll
from kdlab.evaluation.predict import predict_teacher
from kdlab.models import CNN1d
from kdlab.teachers import OnlineTeacher, calibrated, facts_of, low_bit, matched, noisy_labels, shifted, without_classes
from kdlab.teachers.low_bit import fake_quantized

DATA = tiny_data.tiny()


def network():
    torch.manual_seed(0)
    return CNN1d(input_shape=(1, 8), num_classes=3, width=6, norm="batch")


def predict(teacher, examples):
    return predict_teacher(teacher, examples, batch_size=16, device="cpu")


# --- few bits -------------------------------------------------------------------------------------------------------


def slow_quantized(weight, *, bits, per_channel):
    """One weight at a time, with Python's round (half to even, as torch's)."""
    levels = 2 ** (bits - 1) - 1
    rows = weight.flatten(1).tolist() if per_channel else [weight.flatten().tolist()]
    found = []
    for row in rows:
        scale = max(abs(value) for value in row) / levels
        found += [0.0 if scale == 0 else scale * max(-levels, min(levels, round(value / scale))) for value in row]
    return torch.tensor(found).reshape(weight.shape)


@pytest.mark.parametrize("per_channel", [False, True])
@pytest.mark.parametrize("bits", [2, 3, 4, 8, 16])
@pytest.mark.parametrize("shape", [(7, 5), (4, 3, 5), (6, 2, 3, 3), (1, 1)])
def test_quantised_against_a_slow_loop(bits, per_channel, shape):
    weight = torch.randn(shape, generator=torch.Generator().manual_seed(bits))
    found = fake_quantized(weight, bits=bits, per_channel=per_channel)
    torch.testing.assert_close(found, slow_quantized(weight, bits=bits, per_channel=per_channel), rtol=1e-5, atol=1e-6)
    for part in found if per_channel else [found]:
        assert len(part.unique()) <= 2**bits - 1
        assert float(part.abs().max()) > 0
    torch.testing.assert_close(fake_quantized(found, bits=bits, per_channel=per_channel), found)


def test_a_channel_of_zeros_stays_zero():
    weight = torch.tensor([[0.0, 0.0], [1.0, -0.4]])
    assert fake_quantized(weight, bits=2, per_channel=True).tolist() == [[0.0, 0.0], [1.0, 0.0]]
    assert fake_quantized(torch.zeros(2, 2), bits=4, per_channel=False).tolist() == [[0.0, 0.0], [0.0, 0.0]]


@pytest.mark.parametrize("granularity", ["tensor", "channel"])
def test_low_bit_changes_the_weights_of_its_layers_alone(granularity):
    model, before = network(), network().state_dict()
    layers = {name for name, module in model.named_modules() if isinstance(module, nn.Linear | nn.Conv1d)}
    after = low_bit(model, bits=3, granularity=granularity).state_dict()
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    assert changed == {f"{name}.weight" for name in layers}
    for name in changed:
        expected = slow_quantized(before[name], bits=3, per_channel=granularity == "channel")
        torch.testing.assert_close(after[name], expected)


@pytest.mark.parametrize(
    ("doses", "message"),
    [
        ({"bits": 1, "granularity": "tensor"}, "teacher.quality.bits = 1: a whole number from 2 to 16"),
        ({"bits": 17, "granularity": "tensor"}, "teacher.quality.bits = 17"),
        ({"bits": 2.0, "granularity": "tensor"}, r"teacher.quality.bits = 2\.0"),
        ({"bits": True, "granularity": "tensor"}, "teacher.quality.bits = True"),
        ({"bits": 2, "granularity": "chanel"}, "granularity = 'chanel': .*did you mean channel"),
    ],
)
def test_a_dose_of_bits_out_of_range_is_named(doses, message):
    with pytest.raises(UserError, match=message):
        low_bit(network(), **doses)


def test_low_bit_needs_a_layer_to_quantise():
    with pytest.raises(UserError, match="no Linear or Conv layer"):
        low_bit(nn.Sequential(nn.Flatten(), nn.BatchNorm1d(4)), bits=4, granularity="tensor")
    normed = nn.utils.parametrizations.weight_norm(nn.Linear(4, 3))
    with pytest.raises(UserError, match=r"weight of a .*Linear is computed"):
        low_bit(nn.Sequential(normed), bits=4, granularity="tensor")


# --- fitted numbers -------------------------------------------------------------------------------------------------


def test_calibrated_has_the_smallest_nll_on_validation():
    teacher = OnlineTeacher(fitted())
    told = calibrated(teacher, validation=DATA.validation, predict=predict, fitted={})
    said = predict(teacher, DATA.validation)
    slow = minimize_scalar(
        lambda t: nll(log_softmax(said.logits / np.exp(t)), said.labels), bounds=(-5, 5), method="bounded"
    )
    temperature = facts_of(told)["fitted_temperature"]
    assert temperature == pytest.approx(math.exp(slow.x), rel=1e-3)
    plain = teacher(DATA.test.inputs, DATA.test.index).logits
    torch.testing.assert_close(told(DATA.test.inputs, DATA.test.index).logits, plain / temperature)


def test_what_was_fitted_is_not_fitted_again():
    def never(teacher, examples):
        raise AssertionError("a set was forwarded")

    teacher = OnlineTeacher(network())
    told = calibrated(teacher, validation=DATA.validation, predict=never, fitted={"fitted_temperature": 1.7})
    assert (told.scale, told.facts) == (1 / 1.7, {"fitted_temperature": 1.7})
    on_top = matched(
        told, entropy=0.5, temperature=2.0, train=DATA.train, predict=never, fitted={"entropy_factor": 3.0}
    )
    assert on_top.facts == {"fitted_temperature": 1.7, "entropy_factor": 3.0}


def test_a_network_without_an_optimal_temperature_is_refused():
    teacher = OnlineTeacher(fitted())
    said = torch.from_numpy(predict(teacher, DATA.validation).logits)
    right = Examples(DATA.validation.inputs, said.argmax(-1), DATA.validation.index)
    with pytest.raises(UserError, match="'calibrated': the validation logits are highest at the label"):
        calibrated(teacher, validation=right, predict=predict, fitted={})


@pytest.mark.parametrize("temperature", [1.0, 4.0])
@pytest.mark.parametrize("entropy", [0.01, 0.5, 1.09])
def test_matched_targets_have_the_entropy(entropy, temperature):
    told = matched(
        OnlineTeacher(fitted()), entropy=entropy, temperature=temperature, train=DATA.train, predict=predict, fitted={}
    )
    probs = torch.softmax(told(DATA.train.inputs, DATA.train.index).logits.double() / temperature, -1)
    assert float(-(probs * probs.log()).nansum(-1).mean()) == pytest.approx(entropy, rel=1e-4)


@pytest.mark.parametrize("entropy", [0.0, math.log(3), 1.2])
def test_an_entropy_that_no_targets_have_is_refused_with_the_range(entropy):
    with pytest.raises(UserError, match=r"match_entropy = .*: allowed is a number between 0 and ln 3 = 1\.0986 nats"):
        matched(OnlineTeacher(network()), entropy=entropy, temperature=2.0, train=DATA.train, predict=predict,
                fitted={})  # fmt: skip


def fitted():
    """A network that is right more often than not, and not always."""
    model = network()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    for _ in range(20):
        optimizer.zero_grad()
        nn.functional.cross_entropy(model(DATA.train.inputs).logits, DATA.train.labels).backward()
        optimizer.step()
    return model.eval()


# --- the training set -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("share", [0, 0.1, 0.5, 1])
def test_exactly_that_share_of_labels_is_wrong(share):
    noisy = noisy_labels(DATA.train, label_noise=share, num_classes=3, seed=0)
    assert int((noisy.labels != DATA.train.labels).sum()) == round(share * 60)
    assert torch.equal(noisy.inputs, DATA.train.inputs)
    assert torch.equal(noisy.index, DATA.train.index)
    assert noisy.labels.min() >= 0
    assert noisy.labels.max() < 3


def test_wrong_labels_are_uniform_over_the_others_nested_over_doses_and_keyed_by_the_seed():
    many = Examples(torch.zeros(9000, 1), torch.arange(9000) % 4, torch.arange(9000))
    low, high, other = (noisy_labels(many, label_noise=share, num_classes=4, seed=seed).labels
                        for share, seed in ((0.3, 0), (0.9, 0), (0.3, 1)))  # fmt: skip
    wrong = low != many.labels
    assert torch.equal(low[wrong], high[wrong])
    assert not torch.equal(low, other)
    counts = torch.bincount((high - many.labels)[high != many.labels] % 4, minlength=4)
    assert counts[0] == 0
    assert float(((counts[1:] - 2700) ** 2 / 2700).sum()) < 13.8  # 99.9 % of chi-square, 2 degrees of freedom
    assert torch.equal(noisy_labels(many, label_noise=0.3, num_classes=4, seed=0).labels, low)


@pytest.mark.parametrize("share", [-0.1, 1.1, "0.1", True, math.nan])
def test_a_share_out_of_range_is_named(share):
    with pytest.raises(UserError, match=r"teacher.quality.label_noise = .*: a share from 0 to 1"):
        noisy_labels(DATA.train, label_noise=share, num_classes=3, seed=0)


def test_shifted_is_what_the_shift_of_the_data_set_makes():
    spec = {"_target_": "tiny_data.moved", "by": 2.0}
    told = shifted(DATA.train, severity=1.5, dataset=DATA, shift=spec)
    torch.testing.assert_close(told.inputs, DATA.train.inputs + 3.0)
    assert torch.equal(told.labels, DATA.train.labels)


@pytest.mark.parametrize(
    ("severity", "shift", "message"),
    [
        (1.0, None, "the data set 'tiny' says no shift; set data.shift._target_"),
        (-1.0, {"_target_": "tiny_data.moved"}, r"teacher.quality.severity = -1.0: a number >= 0"),
        ("1", {"_target_": "tiny_data.moved"}, "teacher.quality.severity = '1'"),
        (math.nan, {"_target_": "tiny_data.moved"}, "teacher.quality.severity = nan"),
        (1.0, {"_target_": "kdlab.data.shifts.white_noise", "std": -1.0}, r"severity = 1.0, data.shift: std = -1.0"),
    ],
)
def test_a_shift_that_cannot_be_is_refused(severity, shift, message):
    with pytest.raises(UserError, match=message):
        shifted(DATA.train, severity=severity, dataset=DATA, shift=shift)


# --- classes it never names -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("temperature", [0.5, 1.0, 20.0])
def test_a_silenced_class_has_no_probability_and_the_others_are_renormalised(temperature):
    teacher = OnlineTeacher(network(), num_classes=3)
    inputs, index = DATA.train.inputs, DATA.train.index
    own = (teacher(inputs, index).logits / temperature).double().softmax(-1)
    found = (without_classes(teacher, classes=[1])(inputs, index).logits / temperature).double().softmax(-1)
    assert float(found[:, 1].max()) < 1e-200, "0 in single precision"
    kept = own[:, [0, 2]]
    torch.testing.assert_close(found[:, [0, 2]], kept / kept.sum(-1, keepdim=True), rtol=1e-5, atol=1e-9)


@pytest.mark.parametrize("classes", [[], [0, 1, 2], [3], [-1]])
def test_only_some_classes_can_be_silenced(classes):
    with pytest.raises(UserError, match=r"teacher.quality.classes = .*: some of 0 to 2 are needed, not all"):
        without_classes(OnlineTeacher(network(), num_classes=3), classes=classes)
