"""The bias of the last layer, whatever the network is made of."""

import pytest
import torch
from torch import nn

from kdlab.errors import UserError
from kdlab.models import MLP, CNN1d, CNN2d, ResNet, as_output
from kdlab.models.output_bias import output_bias, raise_output_bias

NAMES = {MLP: "head.bias", CNN1d: "head.bias", CNN2d: "head.bias", ResNet: "fc.bias"}
C = 5


def network(family):
    shape = (1, 16) if family in (MLP, CNN1d) else (1, 8, 8)
    torch.manual_seed(0)
    knobs = {"width": C} if family is MLP else {}  # hidden biases of MLP have the shape of the last one
    return family(input_shape=shape, num_classes=C, **knobs).eval(), torch.randn(6, *shape)


@pytest.mark.parametrize("family", NAMES)
def test_the_chosen_classes_are_raised_by_that_much_and_nothing_else_changes(family):
    model, inputs = network(family)
    state = {name: value.clone() for name, value in model.state_dict().items()}
    assert output_bias(model, num_classes=C, inputs=inputs) == NAMES[family]
    assert all(torch.equal(value, state[name]) for name, value in model.state_dict().items()), "looking changes nothing"
    before = as_output(model(inputs)).logits
    classes = torch.tensor([False, True, False, True, False])
    raise_output_bias(model, classes=classes, by=2.5, inputs=inputs)
    torch.testing.assert_close(as_output(model(inputs)).logits, before + 2.5 * classes)
    assert {name for name, value in model.state_dict().items() if not torch.equal(value, state[name])} == {
        NAMES[family]
    }


class _Disguised(nn.Module):
    """A parameter of the right shape that scales, one that is not used, and the bias under a name of its own."""

    def __init__(self):
        super().__init__()
        self.offset = nn.Parameter(torch.zeros(C))
        self.first = nn.Linear(4, C, bias=False)
        self.gain = nn.Parameter(torch.ones(C))
        self.unused = nn.Parameter(torch.zeros(C))

    def forward(self, inputs):
        return self.first(inputs) * self.gain + self.offset


def test_it_is_found_by_what_it_does_and_not_by_its_name():
    assert output_bias(_Disguised(), num_classes=C, inputs=torch.randn(3, 4)) == "offset"


@pytest.mark.parametrize(
    "model",
    [
        nn.Sequential(nn.Linear(4, 7), nn.ReLU(), nn.Linear(7, C, bias=False)),
        nn.Sequential(nn.Linear(4, C), nn.LogSoftmax(-1)),
        nn.Sequential(nn.Linear(4, C), nn.ReLU(), nn.Linear(C, C, bias=False)),
    ],
)
def test_a_network_without_one_is_refused(model):
    with pytest.raises(UserError, match=r"data.shown.bias_correction: Sequential has no last layer with a bias"):
        output_bias(model, num_classes=C, inputs=torch.randn(3, 4))
