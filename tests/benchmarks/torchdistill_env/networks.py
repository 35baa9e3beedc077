"""The networks of the task in plain PyTorch, for every loop that is not kdlab's. It imports torch alone."""

from torch import Tensor, nn

Weights = dict[str, Tensor]


def student(width: int = 100) -> nn.Sequential:
    """The student 40-width-width-10."""
    return nn.Sequential(nn.Flatten(), nn.Linear(40, width), nn.ReLU(), nn.Linear(width, width), nn.ReLU(),
                         nn.Linear(width, 10))  # fmt: skip


def cnn1d(width: int, *, norm: bool) -> nn.Sequential:
    """Three strided convolutions and a linear classifier, as kdlab's ``CNN1d``; ``norm`` for BatchNorm."""
    layers: list[nn.Module] = []
    channels = 1
    for kernel in (5, 3, 3):
        layers.append(nn.Conv1d(channels, width, kernel, stride=2, padding=1, bias=not norm))
        layers += [nn.BatchNorm1d(width), nn.ReLU()] if norm else [nn.ReLU()]
        channels = width
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(width * 5, 10))


def take_over(network: nn.Module, weights: Weights) -> nn.Module:
    """Load the weights of a network of the same layers under other names: by order, shapes compared."""
    own = network.state_dict()
    if [value.shape for value in own.values()] != [value.shape for value in weights.values()]:
        raise ValueError("the weights are those of another network")
    network.load_state_dict(dict(zip(own, weights.values(), strict=True)))
    return network
