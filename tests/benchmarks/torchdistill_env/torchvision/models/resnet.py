"""A block and a convolution of architectures that nobody builds here."""

from torch import nn


class BasicBlock(nn.Module):
    pass


def conv1x1(*arguments: object) -> nn.Module:
    raise NotImplementedError("a stand-in")
