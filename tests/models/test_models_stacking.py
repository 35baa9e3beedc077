"""A stack beside its networks one by one, in float64: what it holds, and every layer that has a rule of its own."""

import copy

import pytest
import torch
from torch import nn

from kdlab.models import MLP, stacked_layers
from kdlab.models.stacked_layers import Draws, prepare
from kdlab.models.stacking import Stack, tensors_of

K, B = 3, 5


def several(make, *, train=True):
    """``K`` networks in float64 with weights and buffers of their own, none of them one or zero."""
    generator, networks = torch.Generator().manual_seed(0), []
    for _ in range(K):
        network = make().double().train(train)
        for name, tensor in tensors_of(network).items():
            if tensor.is_floating_point():
                drawn = torch.randn(tensor.shape, generator=generator, dtype=tensor.dtype)
                tensor.data = drawn.abs() + 0.5 if name.endswith("var") else drawn
        networks.append(network)
    return networks


def drawn(*shape, seed=1):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def close(left, right):
    return torch.allclose(left, right, rtol=1e-10, atol=1e-10)


def same(left, right):
    left, right = tensors_of(left), tensors_of(right)
    return left.keys() == right.keys() and all(torch.equal(left[name], right[name]) for name in left)


def agree(make, shape, *, train=True, shared=False):
    """Outputs, gradients and what the forward left in the buffers, of the stack and of the networks."""
    networks = several(make, train=train)
    stack = Stack(networks)
    inputs = drawn(*([] if shared else [K]), B, *shape).requires_grad_()
    found = (stack.shared if shared else stack)(inputs).logits
    towards = drawn(*found.shape, seed=2)
    (of_inputs,) = torch.autograd.grad((found * towards).sum(), [inputs], retain_graph=True)
    (found * towards).sum().backward()

    own = inputs.detach().requires_grad_()
    expected = torch.stack([network(own if shared else own[at]) for at, network in enumerate(networks)])
    (expected * towards).sum().backward()
    assert found.shape == expected.shape
    assert close(found, expected)
    assert close(of_inputs, own.grad)
    stacked = tensors_of(stack.network)
    for at, network in enumerate(networks):
        for name, tensor in tensors_of(network).items():
            assert close(stacked[name][at].double(), tensor.double()), name
            assert (tensor.grad is None) == (stacked[name].grad is None), name
            assert tensor.grad is None or close(stacked[name].grad[at], tensor.grad), name


# --- layers with a rule ---------------------------------------------------------------------------------------------

LAYERS = {
    "linear": (lambda: nn.Linear(6, 4), (6,)),
    "linear without bias": (lambda: nn.Linear(6, 4, bias=False), (6,)),
    "linear over sequences": (lambda: nn.Linear(6, 4), (7, 6)),
    "linear over sequences without bias": (lambda: nn.Linear(6, 4, bias=False), (7, 6)),
    "conv1d": (lambda: nn.Conv1d(3, 4, 3), (3, 9)),
    "conv1d with stride and padding": (lambda: nn.Conv1d(3, 4, 5, stride=2, padding=2), (3, 11)),
    "conv1d whose stride skips positions": (lambda: nn.Conv1d(2, 3, 2, stride=3, bias=False), (2, 10)),
    "conv2d": (lambda: nn.Conv2d(3, 4, 3), (3, 6, 5)),
    "conv2d with stride and padding": (lambda: nn.Conv2d(3, 4, 3, stride=(2, 1), padding=(1, 2)), (3, 8, 7)),
    "conv2d without bias": (lambda: nn.Conv2d(3, 4, 1, stride=2, bias=False), (3, 5, 5)),
    "group norm of signals": (lambda: nn.GroupNorm(2, 4), (4, 9)),
    "group norm of images": (lambda: nn.GroupNorm(1, 4), (4, 3, 5)),
    "group norm of vectors": (lambda: nn.GroupNorm(2, 6), (6,)),
    "batch norm of vectors": (lambda: nn.BatchNorm1d(4), (4,)),
    "batch norm of signals": (lambda: nn.BatchNorm1d(4, momentum=0.3), (4, 9)),
    "batch norm of images": (lambda: nn.BatchNorm2d(4), (4, 3, 5)),
}


@pytest.mark.parametrize("shared", [False, True])
@pytest.mark.parametrize("name", LAYERS)
def test_a_layer_is_that_of_every_network(name, shared):
    make, shape = LAYERS[name]
    agree(make, shape, shared=shared)


@pytest.mark.parametrize("name", [name for name in LAYERS if "batch norm" in name])
def test_batch_norm_that_is_measured_uses_what_it_has_learned(name):
    make, shape = LAYERS[name]
    agree(make, shape, train=False)


