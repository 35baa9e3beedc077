import pytest
import torch
from torch import nn

from kdlab.evaluation.cost import count_cost


class Headed(nn.Module):
    """A recurrent body and a linear head: the head alone would be counted."""

    def __init__(self, body):
        super().__init__()
        self.body, self.head = body, nn.Linear(8, 4)

    def forward(self, inputs):
        return self.head(self.body(inputs)[0][:, -1])


def test_a_linear_network_by_hand():
    cost = count_cost(nn.Sequential(nn.Linear(40, 100), nn.ReLU(), nn.Linear(100, 10)), (40,))
    assert cost.metrics == {
        "cost/num_params": 41 * 100 + 101 * 10,
        "cost/macs": 40 * 100 + 100 * 10,
        "cost/size_bytes": 4 * (41 * 100 + 101 * 10),
    }
    assert cost.undefined == {}


def test_convolutions_by_hand():
    net = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1, stride=2), nn.Flatten(), nn.Linear(8 * 16, 5))
    assert count_cost(net, (3, 8, 8)).metrics["cost/macs"] == 3 * 8 * 9 * 16 + 128 * 5
    net = nn.Sequential(nn.Conv1d(2, 6, 5), nn.Conv1d(6, 6, 3, groups=6))
    assert count_cost(net, (2, 20)).metrics["cost/macs"] == 2 * 6 * 5 * 16 + 6 * 3 * 14


def test_buffers_types_and_shared_weights():
    net = nn.Sequential(nn.Linear(4, 4, bias=False), nn.BatchNorm1d(4)).double()
    assert count_cost(net, (4,)).metrics["cost/size_bytes"] == 8 * (16 + 8 + 8) + 8  # num_batches_tracked is int64
    net = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4))
    net[1].weight = net[0].weight
    assert count_cost(net, (4,)).metrics["cost/num_params"] == 16 + 4 + 4
    assert count_cost(net, (4,)).metrics["cost/macs"] == 32


def test_attention_is_counted_whole_and_the_fast_path_is_back():
    net = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True)
    tokens = 5
    expected = tokens * 8 * 24 + tokens * 8 * 8 + 2 * (tokens * tokens * 8) + 2 * tokens * 8 * 16
    assert torch.backends.mha.get_fastpath_enabled()
    assert count_cost(net, (tokens, 8)).metrics["cost/macs"] == expected
    assert torch.backends.mha.get_fastpath_enabled()


def test_what_the_counter_cannot_see_is_null_with_a_reason():
    for net, shape, reason in (
        (nn.Identity(), (3,), "counts 0"),
        (Headed(nn.LSTM(3, 8, batch_first=True)), (5, 3), "LSTM"),
    ):
        cost = count_cost(net, shape)
        assert cost.metrics["cost/macs"] is None
        assert reason in cost.undefined["cost/macs"]
        assert cost.metrics["cost/num_params"] is not None


@pytest.mark.filterwarnings("ignore")
def test_int8_is_null_with_a_reason():
    from torch.ao.quantization import quantize_dynamic

    net = quantize_dynamic(nn.Sequential(nn.Linear(4, 4), nn.Conv1d(1, 1, 1)), {nn.Linear})
    cost = count_cost(net[:1], (4,))
    assert cost.metrics["cost/macs"] is None
    assert "Linear" in cost.undefined["cost/macs"]


def test_a_recurrent_layer_the_counter_does_see():
    cost = count_cost(Headed(nn.GRU(3, 8, batch_first=True)), (5, 3))
    assert cost.metrics["cost/macs"] == 5 * (3 * 24 + 8 * 24) + 32


def test_modes_hooks_and_gradients_are_left_alone():
    net = Headed(nn.GRU(3, 8, batch_first=True))
    net.head.eval()
    count_cost(net, (5, 3))
    assert net.training
    assert not net.head.training
    assert not net.body._forward_hooks
    assert not net.body._forward_pre_hooks
    assert all(p.grad is None for p in net.parameters())
