"""Factories of networks with the signatures of other libraries."""

import torch
from torch import nn


class TinyNet(nn.Module):
    """A network in timm's manner: in-place activations, no kdlab."""

    def __init__(self, num_classes=1000, in_chans=3, width=4):
        super().__init__()
        self.stem = nn.Conv2d(in_chans, width, 3, padding=1)
        self.blocks = nn.Sequential(
            *(
                nn.Sequential(nn.Conv2d(width, width, 3, padding=1), nn.BatchNorm2d(width), nn.ReLU(inplace=True))
                for _ in range(2)
            )
        )
        self.head = nn.Linear(width, num_classes)

    def forward(self, x):
        return self.head(self.blocks(self.stem(x)).mean((-2, -1)))


def create_model(model_name, pretrained=False, pretrained_cfg=None, checkpoint_path=None, cache_dir=None, **kwargs):
    """The signature of ``timm.create_model``: what it does not name goes on to the network."""
    model = TinyNet(**kwargs)
    model.pretrained = pretrained
    return model


class SmallNet(nn.Module):
    """A network in torchvision's manner: three channels, whatever the data has."""

    def __init__(self, num_classes=1000):
        super().__init__()
        self.conv, self.fc = nn.Conv2d(3, 4, 3), nn.Linear(4, num_classes)

    def forward(self, x):
        return self.fc(self.conv(x).relu_().mean((-2, -1)))


def small_net(*, weights=None, progress=True, **kwargs):
    """The signature of ``torchvision.models.resnet18``; something is drawn before the network refuses a keyword."""
    torch.rand(1)
    return SmallNet(**kwargs)


def keywords(**kwargs):
    """Remembers what it was given."""
    model = nn.Identity()
    model.given = kwargs
    return model