@pytest.mark.parametrize("shared", [False, True])
def test_group_norm_without_weights(shared):
    agree(lambda: nn.Sequential(nn.Conv1d(3, 4, 1), nn.GroupNorm(2, 4, affine=False)), (3, 9), shared=shared)


def test_every_layer_above_follows_its_rule():
    for make, _ in LAYERS.values():
        assert type(prepare(make(), Draws())) in [stacked for stacked, _ in stacked_layers.RULES.values()]


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize(("limit", "one_by_one"), [(0, K), (10**12, 0)])
def test_large_images_go_one_student_after_the_other_and_small_ones_together(monkeypatch, limit, one_by_one, bias):
    monkeypatch.setattr(stacked_layers, "LARGE", limit)

    def make():
        return nn.Conv2d(3, 4, 3, stride=2, padding=1, bias=bias)

    agree(make, (3, 6, 5))
    agree(make, (3, 6, 5), shared=True)
    calls, forward = [], nn.Conv2d._conv_forward
    monkeypatch.setattr(nn.Conv2d, "_conv_forward", lambda *given: calls.append(given) or forward(*given))
    Stack(several(make))(drawn(K, B, 3, 6, 5))
    assert len(calls) == one_by_one


class OwnLinear(nn.Linear):
    pass


OTHERS = {
    "conv1d in groups": (lambda: nn.Conv1d(4, 4, 3, groups=2), (4, 9)),
    "conv1d with holes": (lambda: nn.Conv1d(3, 4, 3, dilation=2), (3, 9)),
    "conv1d around the edge": (lambda: nn.Conv1d(3, 4, 3, padding=1, padding_mode="circular"), (3, 9)),
    "conv2d of the same size": (lambda: nn.Conv2d(3, 4, 3, padding="same"), (3, 6, 5)),
    "batch norm without weights": (lambda: nn.BatchNorm1d(4, affine=False), (4,)),
    "layer norm": (lambda: nn.LayerNorm(6), (6,)),
    "a layer of the user's": (lambda: OwnLinear(6, 4), (6,)),
}


@pytest.mark.parametrize("name", OTHERS)
def test_other_layers_are_left_to_vmap(name):
    make, shape = OTHERS[name]
    layer = make()
    assert type(prepare(copy.deepcopy(layer), Draws())) is type(layer)
    agree(make, shape, train=False)


# --- dropout --------------------------------------------------------------------------------------------------------

SEEDS = [11, 12, 11]


def dropping():
    return nn.Sequential(nn.Dropout(0.3), nn.Linear(6, 40), nn.Dropout(0.5))


def test_masks_are_those_that_every_network_draws_from_its_own_stream():
    networks = several(dropping)
    stack, inputs = Stack(networks), drawn(2, K, B, 6)
    stack.begin_dropout(SEEDS)
    found = [stack(rows).logits for rows in inputs]
    for at, network in enumerate(networks):
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(SEEDS[at])
            expected = [network(rows[at]) for rows in inputs]
        assert all(close(whole[at], alone) for whole, alone in zip(found, expected, strict=True))
    assert 0.4 < float((found[0] == 0).double().mean()) < 0.6


def test_two_students_of_one_seed_have_one_mask_and_those_of_others_another():
    stack = Stack(several(lambda: nn.Sequential(nn.Dropout(0.5), nn.Linear(40, 40))))
    stack.network[1].weight.data.copy_(torch.eye(40, dtype=torch.float64))
    stack.network[1].bias.data.zero_()
    stack.begin_dropout(SEEDS)
    dropped = stack(drawn(B, 40).expand(K, B, 40)).logits == 0
    assert torch.equal(dropped[0], dropped[2])
    assert not torch.equal(dropped[0], dropped[1])


def test_gradients_go_through_the_masks():
    networks = several(dropping)
    stack, inputs = Stack(networks), drawn(K, B, 6)
    stack.begin_dropout(SEEDS)
    stack(inputs).logits.square().sum().backward()
    for at, network in enumerate(networks):
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(SEEDS[at])
            network(inputs[at]).square().sum().backward()
        assert close(stack.network[1].weight.grad[at], network[1].weight.grad)


def test_dropout_that_is_measured_or_has_nothing_to_drop_needs_no_stream_and_any_other_does():
    agree(dropping, (6,), train=False)
    agree(lambda: nn.Sequential(nn.Dropout(0.0), nn.Linear(6, 4)), (6,))
    stack = Stack(several(dropping))
    with pytest.raises(RuntimeError, match="streams of the stack were not begun"):
        stack(drawn(K, B, 6))


