"""Base classes of architectures that nobody builds here."""

from torch import nn


class _DenseBlock(nn.Module):
    pass


class _Transition(nn.Module):
    pass