# --- the stack ------------------------------------------------------------------------------------------------------


class Tied(nn.Module):
    """One weight in two places, and buffers inside and outside of the ``state_dict``."""

    def __init__(self):
        super().__init__()
        self.first, self.norm, self.last = nn.Linear(6, 6), nn.BatchNorm1d(6), nn.Linear(6, 6)
        self.last.weight = self.first.weight
        self.register_buffer("scale", torch.ones(6), persistent=False)

    def forward(self, inputs):
        return self.last(self.norm(self.first(inputs)).tanh() * self.scale)


def test_what_is_stacked_comes_back_buffers_and_tied_weights_included():
    networks, others = several(Tied), [Tied().double() for _ in range(K)]
    Stack(networks).unstack(others)
    assert all(same(left, right) for left, right in zip(networks, others, strict=True))
    assert all(other.last.weight is other.first.weight for other in others)
    assert {"scale", "norm.running_var", "norm.num_batches_tracked"} < tensors_of(others[0]).keys()


def test_networks_stay_as_they_are_until_they_are_written_back():
    networks = several(Tied)
    before, stack = copy.deepcopy(networks), Stack(networks)
    stack(drawn(K, B, 6))
    with torch.no_grad():
        stack.network.first.weight += 1
    assert all(same(left, right) for left, right in zip(networks, before, strict=True))
    stack.unstack(networks)
    for network, old in zip(networks, before, strict=True):
        assert torch.equal(network.last.weight, old.last.weight + 1)
        assert not torch.equal(network.norm.running_mean, old.norm.running_mean)
        assert int(network.norm.num_batches_tracked) == 1


def test_a_tied_weight_is_one_parameter_and_gets_the_gradient_of_both_places():
    stack = Stack(several(Tied))
    assert stack.network.last.weight is stack.network.first.weight
    assert len(stack.trained()) == 5
    agree(Tied, (6,))


def test_frozen_parameters_stay_frozen():
    networks = several(Tied)
    for network in networks:
        network.norm.requires_grad_(False)
    stack = Stack(networks)
    assert [name for name, part in stack.network.named_parameters() if not part.requires_grad] == [
        "norm.weight", "norm.bias",
    ]  # fmt: skip
    assert len(stack.trained()) == len(stack.leaves(0, K)) == 3
    stack(drawn(K, B, 6)).logits.sum().backward()
    assert stack.network.norm.weight.grad is None
    assert stack.network.first.weight.grad is not None


def test_shared_inputs_are_inputs_that_are_repeated():
    stack, inputs = Stack(several(Tied, train=False)), drawn(B, 6).requires_grad_()
    shared, repeated = stack.shared(inputs).logits, stack(inputs.expand(K, B, 6)).logits
    assert close(shared, repeated)
    wanted = [inputs, *stack.trained()]
    left, right = (torch.autograd.grad(found.square().sum(), wanted) for found in (shared, repeated))
    assert all(close(*pair) for pair in zip(left, right, strict=True))


def test_features_have_the_axis_of_the_students_too():
    networks = several(lambda: MLP(input_shape=(1, 8), num_classes=3, width=6, depth=2, norm="batch", dropout=0.0))
    inputs = drawn(K, B, 1, 8)
    found, expected = Stack(networks)(inputs), [network(inputs[at]) for at, network in enumerate(networks)]
    assert found.features.keys() == expected[0].features.keys()
    for name, values in found.features.items():
        assert close(values, torch.stack([one.features[name] for one in expected])), name


def test_leaves_share_the_memory_of_the_stack():
    stack = Stack(several(Tied))
    before = [parameter.detach().clone() for parameter in stack.trained()]
    leaves = stack.leaves(1, 3)
    for leaf, whole in zip(leaves, stack.trained(), strict=True):
        assert leaf.is_leaf
        assert leaf.requires_grad
        assert leaf.shape == (2, *whole.shape[1:])
        assert leaf.data_ptr() == whole[1:].data_ptr()
        leaf.grad = torch.ones_like(leaf)
    torch.optim.SGD(leaves, lr=1.0).step()
    for whole, old in zip(stack.trained(), before, strict=True):
        assert torch.equal(whole[0], old[0])
        assert torch.equal(whole[1:], old[1:] - 1)


def test_a_stack_that_was_used_and_then_moved_computes_with_what_was_moved():
    networks, inputs = several(Tied, train=False), drawn(K, B, 6)
    stack = Stack(networks).float()
    stack(inputs.float())
    stack = stack.double()
    expected = torch.stack([network.float().double()(rows) for network, rows in zip(networks, inputs, strict=True)])
    assert close(stack(inputs).logits, expected)
